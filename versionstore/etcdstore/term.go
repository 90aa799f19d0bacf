package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"banyan/mesh/tree"
	"banyan/record"
	"banyan/versionstore"
)

// RaiseTerm implements versionstore.Store.
func (s *Store) RaiseTerm(ctx context.Context, atLeast uint64) (uint64, error) {
	for range maxAttempts {
		current, err := s.Term(ctx)
		if err != nil {
			return 0, err
		}
		next, err := termAfter(current, atLeast)
		if err != nil {
			return 0, err
		}
		key := s.keys.name(tagTerm, "")
		answer, err := s.write(ctx, txn{
			conditions: []clientv3.Cmp{clientv3.Compare(clientv3.Value(key), "=", text(current))},
			writes:     []clientv3.Op{clientv3.OpPut(key, text(next))},
		})
		if err != nil {
			return 0, err
		}
		if answer.Succeeded {
			return next, nil
		}
	}
	return 0, fmt.Errorf("%w: others raise the term all the time", versionstore.ErrUnavailable)
}

// termAfter returns the term after current, at least atLeast.
func termAfter(current, atLeast uint64) (uint64, error) {
	next := max(current+1, atLeast)
	if next > record.MaxTerm {
		return 0, fmt.Errorf("term %d: %w", next, record.ErrTooLarge)
	}
	return next, nil
}

// Lead implements versionstore.Store. The leader holds a key under a lease. It raises the term in the
// transaction that takes the key, unless the leader of the present term has resigned.
func (s *Store) Lead(ctx context.Context, name string) (*versionstore.Lead, error) {
	for {
		lead, err := s.tryLead(ctx, name)
		if lead != nil || err != nil {
			return lead, err
		}
		if err := s.awaitVacancy(ctx); err != nil {
			return nil, err
		}
	}
}

// tryLead makes the caller the leader. It returns nil if another process leads.
func (s *Store) tryLead(ctx context.Context, name string) (*versionstore.Lead, error) {
	request, cancel, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	lease, err := s.client.Grant(request, int64((s.leadTTL+time.Second-1)/time.Second))
	cancel()
	if err != nil {
		return nil, fmt.Errorf("%w: lease of the leader: %w", versionstore.ErrUnavailable, explained(err))
	}
	term, err := s.take(ctx, name, lease.ID)
	if err != nil || term == 0 {
		s.revoke(lease.ID)
		return nil, err
	}
	return s.hold(term, lease.ID)
}

// take takes the leader's key, and returns the term. It returns 0 if another process leads, or others
// change the term at the same time.
func (s *Store) take(ctx context.Context, name string, lease clientv3.LeaseID) (uint64, error) {
	leader, key, resigned := s.keys.name(tagLeader, ""), s.keys.name(tagTerm, ""), s.keys.name(tagResigned, "")
	answer, err := s.read(ctx, clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet(key), clientv3.OpGet(resigned)}, nil))
	if err != nil {
		return 0, err
	}
	current, err := termOf(answer.Txn().Responses[0].GetResponseRange().Kvs)
	if err != nil {
		return 0, err
	}
	term := current
	if kvs := answer.Txn().Responses[1].GetResponseRange().Kvs; len(kvs) == 0 || number(kvs[0].Value) != current {
		term, err = termAfter(current, 0)
		if err != nil {
			return 0, err
		}
	}
	taken, err := s.write(ctx, txn{
		conditions: []clientv3.Cmp{
			clientv3.Compare(clientv3.CreateRevision(leader), "=", 0),
			clientv3.Compare(clientv3.Value(key), "=", text(current)),
		},
		writes: []clientv3.Op{
			clientv3.OpPut(leader, name, clientv3.WithLease(lease)),
			clientv3.OpPut(key, text(term)),
			clientv3.OpDelete(resigned),
		},
	})
	if err != nil || !taken.Succeeded {
		return 0, err
	}
	return term, nil
}

// awaitVacancy waits until nobody holds the leader's key.
func (s *Store) awaitVacancy(ctx context.Context) error {
	leader := s.keys.name(tagLeader, "")
	answer, err := s.get(ctx, leader)
	if err != nil || len(answer.Kvs) == 0 {
		return err
	}
	watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	events := s.client.Watch(watch, leader, clientv3.WithRev(answer.Header.Revision+1), clientv3.WithFilterPut())
	select {
	case <-events: // the key is gone, or the watch failed: look again
	case <-s.done:
		return versionstore.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.pause(ctx)
}

// pause waits for a moment, so that a failing watch is not begun again and again.
func (s *Store) pause(ctx context.Context) error {
	select {
	case <-time.After(watchPause):
		return nil
	case <-s.done:
		return versionstore.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hold returns the lead of the holder of a lease, and keeps the lease alive.
func (s *Store) hold(term uint64, lease clientv3.LeaseID) (*versionstore.Lead, error) {
	ctx, cancel := context.WithCancel(context.Background())
	alive, err := s.client.KeepAlive(ctx, lease)
	if err != nil {
		cancel()
		s.revoke(lease)
		return nil, fmt.Errorf("%w: lease of the leader: %w", versionstore.ErrUnavailable, err)
	}
	lost := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		defer cancel()
		defer close(lost)
		for range alive {
		}
	})
	resign := func(ctx context.Context) error {
		cancel()
		ended.Wait()
		return s.resign(ctx, lease)
	}
	return &versionstore.Lead{Term: term, Lost: lost, Resign: resign}, nil
}

// resign ends the lead under a lease. The next leader need not raise the term: this one writes no more.
func (s *Store) resign(ctx context.Context, lease clientv3.LeaseID) error {
	leader := s.keys.name(tagLeader, "")
	answer, err := s.read(ctx, clientv3.OpTxn(nil, []clientv3.Op{
		clientv3.OpGet(leader),
		clientv3.OpGet(s.keys.name(tagTerm, "")),
	}, nil))
	if errors.Is(err, versionstore.ErrClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	held := answer.Txn().Responses[0].GetResponseRange().Kvs
	term, err := termOf(answer.Txn().Responses[1].GetResponseRange().Kvs)
	if err != nil || len(held) == 0 || held[0].Lease != int64(lease) {
		return err // the lead has passed on
	}
	_, err = s.write(ctx, txn{
		conditions: []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(leader), "=", held[0].ModRevision),
			clientv3.Compare(clientv3.Value(s.keys.name(tagTerm, "")), "=", text(term)),
		},
		writes: []clientv3.Op{
			clientv3.OpDelete(leader),
			clientv3.OpPut(s.keys.name(tagResigned, ""), text(term)),
		},
	})
	s.revoke(lease)
	return err
}

// revoke ends a lease. A lease that can't be revoked expires.
func (s *Store) revoke(lease clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	s.client.Revoke(ctx, lease)
}

// ReserveIndices implements versionstore.Store.
func (s *Store) ReserveIndices(ctx context.Context, region string) (uint32, error) {
	for i := range uint32(tree.IndexBlocks) {
		block := (s.firstBlock + i) % tree.IndexBlocks
		key := s.keys.numbered(tagIndices, region, uint64(block))
		answer, err := s.write(ctx, txn{
			conditions: []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
			writes:     []clientv3.Op{clientv3.OpPut(key, "")},
		})
		if err != nil {
			return 0, err
		}
		if answer.Succeeded {
			return block * tree.IndexBlock, nil
		}
	}
	return 0, fmt.Errorf("the %d agent indices of region %s are used up", tree.IndexBlocks*tree.IndexBlock, region)
}
