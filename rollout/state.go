package rollout

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"banyan/record"
)

// Status is the status of a rollout.
type Status string

// The statuses. The last four are ends.
const (
	// Waiting means that a second person must approve the rollout.
	Waiting Status = "waiting"
	Running Status = "running"
	// Paused means that a person, or a failed gate, stopped the rollout where it was.
	Paused Status = "paused"
	// Returning means that the pointers have moved back and the hosts follow.
	Returning Status = "returning"
	// Done means that the version is the baseline of every region.
	Done Status = "done"
	// RolledBack means that a gate failed, and every region runs the version before.
	RolledBack Status = "rolled_back"
	// Aborted means that a person took the version back.
	Aborted Status = "aborted"
	// Superseded means that a newer rollout, or moves by hand, took over.
	Superseded Status = "superseded"
)

// Over reports whether a rollout with this status has ended.
func (s Status) Over() bool {
	return s == Done || s == RolledBack || s == Aborted || s == Superseded
}

// Part is a part of a wave. The zero value means that the rollout has not begun.
type Part string

// The parts, in their order.
const (
	// Staging is before the first wave of a group: the group's hosts fetch the version.
	Staging Part = "staging"
	// Applying means that the agents of the wave take up the version.
	Applying Part = "applying"
	// Baking means that the agents of the wave run the version and the gates must hold.
	Baking Part = "baking"
)

// Entry is a line in the history of a rollout.
type Entry struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// maxEntries is the maximum number of lines in a history. A longer history loses the lines
// in the middle.
const maxEntries = 200

// State is all that a controller remembers of a rollout between two steps. It is stored as
// JSON.
type State struct {
	// ID numbers the rollouts of a config, from 1.
	ID      uint64 `json:"id"`
	Config  string `json:"config"`
	Version uint64 `json:"version"`
	// Digest is the digest of the version's manifest.
	Digest record.Digest `json:"manifest"`
	Plan   Plan          `json:"plan"`
	// By is the person who started the rollout.
	By      string `json:"by"`
	Message string `json:"message,omitempty"`

	Status Status `json:"status"`
	// Why is the reason for the status.
	Why string `json:"why,omitempty"`
	// Vacant is true if the rollout is paused because its wave has no host in a region. It goes on
	// when the wave has one.
	Vacant bool `json:"vacant,omitempty"`
	// End is the status after Returning.
	End Status `json:"end,omitempty"`

	// Group is the index of the group in progress in Plan.Regions.
	Group int `json:"group"`
	// Wave is the index of the wave in progress in Plan.Waves.
	Wave int  `json:"wave"`
	Part Part `json:"part"`
	// Spent is the time spent in Part, or in Returning.
	Spent time.Duration `json:"spent_ns"`
	// Short is the time for which too few of the hosts that ran the version have run it.
	Short time.Duration `json:"short_ns,omitempty"`
	// Overdue is the time for which queries and webhooks have given no verdict, by gate.
	Overdue map[string]time.Duration `json:"overdue_ns,omitempty"`
	// Skipped is true if a person promoted the rollout past the gates of this part.
	Skipped bool `json:"skipped,omitempty"`
	// Full is true if a person promoted the rollout past the gates of all parts.
	Full bool `json:"full,omitempty"`

	Regions map[string]*RegionState `json:"regions"`
	// Approver is the second person, if the rollout needed one.
	Approver string `json:"approver,omitempty"`

	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Decided is the time of the decision to take the version back.
	Decided time.Time `json:"decided,omitzero"`
	// Recovered is the time at which every agent that counts had gone back.
	Recovered time.Time `json:"recovered,omitzero"`
	// Exposed is the maximum number of agents that ran the version at once.
	Exposed int     `json:"exposed"`
	Log     []Entry `json:"log"`
}

// RegionState is a region's part of a rollout.
type RegionState struct {
	// Baseline is the version before the rollout; zero means that the region ran no version.
	Baseline record.Ref `json:"baseline,omitzero"`
	// Began is the first epoch of this rollout; 0 means that the pointer has not moved.
	Began uint64 `json:"began"`
	// Term is the term of the pointer at Began; 0 if the controller has not seen it yet.
	Term uint64 `json:"term,omitempty"`
	// Epoch is the pointer's epoch after the rollout's newest move.
	Epoch uint64 `json:"epoch"`
	// Content is the content of the pointer at Epoch.
	Content record.Digest `json:"content,omitzero"`
	// Left is true if the rollout no longer moves the pointer.
	Left bool `json:"left,omitempty"`

	// Bound is the end of the places that the share of the wave in progress covers. See record.Wave.
	Bound uint32 `json:"bound,omitempty"`
	// Filled is true if the wave in progress was counted and had its share of the agents.
	Filled bool `json:"filled,omitempty"`
	// Waived is true if a person promoted the rollout past the gates of the region's last wave.
	Waived bool `json:"waived,omitempty"`

	// Agents is the number of agents in the tree when the part in progress began, or a
	// larger number that was seen since. If many fewer are seen, agents have left or are
	// not counted yet.
	Agents int `json:"agents"`
	// InWave is the number of agents in the wave, counted like Agents.
	InWave int `json:"in_wave"`
	// Counted is the epoch for which InWave was counted.
	Counted uint64 `json:"counted,omitempty"`
}

// First returns the position of the rollout's first pointer in the region of p, the present pointer:
// epoch 0 if the rollout has not moved the pointer.
func (r *RegionState) First(p record.Pointer) record.Position {
	return record.At(cmp.Or(r.Term, p.Term), r.Began)
}

// Start returns the state of a new rollout of version. regions are the present pointers of
// the regions to reach; a region without a pointer has the zero Pointer. agents is the
// expected number of agents by region; nil means that nothing is known.
func Start(
	id uint64,
	config string,
	version record.Ref,
	plan Plan,
	regions map[string]record.Pointer,
	agents map[string]int,
	by, message string,
	at time.Time,
) (State, error) {
	s := State{
		ID:      id,
		Config:  config,
		Version: version.Version,
		Digest:  version.Digest,
		Plan:    plan.complete(),
		By:      by,
		Message: message,
		Status:  Running,
		Regions: map[string]*RegionState{},
		Started: at,
	}
	if err := plan.Validate(); err != nil {
		return s, err
	}
	if len(regions) == 0 {
		return s, invalid("no region to roll out to")
	}
	for region, p := range regions {
		r := &RegionState{Baseline: p.Baseline, Epoch: p.Epoch, Agents: agents[region]}
		if p.Epoch != 0 {
			r.Content = p.Content()
		}
		s.Regions[region] = r
	}
	if len(s.Plan.Regions) == 0 {
		s.Plan.Regions = [][]string{slices.Sorted(maps.Keys(regions))}
	}
	for _, group := range s.Plan.Regions {
		for _, region := range group {
			if s.Regions[region] == nil {
				known := slices.Sorted(maps.Keys(regions))
				return s, invalid("region %q is not one of the regions to roll out to: %v", region, known)
			}
		}
	}
	s.note(at, fmt.Sprintf("rollout %d of %s version %d started by %s", id, config, version.Version, by))
	return s, nil
}

// Follows reports whether the rollout has the plan p. The name of p does not matter, nor do the
// regions of the rollout if p has none.
func (s *State) Follows(p Plan) bool {
	own := s.Plan
	p = p.complete()
	p.Name = own.Name
	p.About = own.About
	if len(p.Regions) == 0 {
		own.Regions = nil
	}
	a, ownErr := json.Marshal(own)
	b, err := json.Marshal(p)
	return ownErr == nil && err == nil && bytes.Equal(a, b)
}

// ref names the version of the rollout.
func (s *State) ref() record.Ref { return record.Ref{Version: s.Version, Digest: s.Digest} }

// Wait makes a new rollout wait for the approval of a second person.
func (s *State) Wait(at time.Time) {
	s.Status = Waiting
	s.Why = "a second person must approve it"
	s.note(at, s.Why)
}

// note adds a line to the history.
func (s *State) note(at time.Time, what string) {
	if len(s.Log) >= maxEntries {
		s.Log = slices.Delete(s.Log, maxEntries/2, maxEntries/2+1)
	}
	s.Log = append(s.Log, Entry{at, what})
}

// clone returns a copy that shares no map or slice that a step changes.
func (s State) clone() State {
	regions := make(map[string]*RegionState, len(s.Regions))
	states := make([]RegionState, 0, len(s.Regions)) // one allocation for all
	for region, r := range s.Regions {
		states = append(states, *r)
		regions[region] = &states[len(states)-1]
	}
	s.Regions = regions
	s.Overdue = maps.Clone(s.Overdue)
	s.Log = slices.Clone(s.Log)
	return s
}

// group returns the regions of the group in progress, without the regions that have left.
func (s *State) group() []string {
	var in []string
	for _, region := range s.Plan.Regions[min(s.Group, len(s.Plan.Regions)-1)] {
		if !s.Regions[region].Left {
			in = append(in, region)
		}
	}
	return in
}

// finished returns the groups of regions that went through all waves, without the regions that
// have left or whose last gates were waived.
func (s *State) finished() [][]string {
	var groups [][]string
	for _, group := range s.Plan.Regions[:min(s.Group, len(s.Plan.Regions))] {
		var in []string
		for _, region := range group {
			if r := s.Regions[region]; !r.Left && !r.Waived {
				in = append(in, region)
			}
		}
		groups = append(groups, in)
	}
	return groups
}

// touched returns the regions whose pointers this rollout has moved, sorted, without the
// regions that have left.
func (s *State) touched() []string {
	var in []string
	for region, r := range s.Regions {
		if r.touched() {
			in = append(in, region)
		}
	}
	slices.Sort(in)
	return in
}

// touched reports whether the rollout has moved the pointer of the region, and may move it again.
func (r *RegionState) touched() bool { return r.Began != 0 && !r.Left }

// Brings reports whether the rollout is in progress, and brings a version to a region. The zero
// State brings nothing.
func (s *State) Brings(region string, version uint64) bool {
	r := s.Regions[region]
	return r != nil && !r.Left && r.Began != 0 && !s.Status.Over() && s.Version == version
}

// Moved reports whether the rollout has moved a pointer that it has not let go of.
func (s *State) Moved() bool { return len(s.touched()) > 0 }

// wave returns the wave in progress.
func (s *State) wave() *Wave { return &s.Plan.Waves[min(s.Wave, len(s.Plan.Waves)-1)] }

// Gates returns the gates of the wave in progress.
func (s *State) Gates() Gates { return *s.wave().Gates }

// Asks reports whether queries and webhooks must be asked now.
func (s *State) Asks() bool {
	live := s.Status == Running || s.Status == Paused
	return live && s.Part == Baking && !s.Skipped && !s.Full
}

// direct reports whether the wave in progress is the last step: no wave follows, and the wave
// neither bakes nor asks a gate. The pointer makes the version the baseline at once.
func (s *State) direct() bool {
	if s.Plan.Immediate {
		return true
	}
	onlyGroup := len(s.Plan.Regions) == 1
	lastWave := s.Wave == len(s.Plan.Waves)-1
	gates := s.Gates()
	asks := len(gates.Queries) > 0 || len(gates.Webhooks) > 0
	return onlyGroup && s.Group == 0 && lastWave && s.wave().Bake == 0 && !asks
}

// Title describes the progress of a rollout in a few words.
func (s *State) Title() string {
	if s.Status.Over() || s.Status == Waiting || s.Status == Returning || s.Part == "" {
		return string(s.Status)
	}
	return fmt.Sprintf("%s: %s", s.Status, s.place())
}

// place describes the part in progress.
func (s *State) place() string {
	where := fmt.Sprintf("%s, %s", s.Part, s.WaveName())
	if s.Part == Staging {
		where = string(s.Part)
	}
	if len(s.Plan.Regions) > 1 {
		where += fmt.Sprintf(", regions %v", s.group())
	}
	return where
}

// WaveName describes the wave in progress: "wave 1 of 3 (canary=true)".
func (s *State) WaveName() string {
	return fmt.Sprintf("wave %d of %d (%s)", s.Wave+1, len(s.Plan.Waves), s.Plan.wave(s.Wave))
}
