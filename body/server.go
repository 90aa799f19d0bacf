package body

import (
	"context"
	"fmt"
	"io"

	"banyan/mesh/swarm"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/shardstore"
)

// Library has the complete versions of a host.
type Library interface {
	// Manifest returns the manifest of a version, decoded and as signed.
	Manifest(ctx context.Context, v record.VersionKey) (m record.Manifest, signed []byte, err error)
	// Forms returns the set of forms of a version in the library: bit i is form i.
	Forms(m record.Manifest) uint8
	// OpenForm opens the bytes of form number n.
	OpenForm(ctx context.Context, m record.Manifest, n uint8) (io.ReadCloser, error)
	// OpenBody opens the decoded body of a version.
	OpenBody(ctx context.Context, m record.Manifest) (io.ReadCloser, error)
}

// Server offers the versions of a host to peers.
type Server struct {
	// Library has the complete versions.
	Library Library
	// Arriving has the forms on their way to this host, and the indices of
	// complete forms.
	Arriving *shardstore.Store
}

// Open offers the smallest form on this host that serves the wish. A form of at most
// swarm.WholeLimit bytes is offered in one piece; of a larger form the index is offered. If
// no form serves the wish, Open offers the decoded body, unless the wish is for forms only.
func (s *Server) Open(ctx context.Context, want record.VersionKey, wish Wish) (Offer, error) {
	if n, signed, index, ok := s.Arriving.Offer(want, wire.AnyForm); ok {
		return s.openArriving(ctx, n, signed, index, wish)
	}
	m, signed, err := s.Library.Manifest(ctx, want)
	if err != nil {
		return Offer{}, err
	}
	n, ok := Choose(m, s.Library.Forms(m), wish)
	switch {
	case ok && m.Forms[n].Size > swarm.WholeLimit && !wish.Whole:
		index, err := s.Arriving.Index(record.FormKey{VersionKey: want, Form: n})
		if err != nil {
			return Offer{}, err
		}
		return OfferIndex(signed, n, index, wish)
	case ok:
		return s.openForm(ctx, m, signed, n)
	case wish.FormOnly:
		return Offer{}, fmt.Errorf("%s version %d: %w", want.Config, want.Version, ErrNoForm)
	}
	r, err := s.Library.OpenBody(ctx, m)
	return Offer{Signed: signed, What: ContentBody, Size: m.BodySize, Bytes: r}, err
}

// openArriving offers a version with form n on the way. A coordinator may have a delta
// in the library before the larger form is complete; a small delta is offered instead.
func (s *Server) openArriving(ctx context.Context, n uint8, signed, index []byte, wish Wish) (Offer, error) {
	m, err := record.DecodeManifest(signed)
	if err != nil {
		return Offer{}, err
	}
	delta, ok := Choose(m, s.Library.Forms(m), wish)
	if ok && m.Forms[delta].Size <= swarm.WholeLimit {
		return s.openForm(ctx, m, signed, delta)
	}
	return OfferIndex(signed, n, index, wish)
}

// openForm offers form number n in one piece.
func (s *Server) openForm(ctx context.Context, m record.Manifest, signed []byte, n uint8) (Offer, error) {
	r, err := s.Library.OpenForm(ctx, m, n)
	return Offer{Signed: signed, What: ContentForm, Form: n, Size: m.Forms[n].Size, Bytes: r}, err
}
