package versionstore

import "time"

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
