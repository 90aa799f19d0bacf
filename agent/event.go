package agent

import (
	"time"

	"banyan/record"
)

// EventKind is the kind of an Event.
type EventKind string

// The kinds of events.
const (
	EventVerified EventKind = "verified" // Pointer is new and the signature is good
	EventApplied  EventKind = "applied"  // Pointer is durable and the version is shown
	EventFailed   EventKind = "failed"   // Pointer was not applied, because of Reason
	EventRefused  EventKind = "refused"  // a message or a body was refused, because of Reason
)

// Event reports an event on an agent.
type Event struct {
	Kind EventKind
	// Agent is the name of the agent.
	Agent string
	// Pointer is set for every kind but EventRefused.
	Pointer record.Pointer
	// Version is the version of this host according to Pointer; 0 if there is no version.
	Version uint64
	Reason  string
	// Peer is the sender of the refused message or body; empty if unknown.
	Peer string
	At   time.Time
}
