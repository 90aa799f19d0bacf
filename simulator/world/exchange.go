package world

import (
	"math"
	"time"

	"github.com/bits-and-blooms/bitset"

	"banyan/fec"
	"banyan/mesh/step"
	"banyan/mesh/swarm"
	"banyan/record"
)

// BodyTraffic counts the shards that have arrived at all hosts.
type BodyTraffic struct {
	// Shards counts all of them.
	Shards int64
	// Duplicates counts the shards that the receiver had already.
	Duplicates int64
	// Poisoned counts the shards with wrong bytes.
	Poisoned int64
}

// Traded reports whether hosts trade the body of version v shard by shard. A smaller body is
// fetched in one piece.
func (w *World) Traded(v record.VersionKey) bool {
	return !w.cfg.WholeBodies && w.bodySize(v) > swarm.WholeLimit
}

func (w *World) formInfo(v record.VersionKey) step.FormInfo {
	size := w.bodySize(v)
	return step.FormInfo{Size: size, Geometry: fec.GeometryFor(size)}
}

// packetPayload is the number of bytes of a shard in one packet, after QUIC has found the
// path's MTU of 1500 bytes.
const packetPayload = 1392

// hashSize is the size of a shard's entry in the index, in bytes.
const hashSize = 32

// serveIndex answers a request with the manifest and the index. The asker then trades for
// the shards.
func (w *World) serveIndex(i int32, ref uint64, r request) {
	info := w.formInfo(r.want)
	size := int64(ManifestSize + hashSize*info.Shards())
	sent := w.Upload(i, w.Spend(i, w.ready, w.cfg.Costs.Send), size)
	w.Count(i, r.asker, size)
	w.At(sent.Add(w.Propagation(i, r.asker)), func() {
		if _, waits := w.requests[ref]; !waits {
			return
		}
		delete(w.requests, ref)
		if asker := &w.hosts[r.asker]; !asker.down {
			done := w.Spend(r.asker, w.now, w.cfg.Costs.Receive+w.cfg.Costs.Verify)
			w.indexed(r, info, emptyForm(info), done)
		}
	})
}

// indexed gives an index to the node that asked for it, together with the set of shards
// that came with the index or were on the disk before.
func (w *World) indexed(r request, info step.FormInfo, came *bitset.BitSet, at step.Time) {
	asker, key := &w.hosts[r.asker], record.FormKey{VersionKey: r.want}
	if asker.disk.partial == nil {
		asker.disk.partial = map[record.FormKey]*bitset.BitSet{}
	}
	if held := asker.disk.partial[key]; held != nil {
		came = held.Union(came)
	}
	asker.disk.partial[key] = came
	w.input(at, r.asker, step.Input{
		Kind:  step.InIndexed,
		Body:  step.Body{Version: r.want, Choice: r.choice},
		Index: step.Index{Info: info, Held: came},
	})
}

// Mirror makes the leader announce a stored version to the other coordinators, and runs
// until every coordinator has the body. In production, too, a version is published before
// a pointer names the version.
func (w *World) Mirror(v record.VersionKey) {
	w.step(0, step.Input{Kind: step.InStored, Body: step.Body{Version: v}})
	w.RunUntil(w.now.Add(mirrorLimit), 50*time.Millisecond, func() bool {
		for i := 1; i < w.Regions(); i++ {
			if _, held := w.hosts[i].disk.held[v]; !held {
				return false
			}
		}
		return true
	})
}

// mirrorLimit is how much virtual time the followers have to mirror a version.
const mirrorLimit = 2 * time.Minute

// emptyForm returns the shards that a host has before any shard arrives: the padding.
func emptyForm(info step.FormInfo) *bitset.BitSet {
	set := bitset.New(uint(info.Shards()))
	for n := range info.Shards() {
		if info.Geometry.IsPadding(info.Size, n) {
			set.Set(uint(n))
		}
	}
	return set
}

// PerMiB returns the cost of bytes bytes, where cost is the cost of a mebibyte.
func PerMiB(cost time.Duration, bytes int64) time.Duration {
	return time.Duration(float64(cost) * float64(bytes) / (1 << 20))
}

// sendShard sends a shard. The shard takes the sender's processor and uplink, the network,
// and then the receiver's downlink, processor and disk. Lost packets are sent again, which
// takes bandwidth, and delays the shard by a round trip. Messages do not wait for the
// processor time of shards: another core handles the bytes of bodies.
func (w *World) sendShard(i int32, o *step.Output) {
	l := &w.links[o.Peer]
	sent := step.Input{
		Kind:  step.InSent,
		Peer:  o.Peer,
		Shard: step.Shard{Key: o.Shard.Key, Number: o.Shard.Number},
	}
	from, info := &w.hosts[i], w.formInfo(o.Shard.Key.VersionKey)
	if !l.alive {
		w.input(w.now, i, sent)
		return
	}
	bytes := int64(info.Geometry.ShardBytes)
	packets := packetsOf(bytes)
	wire := int64(float64(ShardWire(bytes)) / (1 - w.cfg.Network.Loss))
	done := w.Spend(i, w.ready, w.cfg.Costs.Send)
	from.traffic.CPU += PerMiB(w.cfg.Costs.SendMiB, bytes)
	departs := w.Upload(i, done, wire)
	w.Count(i, l.remote, wire)
	if w.hosts[l.remote].down || w.cutOff(i, l.remote) {
		w.neverTaken(i, sent)
		return
	}
	w.queue.push(event{at: departs, host: i, kind: evInput, ref: w.inputs.put(sent)})
	arrives := departs.Add(w.OneWay(i, l.remote) + w.recovery(i, l.remote, packets))
	w.queue.push(event{
		at:   arrives,
		host: l.remote,
		kind: evShard,
		ref: w.shards.put(shard{
			peer:   l.other,
			key:    o.Shard.Key,
			number: o.Shard.Number,
			wire:   wire,
			poison: from.lie == FaultPoison,
		}),
	})
}

func packetsOf(shardBytes int64) int64 { return (shardBytes + packetPayload - 1) / packetPayload }

// ShardWire returns how many bytes a shard takes on the wire, with the headers of its
// packets, if no packet is lost.
func ShardWire(shardBytes int64) int64 { return shardBytes + packetsOf(shardBytes)*PacketOverhead }

// shard is a shard on its way.
type shard struct {
	peer   step.PeerID // the receiver's end of the link
	key    record.FormKey
	number int
	wire   int64 // bytes on the wire
	poison bool  // the bytes of the shard are wrong
}

// recovery returns by how much lost packets delay a shard of so many packets: one round
// trip for each loss in a row, because a sender notices a loss when later packets are
// acknowledged (RFC 9002 §6.1.1). Example: with 24 packets and a loss of 1%, a shard is
// delayed by one round trip with a probability of 1 − 0.99^24 = 21%.
func (w *World) recovery(from, to int32, packets int64) (d time.Duration) {
	loss := w.cfg.Network.Loss
	for lost := float64(packets); loss > 0; lost *= loss {
		if w.rand.Float64() > 1-math.Pow(1-loss, lost) {
			break
		}
		d += 2 * w.OneWay(from, to)
	}
	return d
}

// shardArrives makes host i receive, check and write a shard.
func (w *World) shardArrives(i int32, s shard) {
	h := &w.hosts[i]
	cameIn := w.TakeIn(w.links[s.peer].remote, i, s.wire)
	info := w.formInfo(s.key.VersionKey)
	work := w.cfg.Costs.Receive + PerMiB(w.cfg.Costs.ReceiveMiB, int64(info.Geometry.ShardBytes))
	h.traffic.CPU += work
	done := cameIn.Add(h.slowed(work))
	in := step.Input{
		Kind:  step.InShard,
		Peer:  s.peer,
		Shard: step.Shard{Key: s.key, Number: s.number},
	}
	w.bodies.Shards++
	switch {
	case s.poison:
		w.bodies.Poisoned++
		in.Failure.Reason = step.ReasonPoison
	case h.broken:
		in.Failure = step.Failure{Reason: "store: disk failure", Fault: step.FaultHost}
	default:
		if on := h.disk.partial[s.key]; on != nil {
			in.Shard.Restored = putShard(on, info, s.number)
		}
	}
	w.input(done, i, in)
}

// putShard adds a shard to the shards on disk. If the stripe has as many shards as it has
// data shards, putShard restores the missing data shards and returns their numbers.
func putShard(on *bitset.BitSet, info step.FormInfo, number int) (restored []int) {
	if on.Test(uint(number)) {
		return nil
	}
	on.Set(uint(number))
	g := info.Geometry
	first := number / g.PerStripe() * g.PerStripe()
	held := 0
	for n := range g.PerStripe() {
		if on.Test(uint(first + n)) {
			held++
		}
	}
	if held != int(g.Data) {
		return nil
	}
	for n := range int(g.Data) {
		if !on.Test(uint(first + n)) {
			on.Set(uint(first + n))
			restored = append(restored, first+n)
		}
	}
	return restored
}

// assemble checks a complete body and stores it.
func (w *World) assemble(i int32, o *step.Output) {
	delete(w.hosts[i].disk.partial, o.Shard.Key)
	cost := PerMiB(w.cfg.Costs.AssembleMiB, w.bodySize(o.Body.Version))
	w.storeBody(i, step.InAssembled, o.Body.Version, "", w.ready.Add(cost))
}

// abandon drops the shards of a body that no pointer names any more.
func (w *World) abandon(i int32, v record.VersionKey) {
	delete(w.hosts[i].disk.partial, record.FormKey{VersionKey: v})
}

// neverTaken reports to the node of host i, after the idle timeout, that a shard was not
// sent because the link was lost. Until then the shard fills QUIC's congestion window, as
// nobody acknowledges its packets.
func (w *World) neverTaken(i int32, sent step.Input) {
	node := w.hosts[i].node
	sent.Failure.Reason = step.ReasonLinkLost
	w.At(w.now.Add(w.cfg.Idle), func() {
		if w.hosts[i].node == node {
			w.input(w.now, i, sent)
		}
	})
}
