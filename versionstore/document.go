package versionstore

import (
	"context"
	"time"

	"banyan/record"
)

// MaxDocument is the largest document, in bytes.
const MaxDocument = 512 << 10

// Document is a named value of a kind, of which the store knows nothing: rollouts, plans,
// freezes. Each write makes its sequence grow by one.
type Document struct {
	Kind, Name string // without zero bytes
	Raw        []byte
	Seq        uint64
	By         string
	At         time.Time
}

// DocumentWrite is a document to be written if it stands at IfSeq; 0: if there is none.
// With no Raw it is removed, and Seq starts over.
type DocumentWrite struct {
	Kind, Name string
	Raw        []byte
	IfSeq      uint64
}

// SignedPointer is a pointer and its signed form.
type SignedPointer struct {
	Pointer record.Pointer
	Raw     []byte
}

// Transaction is a set of writes that happen together or not at all. Pointers move as in
// MovePointer, each with a revision of its own.
type Transaction struct {
	Pointers  []SignedPointer
	Documents []DocumentWrite
	By        string
}

// Documents is the part of a Store that holds documents.
type Documents interface {
	// Commit writes a transaction. A pointer or document that is not where the transaction
	// expects it makes it a *ConflictError, and nothing is written. It returns the store's
	// revision.
	Commit(ctx context.Context, t Transaction) (uint64, error)
	// Document reads one; ErrNotFound if there is none.
	Document(ctx context.Context, kind, name string) (Document, error)
	// List reads the documents of a kind whose names have a prefix, by name, at most limit.
	List(ctx context.Context, kind, prefix string, limit int) ([]Document, error)
}
