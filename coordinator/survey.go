package coordinator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/coordinator/api"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/transport/identity"
	"banyan/versionstore"
)

// A survey finds out which agents hold which part of a version, by asking all of them.
// What they say is not proven: nothing is decided by it.

const (
	surveyWait    = 3 * time.Second  // for answers, if nobody says otherwise
	maxSurveyWait = 30 * time.Second // and at the most
	maxHoldings   = 1 << 20          // answers that are kept
)

// surveys takes the answers of the survey under way: there is one at a time.
type surveys struct {
	turn chan struct{} // held by who surveys

	mu      sync.Mutex
	id      uint64                     // guarded by mu, like all below
	answers int                        // that came
	heard   map[string]*roaring.Bitmap // agents that have answered, by region
	holders []api.Holder               // but for those that hold nothing
	changed chan struct{}              // there is something new
}

func newSurveys() *surveys {
	return &surveys{turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

func (s *surveys) begin() (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.answers, s.heard, s.holders = rand.Uint64(), 0, map[string]*roaring.Bitmap{}, nil
	return s.id
}

// hear takes answers; those of a survey that has ended are of no use.
func (s *surveys) hear(m *wire.Holdings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.ID != s.id || s.answers > maxHoldings {
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
			s.holders = append(s.holders, api.Holder{Region: m.Region, Holding: h})
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// count is how many agents of each region have answered.
func (s *surveys) count() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for region, heard := range s.heard {
		counts[region] = int(heard.GetCardinality())
	}
	return counts
}

// end returns who holds something, by region and name.
func (s *surveys) end() []api.Holder {
	s.mu.Lock()
	defer s.mu.Unlock()
	holders := s.holders
	s.id, s.holders = 0, nil
	slices.SortFunc(holders, func(a, b api.Holder) int {
		return strings.Compare(a.Region+"\x00"+a.Name, b.Region+"\x00"+b.Name)
	})
	return holders
}

// getHolders answers who holds what of a version.
func (c *Coordinator) getHolders(r *http.Request, _ identity.Identity) (any, error) {
	v, err := c.version(r)
	if err != nil {
		return nil, err
	}
	wait := surveyWait
	if text := r.URL.Query().Get("wait"); text != "" {
		if wait, err = time.ParseDuration(text); err != nil || wait <= 0 || wait > maxSurveyWait {
			return nil, fmt.Errorf("%w: wait of %q: give a duration of at most %s, such as 3s", record.ErrInvalid, text, maxSurveyWait)
		}
	}
	return c.survey(r.Context(), record.VersionKey{Config: v.Manifest.Config, Version: v.Manifest.Version}, wait)
}

// survey asks all agents what they hold of a version, and waits until all that are
// attached have answered, or for so long.
func (c *Coordinator) survey(ctx context.Context, v record.VersionKey, wait time.Duration) (api.Holders, error) {
	s := c.surveys
	out := api.Holders{Config: v.Config, Version: v.Version, Regions: map[string]api.Heard{}}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return out, ctx.Err()
	}
	if !c.driver.Input(ctx, step.Input{Kind: step.InSurvey, Want: v, Request: s.begin()}) {
		return out, versionstore.ErrClosed
	}
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for waiting := true; waiting && !c.allHeard(&out); {
		select {
		case <-s.changed:
		case <-deadline.C:
			waiting = false
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
	out.Holders = s.end()
	return out, nil
}

// allHeard counts who has answered, and tells whether that is everyone.
func (c *Coordinator) allHeard(out *api.Holders) bool {
	all, heard := true, c.surveys.count()
	for region, size := range c.tracker.sizes() {
		out.Regions[region] = api.Heard{Agents: size.Agents, Subscribers: size.Subscribers(out.Config), Heard: heard[region]}
		all = all && heard[region] >= size.Agents
	}
	return all
}
