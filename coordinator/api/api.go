// Package api is the control API: the types that travel as JSON, and a [Client].
// docs/openapi.yaml describes the same API for other languages.
//
// Entry points: [NewClient], then the methods of [Client]. [Client.Publish] stores a new
// version, [Client.StartRollout] brings a version live, [Client.Rollback] takes one back.
//
// A refused request returns an [*Error], whose code is the kind of the refusal. If no
// coordinator answers, the error wraps [ErrUnreachable].
//
// The package owns its JSON types. The coordinator copies stored values into them, and a
// change of the stored form does not change the API. Manifests, pointers and plans are the
// exception: they are public formats of the packages record and rollout.
//
// The command-line interface uses this package and nothing below it.
package api

import (
	"errors"
	"fmt"
	"net"
	"time"

	"banyan/record"
)

// Version is one version of a config.
type Version struct {
	record.Manifest
	PublishedBy string    `json:"published_by"`
	StoredAt    time.Time `json:"stored_at"`
	Revision    uint64    `json:"revision"`
	// Signed is the signed manifest, COSE_Sign1.
	Signed []byte `json:"signed"`
}

// PutVersion is the request that stores a version. Its body must be uploaded before.
type PutVersion struct {
	// Signed is the signed manifest, COSE_Sign1.
	Signed []byte `json:"signed"`
	// Start starts a rollout of the version in the same transaction; nil stores the version
	// only. Start.Version is ignored.
	Start *StartRollout `json:"start,omitempty"`
	// IfChanged stores nothing if the content is already there, as Checked.Unchanged says.
	IfChanged bool `json:"if_changed,omitempty"`
}

// Published is the answer to PutVersion.
type Published struct {
	Version
	// Unchanged is true if nothing was stored, because Version has the same content.
	Unchanged bool `json:"unchanged,omitempty"`
	// Rollout is the rollout of the version; nil if there is none.
	Rollout *Rollout `json:"rollout,omitempty"`
	// Live are the regions that Checked.Live describes.
	Live []string `json:"live,omitempty"`
}

// Check is the request to make the checks of a publication.
type Check struct {
	// Start is the rollout of the version; nil if the version is stored only.
	Start       *StartRollout `json:"start,omitempty"`
	ContentType string        `json:"content_type"`
	BodySize    int64         `json:"body_size"`
	BodySHA256  record.Digest `json:"body_sha256"`
	// IfChanged asks whether the content is already there, as Checked.Unchanged says.
	IfChanged bool `json:"if_changed,omitempty"`
}

// Checked is the answer to Check.
type Checked struct {
	// Unchanged is true if the content is already there: it is live in every region of the rollout,
	// a rollout in progress brings it, or, without a rollout, it is the newest version.
	Unchanged bool `json:"unchanged,omitempty"`
	// Version is the version with the same content; 0 if Unchanged is false.
	Version uint64 `json:"version,omitempty"`
	// Rollout is the rollout in progress that brings Version; 0 if there is none.
	Rollout uint64 `json:"rollout,omitempty"`
	// Live are the regions of the request, if Version is live in all of them. Hosts may not have
	// applied it yet.
	Live []string `json:"live,omitempty"`
}

// Activate is the request that moves the pointers of a config.
type Activate struct {
	Version uint64 `json:"version"`
	// Regions are the regions to move; empty means all.
	Regions []string `json:"regions,omitempty"`
	// IfEpoch is the epoch at which the pointer must be, by region. If the pointer of any
	// region in IfEpoch is at another epoch, no pointer moves.
	IfEpoch map[string]uint64 `json:"if_epoch,omitempty"`
	Message string            `json:"message,omitempty"`
}

// Pointer names the versions of a config that a region runs.
type Pointer struct {
	record.Pointer
	MovedBy  string    `json:"moved_by"`
	MovedAt  time.Time `json:"moved_at"`
	Revision uint64    `json:"revision"`
	// Signed is the signed pointer, COSE_Sign1.
	Signed []byte `json:"signed"`
}

// Activated is the answer to Activate.
type Activated struct {
	Pointers []Pointer `json:"pointers"`
}

// Failure is the reason for which an agent did not apply a version.
type Failure struct {
	Agent    string `json:"agent"`
	Reason   string `json:"reason"`
	Attempts uint32 `json:"attempts,omitempty"`
	// Delayed is set for a fault of the host or of its network, which says nothing about the
	// version. The host tries again, and is not counted as failed.
	Delayed bool `json:"delayed,omitempty"`
}

// RegionStatus is the progress of a region with the current pointer of a config.
type RegionStatus struct {
	Region string `json:"region"`
	Epoch  uint64 `json:"epoch"`
	// Version is the pointer's baseline.
	Version uint64 `json:"version"`
	// Deleted is true if the config was deleted in the region. Then Applied counts the hosts that
	// have removed it.
	Deleted bool `json:"deleted,omitempty"`
	// Candidate is the version that a rollout brings; 0 without a candidate.
	Candidate uint64 `json:"candidate,omitempty"`
	// Wave describes the agents that run the candidate, or is WaveStaged or WaveTakenBack.
	Wave string `json:"wave,omitempty"`
	// Stranded is true if no rollout brings the candidate: the rollout was lost with the store.
	Stranded bool `json:"stranded,omitempty"`
	// Hosts is the number of hosts in the inventory that subscribe to the config.
	Hosts int `json:"hosts"`
	// Agents is the number of subscribers in the tree now.
	Agents int `json:"agents"`
	// Unheard is the number of hosts that are not in the tree. It includes every host of a region
	// that is unreachable.
	Unheard int `json:"unheard"`
	// Absent are some of the hosts that are not in the tree.
	Absent []Absent `json:"absent,omitempty"`
	// Cloned are some of the hosts whose identity several live processes share. Such a host does not
	// count as applied, because an acknowledgement does not say which process runs the version.
	Cloned []string `json:"cloned,omitempty"`
	// Unreachable is true if no coordinator of the region is heard of. Then nothing is known of
	// its hosts, and none counts as applied.
	Unreachable bool `json:"unreachable,omitempty"`
	// HeardAt is when a coordinator of the region was last heard of; zero if none was since the
	// start of the coordinator that answers.
	HeardAt time.Time `json:"heard_at,omitzero"`
	// Applied is the number of agents in the tree that acknowledged the epoch, and whose file was
	// not found changed since.
	Applied uint64 `json:"applied"`
	// Drifted is the number of agents in the tree that acknowledged the epoch, and whose file was
	// changed by somebody else since.
	Drifted uint64 `json:"drifted,omitempty"`
	Failed  uint64 `json:"failed"`
	Running uint64 `json:"running_candidate"`
	// Latency is nil if no host has told how long it took.
	Latency *Latency  `json:"latency,omitempty"`
	MovedAt time.Time `json:"moved_at"`
	// Silent are some of the hosts in the tree that have not acknowledged the pointer yet.
	Silent []string `json:"silent,omitempty"`
	// Failures are some of the agents that failed or are delayed.
	Failures []Failure `json:"failures,omitempty"`
}

// Values of RegionStatus.Wave that stand for no agent.
const (
	// WaveStaged means that the hosts fetch the candidate, and that none is to run it yet.
	WaveStaged = "staged"
	// WaveTakenBack means that the candidate was taken back, and that no version ran before it.
	WaveTakenBack = "taken back"
)

// Latency is how long the hosts of a region took from the pointer's signature to the durable apply,
// in milliseconds, by each host's clock.
type Latency struct {
	MinMs float64 `json:"min_ms"`
	P50Ms float64 `json:"p50_ms"`
	P99Ms float64 `json:"p99_ms"`
	MaxMs float64 `json:"max_ms"`
}

// Absent is a host that is not in the tree.
type Absent struct {
	Name string `json:"name"`
	// HeardAt is when the host was last heard of; zero if it has never attached.
	HeardAt time.Time `json:"heard_at,omitzero"`
}

// Host is a host of the inventory: it was issued an identity or has attached once, and nobody has
// retired it.
type Host struct {
	Region string `json:"region"`
	Name   string `json:"name"`
	// Attached is true if the host is in a tree now.
	Attached bool `json:"attached"`
	// Via is the coordinator that reported the host last.
	Via string `json:"via,omitempty"`
	// Unreachable is true if that coordinator has not reported lately: the host was attached at
	// HeardAt, and nothing is known of it since.
	Unreachable bool `json:"unreachable,omitempty"`
	// Since is when the host was listed: when its identity was issued, or when it attached first.
	Since time.Time `json:"since"`
	// HeardAt is when the host was last heard of; zero if it has never attached.
	HeardAt time.Time `json:"heard_at,omitzero"`
}

// ExpectHosts asks to list hosts that have not attached yet.
type ExpectHosts struct {
	Hosts []ExpectedHost `json:"hosts"`
}

// ExpectedHost is a host that was issued an identity.
type ExpectedHost struct {
	Region string `json:"region"`
	Name   string `json:"name"`
}

// Roster is the report of a coordinator on the hosts in its tree.
type Roster struct {
	// First is true in the first part of a report on all hosts. Other reports are on changes.
	First bool `json:"first,omitempty"`
	// Last is true in the last part of a report.
	Last bool `json:"last,omitempty"`
	// Total is the number of hosts in the tree.
	Total int          `json:"total"`
	Hosts []RosterHost `json:"hosts,omitempty"`
	// Left are the hosts that are not in the tree any more.
	Left []string `json:"left,omitempty"`
}

// RosterHost is a host in a coordinator's tree.
type RosterHost struct {
	Name  string `json:"name"`
	Index uint32 `json:"index"`
	// Subscriptions are the scopes of the configs that the host applies, as in the mesh.
	Subscriptions string `json:"subscriptions,omitempty"`
	// Cloned is true if several live processes run with the host's identity.
	Cloned bool `json:"cloned,omitempty"`
}

// RosterTaken is the answer to Roster.
type RosterTaken struct {
	// Again is true if the coordinator must report on all hosts.
	Again bool `json:"again"`
}

// ConfigStatus is the progress of every region with a config.
type ConfigStatus struct {
	Config string `json:"config"`
	// Last is the newest version, whether or not a region runs it.
	Last uint64 `json:"last_version"`
	// Alone is true if the answering coordinator can't reach its leader. The answer then has the
	// coordinator's own region only, as the leader announced it last.
	Alone   bool           `json:"alone,omitempty"`
	Regions []RegionStatus `json:"regions"`
	Refusal
}

// Agent is one agent of the coordinator's region.
type Agent struct {
	Index  uint32            `json:"index"`
	Name   string            `json:"name"`
	Addr   string            `json:"addr"`
	Relay  bool              `json:"relay"`
	Labels map[string]string `json:"labels,omitempty"`
	// Parent is the name of the parent agent; empty if the parent is the coordinator.
	Parent string `json:"parent"`
	// Depth is the number of hops from the coordinator.
	Depth    int `json:"depth"`
	Children int `json:"children"`
	// Attached is false if the agent left and has not come back.
	Attached bool `json:"attached"`
	// Confined is true if the agent is in quarantine.
	Confined bool `json:"quarantined,omitempty"`
	// Accuser is the child that left this agent after the agent withheld an announcement.
	Accuser string `json:"accuser,omitempty"`
	// Subscriptions are the scopes of the configs that the agent applies. A nil slice
	// means every config; an empty slice means no config.
	Subscriptions []string `json:"subscriptions,omitzero"`
	// Clones are the addresses of the processes that run with the agent's identity, if several
	// do. Then the agent does not count as applied.
	Clones []string `json:"clones,omitempty"`
}

// Holder is an agent and the part of a version that it holds.
type Holder struct {
	Region string `json:"region"`
	Name   string `json:"agent"`
	// Whole is true if the agent has the whole body and has verified it.
	Whole bool `json:"whole,omitempty"`
	// Form is the index of the form whose shards the agent holds.
	Form uint8 `json:"form"`
	// Shards is the number of shards that the agent holds.
	Shards uint32 `json:"shards"`
	// Of is the number of data shards of the form.
	Of uint32 `json:"of"`
	// Cached is true if the agent holds the shards for other agents only.
	Cached bool `json:"cached,omitempty"`
}

// Heard is the number of agents of a region that were asked, and that answered.
type Heard struct {
	// Agents is the number of agents in the tree.
	Agents int `json:"agents"`
	// Subscribers is the number of agents in the tree that subscribe to the config.
	Subscribers int `json:"subscribers"`
	// Heard is the number of agents that answered.
	Heard int `json:"heard"`
}

// Holders are the agents that hold a version or a part of it.
type Holders struct {
	Config  string           `json:"config"`
	Version uint64           `json:"version"`
	Regions map[string]Heard `json:"regions"`
	Holders []Holder         `json:"holders"`
}

// Refusal says why a leader refuses writes. It is empty if the leader writes.
type Refusal struct {
	// Stopped says why the leader has stopped writing: hosts have another history than its store.
	Stopped string `json:"stopped,omitempty"`
	// Waiting says why the leader does not write yet: it has just started, and has not heard of
	// its hosts.
	Waiting string `json:"waiting,omitempty"`
}

// CoordinatorStatus is how a coordinator describes itself.
type CoordinatorStatus struct {
	Name   string `json:"name"`
	Region string `json:"region"`
	// Leads is false if the coordinator follows another.
	Leads    bool   `json:"leads"`
	Attached bool   `json:"attached"`
	Revision uint64 `json:"revision"`
	// Term is the term of the store.
	Term uint64 `json:"term"`
	Refusal
	// Agents is the number of agents by region, as far as this coordinator knows.
	Agents map[string]int `json:"agents"`
	// Version is the version of the program.
	Version string `json:"version"`
}

// Quarantined is an agent in quarantine.
type Quarantined struct {
	Index  uint32 `json:"index"`
	Name   string `json:"agent"`
	Config string `json:"config"`
	// Epoch is the epoch that the agent failed to apply.
	Epoch  uint64 `json:"epoch"`
	Reason string `json:"reason"`
	// Millis is the time in quarantine when the agent was counted, in milliseconds.
	Millis uint64    `json:"millis"`
	Region string    `json:"region"`
	Since  time.Time `json:"since"`
}

// Drift is a file on a host whose content is not the applied version.
type Drift struct {
	Agent  string `json:"agent"`
	Region string `json:"region"`
	Config string `json:"config"`
	// Version is the version that was applied.
	Version  uint64    `json:"version"`
	Repaired bool      `json:"repaired"`
	Since    time.Time `json:"since"`
	// Seen is the time of the newest report.
	Seen time.Time `json:"seen"`
}

// The codes of an Error.
const (
	// CodeInvalid means that the request is malformed.
	CodeInvalid = "invalid"
	// CodeRejected means that validation or policy refuses the request.
	CodeRejected = "rejected"
	// CodeForbidden means that the role of the certificate does not allow the request.
	CodeForbidden = "forbidden"
	CodeNotFound  = "not_found"
	// CodeConflict means that another write came first.
	CodeConflict = "conflict"
	CodeTooLarge = "too_large"
	// CodeUnavailable means that the request may succeed later, or at another coordinator.
	CodeUnavailable = "unavailable"
	CodeInternal    = "internal"
)

// Error is the answer to a request that failed.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Hint is advice for the caller; may be empty.
	Hint string `json:"hint,omitempty"`
	// Line is the line of a rejected draft, from 1; 0 if the error has no place.
	Line int `json:"line,omitempty"`
	// Unsure is true if the request may have been carried out all the same.
	Unsure bool `json:"unsure,omitempty"`
	// Wait is the time after which the request may succeed; 0 if nobody can say. It travels as
	// the header Retry-After.
	Wait time.Duration `json:"-"`
}

func (e *Error) Error() string { return e.Message }

// ErrUnreachable means that no coordinator answered, or that an answer was cut off.
var ErrUnreachable = errors.New("coordinator unreachable")

// ErrLeaderUnreachable means that a coordinator sent a request on to its leader, and the leader did
// not answer. It wraps ErrUnreachable.
var ErrLeaderUnreachable = fmt.Errorf("%w: no answer from leader", ErrUnreachable)

// ErrUnsure is wrapped by the error of a publication, a rollback or a deletion that may have been
// carried out.
var ErrUnsure = errors.New("it is not known whether the change was made")

// unsureError is an ErrUnsure that says what is not known.
type unsureError string

func (e unsureError) Error() string        { return string(e) }
func (e unsureError) Is(target error) bool { return target == ErrUnsure }

// orUnsure returns err, with what in front of it if the request may have been carried out.
func orUnsure(err error, what unsureError) error {
	if unsure(err) {
		return fmt.Errorf("%w: %w", what, err)
	}
	return err
}

// unsure reports whether a request that ended with err may have been carried out although it seems to
// have failed. It was not if the coordinator says so, or if the request was never sent, because the
// connection was refused.
func unsure(err error) bool {
	var answer *Error
	if errors.As(err, &answer) {
		return answer.Unsure
	}
	var failed *net.OpError
	neverSent := errors.As(err, &failed) && failed.Op == "dial"
	return err != nil && !neverSent
}

// IsCode reports whether err is or wraps an *Error with the given code.
func IsCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
