package world

import (
	"time"

	"banyan/mesh/step"
)

// flow is a body on its way from one host to another. Flows share the links of both
// hosts chunk by chunk, as under fair queueing. Messages do not wait behind flows.
type flow struct {
	from, to int32
	// bytes is the number of bytes that are still to be sent.
	bytes int64
	// ready is the number of those bytes that the sender has. A relay that forwards a
	// body while receiving the body feeds its flows chunk by chunk.
	ready int64
	chunk int64
	// moving is true while the next chunk is scheduled.
	moving bool
	// delivered is called when the last byte has arrived.
	delivered func(at step.Time)
	// onChunk, if not nil, is called when a chunk of n bytes has arrived.
	onChunk func(at step.Time, n int64)
}

const (
	// chunksPerFlow is the largest number of chunks of a body. More chunks are closer to
	// fair queueing and take longer to simulate.
	chunksPerFlow = 256
	// minChunk is the smallest chunk, in bytes: about one packet.
	minChunk = 1200
	// retransmit is the time between two attempts to send over a partition.
	retransmit = 250 * time.Millisecond
)

// startFlow sends bytes from one host to another and calls delivered when the last byte
// has arrived.
func (w *World) startFlow(from, to int32, bytes int64, delivered func(at step.Time)) {
	w.feed(w.openFlow(from, to, bytes, delivered), max(bytes, 1))
}

// openFlow makes a flow of which the sender has no byte yet. The caller feeds the flow.
func (w *World) openFlow(from, to int32, bytes int64, delivered func(at step.Time)) *flow {
	return &flow{
		from:      from,
		to:        to,
		bytes:     max(bytes, 1),
		chunk:     max(bytes/chunksPerFlow, minChunk),
		delivered: delivered,
	}
}

// feed makes n more bytes of a flow available at the sender.
func (w *World) feed(f *flow, n int64) {
	f.ready += n
	if !f.moving {
		f.moving = true
		w.flowOn(f)
	}
}

// flowOn sends the next chunk of a flow, and schedules the chunk after it for the moment
// at which this chunk has left. So the flows of one sender take turns.
func (w *World) flowOn(f *flow) {
	from, to := &w.hosts[f.from], &w.hosts[f.to]
	if from.down || to.down {
		return // the end of the link ends the request too
	}
	if w.cutOff(f.from, f.to) {
		w.At(w.now.Add(retransmit), func() { w.flowOn(f) })
		return
	}
	n := min(f.chunk, f.bytes, f.ready)
	f.moving = n > 0
	if !f.moving {
		return // feed continues the flow
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

// TakeIn returns the time at which size bytes that arrive now have passed the receiver's
// link. The two links carry the bytes at the same time, so the receiver's link adds only
// the wait for bytes that arrived before, and the difference if it is the slower link.
// Example: 10 MB from a sender of 100 Mbit/s to an idle receiver of 25 Mbit/s take 3.2 s
// at the receiver, of which 0.8 s overlap with sending; TakeIn returns now + 2.4 s.
func (w *World) TakeIn(from, to int32, size int64) step.Time {
	h := &w.hosts[to]
	took := SendTime(size, w.downRate(to))
	overlap := min(took, SendTime(size, w.upRate(from)))
	h.downFree = max(h.downFree, w.now.Add(-overlap)).Add(took)
	return max(h.downFree, w.now)
}
