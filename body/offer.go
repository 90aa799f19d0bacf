package body

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"banyan/record"
)

// ErrMismatch is wrapped if an offer does not match the request.
var ErrMismatch = errors.New("offer does not match the request")

// Content is the kind of the bytes of an Offer.
type Content uint8

// The kinds of content. Their values travel in the header of a body stream.
const (
	ContentBody  Content = iota // the decoded body
	ContentForm                 // a form, in one piece
	ContentIndex                // the shard index of a form; the shards are requested separately
)

// Offer is the answer to a request for a version.
type Offer struct {
	// Signed is the manifest as signed by the publisher, not verified yet.
	Signed []byte
	// What is the kind of Bytes.
	What Content
	// Form is the number of the form; 0 for a body.
	Form uint8
	// Size is the length of Bytes.
	Size  int64
	Bytes io.Reader
}

// OfferIndex offers the index of form number n. The error wraps ErrNoForm if that form does
// not serve the wish.
func OfferIndex(signed []byte, n uint8, index []byte, wish Wish) (Offer, error) {
	m, err := record.DecodeManifest(signed)
	if err != nil {
		return Offer{}, err
	}
	if !wish.Serves(m, n) {
		return Offer{}, fmt.Errorf("%w: only form %d is on its way", ErrNoForm, n)
	}
	return Offer{
		Signed: signed,
		What:   ContentIndex,
		Form:   n,
		Size:   int64(len(index)),
		Bytes:  bytes.NewReader(index),
	}, nil
}

// FormOf returns form number n of m. The error wraps ErrMismatch if m has no form n.
func FormOf(m record.Manifest, n uint8) (record.Form, error) {
	if int(n) >= len(m.Forms) {
		return record.Form{}, fmt.Errorf("%w: %s version %d has no form %d", ErrMismatch, m.Config, m.Version, n)
	}
	return m.Forms[n], nil
}

// Verify checks the signature of the offered manifest under policy, that the manifest is of
// the version want, and that the manifest confirms the form and the size of the offer. Verify
// does not read Bytes.
//
// A decoded body is described by a form with the size and the hash of the body and the
// identity encoding.
func (o Offer) Verify(policy *record.Policy, want record.VersionKey) (Verified, error) {
	m, err := policy.VerifyManifestOf(o.Signed, want)
	if err != nil {
		return Verified{}, err
	}
	v := Verified{
		Offer:    o,
		Key:      record.FormKey{VersionKey: want, Form: o.Form},
		Manifest: m,
	}
	if o.What == ContentBody {
		v.Described = record.Form{Encoding: record.EncodingIdentity, Size: m.BodySize, SHA256: m.BodySHA256}
	} else {
		v.Described, err = FormOf(m, o.Form)
	}
	if err != nil {
		return Verified{}, err
	}
	if o.What != ContentIndex && o.Size != v.Described.Size {
		return Verified{}, fmt.Errorf("%w: the peer offers %d bytes, the manifest says %d",
			record.ErrChecksum, o.Size, v.Described.Size)
	}
	return v, nil
}
