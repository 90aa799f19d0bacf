package compare

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bits-and-blooms/bitset"

	"banyan/fec"
	"banyan/mesh/step"
	"banyan/simulator/measure"
	"banyan/simulator/world"
)

// swarm is how BitTorrent would spread a body, on the same hosts, links and shards: each
// host has partners drawn at random, which tell each other what they have, and asks for
// what the fewest of them have. The coordinator hands out no shard again before it has
// handed out all of them. Nothing is lost and nobody dies: it is a yardstick.
//
// Sources: Cohen, "Incentives Build Robustness in BitTorrent" (2003); super-seeding as in
// Legout et al., "Rarest First and Choke Algorithms Are Enough" (IMC 2006).
type swarm struct {
	w      *world.World
	rand   *rand.Rand
	size   int64 // of a shard
	shards uint
	hosts  []swarmHost
	left   int // hosts that miss something
	handed int // shards that a coordinator has sent, of the region of one
	done   []int32
}

// swarmHost is a host's view of the swarm.
type swarmHost struct {
	have    *bitset.BitSet
	asked   *bitset.BitSet
	held    []uint8 // by how many partners, by shard
	news    []uint  // what partners are to be told
	telling bool
	peers   []swarmPeer
}

// swarmPeer is a partner, as a host knows it.
type swarmPeer struct {
	host   int32
	has    *bitset.BitSet
	orders int
}

const (
	// swarmPartners is how many a host has, about: it draws half of them, and as many draw it.
	// With 12 the last host is later; more cost more messages.
	swarmPartners = 24
	// swarmOrders is how many shards are asked of one partner at once, as in mesh.
	swarmOrders = 2
	// swarmTell is for how long news of shards are gathered.
	swarmTell = 2 * time.Millisecond
	// swarmNews is the size of such a message without the shards' numbers.
	swarmNews = 64
)

// spreadBySwarm spreads a body in that way.
func spreadBySwarm(cfg world.Config, _ BodyRun) (*measure.BodyReport, error) {
	w, err := world.New(cfg)
	if err != nil {
		return nil, err
	}
	g := fec.GeometryFor(cfg.BodyBytes)
	s := &swarm{w: w, rand: rand.New(rand.NewPCG(cfg.Seed, 0x737761726d)), size: int64(g.ShardBytes),
		shards: uint((cfg.BodyBytes + int64(g.ShardBytes) - 1) / int64(g.ShardBytes)), hosts: make([]swarmHost, w.Hosts()), done: measure.Blank(w.Hosts())}
	w.PowerOn()
	s.draw()
	for i := range s.hosts {
		s.ask(int32(i))
	}
	w.RunUntil(step.Time(measure.UpdateLimit), 5*time.Millisecond, func() bool { return s.left == 0 })
	if w.Stopped() {
		return nil, measure.ErrStopped
	}
	return s.report(), nil
}

// draw gives every host its partners, of its region, and coordinators all of the body.
func (s *swarm) draw() {
	regions := s.w.Regions()
	for i := range s.hosts {
		h := &s.hosts[i]
		h.have, h.asked, h.held = bitset.New(s.shards), bitset.New(s.shards), make([]uint8, s.shards)
		if i < regions {
			h.have = h.have.Complement()
		}
	}
	for r := range regions {
		first, n := s.w.Members(int32(r))
		s.left += int(n)
		for i := first; i < first+n; i++ {
			for range swarmPartners / 2 {
				s.pair(i, first+s.rand.Int32N(n))
			}
		}
		for range swarmPartners {
			s.pair(int32(r), first+s.rand.Int32N(n))
		}
	}
}

func (s *swarm) pair(a, b int32) {
	if a == b || slices.ContainsFunc(s.hosts[a].peers, func(p swarmPeer) bool { return p.host == b }) {
		return
	}
	for _, ends := range [][2]int32{{a, b}, {b, a}} {
		h := &s.hosts[ends[0]]
		h.peers = append(h.peers, swarmPeer{host: ends[1], has: s.hosts[ends[1]].have.Clone()})
		for n := range s.shards {
			if h.peers[len(h.peers)-1].has.Test(n) {
				h.held[n]++
			}
		}
	}
}

// ask asks partners that have something for as much of it as may be outstanding.
func (s *swarm) ask(i int32) {
	h := &s.hosts[i]
	for p := range h.peers {
		for peer := &h.peers[p]; peer.orders < swarmOrders; {
			n, ok := s.rarest(h, peer)
			if !ok {
				break
			}
			peer.orders++
			h.asked.Set(n)
			s.w.Count(i, peer.host, world.ControlSize)
			s.w.At(s.w.Now().Add(s.w.Propagation(i, peer.host)), func() { s.serve(peer.host, i, p, n) })
		}
	}
}

// rarest is the shard that the fewest partners have of those that one has and the host
// wants. Equals are taken from a random place on, so that hosts differ.
func (s *swarm) rarest(h *swarmHost, peer *swarmPeer) (shard uint, ok bool) {
	if peer.host < int32(s.w.Regions()) {
		return s.seeded(h)
	}
	offered := peer.has.Difference(h.have)
	offered.InPlaceDifference(h.asked)
	least, start := 1<<8, uint(s.rand.Uint32N(uint32(s.shards)))
	for _, part := range [][2]uint{{start, s.shards}, {0, start}} {
		for n, more := offered.NextSet(part[0]); more && n < part[1]; n, more = offered.NextSet(n + 1) {
			if int(h.held[n]) < least {
				shard, ok, least = n, true, int(h.held[n])
			}
		}
	}
	return shard, ok
}

// seeded is what a coordinator hands out next.
func (s *swarm) seeded(h *swarmHost) (uint, bool) {
	for range s.shards {
		n := uint(s.handed) % s.shards
		s.handed++
		if !h.have.Test(n) && !h.asked.Test(n) {
			return n, true
		}
	}
	return 0, false
}

// serve sends a shard: behind what waits on the sender's link, and on the receiver's.
func (s *swarm) serve(from, to int32, p int, n uint) {
	w := s.w
	wire := world.ShardWire(s.size)
	departs := w.Upload(from, w.Spend(from, w.Now(), w.Config().Costs.Send), wire)
	w.Count(from, to, wire)
	w.At(departs.Add(w.OneWay(from, to)), func() {
		work := w.Config().Costs.Receive + world.PerMiB(w.Config().Costs.ReceiveMiB, s.size)
		w.At(w.TakeIn(from, to, wire).Add(work), func() { s.came(to, p, n) })
	})
}

// came notes a shard and tells the partners of it, soon.
func (s *swarm) came(i int32, p int, n uint) {
	h := &s.hosts[i]
	h.peers[p].orders--
	h.asked.Clear(n)
	h.have.Set(n)
	if h.have.Count() == s.shards {
		s.left--
		s.done[i] = measure.Micros(time.Duration(s.w.Now()))
	}
	if h.news = append(h.news, n); !h.telling {
		h.telling = true
		s.w.At(s.w.Now().Add(swarmTell), func() { s.tell(i) })
	}
	s.ask(i)
}

func (s *swarm) tell(i int32) {
	h := &s.hosts[i]
	news := h.news
	h.news, h.telling = nil, false
	for _, peer := range h.peers {
		to := peer.host
		s.w.Count(i, to, int64(swarmNews+4*len(news)))
		s.w.At(s.w.Now().Add(s.w.Propagation(i, to)), func() { s.told(to, i, news) })
	}
}

// told hears what a partner has.
func (s *swarm) told(i, from int32, news []uint) {
	h := &s.hosts[i]
	p := slices.IndexFunc(h.peers, func(p swarmPeer) bool { return p.host == from })
	for _, n := range news {
		if !h.peers[p].has.Test(n) {
			h.peers[p].has.Set(n)
			h.held[n]++
		}
	}
	if i >= int32(s.w.Regions()) {
		s.ask(i)
	}
}

func (s *swarm) report() *measure.BodyReport {
	out := measure.NewBodyReport(s.w, s.left, 0)
	var all []int32
	for _, at := range s.done[s.w.Regions():] {
		if at != measure.Never {
			all = append(all, at)
		}
	}
	out.SetLatency(measure.LatencyOf(all))
	out.FromPublish = out.Last
	return out
}
