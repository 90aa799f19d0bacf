package rollout

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"banyan/record"
)

// Status is how it stands with a rollout.
type Status string

// The statuses. The last four are ends.
const (
	Waiting    Status = "waiting"     // for a second person's approval
	Running    Status = "running"     //
	Paused     Status = "paused"      // by a person, or by a gate of a plan that says so
	Returning  Status = "returning"   // the pointers are moved back, hosts are on their way
	Done       Status = "done"        // every region's baseline is the version
	RolledBack Status = "rolled_back" // a gate failed, and every region runs what it ran before
	Aborted    Status = "aborted"     // likewise, at a person's wish
	Superseded Status = "superseded"  // by a newer rollout, or by hand
)

// Over tells whether a rollout has ended.
func (s Status) Over() bool {
	return s == Done || s == RolledBack || s == Aborted || s == Superseded
}

// Part is what a rollout does within a wave.
type Part string

// The parts, in their order.
const (
	Staging  Part = "staging"  // before any wave: the group's hosts fetch the version
	Applying Part = "applying" // the wave's hosts take it up
	Baking   Part = "baking"   // it must be well for a while
)

// Entry is a line of a rollout's history.
type Entry struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// maxEntries bounds a rollout's history; the middle is left out.
const maxEntries = 200

// State is all that a rollout is between two steps. It is stored as JSON; nothing else is
// remembered.
type State struct {
	ID      uint64 `json:"id"` // of the config's rollouts, from 1
	Config  string `json:"config"`
	Version uint64 `json:"version"`
	Plan    Plan   `json:"plan"`
	By      string `json:"by"`
	Message string `json:"message,omitempty"`

	Status Status `json:"status"`
	Why    string `json:"why,omitempty"` // of that status
	// End is what Returning leads to.
	End Status `json:"end,omitempty"`

	Group int           `json:"group"`
	Wave  int           `json:"wave"`
	Part  Part          `json:"part"`     // "": not begun
	Spent time.Duration `json:"spent_ns"` // in this part
	// Overdue is how long gates that are asked elsewhere have been unknown, by name.
	Overdue map[string]time.Duration `json:"overdue_ns,omitempty"`
	// Skipped: a person promoted past the gates of this part.
	Skipped bool `json:"skipped,omitempty"`
	Full    bool `json:"full,omitempty"` // and past all that follow

	Regions map[string]*RegionState `json:"regions"`
	// Approver is the second person, where one is needed.
	Approver string `json:"approver,omitempty"`

	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Decided and Recovered: when it was decided to take the version back, and when every
	// host that answered was known to be back.
	Decided   time.Time `json:"decided,omitzero"`
	Recovered time.Time `json:"recovered,omitzero"`
	// Exposed is the most agents that were seen to run the version at once.
	Exposed int     `json:"exposed"`
	Log     []Entry `json:"log"`
}

// RegionState is a region's part of a rollout.
type RegionState struct {
	Baseline uint64 `json:"baseline"`       // version it ran before; 0: none
	Began    uint64 `json:"began"`          // first epoch of this rollout; 0: not touched yet
	Epoch    uint64 `json:"epoch"`          // the pointer's, as this rollout left it
	Left     bool   `json:"left,omitempty"` // another hand moved it

	// Agents and InWave are how many were attached, and in the wave, when the part under way began, or more
	// that came since: if many fewer are seen, they are not there, or not counted yet.
	Agents int `json:"agents"`
	InWave int `json:"in_wave"`
	// Counted is the epoch that InWave is of.
	Counted uint64 `json:"counted,omitempty"`
}

// Start makes the state of a rollout of version. regions holds the present pointer of each
// region it is to reach; one without a pointer has the zero Pointer. agents is how many each
// was known to have lately; nil: not known.
func Start(id uint64, config string, version uint64, plan Plan, regions map[string]record.Pointer, agents map[string]int, by, message string, at time.Time) (State, error) {
	s := State{ID: id, Config: config, Version: version, Plan: plan.complete(), By: by, Message: message,
		Status: Running, Regions: map[string]*RegionState{}, Started: at}
	if err := plan.Validate(); err != nil {
		return s, err
	}
	if len(regions) == 0 {
		return s, invalid("no region to roll out to")
	}
	for region, p := range regions {
		s.Regions[region] = &RegionState{Baseline: p.Baseline, Epoch: p.Epoch, Agents: agents[region]}
	}
	if len(s.Plan.Regions) == 0 {
		s.Plan.Regions = [][]string{slices.Sorted(maps.Keys(regions))}
	}
	for _, group := range s.Plan.Regions {
		for _, region := range group {
			if s.Regions[region] == nil {
				return s, invalid("region %q is not one of those to roll out to: %v", region, slices.Sorted(maps.Keys(regions)))
			}
		}
	}
	s.note(at, fmt.Sprintf("rollout %d of %s version %d started by %s", id, config, version, by))
	return s, nil
}

func (s *State) note(at time.Time, what string) {
	if len(s.Log) >= maxEntries {
		s.Log = slices.Delete(s.Log, maxEntries/2, maxEntries/2+1)
	}
	s.Log = append(s.Log, Entry{at, what})
}

// clone lets Decide leave its argument as it is.
func (s State) clone() State {
	s.Regions = maps.Clone(s.Regions)
	for region, r := range s.Regions {
		c := *r
		s.Regions[region] = &c
	}
	s.Overdue = maps.Clone(s.Overdue)
	s.Log = slices.Clone(s.Log)
	return s
}

// group is the regions that move now, but those that a person took out.
func (s *State) group() []string {
	var in []string
	for _, region := range s.Plan.Regions[min(s.Group, len(s.Plan.Regions)-1)] {
		if !s.Regions[region].Left {
			in = append(in, region)
		}
	}
	return in
}

// touched is the regions whose pointers this rollout has moved and not let go.
func (s *State) touched() []string {
	var in []string
	for _, region := range slices.Sorted(maps.Keys(s.Regions)) {
		if r := s.Regions[region]; r.Began != 0 && !r.Left {
			in = append(in, region)
		}
	}
	return in
}

func (s *State) wave() *Wave { return &s.Plan.Waves[min(s.Wave, len(s.Plan.Waves)-1)] }

// Gates are those of the wave under way.
func (s *State) Gates() Gates { return *s.wave().Gates }

// Asks tells whether the gates that are asked elsewhere are to be asked now.
func (s *State) Asks() bool { return s.Status == Running && s.Part == Baking && !s.Skipped && !s.Full }

// direct tells that the wave is the last of all and that nothing is waited for after it:
// its pointer makes the version the baseline at once.
func (s *State) direct() bool {
	g := s.Gates()
	return s.Plan.Immediate || s.Group == len(s.Plan.Regions)-1 && s.Wave == len(s.Plan.Waves)-1 && s.Group == 0 &&
		s.wave().Bake == 0 && len(g.Queries) == 0 && len(g.Webhooks) == 0
}

// Title shows where a rollout is, in a few words.
func (s *State) Title() string {
	if s.Status.Over() || s.Status == Waiting || s.Status == Returning || s.Part == "" {
		return string(s.Status)
	}
	return fmt.Sprintf("%s: %s", s.Status, s.place())
}

// place is the part under way, in a few words.
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

// WaveName shows the wave under way: "wave 1 of 3 (canary=true)".
func (s *State) WaveName() string {
	return fmt.Sprintf("wave %d of %d (%s)", s.Wave+1, len(s.Plan.Waves), s.Plan.wave(s.Wave))
}
