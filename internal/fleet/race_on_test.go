//go:build race

package fleet_test

// raced reports whether the race detector is on.
const raced = true
