//go:build race

package replica

const raced = true // tests run ten times slower, and the core has no goroutines to race
