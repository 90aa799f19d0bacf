package record

import (
	"fmt"
	"slices"
	"strings"
)

// reservedSegments are names of files that an agent writes into the directory of a config. A
// config below it could not have such a name on disk.
var reservedSegments = []string{"value", "meta.json"}

// ValidateConfig checks the name of a config. A name has one or more segments, joined by
// slashes. A segment has letters, digits, '.', '_' and '-', and starts with a letter or
// digit. For example: payments/limits.
func ValidateConfig(name string) error {
	if name == "" {
		return fmt.Errorf("%w: config name is empty", ErrInvalid)
	}
	if len(name) > MaxConfigName {
		return fmt.Errorf("%w: config name has %d bytes, the limit is %d", ErrInvalid, len(name), MaxConfigName)
	}
	for segment := range strings.SplitSeq(name, "/") {
		if err := validateSegment(segment); err != nil {
			return fmt.Errorf("%w: config name %q: %s", ErrInvalid, name, err)
		}
	}
	return nil
}

func validateSegment(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("a part between slashes is empty")
	case len(s) > MaxSegment:
		return fmt.Errorf("part %q has %d bytes, the limit is %d", s, len(s), MaxSegment)
	case slices.Contains(reservedSegments, s):
		return fmt.Errorf("part %q is reserved", s)
	}
	for i, c := range s {
		switch {
		case i == 0 && !isAlphanumeric(c):
			return fmt.Errorf("part %q starts with %q; use a letter or digit", s, c)
		case !isAlphanumeric(c) && c != '.' && c != '_' && c != '-':
			return fmt.Errorf("part %q has the character %q; use letters, digits, '.', '_' and '-'", s, c)
		}
	}
	return nil
}

// ValidateRegion checks the name of a region. A name has lower-case letters, digits and '-',
// and starts with a letter.
func ValidateRegion(name string) error {
	if name == "" || len(name) > MaxRegionName {
		return fmt.Errorf("%w: region name %q must have 1 to %d bytes", ErrInvalid, name, MaxRegionName)
	}
	if name[0] < 'a' || name[0] > 'z' {
		return fmt.Errorf("%w: region name %q must start with a lower-case letter", ErrInvalid, name)
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%w: region name %q has the character %q; use lower-case letters, digits and '-'",
				ErrInvalid, name, c)
		}
	}
	return nil
}

func isAlphanumeric(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// ValidateScope checks a scope: "*" for every config, or the name of a config, which stands
// for that config and all configs below it.
func ValidateScope(scope string) error {
	if scope == "*" {
		return nil
	}
	return ValidateConfig(scope)
}

// InScope reports whether config equals prefix or lies below prefix. The prefix "*" covers
// every config. For example, "pay/eu" is in the scope of "pay", and "payments" is not.
func InScope(config, prefix string) bool {
	if prefix == "*" {
		return true
	}
	rest, found := strings.CutPrefix(config, strings.TrimSuffix(prefix, "/"))
	return found && (rest == "" || rest[0] == '/')
}
