//go:build race

package fleet

// raced: the race detector multiplies the memory that things take.
const raced = true
