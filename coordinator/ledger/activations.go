package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"banyan/record"
	"banyan/rollout/activation"
	"banyan/versionstore"
)

// kindActivations is the kind of the documents that hold the activation logs, by config and
// region.
const kindActivations = "activations"

// Activations returns what ran of config in region. The log is empty if nothing did.
func (l *Ledger) Activations(ctx context.Context, config, region string) (activation.Log, error) {
	log, _, err := l.activations(ctx, config, region)
	return log, err
}

// activations returns an activation log and the sequence of its document.
func (l *Ledger) activations(ctx context.Context, config, region string) (activation.Log, uint64, error) {
	d, err := l.Document(ctx, kindActivations, activationsName(config, region))
	if errors.Is(err, versionstore.ErrNotFound) {
		return activation.Log{}, 0, nil
	}
	if err != nil {
		return activation.Log{}, 0, err
	}
	log, err := activation.Decode(d.Raw)
	if err != nil {
		return log, d.Seq, fmt.Errorf("%s in region %s: %w", config, region, err)
	}
	return log, d.Seq, nil
}

// activationsName returns the document name of an activation log. A config has no space in its
// name.
func activationsName(config, region string) string { return config + " " + region }

// ForgetActivations returns the writes that delete the logs of a config whose versions are all removed:
// the numbers of its versions begin anew.
func (l *Ledger) ForgetActivations(
	ctx context.Context, config string, regions []string,
) ([]versionstore.DocumentWrite, error) {
	var writes []versionstore.DocumentWrite
	for _, region := range regions {
		name := activationsName(config, region)
		d, err := l.Document(ctx, kindActivations, name)
		if errors.Is(err, versionstore.ErrNotFound) {
			continue
		}
		if err != nil && !isUnreadable(err) {
			return nil, err
		}
		writes = append(writes, versionstore.DocumentWrite{Kind: kindActivations, Name: name, IfSeq: d.Seq})
	}
	return writes, nil
}

// NoteRan stores in the activation log of a region which versions of the pointer hosts have
// acknowledged to run, if the log says less, and that late ran although the pointer may not name them
// any more. A log that can't be read stays as it is.
func (l *Ledger) NoteRan(ctx context.Context, key record.PointerKey, late []record.Ref) error {
	return l.Update(func(w *Writer) error {
		p, err := l.Pointer(ctx, key.Config, key.Region)
		if errors.Is(err, versionstore.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		log, seq, err := l.activations(ctx, key.Config, key.Region)
		if isUnreadable(err) {
			return nil
		}
		if err != nil {
			return err
		}
		log, changed := log.Acknowledged(p.Pointer, l.ran(p.Pointer))
		log, changedLate := log.AcknowledgedLate(late)
		if !changed && !changedLate {
			return nil
		}
		write, err := writeOf(key, log, seq)
		if err != nil {
			return err
		}
		// Nobody asked for this write, so the journal has no entry for it.
		_, err = w.Commit(ctx, Act{By: "leader"}, Changes{Documents: []versionstore.DocumentWrite{write}})
		return err
	})
}

// writeOf returns the write of an activation log over the document with sequence seq.
func writeOf(key record.PointerKey, log activation.Log, seq uint64) (versionstore.DocumentWrite, error) {
	raw, err := log.Encode()
	return versionstore.DocumentWrite{
		Kind:  kindActivations,
		Name:  activationsName(key.Config, key.Region),
		Raw:   raw,
		IfSeq: seq,
	}, err
}

// logMoves returns the writes of the activation logs for moves at time now. A log that can't be
// read is begun anew, because it must not stop a pointer from moving.
func (l *Ledger) logMoves(
	ctx context.Context,
	moves []record.Pointer,
	now time.Time,
	cause activation.Cause,
) ([]versionstore.DocumentWrite, error) {
	var writes []versionstore.DocumentWrite
	for _, p := range moves {
		before, err := l.Pointer(ctx, p.Config, p.Region)
		if err != nil && !errors.Is(err, versionstore.ErrNotFound) {
			return nil, err
		}
		log, seq, err := l.activations(ctx, p.Config, p.Region)
		if isUnreadable(err) {
			l.log.Error("activation log begun anew", "config", p.Config, "of", p.Region, "error", err)
			err = nil
		}
		if err != nil {
			return nil, err
		}
		log = log.Moved(before.Pointer, p, l.ran(before.Pointer), now, cause)
		write, err := writeOf(p.Key(), log, seq)
		if err != nil {
			return nil, err
		}
		writes = append(writes, write)
	}
	return writes, nil
}

// isUnreadable reports whether err says that a stored document can't be read.
func isUnreadable(err error) bool {
	return errors.Is(err, record.ErrMalformed) || errors.Is(err, record.ErrTooLarge) ||
		errors.Is(err, versionstore.ErrCorrupt)
}
