package wire

import (
	"fmt"
	"slices"
	"strings"

	"banyan/record"
)

// Subscriptions select the configs that an agent applies: scopes as record.InScope
// reads scopes, sorted, with one space between. The empty value selects every config.
//
// Whatever its subscriptions, an agent receives, keeps and relays every pointer: the
// head covers all pointers of the region, and the agent's children may subscribe to
// other configs.
type Subscriptions string

// SubscribeNothing selects no config. An agent with SubscribeNothing only relays.
const SubscribeNothing Subscriptions = "-"

// Subscribe returns Subscriptions to scopes. A scope may end in a slash. Without any
// scope, Subscribe returns SubscribeNothing.
func Subscribe(scopes ...string) Subscriptions {
	if len(scopes) == 0 {
		return SubscribeNothing
	}
	var names []string
	for _, s := range scopes {
		names = append(names, strings.TrimSuffix(s, "/"))
	}
	slices.Sort(names)
	return Subscriptions(strings.Join(slices.Compact(names), " "))
}

// Include reports whether the subscriptions select config.
func (s Subscriptions) Include(config string) bool {
	if s == "" {
		return true
	}
	for scope := range strings.SplitSeq(string(s), " ") {
		if record.InScope(config, scope) {
			return true
		}
	}
	return false
}

// Scopes returns the scopes as a list: nil for every config, an empty list for none.
func (s Subscriptions) Scopes() []string {
	switch s {
	case "":
		return nil
	case SubscribeNothing:
		return []string{}
	}
	return strings.Split(string(s), " ")
}

// Validate reports a scope that is not valid, or more than MaxSubscriptions bytes. The
// error wraps record.ErrInvalid.
func (s Subscriptions) Validate() error {
	if len(s) > MaxSubscriptions {
		return fmt.Errorf("%w: subscriptions of %d bytes, the limit is %d; use a prefix that covers several configs",
			record.ErrInvalid, len(s), MaxSubscriptions)
	}
	for _, scope := range s.Scopes() {
		if err := record.ValidateScope(scope); err != nil {
			return err
		}
	}
	return nil
}

func (s Subscriptions) validate() error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("%w: %s", ErrMalformed, err)
	}
	return nil
}
