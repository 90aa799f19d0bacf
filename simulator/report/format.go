package report

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// number formats a value with about three significant digits and a suffix k, M or G instead
// of an exponent. Example: 12345 is 12.3k.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e9:
		return trim(v/1e9) + "G"
	case a >= 1e6:
		return trim(v/1e6) + "M"
	case a >= 10e3:
		return trim(v/1e3) + "k"
	}
	return trim(v)
}

// trim formats a value with about three significant digits and no trailing zeros.
func trim(v float64) string {
	digits := 2
	switch a := math.Abs(v); {
	case a >= 100:
		digits = 0
	case a >= 10:
		digits = 1
	case a != 0 && a < 0.1:
		digits = 4
	}
	s := fmt.Sprintf("%.*f", digits, v)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// short cuts a text to n characters, of which the last is an ellipsis.
func short(s string, n int) string {
	r := []rune(s)
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// bytesText formats a number of bytes in the largest unit of which the number is at least one.
func bytesText(v any) string {
	var f float64
	switch v := v.(type) {
	case int64:
		f = float64(v)
	case float64:
		f = v
	}
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if f < 1024 || unit == "GiB" {
			return trim(f) + " " + unit
		}
		f /= 1024
	}
	return ""
}

// cpuText formats a duration in seconds, milliseconds or microseconds.
func cpuText(d time.Duration) string {
	switch {
	case d >= time.Second:
		return trim(d.Seconds()) + " s"
	case d >= time.Millisecond:
		return trim(float64(d)/1e6) + " ms"
	}
	return trim(float64(d)/1e3) + " µs"
}

// thousands puts a comma between groups of three digits: 12,345.
func thousands(s string) string {
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
