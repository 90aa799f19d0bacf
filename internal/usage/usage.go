// Package usage marks the errors of whoever starts a program: a flag or a setting that is
// missing, or whose value is not possible. Commands exit with status 2 for them.
//
// Entry point: [Errorf].
package usage

import "fmt"

// Error is an error in a flag or a setting.
type Error struct{ err error }

func (e *Error) Error() string { return e.err.Error() }
func (e *Error) Unwrap() error { return e.err }

// Errorf formats an Error as fmt.Errorf does. The text names the flag or the setting and
// says which values are possible.
func Errorf(format string, args ...any) error { return &Error{fmt.Errorf(format, args...)} }
