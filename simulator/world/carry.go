package world

import (
	"bytes"
	"slices"
	"time"

	"github.com/bits-and-blooms/bitset"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
)

// carryOut carries out one output of the node of host i.
func (w *World) carryOut(i int32, o *step.Output) {
	switch o.Op {
	case step.OpSend:
		w.send(i, o)
	case step.OpConnect:
		w.connect(i, o.Addr, w.ready)
	case step.OpDrop:
		w.closeLink(o.Peer, w.ready)
	case step.OpAwaitDrain:
		h := &w.hosts[i]
		drained := max(h.upFree, h.cpuFree, w.ready)
		w.input(drained, i, step.Input{Kind: step.InDrained, Peer: o.Peer})
	case step.OpStore:
		w.storePushed(i, o.Push)
	case step.OpFetch:
		w.fetch(i, o)
	case step.OpServe, step.OpDeny:
		w.serve(i, o)
	case step.OpSendShard:
		w.sendShard(i, o)
	case step.OpAssemble:
		w.assemble(i, o)
	case step.OpAbandon:
		w.abandon(i, o.Body.Version)
	case step.OpDuplicate:
		w.bodies.Duplicates++
	case step.OpActivate:
		w.activate(i, o)
	case step.OpKeep:
		w.persist(i, o.Pointer.Announcement, record.Ref{}, w.hosts[i].node.Watermark())
	case step.OpAcked:
		w.countAcks(o.Message.(*wire.Ack))
		w.tellLeader(i, o)
	case step.OpBehind:
		w.behind(i, o)
	case step.OpReserve:
		w.reserveIndices(i)
	case step.OpCensus, step.OpDrifted:
		w.tellLeader(i, o)
	case step.OpAccepted:
		p := &o.Pointer.Announcement.Pointer
		w.notifyVerified(Applied{Host: i, At: w.ready, Config: p.Config, Epoch: p.Epoch})
	}
	if w.trace != nil {
		w.traceOutput(i, o)
	}
}

// reserveIndices gives the planner of coordinator i more agent indices, after a write to its store.
func (w *World) reserveIndices(i int32) {
	h := &w.hosts[i]
	indices := step.Indices{First: h.index, Count: tree.IndexBlock}
	h.index += tree.IndexBlock
	w.input(w.ready+step.Time(w.cfg.Costs.Store), i, step.Input{Kind: step.InReserved, Indices: indices})
}

// behind makes a leader stop writing if a host has shown a record of another history. A record of
// an earlier term is of a history that a person has ended. A pointer from before a deletion is of a host that
// has missed the deletion.
func (w *World) behind(i int32, o *step.Output) {
	s := w.hosts[i].store
	if s == nil {
		return
	}
	a := o.Pointer.Announcement
	if a == nil {
		s.stopped = s.stopped || o.Head.Term >= s.term && s.contradicts(o.Head)
		return
	}
	if deletion := s.deletionOf(a); deletion != nil {
		if a.Digest != deletion.Digest {
			w.repeatDeletion(i, deletion)
		}
		return
	}
	s.stopped = s.stopped || a.Pointer.Term >= s.term
}

// tellLeader reports an output to the watchers if host i leads.
func (w *World) tellLeader(i int32, o *step.Output) {
	if w.IsLeader(i) {
		w.notifyLeader(i, o)
	}
}

// send transmits a message of the node of host i, altered or delayed if the host
// misbehaves.
func (w *World) send(i int32, o *step.Output) {
	m := w.corrupt(i, o)
	if m == nil {
		return
	}
	h := &w.hosts[i]
	if isNews(m) && h.late > 0 {
		peer, boots := o.Peer, h.boots
		w.At(w.ready.Add(h.late), func() {
			if h := &w.hosts[i]; !h.down && h.boots == boots {
				w.transmit(peer, m, w.now)
			}
		})
		return
	}
	w.transmit(o.Peer, m, w.ready)
}

// isNews reports whether a message carries pointers.
func isNews(m wire.Message) bool {
	switch m.(type) {
	case *wire.Announcement, *wire.Batch:
		return true
	}
	return false
}

// corrupt returns what a host sends instead of a message: the message itself if the host
// is honest, nil if the host withholds the message.
func (w *World) corrupt(i int32, o *step.Output) wire.Message {
	lie := w.hosts[i].lie
	if lie == "" || lie == FaultPoison {
		return o.Message
	}
	switch m := o.Message.(type) {
	case *wire.SignedHead:
		if lie == FaultChatter {
			return nil
		}
	case *wire.Push:
		if lie == FaultForge {
			return &wire.Push{Config: m.Config, Version: m.Version, Digest: m.Digest}
		}
		return nil
	case *wire.Announcement:
		switch lie {
		case FaultWithhold, FaultChatter:
			return nil
		case FaultForge:
			forged := append([]byte(nil), m.Raw...)
			forged[len(forged)-1] ^= 0x80
			return &wire.Announcement{Revision: m.Revision, Raw: forged}
		}
		if old := w.signer.first(m.Pointer.Config, m.Pointer.Region); old != nil {
			return &wire.Announcement{Revision: m.Revision, Raw: old}
		}
		return nil
	case *wire.Batch:
		return w.corruptBatch(m, lie, w.hosts[i].ident.Region)
	}
	return o.Message
}

// corruptBatch returns what a lying host sends instead of a batch: nothing, a batch whose last pointer is
// altered, or an old pointer of the region.
func (w *World) corruptBatch(m *wire.Batch, lie FaultKind, region string) wire.Message {
	switch lie {
	case FaultWithhold, FaultChatter:
		return nil
	case FaultForge:
		forged := &wire.Batch{Root: m.Root, Pointers: slices.Clone(m.Pointers)}
		last := &forged.Pointers[len(forged.Pointers)-1]
		last.Payload = bytes.Clone(last.Payload)
		last.Payload[len(last.Payload)-1] ^= 0x80
		return forged
	}
	if old := w.signer.first("", region); old != nil {
		return &wire.Announcement{Revision: m.Pointers[0].Revision, Raw: old}
	}
	return nil
}

// fetch asks a peer for a body. The request is a small message; the body returns as a flow.
func (w *World) fetch(i int32, o *step.Output) {
	l := &w.links[o.Peer]
	if !l.alive || w.cutOff(i, l.remote) {
		lost := step.Input{
			Kind:    step.InFetched,
			Body:    step.Body{Version: o.Body.Version, Choice: o.Body.Choice},
			Failure: step.Failure{Reason: step.ReasonLinkLost, Fault: step.FaultPath},
		}
		w.input(w.now, i, lost)
		return
	}
	w.lastReq++
	ref := w.lastReq
	w.requests[ref] = request{
		asker:  i,
		peer:   o.Peer,
		want:   o.Body.Version,
		choice: o.Body.Choice,
		cached: o.Body.ForOthers,
		until:  w.now.Add(bodyTimeout),
	}
	w.Count(i, l.remote, ControlSize)
	ready := w.Spend(i, w.ready, w.cfg.Costs.Send)
	asked := step.Input{
		Kind: step.InRequest,
		Peer: l.other,
		Body: step.Body{Request: ref, Version: o.Body.Version, Choice: o.Body.Choice},
	}
	w.input(ready.Add(w.Propagation(i, l.remote)), l.remote, asked)
	w.watchRequest(ref)
}

// bodyTimeout is the time after which a host gives up a request that the peer has not begun to
// answer, as in package transport.
const bodyTimeout = 30 * time.Second

// watchRequest ends a request whose link dies before the answer arrives, or that the peer leaves
// without an answer. It looks once per idle timeout.
func (w *World) watchRequest(ref uint64) {
	w.At(w.now.Add(w.cfg.Idle), func() {
		r, waits := w.requests[ref]
		if !waits {
			return
		}
		reason := step.ReasonLinkLost
		if w.links[r.peer].alive {
			if w.now < r.until {
				w.watchRequest(ref)
				return
			}
			reason = "no answer"
		}
		delete(w.requests, ref)
		lost := step.Input{
			Kind:    step.InFetched,
			Body:    step.Body{Version: r.want, Choice: r.choice},
			Failure: step.Failure{Reason: reason, Fault: step.FaultPath},
		}
		w.input(w.now, r.asker, lost)
	})
}

// serve answers a request: with the body as a flow, with the index of a body that is
// traded by the shard, or with a refusal.
func (w *World) serve(i int32, o *step.Output) {
	ref := o.Body.Request
	r, waits := w.requests[ref]
	if !waits {
		return // the asker has given up
	}
	r.until = step.Never
	w.requests[ref] = r
	reason := o.Reason
	size := w.bodySize(r.want) + ManifestSize
	arriving := w.hosts[i].disk.partial[record.FormKey{VersionKey: r.want}] != nil // serves what it has
	switch {
	case o.Op == step.OpDeny:
		size = ControlSize
	case !r.cached && !arriving && w.lacks(i, r.want):
		size = ControlSize
		reason = "not on disk"
	case w.Traded(r.want):
		w.serveIndex(i, ref, r)
		return
	}
	w.Spend(i, w.ready, w.cfg.Costs.Send)
	w.startFlow(i, r.asker, size, func(at step.Time) {
		if _, waits := w.requests[ref]; !waits {
			return
		}
		delete(w.requests, ref)
		done := w.Spend(r.asker, at, w.cfg.Costs.Receive+w.cfg.Costs.Verify)
		switch {
		case !r.cached:
			w.storeBody(r.asker, step.InFetched, r.want, reason, done)
		case reason != "":
			denied := step.Input{
				Kind:    step.InFetched,
				Body:    step.Body{Version: r.want, Choice: r.choice},
				Failure: step.Failure{Reason: reason, Fault: step.FaultDenied},
			}
			w.input(done, r.asker, denied)
		default:
			info := w.formInfo(r.want)
			w.indexed(r, info, bitset.New(uint(info.Shards())).Complement(), done)
		}
	})
}

func (w *World) storePushed(i int32, m *wire.Push) {
	w.storeBody(i, step.InFetched, m.Key(), "", w.ready)
}

// storeBody writes a body to the disk of host i and reports the result to the node as an
// input of the given kind.
// reason is empty, or says why the peer sent no body. If the host crashes before the write
// is done, the body is lost.
func (w *World) storeBody(i int32, kind step.InputKind, want record.VersionKey, reason string, at step.Time) {
	boots := w.hosts[i].boots
	end := func() {
		h := &w.hosts[i]
		if h.down || h.boots != boots {
			return
		}
		in := step.Input{
			Kind:    kind,
			Body:    step.Body{Version: want},
			Failure: step.Failure{Reason: reason},
		}
		switch {
		case reason != "":
			in.Failure.Fault = step.FaultDenied
		case h.broken:
			in.Failure = step.Failure{Reason: "store: disk failure", Fault: step.FaultHost}
		default:
			if h.disk.held == nil {
				h.disk.held = map[record.VersionKey]struct{}{}
			}
			h.disk.held[want] = struct{}{}
			in.Body.Forms = 1
		}
		w.step(i, in)
	}
	if reason != "" {
		w.At(at, end)
		return
	}
	w.writeStore(i, at, end)
}

// activate applies a version durably. The version is on the disk when the apply is done; a
// crash before then loses the version.
func (w *World) activate(i int32, o *step.Output) {
	h := &w.hosts[i]
	a := o.Pointer.Announcement
	version := o.Pointer.Version
	watermark := h.node.Watermark()
	boots := h.boots
	w.writeApply(i, w.ready, func() {
		h := &w.hosts[i]
		if h.down || h.boots != boots {
			return
		}
		in := step.Input{
			Kind: step.InActivated,
			Pointer: step.Pointer{
				Announcement:  a,
				Version:       version,
				LatencyMicros: int64(w.now)/1000 + h.skew.Microseconds() - a.Pointer.TimeMicros,
			},
		}
		switch {
		case h.broken:
			in.Failure = step.Failure{Reason: "apply: disk failure", Fault: step.FaultHost}
		case w.lacks(i, version.Of(a.Pointer.Config)):
			in.Failure = step.Failure{Reason: "version on disk is missing", Fault: step.FaultHost}
		case !w.accepts(i, version.Of(a.Pointer.Config)):
			in.Failure = step.Failure{Reason: "check: refused by the host", Fault: step.FaultVersion}
		default:
			w.persist(i, a, version, watermark)
		}
		w.step(i, in)
	})
}

// persist writes an applied version to the disk of host i. watermark is the revision that
// the node had reached when the apply began.
func (w *World) persist(i int32, a *wire.Announcement, version record.Ref, watermark uint64) {
	h := &w.hosts[i]
	if h.disk.applied == nil {
		h.disk.applied = map[string]onDisk{}
	}
	before, known := h.disk.applied[a.Pointer.Config]
	spoiled := h.disk.spoiled[a.Pointer.Config]
	h.disk.applied[a.Pointer.Config] = onDisk{a, version}
	h.disk.watermark = watermark
	if spoiled {
		delete(h.disk.spoiled, a.Pointer.Config)
		w.input(w.now, i, step.Input{
			Kind:  step.InDrift,
			Body:  step.Body{Version: version.Of(a.Pointer.Config)},
			Drift: wire.DriftRepaired,
		})
	}
	if !w.IsCoordinator(i) && !h.relays {
		w.notifyApplied(Applied{
			Host:     i,
			At:       w.now,
			Config:   a.Pointer.Config,
			Epoch:    a.Pointer.Epoch,
			Version:  version.Version,
			Digest:   version.Digest,
			Position: a.Pointer.Position(),
			Pointer:  a.Digest,
			Again:    spoiled && known && before.announcement.Digest == a.Digest,
		})
	}
}

// countAcks merges acknowledgements that reached a coordinator.
func (w *World) countAcks(m *wire.Ack) {
	for i := range m.Entries {
		e := &m.Entries[i]
		key := e.Key()
		held := w.acked[key]
		if held == nil || held.Position < e.Position {
			held = wire.NewAckEntry(key, e.Position, e.Pointer)
			w.acked[key] = held
		}
		if held.Pointer == e.Pointer {
			held.Merge(e)
		}
	}
}

// Acked returns the merged acknowledgements of the newest epoch of a config in a region;
// nil if there are none.
func (w *World) Acked(config, region string) *wire.AckEntry {
	return w.acked[record.PointerKey{Config: config, Region: region}]
}
