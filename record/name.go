package record

import (
	"fmt"
	"slices"
	"strings"
)

// reservedSegments are the names that an agent gives to files beside a config's
// children: a config of that name could not be laid out on disk.
var reservedSegments = []string{"value", "meta.json"}

// ValidateConfig reports why name cannot name a config. A config name is one or
// more segments joined by slashes, each of letters, digits, '.', '_' and '-',
// starting with a letter or digit: payments/limits.
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
	case !isAlphanumeric(s[0]):
		return fmt.Errorf("part %q starts with %q; use a letter or digit", s, s[0])
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("part %q has the character %q; use letters, digits, '.', '_' and '-'", s, c)
		}
	}
	return nil
}

// ValidateRegion reports why name cannot name a region: lower-case letters,
// digits and '-', starting with a letter.
func ValidateRegion(name string) error {
	if name == "" || len(name) > MaxRegionName {
		return fmt.Errorf("%w: region name %q must have 1 to %d bytes", ErrInvalid, name, MaxRegionName)
	}
	if name[0] < 'a' || name[0] > 'z' {
		return fmt.Errorf("%w: region name %q must start with a lower-case letter", ErrInvalid, name)
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%w: region name %q has the character %q; use lower-case letters, digits and '-'", ErrInvalid, name, c)
		}
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// ValidateScope reports why scope is none: it is the name of a config, which stands for
// those below it too, or "*".
func ValidateScope(scope string) error {
	if scope == "*" {
		return nil
	}
	return ValidateConfig(scope)
}

// InScope tells whether config lies under prefix: equal to it, or below it at a
// slash. The prefix "*" covers every config.
func InScope(config, prefix string) bool {
	if prefix == "*" {
		return true
	}
	rest, found := strings.CutPrefix(config, strings.TrimSuffix(prefix, "/"))
	return found && (rest == "" || rest[0] == '/')
}
