// Package quantity has the text form of durations, shares, sizes and rates in files and flags:
// 90s, 0.5%, 64KiB, 1Gbps. Each type implements encoding.TextUnmarshaler, so YAML, JSON and
// flags use the same text. Of has the text form of counts: 1 host, 2 hosts.
package quantity

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Of formats a count of things with a regular plural: "1 host", "2 hosts".
func Of[N int | uint64 | uint32](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Is returns the verb for a count of things: "is" for one, "are" otherwise.
func Is[N int | uint64 | uint32](n N) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// Duration is a duration in the format of time.ParseDuration.
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String returns the text form.
func (d Duration) String() string { return time.Duration(d).String() }

// Percent is a share, 0 to 1. The text form is a percentage such as 0.1%.
type Percent float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Percent) UnmarshalText(b []byte) error {
	number, ok := strings.CutSuffix(string(b), "%")
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(v >= 0 && v <= 100) {
		return fmt.Errorf("%q is not a share such as 0.1%%", b)
	}
	*p = Percent(v / 100)
	return nil
}

// String returns the text form.
func (p Percent) String() string {
	return strconv.FormatFloat(math.Round(float64(p)*1e8)/1e6, 'f', -1, 64) + "%"
}

// MarshalText implements encoding.TextMarshaler.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Hundredths returns the share in hundredths of a percent, rounded: 0.25% is 25. whole is false
// if the share was rounded.
func (p Percent) Hundredths() (hundredths uint16, whole bool) {
	exact := float64(p) * 1e4
	return uint16(math.Round(exact)), math.Abs(exact-math.Round(exact)) < 1e-6
}

// units are the prefixes of units and their factors.
var units = map[string]float64{
	"":   1,
	"k":  1e3,
	"M":  1e6,
	"G":  1e9,
	"Ki": 1 << 10,
	"Mi": 1 << 20,
	"Gi": 1 << 30,
}

// parseUnit parses a number with a unit: "64KiB" with the suffix "B" is 65536.
func parseUnit(text, suffix string) (float64, error) {
	number := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/")
	v, err := strconv.ParseFloat(number, 64)
	factor, known := units[strings.TrimSuffix(text[len(number):], suffix)]
	if err != nil || !known || !strings.HasSuffix(text, suffix) && text != number || !(v >= 0 && v*factor <= 1e15) {
		return 0, fmt.Errorf("%q is not a quantity such as %s", text, "16M"+suffix)
	}
	return v * factor, nil
}

// Size is a number of bytes. The text form is a number with a unit such as 64KiB.
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	v, err := parseUnit(string(b), "B")
	*s = Size(v)
	return err
}

// Bandwidth is a rate in bits a second. The text form is a number with a unit such as 1Gbps.
type Bandwidth float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Bandwidth) UnmarshalText(b []byte) error {
	v, err := parseUnit(string(b), "bps")
	*r = Bandwidth(v)
	return err
}
