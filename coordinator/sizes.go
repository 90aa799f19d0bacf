package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"banyan/coordinator/ledger"
	"banyan/mesh/wire"
	"banyan/rollout"
)

// The document that sizes are stored in.
const (
	kindSizes = "sizes"
	sizesName = "agents"
)

// sizes remembers the number of agents of each region across restarts. A leader that has
// just started has heard of few agents; the stored sizes say how many to expect.
type sizes struct {
	ledger  *ledger.Ledger
	tracker *tracker
	name    string // the coordinator, as the writer
	log     *slog.Logger
	started time.Time
	written time.Time // of the last write, or attempt; used by remember only
}

// storedSize is the stored form of a rollout.Size.
type storedSize struct {
	Agents    int              `json:"agents"`
	Audiences []storedAudience `json:"audiences,omitempty"`
}

// storedAudience is the stored form of a wire.Audience.
type storedAudience struct {
	Subscriptions wire.Subscriptions `json:"subscriptions"`
	Agents        uint32             `json:"agents"`
}

func storedSizes(sizes map[string]rollout.Size) map[string]storedSize {
	stored := map[string]storedSize{}
	for region, size := range sizes {
		s := storedSize{Agents: size.Agents}
		for _, a := range size.Audiences {
			s.Audiences = append(s.Audiences, storedAudience(a))
		}
		stored[region] = s
	}
	return stored
}

// size is the inverse of storedSizes for one region.
func (s storedSize) size() rollout.Size {
	size := rollout.Size{Agents: s.Agents}
	for _, a := range s.Audiences {
		size.Audiences = append(size.Audiences, wire.Audience(a))
	}
	return size
}

// remember stores the present sizes, if sizesEvery has passed and they changed. It must not
// be called concurrently.
func (s *sizes) remember(ctx context.Context) {
	if time.Since(s.written) < sizesEvery || time.Since(s.started) < sizesEvery || s.ledger.Refusal() != nil {
		return
	}
	s.written = time.Now()
	raw, err := json.Marshal(storedSizes(s.tracker.sizes()))
	if err != nil {
		return
	}
	d, err := s.ledger.Document(ctx, kindSizes, sizesName)
	if err == nil && bytes.Equal(d.Raw, raw) {
		return
	}
	err = s.ledger.ReplaceDocument(ctx, ledger.Act{By: s.name}, kindSizes, sizesName, raw)
	if err != nil && ctx.Err() == nil {
		s.log.Warn("number of agents not remembered", "error", err)
	}
}

// expected returns the number of subscribers of config, by region. During the first
// sizesEvery after a start, a region counts at least its stored size.
func (s *sizes) expected(ctx context.Context, config string) map[string]int {
	agents := map[string]int{}
	for region, size := range s.tracker.sizes() {
		agents[region] = size.Subscribers(config)
	}
	if time.Since(s.started) >= sizesEvery {
		return agents
	}
	for region, size := range s.stored(ctx) {
		agents[region] = max(agents[region], size.size().Subscribers(config))
	}
	return agents
}

// stored returns the stored sizes; nil if there are none, or if they can't be read.
func (s *sizes) stored(ctx context.Context) map[string]storedSize {
	d, err := s.ledger.Document(ctx, kindSizes, sizesName)
	if err != nil {
		return nil
	}
	var sizes map[string]storedSize
	if decodeDocument(d, &sizes) != nil {
		return nil
	}
	return sizes
}
