// Package layout tests the structure of the project: which package may import which, and that
// every package has a comment. There are tests and no code.
package layout
