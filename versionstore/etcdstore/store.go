package etcdstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"banyan/mesh/tree"
	"banyan/versionstore"
)

// Config says where a store is, and how long requests take. Only Endpoints is required.
type Config struct {
	// Endpoints are the addresses of etcd's members, HOST:PORT or URLs.
	Endpoints []string
	// Prefix begins the name of every key of the store; default "/banyan/".
	Prefix string
	// TLS is the configuration of connections to members; nil means connections without TLS.
	TLS *tls.Config
	// Username and Password authenticate the client; empty for a cluster without authentication.
	Username, Password string
	// Timeout is the time for a request; default 5 s.
	Timeout time.Duration
	// LeadTTL is the time after which a leader that is not heard of loses the lead, at least 2 s; default 5 s.
	LeadTTL time.Duration
}

// Store is a version store in etcd. Methods are safe for concurrent use.
type Store struct {
	client     *clientv3.Client
	keys       keys
	timeout    time.Duration
	leadTTL    time.Duration
	operations int    // that etcd takes in one transaction
	firstBlock uint32 // the block of agent indices to reserve first, if it is free

	closing sync.Once
	done    chan struct{} // closed when the store is closed
}

var _ versionstore.Store = (*Store)(nil)

// Open connects to etcd, and begins a store under the prefix if there is none. It needs a majority of
// the members.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		TLS:                  cfg.TLS,
		Username:             cfg.Username,
		Password:             cfg.Password,
		DialTimeout:          cmp.Or(cfg.Timeout, defaultTimeout),
		DialKeepAliveTime:    keepAlive,
		DialKeepAliveTimeout: keepAlive,
		Logger:               zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	s := &Store{
		client:     client,
		keys:       keys(cmp.Or(cfg.Prefix, "/banyan/")),
		timeout:    cmp.Or(cfg.Timeout, defaultTimeout),
		leadTTL:    max(cmp.Or(cfg.LeadTTL, defaultLeadTTL), 2*time.Second),
		firstBlock: rand.Uint32N(tree.IndexBlocks),
		done:       make(chan struct{}),
	}
	err = s.begin(ctx)
	if err == nil {
		err = s.probe(ctx)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("etcd at %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	return s, nil
}

// begin begins the first term of a new store. Nobody has led in it, so the first leader need not raise it.
func (s *Store) begin(ctx context.Context) error {
	term := s.keys.name(tagTerm, "")
	_, err := s.write(ctx, txn{
		conditions: []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(term), "=", 0)},
		writes: []clientv3.Op{
			clientv3.OpPut(term, text(1)),
			clientv3.OpPut(s.keys.name(tagResigned, ""), text(1)),
		},
	})
	if errors.Is(err, versionstore.ErrUnknown) {
		return fmt.Errorf("%w: %w", versionstore.ErrUnavailable, err)
	}
	return err
}

// probe finds out how many operations etcd takes in one transaction: no request of etcd's says so.
func (s *Store) probe(ctx context.Context) error {
	term := s.keys.name(tagTerm, "")
	for _, n := range []int{versionstore.MaxOperations, versionstore.FewOperations} {
		exists := clientv3.Compare(clientv3.CreateRevision(term), ">", 0)
		_, err := s.write(ctx, txn{conditions: slices.Repeat([]clientv3.Cmp{exists}, n)})
		if err == nil {
			s.operations = n
			return nil
		}
		if !errors.Is(err, rpctypes.ErrTooManyOps) {
			return err
		}
	}
	return fmt.Errorf("etcd takes less than %d operations in a transaction; start it with --max-txn-ops=%d",
		versionstore.FewOperations, versionstore.MaxOperations)
}

// Close implements versionstore.Store.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.done)
		err = s.client.Close()
	})
	return err
}

// txn is a transaction of etcd.
type txn struct {
	conditions []clientv3.Cmp
	writes     []clientv3.Op
	reads      []clientv3.Op // if a condition does not hold
}

// start returns the context of a request. It returns an error if the request need not be sent.
func (s *Store) start(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	select {
	case <-s.done:
		return nil, nil, versionstore.ErrClosed
	default:
	}
	// A member without a leader refuses such a request at once.
	request, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), s.timeout)
	return request, cancel, nil
}

// write sends a transaction that writes.
func (s *Store) write(ctx context.Context, t txn) (*clientv3.TxnResponse, error) {
	request, cancel, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	answer, err := s.client.Txn(request).If(t.conditions...).Then(t.writes...).Else(t.reads...).Commit()
	if err == nil {
		return answer, nil
	}
	if refused(err) {
		return nil, fmt.Errorf("%w: %w", versionstore.ErrUnavailable, explained(err))
	}
	// The context's own error says who gave up.
	return nil, fmt.Errorf("%w: %w", versionstore.ErrUnknown, errors.Join(explained(err), ctx.Err()))
}

// read sends a request that only reads.
func (s *Store) read(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	request, cancel, err := s.start(ctx)
	if err != nil {
		return clientv3.OpResponse{}, err
	}
	defer cancel()
	answer, err := s.client.Do(request, op)
	switch {
	case err == nil, errors.Is(err, rpctypes.ErrCompacted):
		return answer, err
	case ctx.Err() != nil:
		return answer, ctx.Err()
	}
	return answer, fmt.Errorf("%w: %w", versionstore.ErrUnavailable, explained(err))
}

// get reads one key; the row is nil if there is none.
func (s *Store) get(ctx context.Context, key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	answer, err := s.read(ctx, clientv3.OpGet(key, options...))
	if err != nil {
		return nil, err
	}
	return answer.Get(), nil
}

// refused reports whether etcd refused a request before it could have an effect.
func refused(err error) bool {
	if errors.Is(err, rpctypes.ErrNoLeader) {
		return true // see WithRequireLeader
	}
	switch codeOf(err) {
	case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition,
		codes.ResourceExhausted, codes.OutOfRange:
		return true
	}
	return false
}

func codeOf(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}

// explained adds what to do to an error of etcd.
func explained(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w; compact and defragment etcd, then disarm its alarm (etcdctl alarm disarm), or raise its quota", err)
	case errors.Is(err, rpctypes.ErrNoLeader):
		return fmt.Errorf("%w: less than a majority of etcd's members is up", err)
	case errors.Is(err, rpctypes.ErrPermissionDenied), errors.Is(err, rpctypes.ErrAuthFailed):
		return fmt.Errorf("%w; give etcd's user the role to read and write the store's prefix", err)
	}
	return err
}
