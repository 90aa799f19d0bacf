package versionstore

import (
	"context"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
)

// watchBatch bounds how many events are held in memory between two reads.
const watchBatch = 256

// Watch implements Store.
func (b *Badger) Watch(ctx context.Context, since uint64, fn func(Event) error) error {
	for {
		b.mu.Lock()
		changed := b.changed // taken before reading, so that no write slips between
		b.mu.Unlock()
		for {
			events, err := b.eventsAfter(ctx, since)
			if err != nil {
				return err
			}
			for _, e := range events {
				if err := fn(e); err != nil {
					return err
				}
				since = e.Revision
			}
			if len(events) < watchBatch {
				break
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-b.done:
			return ErrClosed
		}
	}
}

func (b *Badger) eventsAfter(ctx context.Context, since uint64) ([]Event, error) {
	var events []Event
	err := b.read(ctx, func(txn *badger.Txn) error {
		return embeddb.Scan(txn, []byte{tagLog}, encodeNumber(since+1), false, func(item *badger.Item) (bool, error) {
			e, err := readEvent(txn, item)
			if err != nil {
				return false, err
			}
			events = append(events, e)
			return len(events) < watchBatch, nil
		})
	})
	return events, err
}
