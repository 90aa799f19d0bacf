package versionstore

import (
	"time"

	"banyan/record"
)

// MaxDocument is the maximum size of a document, in bytes.
const MaxDocument = 512 << 10

// Document is a named value whose content the store does not interpret: a rollout, a plan,
// a hold. Kind and Name contain no zero byte.
type Document struct {
	Kind string
	Name string
	Raw  []byte
	Seq  uint64 // 1 for the first write, plus one for each further write
	By   string // the writer
	At   time.Time
	// Damaged says what is wrong if the document can't be read. Such a document has a name, no
	// content, and the sequence 0.
	Damaged error
}

// DocumentWrite writes a document on condition that its sequence is IfSeq.
type DocumentWrite struct {
	Kind string
	Name string
	// Raw is the new content; nil removes the document, and its sequence starts over.
	Raw []byte
	// IfSeq is the sequence before the write; 0 means that the document must not exist.
	IfSeq uint64
}

// SignedPointer is a pointer and its signed form.
type SignedPointer struct {
	Pointer record.Pointer
	Raw     []byte
}

// SignedManifest is a manifest, its signed form and the publisher who signed it.
type SignedManifest struct {
	Manifest record.Manifest
	Raw      []byte
	By       string
}

// SchemaWrite sets the JSON Schema of a config; an empty schema removes it.
type SchemaWrite struct {
	Config string
	Schema []byte
}

// DocumentCheck is the condition that a document has the sequence Seq; 0 means that the
// document does not exist.
type DocumentCheck struct {
	Kind string
	Name string
	Seq  uint64
}

// Removal removes versions of a config. The newest version can only be removed together with all
// others; then the name is free, and its versions begin with 1 again. A version that a pointer names
// can't be removed.
type Removal struct {
	Config   string
	Versions []uint64 // at most MaxRemoved
}

// Transaction is a set of writes that happen together or not at all. Each version and each
// pointer gets a revision of its own, versions first, in the order of Versions and Pointers;
// the last one is the revision that Commit returns.
type Transaction struct {
	// Term is the term in which the writer leads. Commit returns a *FencedError if the store is
	// in another term.
	Term      uint64
	Versions  []SignedManifest
	Pointers  []SignedPointer
	Schemas   []SchemaWrite
	Documents []DocumentWrite
	Removals  []Removal
	// Checks are conditions on documents that the transaction does not write.
	Checks []DocumentCheck
	By     string // the writer
}
