package simulator

import (
	"cmp"
	"fmt"
	"time"

	"banyan/mesh"
	"banyan/record"
)

// BodyReport is how a body that goes by the shard spread.
type BodyReport struct {
	Arrangement string  `json:"arrangement"`
	Condition   string  `json:"condition"`
	Bytes       int64   `json:"body_bytes"`
	LinkBps     float64 `json:"link_bps"`
	// Last is when the last host had applied it, since its region heard of it: the most
	// of all regions. The coordinators held it by then, as it is in life.
	Last float64 `json:"last_ms"`
	P50  float64 `json:"p50_ms"`
	// FromPublish is the same since the pointer was moved.
	FromPublish float64 `json:"from_publish_ms"`
	// RatioToLineRate is Last over the time that the body takes at the link's rate.
	RatioToLineRate float64 `json:"ratio_to_line_rate"`
	DuplicateShare  float64 `json:"duplicate_bytes_share"`
	// Messages is how many messages and shards a host sent, from the move of the pointer on.
	Messages float64 `json:"messages_per_host"`
	Poisoned int64   `json:"poisoned_shards"`
	Died     int     `json:"died"`
	Missed   int     `json:"missed"`           // live hosts that did not get it
	Relays   int     `json:"relays,omitempty"` // hosts that only passed it on
	// CachedShare is how much of the body those kept for others, in the mean.
	CachedShare float64 `json:"cached_share,omitempty"`
	WallSeconds float64 `json:"wall_s,omitempty"`
}

// BodyRun says under which conditions a body spreads.
type BodyRun struct {
	Arrangement mesh.Arrangement
	Whole       bool    // every host fetches it in one piece from its parent
	Swarm       bool    // hosts tell random partners what they have, and ask for what is rarest
	Loss        float64 // share of packets
	Dying       float64 // share of the hosts that die while it spreads
	Poison      float64 // share of the hosts that send poison
	Relays      float64 // share of the hosts that only pass on
}

func (b BodyRun) name() string {
	switch {
	case b.Whole:
		return "whole from the parent"
	case b.Swarm:
		return "swarm, rarest first"
	case b.Arrangement == mesh.ArrangeSiblings:
		return "siblings of one parent"
	}
	return "circles"
}

func (b BodyRun) condition() string {
	switch {
	case b.Loss > 0:
		return fmt.Sprintf("%g%% of packets lost", 100*b.Loss)
	case b.Dying > 0:
		return fmt.Sprintf("%g%% of hosts die on the way", 100*b.Dying)
	case b.Poison > 0:
		return fmt.Sprintf("%g%% of hosts send poison", 100*b.Poison)
	case b.Relays > 0:
		return fmt.Sprintf("%g%% of hosts relay alone", 100*b.Relays)
	}
	return "all well"
}

// BodyRuns are what the simulator compares: the ways to trade shards, and the best of
// them under trouble.
func BodyRuns() []BodyRun {
	return []BodyRun{
		{Whole: true}, {Arrangement: mesh.ArrangeSiblings}, {Swarm: true}, {},
		{Loss: 0.01}, {Dying: 0.1}, {Poison: 0.05}, {Relays: 0.5}, {Relays: 0.9},
	}
}

// SimulateBody spreads one body over a fleet that runs an older version.
func SimulateBody(cfg Config, b BodyRun) (*BodyReport, error) {
	if cfg.BodyBytes <= mesh.WholeLimit {
		return nil, fmt.Errorf("%w: bodies of up to %d bytes are fetched in one piece; give a larger one", record.ErrInvalid, mesh.WholeLimit)
	}
	began := time.Now()
	spread := spreadByMesh
	if b.Swarm {
		spread = spreadBySwarm
	}
	r, err := spread(cfg, b)
	if err != nil {
		return nil, err
	}
	r.Arrangement, r.Condition = b.name(), b.condition()
	r.WallSeconds = time.Since(began).Seconds()
	return r, nil
}

// spreadByMesh lets the protocol's own code do it.
func spreadByMesh(cfg Config, b BodyRun) (*BodyReport, error) {
	const config = "capacity/body"
	cfg.WholeBodies, cfg.Arrangement = b.Whole, b.Arrangement
	cfg.Network.Loss = cmp.Or(b.Loss, cfg.Network.Loss)
	cfg.RelayShare = cmp.Or(b.Relays, cfg.RelayShare)
	r, err := newRun(cfg, config)
	if err != nil {
		return nil, err
	}
	w := r.w
	for i := range w.agents() {
		if b.Poison > 0 && w.rand.Float64() < b.Poison {
			w.hosts[i].fault = poisons
		}
	}
	u := r.spread(Change{Config: config, Version: 2}, b.Dying)
	if w.stopped {
		return nil, ErrStopped
	}
	return r.bodyReport(u), nil
}

// spread moves a config to a version that the coordinators hold, lets a share of the
// hosts die within the time that it takes, and runs until all that live have it.
func (r *run) spread(c Change, dying float64) *update {
	w := r.w
	w.Run(w.now.Add(5 * time.Second)) // the tree is at rest
	w.mirror(record.VersionKey{Config: c.Config, Version: c.Version})
	before := w.bodies
	r.sent = w.sentMessages()
	u := r.meter.move(c, false)
	lineRate := serialize(w.cfg.BodyBytes, w.cfg.Network.UpBps)
	for i := range w.agents() {
		if dying > 0 && w.rand.Float64() < dying {
			at := w.cfg.commit() + time.Duration(w.rand.Float64()*float64(lineRate))
			w.call(w.now.Add(at), func() { w.Crash(i) })
		}
	}
	w.RunUntil(w.now.Add(updateLimit), 5*time.Millisecond, func() bool { return r.committed(u) && r.waiting(u) == 0 })
	w.bodies.Shards -= before.Shards
	w.bodies.Duplicates -= before.Duplicates
	return u
}

// waiting counts the live hosts that have not applied an update.
func (r *run) waiting(u *update) (n int) {
	for i := range r.w.agents() {
		if h := &r.w.hosts[i]; !h.down && !h.relays && u.applied[i] == never {
			n++
		}
	}
	return n
}

// newBodyReport begins a report with what is counted the same for all ways to spread;
// sent is how many messages hosts had sent before.
func (w *World) newBodyReport(missed int, sent int64) *BodyReport {
	return &BodyReport{Bytes: w.cfg.BodyBytes, LinkBps: w.cfg.Network.UpBps, Missed: missed, Poisoned: w.bodies.Poisoned,
		Messages: float64(w.sentMessages()-sent) / float64(len(w.hosts))}
}

// sentMessages is how many all hosts have sent, shards among them.
func (w *World) sentMessages() (n int64) {
	for i := range w.hosts {
		n += w.hosts[i].traffic.Messages
	}
	return n
}

func (b *BodyReport) last(l Latency) {
	b.Last, b.P50 = l.Max, l.P50
	if b.LinkBps > 0 {
		b.RatioToLineRate = b.Last / (float64(b.Bytes) * 8 / b.LinkBps * 1000)
	}
}

func (r *run) bodyReport(u *update) *BodyReport {
	w := r.w
	out := w.newBodyReport(r.waiting(u), r.sent)
	heard := make([]int32, w.regions())
	for i := range heard {
		heard[i] = never
	}
	for i := range w.agents() {
		region := w.hosts[i].region
		if v := u.verified[i]; v != never && (heard[region] == never || v < heard[region]) {
			heard[region] = v
		}
	}
	var all []int32
	for i := range w.agents() {
		h := &w.hosts[i]
		if out.Died += one(h.down); h.relays && !h.down {
			out.Relays++
			out.CachedShare += float64(h.node.CacheUsed()) / float64(out.Bytes)
		}
		if at := u.applied[i]; at != never {
			all = append(all, at-heard[w.hosts[i].region])
			out.FromPublish = max(out.FromPublish, float64(at)/1000)
		}
	}
	out.CachedShare /= float64(max(out.Relays, 1))
	l := latencyOf(all)
	out.last(l)
	if w.bodies.Shards > 0 {
		out.DuplicateShare = float64(w.bodies.Duplicates) / float64(w.bodies.Shards)
	}
	return out
}
