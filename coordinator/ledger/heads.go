package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"banyan/record"
	"banyan/versionstore"
)

// kindHeads is the kind of the document that has the number up to which heads are reserved.
const kindHeads = "heads"

// headBlock is the number of heads that are reserved at a time.
const headBlock = 1 << 16

// ErrNoHeads means that no number is left for a head; see Ledger.ReserveHeads.
var ErrNoHeads = errors.New("no number is reserved for a head")

// heads numbers the heads that a leader signs. The numbers are reserved in the store, block by block,
// so that they grow across restarts and do not depend on the clock.
type heads struct {
	mu        sync.Mutex
	next, end uint64
}

// take returns the next number.
func (h *heads) take() (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next == h.end {
		return 0, ErrNoHeads
	}
	h.next++
	return h.next - 1, nil
}

// left returns the number of heads that are reserved.
func (h *heads) left() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.end - h.next
}

// ReserveHeads reserves numbers for heads, unless enough are left. The error wraps
// record.ErrTooLarge if the term has no more numbers.
func (l *Ledger) ReserveHeads(ctx context.Context) error {
	if l.heads.left() > headBlock/2 {
		return nil
	}
	d, err := l.Document(ctx, kindHeads, kindHeads)
	if err != nil && !errors.Is(err, versionstore.ErrNotFound) && !errors.Is(err, versionstore.ErrCorrupt) {
		return fmt.Errorf("numbers of heads: %w", err)
	}
	first := uint64(1)
	switch {
	case err == nil && len(d.Raw) == 8:
		first = binary.BigEndian.Uint64(d.Raw)
	case !errors.Is(err, versionstore.ErrNotFound):
		// No leader has signed as many heads as seconds have passed since 1970.
		first = uint64(time.Now().Unix())
		l.log.Error("the number of the last head can't be read; heads go on with a higher one", "number", first, "error", err)
	}
	if first > record.MaxEpoch-headBlock {
		return fmt.Errorf("number %d of a head: %w: begin a new term", first, record.ErrTooLarge)
	}
	_, err = l.store.Commit(ctx, versionstore.Transaction{
		Term: l.term.Load(),
		Documents: []versionstore.DocumentWrite{{
			Kind:  kindHeads,
			Name:  kindHeads,
			Raw:   binary.BigEndian.AppendUint64(nil, first+headBlock),
			IfSeq: d.Seq,
		}},
		By: "leader",
	})
	if err != nil {
		return fmt.Errorf("numbers of heads: %w", err)
	}
	l.heads.mu.Lock()
	defer l.heads.mu.Unlock()
	l.heads.next = first
	l.heads.end = first + headBlock
	return nil
}
