package api

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"banyan/draft"
	"banyan/fec"
	"banyan/record"
)

// Draft is what a publisher wants to become the next version of a config.
type Draft struct {
	Config      string
	Body        []byte
	ContentType string
	Message     string
	// Parent, if not 0, is the version the draft was made from: publishing fails
	// with a conflict if it is no longer the last.
	Parent uint64
}

// Publish validates a draft, signs it as the version after the last, and stores
// it. It does not activate it. If another publisher comes first the error has
// CodeConflict and names who.
func (c *Client) Publish(ctx context.Context, d Draft, key record.Key) (Version, error) {
	if err := record.ValidateConfig(d.Config); err != nil {
		return Version{}, err
	}
	schema, err := c.Schema(ctx, d.Config)
	if err != nil {
		return Version{}, err
	}
	if err := draft.Check(d.ContentType, d.Body, schema); err != nil {
		return Version{}, err
	}
	parent := d.Parent
	if parent == 0 {
		last, err := c.Version(ctx, d.Config, 0)
		if err != nil && !IsCode(err, CodeNotFound) {
			return Version{}, err
		}
		parent = last.Version
	}
	signed, m, err := Sign(d, parent, key)
	if err != nil {
		return Version{}, err
	}
	if err := c.PutBody(ctx, m.BodySHA256, m.BodySize, bytes.NewReader(d.Body)); err != nil {
		return Version{}, fmt.Errorf("upload body: %w", err)
	}
	return c.PutVersion(ctx, d.Config, signed)
}

// Sign makes and signs the manifest of a draft that follows version parent.
func Sign(d Draft, parent uint64, key record.Key) ([]byte, record.Manifest, error) {
	size := int64(len(d.Body))
	geometry := fec.GeometryFor(size)
	index, sum, err := fec.BuildIndex(bytes.NewReader(d.Body), size, geometry)
	if err != nil {
		return nil, record.Manifest{}, err
	}
	m := record.Manifest{
		Config: d.Config, Version: parent + 1, Parent: parent, BodySize: size, BodySHA256: sum,
		Encoding: record.EncodingIdentity, Geometry: geometry, IndexSHA256: index.Digest(),
		ContentType: d.ContentType, Message: d.Message, TimeMillis: time.Now().UnixMilli(),
	}
	signed, err := record.SignManifest(m, key)
	return signed, m, err
}
