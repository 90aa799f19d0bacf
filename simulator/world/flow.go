package world

import (
	"time"

	"banyan/mesh/step"
)

// flow is bytes on their way from one host to another, in chunks that share both
// ends' links with other flows chunk by chunk, as fair queueing would. Messages do
// not wait behind it.
type flow struct {
	from, to  int32
	bytes     int64 // still to be sent
	ready     int64 // of those, at hand at the sender
	chunk     int64
	moving    bool                        // the next chunk is scheduled
	delivered func(at step.Time)          // the last byte is there
	onChunk   func(at step.Time, n int64) // a chunk is there; may be nil
}

// chunksPerFlow is into how many chunks a body is cut at the most: more is finer
// and slower.
const (
	chunksPerFlow = 256
	minChunk      = 1200
	retransmit    = 250 * time.Millisecond // how often a flow that is cut off is tried
)

// startFlow sends bytes; delivered is called when the last has arrived.
func (w *World) startFlow(from, to int32, bytes int64, delivered func(at step.Time)) {
	w.feed(w.openFlow(from, to, bytes, delivered), max(bytes, 1))
}

// openFlow makes a flow whose bytes are fed to it as the sender gets them itself.
func (w *World) openFlow(from, to int32, bytes int64, delivered func(at step.Time)) *flow {
	return &flow{from: from, to: to, bytes: max(bytes, 1), chunk: max(bytes/chunksPerFlow, minChunk), delivered: delivered}
}

// feed tells that n more bytes are at hand at the sender.
func (w *World) feed(f *flow, n int64) {
	f.ready += n
	if !f.moving {
		f.moving = true
		w.flowOn(f)
	}
}

// flowOn sends the next chunk of a flow. The next but one is scheduled for when
// this one has left, so that flows of one sender take turns.
func (w *World) flowOn(f *flow) {
	from, to := &w.hosts[f.from], &w.hosts[f.to]
	if from.down || to.down {
		return // the request over it ends with its link
	}
	if w.cutOff(f.from, f.to) {
		w.At(w.now.Add(retransmit), func() { w.flowOn(f) })
		return
	}
	n := min(f.chunk, f.bytes, f.ready)
	if f.moving = n > 0; !f.moving {
		return // until it is fed
	}
	f.bytes -= n
	f.ready -= n
	departs := w.Upload(f.from, w.now, n)
	w.Count(f.from, f.to, n)
	last := f.bytes == 0
	arrives := departs.Add(w.Propagation(f.from, f.to))
	w.At(arrives, func() { w.chunkArrived(f, n, last) })
	if !last {
		w.At(departs, func() { w.flowOn(f) })
	}
}

func (w *World) chunkArrived(f *flow, n int64, last bool) {
	done := w.TakeIn(f.from, f.to, n)
	if f.onChunk == nil && !last {
		return
	}
	w.At(done, func() {
		if f.onChunk != nil {
			f.onChunk(w.now, n)
		}
		if last {
			f.delivered(w.now)
		}
	})
}

// TakeIn is when what arrives now has come in over the receiver's link. The link carried
// it while it was sent: what it adds here is the wait behind others, and the difference
// if this end is the slower.
func (w *World) TakeIn(from, to int32, size int64) step.Time {
	h := &w.hosts[to]
	took := SendTime(size, w.downRate(to))
	overlap := min(took, SendTime(size, w.upRate(from)))
	h.downFree = max(h.downFree, w.now.Add(-overlap)).Add(took)
	return max(h.downFree, w.now)
}
