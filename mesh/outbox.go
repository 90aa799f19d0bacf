package mesh

import (
	"maps"
	"slices"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// outbox has a leader's node announce many pointers under one signature:
//
//	publish ──► waiting, up to batchDelay ──► Batch ──► children of the region
//
// A pointer that comes after a quiet time leaves at once, with its own signature. The
// pointers that follow within batchDelay wait until that time is over, and leave together. So
// a single change is never late, and a host checks one signature in each batchDelay.
type outbox struct {
	// sign signs the root of a batch of pointers of a region; nil if pointers leave one by one.
	sign func(region string, payloads [][]byte) (root []byte, err error)
	// regions has the parcel of each region that ever had a pointer. There are as many as the fleet has regions.
	regions map[string]*parcel
	// flushAt is when to look for parcels that are due; step.Never if none waits.
	flushAt step.Time
}

// parcel holds the pointers that wait to be sent to the children of a region.
type parcel struct {
	waiting []step.Pointer // at most record.MaxBatch
	nextAt  step.Time      // a pointer that comes before this time waits until then
}

func newOutbox(cfg *RootConfig) outbox {
	b := outbox{regions: map[string]*parcel{}, flushAt: step.Never}
	if cfg != nil {
		b.sign = cfg.SignBatch
	}
	return b
}

// oldest returns the lowest revision of the pointers that wait for the children of a region; otherwise if
// none does.
func (b *outbox) oldest(region string, otherwise uint64) uint64 {
	q := b.regions[region]
	if q == nil || len(q.waiting) == 0 {
		return otherwise
	}
	return q.waiting[0].Announcement.Revision
}

// announce sends a pointer of the store to the children of its region, at once or in a batch.
func (n *Node) announce(now step.Time, p step.Pointer, out step.Outputs) step.Outputs {
	b := &n.outbox
	region := p.Announcement.Pointer.Region
	q := b.regions[region]
	if q == nil {
		q = &parcel{}
		b.regions[region] = q
	}
	batchable := p.Batchable && b.sign != nil
	if !batchable {
		out = n.flushParcel(now, region, out) // pointers leave in the order of their revisions
	}
	q.waiting = append(q.waiting, p)
	if !batchable || now >= q.nextAt || len(q.waiting) == record.MaxBatch {
		return n.flushParcel(now, region, out)
	}
	b.flushAt = min(b.flushAt, q.nextAt)
	return out
}

// flushDue sends the parcels whose time has come.
func (n *Node) flushDue(now step.Time, out step.Outputs) step.Outputs {
	b := &n.outbox
	b.flushAt = step.Never
	for _, region := range slices.Sorted(maps.Keys(b.regions)) {
		switch q := b.regions[region]; {
		case len(q.waiting) == 0:
		case now >= q.nextAt:
			out = n.flushParcel(now, region, out)
		default:
			b.flushAt = min(b.flushAt, q.nextAt)
		}
	}
	return out
}

// flushParcel sends the pointers that wait for the children of a region: a lone pointer with its own
// signature, several as a batch. If the batch can't be signed, each pointer leaves with its own signature.
func (n *Node) flushParcel(now step.Time, region string, out step.Outputs) step.Outputs {
	q := n.outbox.regions[region]
	if q == nil || len(q.waiting) == 0 {
		return out
	}
	waiting := q.waiting
	q.waiting = nil
	q.nextAt = now + batchDelay
	var batch *wire.Batch
	if len(waiting) > 1 && n.children.has(region) {
		batch = n.outbox.batch(region, waiting)
	}
	if batch != nil {
		out = n.relay(now, region, batch, out)
	}
	for _, p := range waiting {
		if batch == nil {
			out = n.relay(now, region, p.Announcement, out)
		}
		if p.Push != nil {
			out = n.children.push(region, p.Push, out)
		}
	}
	return out
}

// batch returns a batch of pointers of a region; nil if the batch can't be signed.
func (b *outbox) batch(region string, pointers []step.Pointer) *wire.Batch {
	m := &wire.Batch{Pointers: make([]wire.BatchedPointer, len(pointers))}
	for i, p := range pointers {
		a := p.Announcement
		m.Pointers[i] = wire.BatchedPointer{Revision: a.Revision, Payload: a.Pointer.Payload(), Pushed: a.Pushed}
	}
	root, err := b.sign(region, m.Payloads())
	if err != nil {
		return nil
	}
	m.Root = root
	return m
}
