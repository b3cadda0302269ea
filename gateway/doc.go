// Package gateway is Kring over HTTP: a thin layer that decodes a request, makes one call to the Go client and encodes
// the answer. It keeps nothing that cannot be lost.
//
// One request, in order:
//
//  1. net/http reads the header under a deadline. What it refuses by itself (bad escapes, too many header bytes) leaves
//     as a problem+json too: listener.go.
//  2. server.go takes an exchange from a pool (the clock, the request id, the status written), checks the Host and the
//     origin, takes one of the bounded places in flight, and hands over to the chi router. Nothing cleans or redirects.
//  3. key.go cuts the key out of the path, decoded exactly once.
//  4. kv.go reads conditions, attributes, limits and the body (body.go, under a deadline that asks for a least rate) and
//     makes one client call.
//  5. the answer is encoded; an error of any kind is rendered in one place, problem.go.
//
// What the package does not do: it never asks a coordinator on the way of a key's request (the client holds the table),
// it caches no values, and it starts no goroutine for a request.
package gateway
