package coordinator

import (
	"context"

	"github.com/VictoriaMetrics/metrics"

	"banyan/body"
	"banyan/record"
	"banyan/shardstore"
)

// bodyServer serves the coordinator's versions to agents and to coordinators that follow. It
// implements transport.BodyServer.
type bodyServer struct {
	offers body.Server
	shards *shardstore.Store
	sent   *metrics.Counter // bytes of shards
}

// OpenBody implements transport.BodyServer.
func (s *bodyServer) OpenBody(ctx context.Context, want record.VersionKey, wish body.Wish) (body.Offer, error) {
	return s.offers.Open(ctx, want, wish)
}

// GetShard implements transport.BodyServer.
func (s *bodyServer) GetShard(key record.FormKey, n int, buf []byte) ([]byte, error) {
	shard, err := s.shards.Get(key, n, buf)
	if err == nil {
		s.sent.Add(len(shard))
	}
	return shard, err
}
