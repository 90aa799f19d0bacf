package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"banyan/record"
	"banyan/versionstore"
)

// StoppedError means that the ledger has stopped writing, because hosts hold signed records that
// are newer than the store, or contradict it: the store was restored from an older copy, or
// another leader writes to a copy of it.
type StoppedError struct{ Why string }

func (e *StoppedError) Error() string {
	return "this leader has stopped writing: " + e.Why
}

// Stop makes every further Update and SignHead fail with a *StoppedError, until the next term
// begins. It reports whether the ledger was writing before. A reason that was found in an earlier
// term than the present is ignored.
func (l *Ledger) Stop(term uint64, why string) bool {
	l.writing.Lock()
	defer l.writing.Unlock()
	return term == l.term.Load() && l.stopped.CompareAndSwap(nil, &StoppedError{Why: why})
}

// Stopped returns why the ledger has stopped writing; nil if it has not.
func (l *Ledger) Stopped() *StoppedError { return l.stopped.Load() }

// BeginTerm raises the term of the store to at least atLeast, makes the ledger write again, and
// issues every pointer anew in the new term: hosts that hold pointers of an earlier history then
// take those of this store. The journal gets one entry, which act.What completes. BeginTerm returns
// the new term.
func (l *Ledger) BeginTerm(ctx context.Context, act Act, atLeast uint64) (uint64, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.markReissue(ctx, true); err != nil {
		return 0, err
	}
	term, err := l.raiseTerm(ctx, atLeast)
	if err != nil {
		return 0, err
	}
	l.term.Store(term)
	l.stopped.Store(nil)
	l.waiting.Store(nil)
	l.pointers = census{} // pointers may have been recovered
	l.log.Warn("a new term begins", "term", term, "by", act.By, "why", act.Why)
	act.What = strings.TrimSuffix(fmt.Sprintf("term %d begins: %s", term, act.What), ": ")
	return term, l.reissueStale(ctx, act)
}

// The document that says that the pointers of earlier terms are to be issued anew. It is empty if they are
// not: a new leader's term needs no new pointers, because no history was lost.
const (
	kindTerm    = "term"
	reissueName = "reissue"
)

// markReissue notes whether the pointers of earlier terms are to be issued anew. The caller holds the
// write lock.
func (l *Ledger) markReissue(ctx context.Context, due bool) error {
	held, err := l.Document(ctx, kindTerm, reissueName)
	if err != nil && !errors.Is(err, versionstore.ErrNotFound) && !errors.Is(err, versionstore.ErrCorrupt) {
		return err
	}
	mark := []byte{}
	if due {
		mark = []byte(reissueName)
	}
	_, err = l.store.Commit(ctx, versionstore.Transaction{
		Term:      l.term.Load(),
		Documents: []versionstore.DocumentWrite{{Kind: kindTerm, Name: reissueName, Raw: mark, IfSeq: held.Seq}},
		By:        "leader",
	})
	return err
}

// reissueStale issues the pointers of earlier terms anew, and notes that this is done unless some can't be
// read. The caller holds the write lock.
func (l *Ledger) reissueStale(ctx context.Context, act Act) error {
	moves, damaged := l.stale(ctx)
	if err := l.reissue(ctx, act, moves); err != nil || damaged != nil {
		return errors.Join(err, damaged)
	}
	return l.markReissue(ctx, false)
}

// Recover stores versions and pointers of a lost history, as hosts hold them. It also writes while the
// ledger has stopped. The caller begins a new term afterwards.
func (l *Ledger) Recover(ctx context.Context, recovered versionstore.Recovery) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	_, err := l.store.Commit(ctx, versionstore.Transaction{
		Term:      l.term.Load(),
		Recovered: recovered,
		By:        "import",
	})
	return err
}

// raiseTerm raises the term of the store. If the outcome is unknown, the store is read.
func (l *Ledger) raiseTerm(ctx context.Context, atLeast uint64) (uint64, error) {
	term, err := l.store.RaiseTerm(ctx, atLeast)
	if !errors.Is(err, versionstore.ErrUnknown) {
		return term, err
	}
	held, unread := l.store.Term(ctx)
	if unread != nil || held <= l.term.Load() {
		return 0, err
	}
	return held, nil
}

// Reissue issues the pointers of earlier terms anew if a crash has cut BeginTerm short.
func (l *Ledger) Reissue(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	due, err := l.Document(ctx, kindTerm, reissueName)
	if errors.Is(err, versionstore.ErrNotFound) || err == nil && len(due.Raw) == 0 {
		return nil
	}
	if err != nil && !errors.Is(err, versionstore.ErrCorrupt) {
		return err
	}
	return l.reissueStale(ctx, Act{By: "leader", What: fmt.Sprintf("term %d goes on", l.term.Load())})
}

// stale returns the moves that issue the pointers of earlier terms anew. The error says which
// pointers can't be read; the moves of the others are returned.
func (l *Ledger) stale(ctx context.Context) (moves []record.Pointer, err error) {
	stored, err := versionstore.AllPointers(ctx, l, "")
	for _, s := range stored {
		p := s.Pointer
		if p.Term >= l.term.Load() || !l.HasKey(p.Region) {
			continue
		}
		p.Epoch++
		moves = append(moves, p)
	}
	return moves, err
}

// reissue commits moves in batches, and one entry of the journal with the first batch, or alone if
// there are no moves. The caller holds the write lock.
func (l *Ledger) reissue(ctx context.Context, act Act, moves []record.Pointer) error {
	w := &Writer{ledger: l}
	for {
		batch := moves[:min(reissueBatch, len(moves))]
		if _, err := w.Commit(ctx, act, Changes{Moves: batch}); err != nil {
			return err
		}
		moves = moves[len(batch):]
		if len(moves) == 0 {
			return nil
		}
		act.What = ""
	}
}
