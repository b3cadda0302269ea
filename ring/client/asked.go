package client

import "time"

// Asked is what a call's options ask for.
type Asked struct {
	Condition   Condition
	Attributes  Attributes
	WantExisted bool
	TTL         time.Duration
	// Of IdempotencyKey; empty: none.
	IdempotencyKey  string
	IdempotencyHash []byte
}

// AskedBy reads options: for those who put something else in a Client's place, such as a twin in memory for tests.
func AskedBy(opts ...Option) Asked {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return Asked{o.condition, o.attributes, o.wantExisted, o.ttl, o.idempotencyKey, o.idempotencyHash}
}
