package body

import (
	"errors"
	"fmt"
	"slices"

	"banyan/mesh/wire"
	"banyan/record"
)

// AllForms is the set of all forms that a version may have: bit i is form i.
const AllForms = 1<<record.MaxForms - 1

// ErrNoForm is returned if no form at hand serves a wish.
var ErrNoForm = errors.New("no form that the asker can use is here")

// OtherFormError reports that the best form for a wish is not on this host. The
// host can fetch Form for the asker.
type OtherFormError struct{ Form uint8 }

func (e *OtherFormError) Error() string { return fmt.Sprintf("form %d is not here yet", e.Form) }

// Wish describes which forms of a version an asker can use.
type Wish struct {
	// Have lists the asker's versions of the config. A delta to a version in Have
	// serves the wish.
	Have []record.Ref
	// Choice limits the wish to one form; the zero value is wire.AnyForm.
	Choice wire.FormChoice
	// FormOnly is set if the asker needs a form and has no use for a decoded body.
	FormOnly bool
	// Whole is set if the asker takes a form in one piece, whatever the size.
	Whole bool
}

// Serves reports whether form number n of m serves the wish. A delta serves the wish if the
// asker has the base, or asked for form n only.
func (w Wish) Serves(m record.Manifest, n uint8) bool {
	if w.Choice != wire.AnyForm {
		return w.Choice.Allows(n)
	}
	base := m.Forms[n].Base
	return base.IsZero() || slices.Contains(w.Have, base)
}

// Choose returns the smallest form at hand that serves the wish. Bit i of atHand is
// set if form i is at hand. ok is false if no form qualifies.
//
// For example, of form 0 with 900 KiB and form 1, a delta to version 6 with 20 KiB, an
// asker with version 6 gets form 1, and every other asker gets form 0.
func Choose(m record.Manifest, atHand uint8, wish Wish) (n uint8, ok bool) {
	for i, f := range m.Forms {
		if atHand&(1<<i) == 0 || !wish.Serves(m, uint8(i)) {
			continue
		}
		if !ok || f.Size < m.Forms[n].Size {
			n, ok = uint8(i), true
		}
	}
	return n, ok
}
