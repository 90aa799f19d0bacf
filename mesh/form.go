package mesh

import "banyan/record"

// FormChoice says which form of a version is asked for: AnyForm, or one alone.
type FormChoice uint8

// AnyForm leaves the choice to the one who is asked.
const AnyForm FormChoice = 0

// OnlyForm asks for one form, by its place in the manifest.
func OnlyForm(form uint8) FormChoice { return FormChoice(form) + 1 }

func (c FormChoice) form() (form uint8, only bool) { return uint8(c) - 1, c != AnyForm }

// Allows tells whether a form is one of those asked for.
func (c FormChoice) Allows(form uint8) bool { return c == AnyForm || c == OnlyForm(form) }

// FormInfo is what a node needs to know of a form to trade its shards.
type FormInfo struct {
	Size     int64
	Geometry record.Geometry
}

// Shards is how many shards the form has.
func (f FormInfo) Shards() int { return f.Geometry.Shards(f.Size) }
