package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"banyan/coordinator/ledger"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/versionstore"
)

// lineage notices that the store of a leader is not of the history that the hosts know: it was
// restored from an older copy, or another leader writes to a copy of it. Then the ledger stops
// writing. A person decides which history goes on: 'banyan store recover' takes what the hosts
// have, 'banyan store new-term' keeps what the store has.
type lineage struct {
	ledger  *ledger.Ledger
	metrics *coordinatorMetrics
	log     *slog.Logger
	// announce has the node announce a stored pointer that it may have forgotten.
	announce func(context.Context, versionstore.PointerState)
	// adopt takes what the hosts have of an ended term, and the store lacks.
	adopt func(ctx context.Context, child step.PeerID, a *wire.Announcement)

	// term is the highest term of any record that a host has shown.
	term atomic.Uint64
}

// hear takes a signed record from a host that differs from what the leader's node has. The node
// may not have the whole store yet, so the store decides. A record of an earlier term than the
// store's is of a history that a person has ended: it stops nothing.
func (l *lineage) hear(ctx context.Context, o step.Output) {
	term := o.Head.Term
	a := o.Pointer.Announcement
	if a != nil {
		term = a.Pointer.Term
	}
	l.saw(term)
	if l.ledger.Stopped() != nil {
		return
	}
	own, err := l.ledger.Term(ctx)
	var why string
	switch {
	case err != nil:
	case term < own:
		err = l.ofEndedTerm(ctx, o.Peer, a)
	case a != nil:
		why, err = l.againstPointer(ctx, a.Pointer, a.Digest)
	default:
		why, err = l.againstHead(ctx, o.Head)
	}
	if err != nil {
		l.log.Error("a host's record was not compared with the store", "error", err)
		return
	}
	if why == "" || !l.ledger.Stop(own, why) {
		return
	}
	l.metrics.stopped.Inc()
	l.log.Error("this leader has stopped writing; 'banyan store recover' takes the history of the hosts, "+
		"'banyan store new-term' keeps the history of this store", "why", why)
}

// ofEndedTerm takes a pointer of an earlier term; nil stands for a head. The host was away while the
// term began. If the store has no pointer of the config, no announcement would ever take the host's
// pointer away, and status would not know of it, so the leader adopts it.
func (l *lineage) ofEndedTerm(ctx context.Context, child step.PeerID, a *wire.Announcement) error {
	if a == nil {
		return nil
	}
	held, err := l.ledger.Pointer(ctx, a.Pointer.Config, a.Pointer.Region)
	switch {
	case errors.Is(err, versionstore.ErrNotFound):
		l.adopt(ctx, child, a)
		return nil
	case err != nil:
		return err
	case held.Pointer.Deleted():
		l.announce(ctx, held) // the host was away while the config was deleted
	}
	return nil
}

func (l *lineage) saw(term uint64) {
	for {
		held := l.term.Load()
		if term <= held || l.term.CompareAndSwap(held, term) {
			return
		}
	}
}

// againstPointer returns how a host's pointer contradicts the store; empty if it does not. It
// announces a deletion that the host has missed.
func (l *lineage) againstPointer(ctx context.Context, p record.Pointer, digest record.Digest) (string, error) {
	held, err := l.ledger.Pointer(ctx, p.Config, p.Region)
	switch {
	case errors.Is(err, versionstore.ErrNotFound):
		return fmt.Sprintf("a host has a pointer of %s in region %s (%s), and this store has none",
			p.Config, p.Region, p.Position()), nil
	case err != nil:
		return "", err
	case p.Position() > held.Pointer.Position():
		return fmt.Sprintf("a host has %s of %s in region %s, and this store is at %s",
			p.Position(), p.Config, p.Region, held.Pointer.Position()), nil
	case p.Position() < held.Pointer.Position() && held.Pointer.Deleted():
		l.announce(ctx, held) // the host was away while the config was deleted
	case p.Position() == held.Pointer.Position() && digest != held.Pointer.Digest():
		return fmt.Sprintf("a host has another pointer of %s in region %s at %s than this store: "+
			"a second leader signed it", p.Config, p.Region, p.Position()), nil
	}
	return "", nil
}

// againstHead returns how a host's head contradicts the store; empty if it does not.
func (l *lineage) againstHead(ctx context.Context, h record.Head) (string, error) {
	stored, err := versionstore.AllPointers(ctx, l.ledger, h.Region)
	if err != nil {
		return "", err
	}
	var revision uint64
	var state record.State
	for _, s := range stored {
		revision = max(revision, s.Revision)
		state.AddPointer(&s.Pointer, s.Pointer.Digest())
	}
	switch {
	case h.Revision > revision:
		return fmt.Sprintf("a host has seen revision %d of region %s, and this store is at revision %d",
			h.Revision, h.Region, revision), nil
	case h.Revision == revision && h.State != state:
		return fmt.Sprintf("a host has seen other pointers of region %s at revision %d than this store has: "+
			"a second leader signed them", h.Region, h.Revision), nil
	}
	return "", nil
}

// next returns the lowest term that is higher than every term that a host has shown.
func (l *lineage) next() uint64 { return l.term.Load() + 1 }
