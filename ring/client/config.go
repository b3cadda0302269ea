package client

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Defaults of Config.
const (
	DefaultMaxInFlight      = 16384
	DefaultMaxInFlightBytes = 64 << 20
	DefaultMaxWaiting       = 2048
	DefaultTimeout          = 5 * time.Second
	DefaultLargeValue       = 64 << 10
)

// MaxValueBytes bounds a value, whatever the nodes would take.
const MaxValueBytes = 16 << 20

// Bounds of IdempotencyKey.
const (
	MaxIdempotencyKeyBytes     = 255
	minHashBytes, maxHashBytes = 8, 32
)

// Validate says what is wrong with c and what to write instead.
func (c Config) Validate() error {
	switch {
	case c.Seeds == nil:
		return errors.New("client: Seeds is missing: give a function that returns the coordinators' gRPC addresses, such as " +
			"client.StaticSeeds(\"10.0.0.1:7100\")")
	case c.MaxInFlight < 0:
		return fmt.Errorf("client: MaxInFlight is %d; give 1 or more, or 0 for %d", c.MaxInFlight, DefaultMaxInFlight)
	case c.MaxInFlightBytes < 0:
		return fmt.Errorf("client: MaxInFlightBytes is %d; give 1 or more, or 0 for %d", c.MaxInFlightBytes, DefaultMaxInFlightBytes)
	case c.MaxWaiting < 0:
		return fmt.Errorf("client: MaxWaiting is %d; give 1 or more, or 0 for %d", c.MaxWaiting, DefaultMaxWaiting)
	case c.Timeout < 0:
		return fmt.Errorf("client: Timeout is %v; give a positive one, or 0 for %v", c.Timeout, DefaultTimeout)
	case c.LargeValue < 0:
		return fmt.Errorf("client: LargeValue is %d; give 1 or more, or 0 for %d", c.LargeValue, DefaultLargeValue)
	}
	return nil
}

// withDefaults fills in what was left empty.
func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.MaxInFlight = orDefault(c.MaxInFlight, DefaultMaxInFlight)
	c.MaxInFlightBytes = orDefault(c.MaxInFlightBytes, DefaultMaxInFlightBytes)
	c.MaxWaiting = orDefault(c.MaxWaiting, DefaultMaxWaiting)
	c.Timeout = orDefault(c.Timeout, DefaultTimeout)
	c.LargeValue = orDefault(c.LargeValue, DefaultLargeValue)
	return c
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}
