package record

// PointerKey identifies a pointer: each region has a pointer of its own for each config.
type PointerKey struct {
	Config string
	Region string
}

// VersionKey identifies a version of a config.
type VersionKey struct {
	Config  string
	Version uint64
}

// FormKey identifies a form of a version. Form is the position of the form in the
// manifest's list of forms.
type FormKey struct {
	VersionKey
	Form uint8
}
