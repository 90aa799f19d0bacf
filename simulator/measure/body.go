package measure

import (
	"time"

	"banyan/simulator/world"
)

// The names of the default way to spread a body, and of a fleet without trouble.
const (
	DefaultArrangement = "circles"
	DefaultCondition   = "all well"
)

// BodyReport describes how a body spread that hosts trade shard by shard.
type BodyReport struct {
	Arrangement string  `json:"arrangement"`
	Condition   string  `json:"condition"`
	Bytes       int64   `json:"body_bytes"`
	LinkBps     float64 `json:"link_bps"`
	// Last is the time from the moment at which a region had the pointer to the apply at
	// the region's last host: the largest of all regions. The coordinators hold the body
	// before the pointer moves, as in production.
	Last float64 `json:"last_ms"`
	// P50 is the median of the same time over all hosts.
	P50 float64 `json:"p50_ms"`
	// FromPublish is the time from the move of the pointer to the apply at the last host.
	FromPublish float64 `json:"from_publish_ms"`
	// RatioToLineRate is Last divided by the time that the body takes at the link's rate.
	RatioToLineRate float64 `json:"ratio_to_line_rate"`
	DuplicateShare  float64 `json:"duplicate_bytes_share"`
	// Messages is the mean number of messages and shards that a host sent after the
	// pointer had moved.
	Messages float64 `json:"messages_per_host"`
	Poisoned int64   `json:"poisoned_shards"`
	Died     int     `json:"died"`
	// Missed counts the live hosts that did not receive the body.
	Missed int `json:"missed"`
	// Relays counts the hosts that only relay.
	Relays int `json:"relays,omitempty"`
	// CachedShare is the mean share of the body in the caches of the hosts that only relay.
	CachedShare float64 `json:"cached_share,omitempty"`
	WallSeconds float64 `json:"wall_s,omitempty"`
}

// Spread moves a config to a version that the coordinators hold, lets a share of the hosts
// die within the time that the body takes at the link's rate, and runs until every live
// subscribing host has applied the version.
func (r *Run) Spread(c world.Change, dying float64) *Update {
	w := r.World
	cfg := w.Config()
	w.Run(w.Now().Add(5 * time.Second)) // the tree comes to rest
	w.Mirror(world.Key(c.Config, c.Version))
	r.bodies = w.BodyTraffic()
	r.sent = sentMessages(w)
	u := r.Meter.Move(c, false)
	lineRate := world.SendTime(cfg.BodyBytes, cfg.Network.UpBps)
	for i := range w.Agents() {
		if dying > 0 && w.Rand().Float64() < dying {
			at := cfg.Commit() + time.Duration(w.Rand().Float64()*float64(lineRate))
			w.At(w.Now().Add(at), func() { w.Crash(i) })
		}
	}
	w.RunUntil(w.Now().Add(UpdateLimit), 5*time.Millisecond, func() bool {
		return r.committed(u) && r.Waiting(u) == 0
	})
	return u
}

// Waiting counts the live subscribing hosts that have not applied an update.
func (r *Run) Waiting(u *Update) (n int) {
	for i := range r.World.Agents() {
		if h := r.World.Host(i); !h.Down() && !h.RelayOnly() && u.Applied[i] == Never {
			n++
		}
	}
	return n
}

// NewBodyReport begins a report with what is counted alike for every way to spread a body.
// missed is the number of hosts without the body, and sent the number of messages that
// hosts had sent before the body spread.
func NewBodyReport(w *world.World, missed int, sent int64) *BodyReport {
	cfg := w.Config()
	return &BodyReport{
		Bytes:    cfg.BodyBytes,
		LinkBps:  cfg.Network.UpBps,
		Missed:   missed,
		Poisoned: w.BodyTraffic().Poisoned,
		Messages: float64(sentMessages(w)-sent) / float64(w.Hosts()),
	}
}

// sentMessages returns the number of messages that all hosts have sent, shards among them.
func sentMessages(w *world.World) (n int64) {
	for i := range w.Hosts() {
		n += w.Host(int32(i)).Traffic().Messages
	}
	return n
}

// SetLatency fills in the figures that follow from the latencies of the hosts.
func (b *BodyReport) SetLatency(l Latency) {
	b.Last, b.P50 = l.Max, l.P50
	if b.LinkBps > 0 {
		b.RatioToLineRate = b.Last / (float64(b.Bytes) * 8 / b.LinkBps * 1000)
	}
}

// BodyReport summarizes an update that Spread returned.
func (r *Run) BodyReport(u *Update) *BodyReport {
	w := r.World
	out := NewBodyReport(w, r.Waiting(u), r.sent)
	heard := r.heard(u)
	var all []int32
	for i := range w.Agents() {
		h := w.Host(i)
		if h.Down() {
			out.Died++
		} else if h.RelayOnly() {
			out.Relays++
			out.CachedShare += float64(h.Node().CacheUsed()) / float64(out.Bytes)
		}
		if at := u.Applied[i]; at != Never {
			all = append(all, at-heard[h.RegionIndex()])
			out.FromPublish = max(out.FromPublish, ms(at))
		}
	}
	out.CachedShare /= float64(max(out.Relays, 1))
	out.SetLatency(LatencyOf(all))
	bodies := w.BodyTraffic()
	if shards := bodies.Shards - r.bodies.Shards; shards > 0 {
		out.DuplicateShare = float64(bodies.Duplicates-r.bodies.Duplicates) / float64(shards)
	}
	return out
}

// heard returns, by region, when the first agent had verified the pointer of an update.
func (r *Run) heard(u *Update) []int32 {
	first := Blank(r.World.Regions())
	for i := range r.World.Agents() {
		region := r.World.Host(i).RegionIndex()
		if v := u.Verified[i]; v != Never && (first[region] == Never || v < first[region]) {
			first[region] = v
		}
	}
	return first
}
