package hostile

import (
	"fmt"
	"math/rand/v2"
	"time"

	"banyan/simulator/world"
)

const (
	day = 24 * time.Hour
	// longQuiet is the quiet phase of a history of days. Every penalty has decayed by its end.
	longQuiet = time.Hour
)

// NewLong makes a history of days of virtual time: what a fleet must outlive is rare, and lasts. Zones
// go dark for days, hosts restart every minute, relays chatter, and the leader's clock jumps.
func NewLong(seed uint64, days int) *History {
	r := rand.New(rand.NewPCG(seed, 0x6c6f6e67))
	h := generator{&History{
		Seed:    seed,
		Config:  randomFleet(seed, r),
		Hostile: time.Duration(days) * day,
		Quiet:   longQuiet,
		Look:    time.Minute,
		Days:    days,
	}}
	h.Config.Heads = 30 * time.Second
	h.Config.Network.Loss /= 4
	for range 2 + r.IntN(4) {
		h.Faults = append(h.Faults, h.longFault(r))
	}
	for range 4 * days {
		u := randomUpdate(r)
		u.At = time.Duration(r.Int64N(int64(h.Hostile)))
		h.Updates = append(h.Updates, u)
	}
	return h.History
}

// longFault returns a fault that lasts for hours or days, and that ends before the quiet phase, unless
// it is a lie or a wrong clock.
func (h generator) longFault(r *rand.Rand) world.Fault {
	at := time.Duration(r.Int64N(int64(h.Hostile / 2)))
	f := world.Fault{At: at, For: h.Hostile/4 + time.Duration(r.Int64N(int64(h.Hostile/4)))}
	region := h.Config.Network.Matrix.Regions[r.IntN(len(h.Config.Agents))]
	switch r.IntN(5) {
	case 0: // a zone goes dark
		f.Kind = world.FaultCrash
		f.Target = fmt.Sprintf("zone:%s/%d", region, r.IntN(3))
	case 1: // hosts restart every minute, from the first day to the last
		f.Kind = world.FaultRestart
		f.Target = h.randomTarget(r)
		f.At = 0
		f.For = h.Hostile
	case 2:
		f.Kind = world.FaultChatter
		f.Target = h.randomAgent(r)
		f.For *= time.Duration(r.IntN(2))
	case 3:
		f.Kind = world.FaultSkew
		f.Target = "leader"
		f.Factor = float64(r.IntN(7 * 24 * 3600))
		f.For *= time.Duration(r.IntN(2))
	default: // a zone can't be reached
		f.Kind = world.FaultCut
		f.Target = fmt.Sprintf("zone:%s/%d", region, r.IntN(3))
		f.OneWay = r.IntN(2) == 0
	}
	return f
}
