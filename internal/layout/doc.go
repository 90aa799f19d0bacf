// Package layout holds the project to its own map: which package may import
// which, and that each says what it is. It has tests and no code.
package layout
