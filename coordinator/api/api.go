// Package api is the control API as its users see it: the types that travel as
// JSON, and a [Client]. docs/openapi.yaml describes the same for other languages.
//
// The CLI is a user of this package and of nothing below it.
package api

import (
	"errors"
	"time"

	"banyan/mesh/wire"
	"banyan/record"
)

// Version is one version of a config.
type Version struct {
	record.Manifest
	PublishedBy string    `json:"published_by"`
	StoredAt    time.Time `json:"stored_at"`
	Revision    uint64    `json:"revision"`
	Signed      []byte    `json:"signed"` // the manifest as signed, COSE_Sign1
}

// PutVersion is the request that stores a version, whose body was uploaded before.
type PutVersion struct {
	Signed []byte `json:"signed"`
}

// Activate is the request that moves a config's pointers.
type Activate struct {
	Version uint64   `json:"version"`
	Regions []string `json:"regions,omitempty"` // none: all
	// IfEpoch, where it names a region, refuses the move if that region's epoch is another.
	IfEpoch map[string]uint64 `json:"if_epoch,omitempty"`
}

// Pointer is what a region runs of a config.
type Pointer struct {
	record.Pointer
	MovedBy  string    `json:"moved_by"`
	MovedAt  time.Time `json:"moved_at"`
	Revision uint64    `json:"revision"`
	Signed   []byte    `json:"signed"`
}

// Activated answers Activate.
type Activated struct {
	Pointers []Pointer `json:"pointers"`
}

// Failure is why an agent did not apply.
type Failure struct {
	Agent    string `json:"agent"`
	Reason   string `json:"reason"`
	Attempts uint32 `json:"attempts,omitempty"`
}

// RegionStatus says how far a region has come with a config's pointer.
type RegionStatus struct {
	Region    string    `json:"region"`
	Epoch     uint64    `json:"epoch"`
	Version   uint64    `json:"version"`             // the baseline
	Candidate uint64    `json:"candidate,omitempty"` // that a rollout brings
	Wave      string    `json:"wave,omitempty"`      // who runs it, or "staged"
	Agents    int       `json:"agents"`              // subscribers in the tree now
	Applied   uint64    `json:"applied"`             // acknowledged this epoch
	Failed    uint64    `json:"failed"`
	Running   uint64    `json:"running_candidate"`
	MinMs     float64   `json:"min_ms"`
	P50Ms     float64   `json:"p50_ms"` // from the pointer's signature to the durable apply
	P99Ms     float64   `json:"p99_ms"`
	MaxMs     float64   `json:"max_ms"`
	MovedAt   time.Time `json:"moved_at"`
	Failures  []Failure `json:"failures,omitempty"`
}

// ConfigStatus answers how a config stands.
type ConfigStatus struct {
	Config  string         `json:"config"`
	Last    uint64         `json:"last_version"`
	Regions []RegionStatus `json:"regions"`
}

// Agent is one agent of the coordinator's region.
type Agent struct {
	Index    uint32            `json:"index"`
	Name     string            `json:"name"`
	Addr     string            `json:"addr"`
	Relay    bool              `json:"relay"`
	Labels   map[string]string `json:"labels,omitempty"`
	Parent   string            `json:"parent"`
	Depth    int               `json:"depth"`
	Children int               `json:"children"`
	Attached bool              `json:"attached"`
	Confined bool              `json:"quarantined,omitempty"`
	Accuser  string            `json:"accuser,omitempty"` // who left it because it withheld
	// Subscriptions are the scopes of what it applies; absent: everything.
	Subscriptions []string `json:"subscriptions,omitzero"`
}

// Holder is an agent and what it holds of a version.
type Holder struct {
	Region string `json:"region"`
	wire.Holding
}

// Heard is how many agents of a region were asked what they hold, and how many answered.
type Heard struct {
	Agents      int `json:"agents"`      // in the tree
	Subscribers int `json:"subscribers"` // of them, to the config
	Heard       int `json:"heard"`
}

// Holders answers who holds what of a version: those that hold something.
type Holders struct {
	Config  string           `json:"config"`
	Version uint64           `json:"version"`
	Regions map[string]Heard `json:"regions"`
	Holders []Holder         `json:"holders"`
}

// CoordinatorStatus is what a coordinator says of itself.
type CoordinatorStatus struct {
	Name     string         `json:"name"`
	Region   string         `json:"region"`
	Leads    bool           `json:"leads"` // false: it follows another
	Attached bool           `json:"attached"`
	Revision uint64         `json:"revision"`
	Agents   map[string]int `json:"agents"` // by region, as far as this coordinator knows
	Version  string         `json:"version"`
}

// The codes of an Error.
const (
	CodeInvalid     = "invalid"     // the request can't be understood
	CodeRejected    = "rejected"    // validation or policy refuses it
	CodeForbidden   = "forbidden"   // the certificate's role does not allow it
	CodeNotFound    = "not_found"   //
	CodeConflict    = "conflict"    // another write came first
	CodeTooLarge    = "too_large"   //
	CodeUnavailable = "unavailable" // try again later or elsewhere
	CodeInternal    = "internal"    //
)

// Error is what a request that failed answers.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Line    int    `json:"line,omitempty"` // of the draft, if it was rejected there
}

func (e *Error) Error() string { return e.Message }

// ErrUnreachable is wrapped when no coordinator answers.
var ErrUnreachable = errors.New("coordinator unreachable")

// IsCode tells whether err is an *Error with that code.
func IsCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
