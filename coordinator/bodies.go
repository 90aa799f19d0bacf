package coordinator

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/VictoriaMetrics/metrics"

	"banyan/body"
	"banyan/coordinator/api"
	"banyan/record"
	"banyan/shardstore"
	"banyan/transport/identity"
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

// getBlob sends the stored bytes of a form to a coordinator that follows.
func (c *Coordinator) getBlob(w http.ResponseWriter, r *http.Request) {
	digest, err := record.ParseDigest(r.PathValue("digest"))
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	blob, size, err := c.blobs.Open(r.Context(), digest)
	if err != nil {
		fail(w, toAPIError(err))
		return
	}
	defer blob.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if _, err := io.Copy(w, blob); err != nil {
		c.log.Warn("blob not sent", "digest", digest, "error", err)
	}
}

// putBody stores the uploaded bytes of a form.
func (c *Coordinator) putBody(r *http.Request, _ identity.Identity) (any, error) {
	digest, err := record.ParseDigest(r.PathValue("digest"))
	if err != nil {
		return nil, err
	}
	if r.ContentLength < 0 {
		return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("upload of %s: Content-Length is required", digest)}
	}
	if err := c.checkSize(r.ContentLength); err != nil {
		return nil, err
	}
	return nil, c.blobs.Put(r.Context(), digest, r.ContentLength, r.Body)
}
