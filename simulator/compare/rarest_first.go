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

// rarestFirst spreads a body as BitTorrent does, on the machines and links of a world
// without mesh nodes. Each host has random partners. Partners announce their shards to each other, and a
// host asks its partners for the shard that the fewest partners have. A coordinator sends no
// shard twice before it has sent every shard once. No packet is lost and no host dies:
// the swarm is a yardstick.
//
// Sources: Cohen, "Incentives Build Robustness in BitTorrent" (2003); super-seeding as in
// Legout et al., "Rarest First and Choke Algorithms Are Enough" (IMC 2006).
type rarestFirst struct {
	w      *world.World
	rand   *rand.Rand
	size   int64 // bytes of a shard
	shards uint
	hosts  []rarestHost
	left   int // hosts that do not have every shard
	// handed counts the shards that coordinators have handed out.
	handed int
	// done holds, by host, the µs after which the host had every shard.
	done []int32
}

// rarestHost is a host's view of the swarm.
type rarestHost struct {
	have  *bitset.BitSet
	asked *bitset.BitSet
	// held counts, by shard, the partners that have the shard.
	held []uint8
	// news holds the shards that the host has not announced yet.
	news []uint
	// telling is true while an announcement of news is scheduled.
	telling bool
	peers   []rarestPeer
}

// rarestPeer is what a host knows of one partner.
type rarestPeer struct {
	host int32
	has  *bitset.BitSet
	// orders counts the shards that the partner was asked for and has not sent.
	orders int
}

const (
	// partnersPerHost is the mean number of partners of a host. A host draws half of them,
	// and about as many hosts draw the host. With 12 partners the last host finishes later;
	// more than 24 partners cost more messages.
	partnersPerHost = 24
	// ordersPerPartner is the number of shards that a host asks one partner for at once, as in
	// mesh.
	ordersPerPartner = 2
	// tellInterval is the time for which a host gathers new shards before it announces them.
	tellInterval = 2 * time.Millisecond
	// newsSize is the size of an announcement in bytes, without the numbers of the shards.
	newsSize = 64
)

// spreadRarestFirst spreads a body by a swarm.
func spreadRarestFirst(cfg world.Config, _ BodyRun) (*measure.BodyReport, error) {
	w, err := world.New(cfg)
	if err != nil {
		return nil, err
	}
	g := fec.GeometryFor(cfg.BodyBytes)
	s := &rarestFirst{
		w:      w,
		rand:   rand.New(rand.NewPCG(cfg.Seed, 0x737761726d)),
		size:   int64(g.ShardBytes),
		shards: uint((cfg.BodyBytes + int64(g.ShardBytes) - 1) / int64(g.ShardBytes)),
		hosts:  make([]rarestHost, w.Hosts()),
		done:   measure.Blank(w.Hosts()),
	}
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

// draw gives every host random partners of its region, and every coordinator the whole body.
func (s *rarestFirst) draw() {
	regions := s.w.Regions()
	for i := range s.hosts {
		h := &s.hosts[i]
		h.have = bitset.New(s.shards)
		h.asked = bitset.New(s.shards)
		h.held = make([]uint8, s.shards)
		if i < regions {
			h.have = h.have.Complement()
		}
	}
	for r := range regions {
		first, n := s.w.Members(int32(r))
		s.left += int(n)
		for i := first; i < first+n; i++ {
			for range partnersPerHost / 2 {
				s.pair(i, first+s.rand.Int32N(n))
			}
		}
		for range partnersPerHost {
			s.pair(int32(r), first+s.rand.Int32N(n))
		}
	}
}

// pair makes two hosts partners, unless they are partners already.
func (s *rarestFirst) pair(a, b int32) {
	if a == b || slices.ContainsFunc(s.hosts[a].peers, func(p rarestPeer) bool { return p.host == b }) {
		return
	}
	for _, ends := range [][2]int32{{a, b}, {b, a}} {
		h := &s.hosts[ends[0]]
		h.peers = append(h.peers, rarestPeer{host: ends[1], has: s.hosts[ends[1]].have.Clone()})
		for n := range s.shards {
			if h.peers[len(h.peers)-1].has.Test(n) {
				h.held[n]++
			}
		}
	}
}

// ask asks the partners of host i for shards, up to ordersPerPartner per partner.
func (s *rarestFirst) ask(i int32) {
	h := &s.hosts[i]
	for p := range h.peers {
		for peer := &h.peers[p]; peer.orders < ordersPerPartner; {
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

// rarest returns the shard to ask a partner for: among the shards that the partner has and
// the host needs, the shard that the fewest partners have. Among equally rare shards it
// takes the first after a random number, so that hosts ask for different shards.
func (s *rarestFirst) rarest(h *rarestHost, peer *rarestPeer) (shard uint, ok bool) {
	if peer.host < int32(s.w.Regions()) {
		return s.seeded(h)
	}
	offered := peer.has.Difference(h.have)
	offered.InPlaceDifference(h.asked)
	least := 1 << 8
	start := uint(s.rand.Uint32N(uint32(s.shards)))
	for _, part := range [][2]uint{{start, s.shards}, {0, start}} {
		for n, more := offered.NextSet(part[0]); more && n < part[1]; n, more = offered.NextSet(n + 1) {
			if int(h.held[n]) < least {
				shard = n
				ok = true
				least = int(h.held[n])
			}
		}
	}
	return shard, ok
}

// seeded returns the next shard that a coordinator hands out.
func (s *rarestFirst) seeded(h *rarestHost) (uint, bool) {
	for range s.shards {
		n := uint(s.handed) % s.shards
		s.handed++
		if !h.have.Test(n) && !h.asked.Test(n) {
			return n, true
		}
	}
	return 0, false
}

// serve sends shard n. The shard waits for bytes that were queued before on the links of both
// hosts. p is the index of the sender among the partners of the receiver.
func (s *rarestFirst) serve(from, to int32, p int, n uint) {
	w := s.w
	wire := world.ShardWire(s.size)
	departs := w.Upload(from, w.Spend(from, w.Now(), w.Config().Costs.Send), wire)
	w.Count(from, to, wire)
	w.At(departs.Add(w.OneWay(from, to)), func() {
		work := w.Config().Costs.Receive + world.PerMiB(w.Config().Costs.ReceiveMiB, s.size)
		w.At(w.TakeIn(from, to, wire).Add(work), func() { s.came(to, p, n) })
	})
}

// came adds an arrived shard to host i and schedules its announcement.
func (s *rarestFirst) came(i int32, p int, n uint) {
	h := &s.hosts[i]
	h.peers[p].orders--
	h.asked.Clear(n)
	h.have.Set(n)
	if h.have.Count() == s.shards {
		s.left--
		s.done[i] = measure.Micros(time.Duration(s.w.Now()))
	}
	h.news = append(h.news, n)
	if !h.telling {
		h.telling = true
		s.w.At(s.w.Now().Add(tellInterval), func() { s.tell(i) })
	}
	s.ask(i)
}

// tell announces the new shards of host i to its partners.
func (s *rarestFirst) tell(i int32) {
	h := &s.hosts[i]
	news := h.news
	h.news = nil
	h.telling = false
	for _, peer := range h.peers {
		to := peer.host
		s.w.Count(i, to, int64(newsSize+4*len(news)))
		s.w.At(s.w.Now().Add(s.w.Propagation(i, to)), func() { s.told(to, i, news) })
	}
}

// told makes host i note the shards that a partner has announced.
func (s *rarestFirst) told(i, from int32, news []uint) {
	h := &s.hosts[i]
	p := slices.IndexFunc(h.peers, func(p rarestPeer) bool { return p.host == from })
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

func (s *rarestFirst) report() *measure.BodyReport {
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
