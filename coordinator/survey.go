package coordinator

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/coordinator/api"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport"
	"banyan/versionstore"
)

// surveys asks every agent for the held part of a version. An answer proves nothing, and no
// decision depends on an answer. One survey runs at a time.
type surveys struct {
	driver  *transport.Driver
	tracker *tracker
	turn    chan struct{} // holds a value while a survey runs
	changed chan struct{} // holds a value after new answers

	mu      sync.Mutex
	id      uint64                     // of the survey that runs; 0 for none; guarded by mu
	answers int                        // guarded by mu
	heard   map[string]*roaring.Bitmap // agents that answered, by region; guarded by mu
	holders []holder                   // agents that hold something; guarded by mu
}

// holder is an agent and the held part of a version.
type holder struct {
	region string
	wire.Holding
}

func newSurveys(t *tracker) *surveys {
	return &surveys{tracker: t, turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

// run asks for the version v and returns when every agent in the tree has answered, or
// after wait.
func (s *surveys) run(ctx context.Context, v record.VersionKey, wait time.Duration) (api.Holders, error) {
	out := api.Holders{Config: v.Config, Version: v.Version, Regions: map[string]api.Heard{}}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return out, ctx.Err()
	}
	if !s.driver.Input(ctx, step.Input{
		Kind: step.InSurvey,
		Body: step.Body{Version: v, Request: s.begin()},
	}) {
		return out, versionstore.ErrClosed
	}
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for waiting := true; waiting && !s.allHeard(&out); {
		select {
		case <-s.changed:
		case <-deadline.C:
			waiting = false
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
	for _, h := range s.end() {
		out.Holders = append(out.Holders, apiHolder(h))
	}
	return out, nil
}

// begin forgets the last survey and returns the id of a new one.
func (s *surveys) begin() (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = max(rand.Uint64(), 1)
	s.answers = 0
	s.heard = map[string]*roaring.Bitmap{}
	s.holders = nil
	return s.id
}

// hear adds answers. Answers to a survey that has ended are dropped.
func (s *surveys) hear(m *wire.Holdings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == 0 || m.ID != s.id || s.answers > maxHoldings {
		return
	}
	s.answers += len(m.Held)
	heard := s.heard[m.Region]
	if heard == nil {
		heard = roaring.New()
		s.heard[m.Region] = heard
	}
	for _, h := range m.Held {
		heard.Add(h.Agent)
		if h.Whole || h.Of > 0 {
			s.holders = append(s.holders, holder{m.Region, h})
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// allHeard counts the answers into out and reports whether every agent has answered.
func (s *surveys) allHeard(out *api.Holders) bool {
	all := true
	heard := s.count()
	for region, size := range s.tracker.sizes() {
		out.Regions[region] = api.Heard{
			Agents:      size.Agents,
			Subscribers: size.Subscribers(out.Config),
			Heard:       heard[region],
		}
		all = all && heard[region] >= size.Agents
	}
	return all
}

// count returns the number of agents that answered, by region.
func (s *surveys) count() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for region, heard := range s.heard {
		counts[region] = int(heard.GetCardinality())
	}
	return counts
}

// end ends the survey and returns the holders, by region and name.
func (s *surveys) end() []holder {
	s.mu.Lock()
	defer s.mu.Unlock()
	holders := s.holders
	s.id = 0
	s.holders = nil
	slices.SortFunc(holders, func(a, b holder) int {
		return strings.Compare(a.region+"\x00"+a.Name, b.region+"\x00"+b.Name)
	})
	return holders
}
