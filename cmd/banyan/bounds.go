package main

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/pflag"

	"banyan/internal/quantity"
)

// errTooSmall is wrapped by the error for a value of a flag that is too small.
var errTooSmall = errors.New("too small")

// positive refuses zero and less as the value of flags. A flag that is not given keeps its
// default, which may be zero: without the check, a zero that is given would silently become the
// default.
func positive(f *pflag.FlagSet, names ...string) { bound(f, "it must be more than 0", true, names) }

// notNegative refuses less than zero as the value of flags.
func notNegative(f *pflag.FlagSet, names ...string) {
	bound(f, "the smallest possible value is 0", false, names)
}

func bound(f *pflag.FlagSet, rule string, positive bool, names []string) {
	for _, name := range names {
		limit(f, name, func(given string, v pflag.Value) error {
			if strings.HasPrefix(v.String(), "-") || positive && isZero(v) {
				return fmt.Errorf("%s is %w; %s", given, errTooSmall, rule)
			}
			return nil
		})
	}
}

func isZero(v pflag.Value) bool {
	if text, ok := v.(*textValue); ok {
		return reflect.ValueOf(text.TextUnmarshaler).Elem().IsZero()
	}
	return !strings.ContainsAny(v.String(), "123456789")
}

// leastBytes refuses fewer than least bytes as the value of a flag of sizeVar, and says why.
func leastBytes(f *pflag.FlagSet, name string, least int64, why string) {
	limit(f, name, func(given string, v pflag.Value) error {
		size := v.(*textValue).TextUnmarshaler.(*quantity.Size)
		if int64(*size) < least {
			return fmt.Errorf("%s is %w; %s needs at least %d", given, errTooSmall, why, least)
		}
		return nil
	})
}

// limit has the value of a flag checked after it is set.
func limit(f *pflag.FlagSet, name string, check func(given string, v pflag.Value) error) {
	flag := f.Lookup(name)
	flag.Value = limited{flag.Value, check}
}

// limited is the value of a flag that is checked after it is set.
type limited struct {
	pflag.Value
	check func(given string, v pflag.Value) error
}

func (l limited) Set(s string) error {
	if err := l.Value.Set(s); err != nil {
		return err
	}
	return l.check(s, l.Value)
}

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
