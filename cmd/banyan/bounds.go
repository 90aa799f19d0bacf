package main

import (
	"banyan/internal/quantity"
)

// number is a flag's value that has a smallest value.
type number interface {
	~int | ~int64 | ~float64
}

// atLeast returns a usage error if the value of a flag is below least. Without the check, a
// zero would silently become the default.
func atLeast[T number](flag string, value, least T) error {
	if value < least {
		return usagef("--%s is %v; the smallest possible value is %v", flag, value, least)
	}
	return nil
}

// moreThanZero returns a usage error if the value of a flag is zero or negative.
func moreThanZero[T number](flag string, value T) error {
	if value <= 0 {
		return usagef("--%s is %v; the value must be more than 0", flag, value)
	}
	return nil
}

// lossBelowAll returns a usage error if every packet is lost.
func lossBelowAll(loss quantity.Percent) error {
	if loss >= 1 {
		return usagef("--loss is %v; at 100%% no packet would arrive", loss)
	}
	return nil
}

// first returns the first error that is not nil.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
