package agent

import (
	"time"

	"banyan/record"
)

// EventKind is the kind of an Event.
type EventKind string

// The kinds of events.
const (
	EventVerified EventKind = "verified" // Pointer is new and its signature is good
	EventApplied  EventKind = "applied"  // Pointer is durable and its version is shown
	EventFailed   EventKind = "failed"   // Pointer was not applied, because of Reason
	EventRefused  EventKind = "refused"  // a message or a body was refused, because of Reason
)

// Event reports what happened on an agent.
type Event struct {
	Kind EventKind
	// Agent is the name of the agent.
	Agent string
	// Pointer is set for every kind but EventRefused.
	Pointer record.Pointer
	// Version is the version that Pointer gives this host; 0 for none.
	Version uint64
	Reason  string
	// Peer is the name of the sender of what was refused; empty if unknown.
	Peer string
	At   time.Time
}
