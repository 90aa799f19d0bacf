package coordinator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/record"
	"banyan/versionstore"
)

const (
	// kindHold is the kind of the documents that holds are stored in.
	kindHold = "hold"
	// kindGeneration is the kind of the document whose sequence counts the writes of holds.
	kindGeneration = "generation"
	// holdsGeneration is the name of that document.
	holdsGeneration = "holds"
)

// hold is the stored form of a freeze or a lock. A freeze stops every rollout in a scope from
// going forward, and people from starting a rollout. A lock stops people from changing a
// config at all. Neither stops a failed gate from taking a version back, and a freeze does
// not stop a person from taking a version back.
type hold struct {
	Scope  string    `json:"scope"` // a prefix of configs, or "*"; for a lock, a config
	Region string    `json:"region,omitempty"`
	Lock   bool      `json:"lock,omitempty"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// String describes the hold for error texts and for the history of a rollout.
func (h hold) String() string { return apiHold(h).String() }

// hint names the command that ends the hold.
func (h hold) hint() string {
	if h.Lock {
		return "'" + h.command() + "' opens the lock"
	}
	return "lift the freeze with '" + h.command() + "' when it is over"
}

// command returns the command that ends the hold.
func (h hold) command() string {
	if h.Lock {
		return "banyan unlock " + h.Scope
	}
	command := "banyan freeze --lift"
	if h.Scope == anyConfig {
		command += " --all"
	} else {
		command += " " + h.Scope
	}
	if h.Region != "" {
		command += " --region " + h.Region
	}
	return command
}

// name returns the name of the hold's document.
func (h hold) name() string {
	scope := h.Scope
	if h.Lock {
		scope = "=" + scope
	}
	return scope + " " + h.Region
}

// covers reports whether the hold applies to config in any of regions.
func (h hold) covers(config string, regions []string) bool {
	if h.Region != "" && !slices.Contains(regions, h.Region) {
		return false
	}
	if h.Lock {
		return h.Scope == config
	}
	return h.Scope == "*" || record.InScope(config, h.Scope)
}

// check reports why a new hold can't be stored. known are the regions of the fleet.
func (h hold) check(known []string) error {
	if h.Scope != "*" || h.Lock {
		if err := record.ValidateConfig(h.Scope); err != nil {
			return err
		}
	}
	switch {
	case h.Reason == "" || len(h.Reason) > record.MaxMessage:
		return fmt.Errorf("%w: a hold needs a reason of at most %d bytes", errRequest, record.MaxMessage)
	case !h.Until.IsZero() && !h.Until.After(time.Now()):
		return fmt.Errorf("%w: the hold would have ended at %s", errRequest, h.Until.Format(time.RFC3339))
	case h.Region != "" && !slices.Contains(known, h.Region):
		return unknownRegion(h.Region, known)
	}
	return nil
}

func unknownRegion(region string, known []string) error {
	return fmt.Errorf("%w: region %q is not in the trust policy, which has %v", errRequest, region, known)
}

// storedHold is a hold and the sequence of its document.
type storedHold struct {
	hold
	document string
	seq      uint64
}

// expired reports whether the hold ended before now.
func (h hold) expired(now time.Time) bool { return !h.Until.IsZero() && !now.Before(h.Until) }

// decodeHold returns the hold in a document. A hold that can't be read holds on: its name says what
// it covers, and the reason says what is wrong.
func decodeHold(d versionstore.Document) (h hold) {
	if err := decodeDocument(d, &h); err == nil && h.name() == d.Name {
		return h
	}
	scope, region, _ := strings.Cut(d.Name, " ")
	h = hold{
		Region: region,
		Reason: "the stored hold can't be read; lift it, and set it again if it is still wanted",
		By:     cmp.Or(d.By, "unknown"),
		At:     d.At,
	}
	h.Scope, h.Lock = strings.CutPrefix(scope, "=")
	return h
}

// holds are the freezes and locks in the store.
//
// Every write of a hold also writes the document holdsGeneration, in the same transaction. Its
// sequence says whether the holds in memory are the stored ones, and is a condition of each
// commit that a hold could forbid.
type holds struct {
	ledger *ledger.Ledger
	log    *slog.Logger

	mu sync.Mutex
	// cached are the stored holds at the sequence cachedSeq of the generation; guarded by mu.
	cached    []storedHold
	cachedSeq uint64
	loaded    bool
	swept     time.Time // of the last sweep; guarded by mu
}

// generation returns the sequence of the generation; 0 before the first hold, and if the
// document is damaged.
func (s *holds) generation(ctx context.Context) (seq uint64, damaged bool, err error) {
	d, err := s.ledger.Document(ctx, kindGeneration, holdsGeneration)
	switch {
	case errors.Is(err, versionstore.ErrNotFound):
		return 0, false, nil
	case errors.Is(err, versionstore.ErrCorrupt):
		return 0, true, nil
	}
	return d.Seq, false, err
}

// stored returns the stored holds, expired ones included, and the sequence of the generation.
// The caller must not modify the holds.
func (s *holds) stored(ctx context.Context) ([]storedHold, uint64, error) {
	seq, damaged, err := s.generation(ctx)
	if err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded && s.cachedSeq == seq && !damaged {
		return s.cached, seq, nil
	}
	all, err := s.load(ctx)
	if err != nil {
		return nil, 0, err
	}
	s.cached = all
	s.cachedSeq = seq
	s.loaded = !damaged
	return all, seq, nil
}

// load reads the holds from the store.
func (s *holds) load(ctx context.Context) ([]storedHold, error) {
	documents, err := versionstore.ListAll(ctx, s.ledger, kindHold, "")
	if err != nil {
		return nil, err
	}
	var all []storedHold
	for _, d := range documents {
		all = append(all, storedHold{hold: decodeHold(d), document: d.Name, seq: d.Seq})
	}
	return all, nil
}

// all returns the holds in force.
func (s *holds) all(ctx context.Context) ([]hold, error) {
	return s.where(ctx, func(hold) bool { return true })
}

// on returns the holds in force that apply to config in any of regions.
func (s *holds) on(ctx context.Context, config string, regions []string) ([]hold, error) {
	return s.where(ctx, func(h hold) bool { return h.covers(config, regions) })
}

func (s *holds) where(ctx context.Context, selects func(h hold) bool) ([]hold, error) {
	stored, _, err := s.stored(ctx)
	now := time.Now()
	var found []hold
	for _, h := range stored {
		if !h.expired(now) && selects(h.hold) {
			found = append(found, h.hold)
		}
	}
	return found, err
}

// permit refuses a person's change of config if a hold forbids the change. back is true if
// the change takes a version back or pauses a rollout: a freeze allows both. The returned
// condition belongs into the commit of the change: the commit fails if a hold was put or lifted
// in between.
func (s *holds) permit(
	ctx context.Context,
	config string,
	regions []string,
	back bool,
) (versionstore.Guard, error) {
	_, seq, err := s.stored(ctx)
	guard := versionstore.Guard{Kind: kindGeneration, Name: holdsGeneration, Seq: seq}
	if err != nil {
		return guard, err
	}
	found, err := s.on(ctx, config, regions)
	if err != nil {
		return guard, err
	}
	for _, h := range found {
		if !h.Lock && back {
			continue
		}
		return guard, &api.Error{Code: api.CodeRejected, Message: fmt.Sprintf("%s is %s", config, h), Hint: h.hint()}
	}
	return guard, nil
}

// put stores a hold and replaces the hold with the same scope, region and kind. It removes
// expired holds, and refuses a hold beyond the limit.
func (s *holds) put(ctx context.Context, h hold) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return s.ledger.Update(func(w *ledger.Writer) error {
		stored, seq, err := s.stored(ctx)
		if err != nil {
			return err
		}
		write := versionstore.DocumentWrite{Kind: kindHold, Name: h.name(), Raw: raw}
		now := time.Now()
		inForce := 0
		for _, old := range stored {
			switch {
			case old.document == h.name():
				write.IfSeq = old.seq
			case !old.expired(now):
				inForce++
			}
		}
		if inForce >= maxHolds {
			return &api.Error{
				Code:    api.CodeRejected,
				Message: fmt.Sprintf("%d freezes and locks are in force, which is the limit; this one is not", inForce),
				Hint:    "'banyan freeze' lists them; lift some, or freeze a shorter prefix",
			}
		}
		writes := append(removals(stored, func(old storedHold) bool {
			return old.expired(now) && old.document != h.name()
		}), write)
		act := ledger.Act{By: h.By, Why: h.Reason, What: h.act(), Config: h.config()}
		return s.commit(ctx, w, act, seq, writes)
	})
}

// lift removes the hold with the scope, region and kind of h.
func (s *holds) lift(ctx context.Context, h hold, by string) error {
	return s.ledger.Update(func(w *ledger.Writer) error {
		stored, seq, err := s.stored(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		writes := removals(stored, func(old storedHold) bool {
			return old.document == h.name() && !old.expired(now)
		})
		if len(writes) == 0 {
			return h.missing(stored, now)
		}
		act := ledger.Act{By: by, What: h.lifted(), Config: h.config()}
		return s.commit(ctx, w, act, seq, writes)
	})
}

// removals returns the writes that remove selected holds, at most sweepBatch of them.
func removals(stored []storedHold, selects func(h storedHold) bool) []versionstore.DocumentWrite {
	var writes []versionstore.DocumentWrite
	for _, h := range stored {
		if len(writes) < sweepBatch && selects(h) {
			writes = append(writes, versionstore.DocumentWrite{Kind: kindHold, Name: h.document, IfSeq: h.seq})
		}
	}
	return writes
}

// commit writes holds and the generation, which has the sequence seq.
func (s *holds) commit(
	ctx context.Context,
	w *ledger.Writer,
	act ledger.Act,
	seq uint64,
	writes []versionstore.DocumentWrite,
) error {
	generation := versionstore.DocumentWrite{
		Kind:  kindGeneration,
		Name:  holdsGeneration,
		Raw:   []byte(holdsGeneration),
		IfSeq: seq,
	}
	_, err := w.Commit(ctx, act, ledger.Changes{Documents: append(writes, generation)})
	return err
}

// sweep removes expired holds, at most once in sweepEvery.
func (s *holds) sweep(ctx context.Context) {
	s.mu.Lock()
	due := time.Since(s.swept) >= sweepEvery
	if due {
		s.swept = time.Now()
	}
	s.mu.Unlock()
	if !due {
		return
	}
	more := true
	for more {
		var err error
		more, err = s.sweepSome(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("expired holds not removed", "error", err)
		}
	}
}

// sweepSome removes at most sweepBatch expired holds. more reports whether there may be further ones.
func (s *holds) sweepSome(ctx context.Context) (more bool, err error) {
	err = s.ledger.Update(func(w *ledger.Writer) error {
		stored, seq, err := s.stored(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		writes := removals(stored, func(h storedHold) bool { return h.expired(now) })
		if len(writes) == 0 {
			return nil
		}
		what := fmt.Sprintf("%d expired freezes or locks removed", len(writes))
		err = s.commit(ctx, w, ledger.Act{By: "coordinator", What: what}, seq, writes)
		more = err == nil && len(writes) == sweepBatch
		return err
	})
	return more, err
}

// missing returns the error for lifting a hold that is not in force. Its hint lists those that
// are.
func (h hold) missing(stored []storedHold, now time.Time) error {
	var commands []string
	for _, other := range stored {
		if !other.expired(now) && other.Lock == h.Lock && len(commands) < listedHolds {
			commands = append(commands, "'"+other.command()+"'")
		}
	}
	state := "frozen"
	if h.Lock {
		state = "locked"
	}
	e := &api.Error{Code: api.CodeNotFound, Message: h.subject() + " is not " + state, Hint: "nothing is " + state}
	if len(commands) > 0 {
		e.Hint = "what can be lifted: " + strings.Join(commands, ", ")
	}
	return e
}

// subject names what the hold is on.
func (h hold) subject() string {
	subject := h.Scope
	if h.Scope == anyConfig {
		subject = "the whole fleet"
	}
	if h.Region != "" {
		subject += " in region " + h.Region
	}
	return subject
}

// config returns the config or the prefix for the journal; "" for all configs.
func (h hold) config() string {
	if h.Scope == anyConfig {
		return ""
	}
	return h.Scope
}

// act describes the put of the hold for the journal.
func (h hold) act() string {
	what := "froze "
	if h.Lock {
		what = "locked "
	}
	what += h.subject()
	if !h.Until.IsZero() {
		what += " until " + h.Until.UTC().Format(time.RFC3339)
	}
	return what
}

// lifted describes the end of the hold for the journal.
func (h hold) lifted() string {
	if h.Lock {
		return "unlocked " + h.subject()
	}
	return "lifted the freeze of " + h.subject()
}
