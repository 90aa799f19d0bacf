package coordinator

import (
	"context"
	"fmt"
	"io"
	"os"

	"banyan/body"
	"banyan/fec"
	"banyan/forms"
	"banyan/record"
	"banyan/versionstore"
)

// library has the versions of a coordinator: manifests in the store, forms in the blobs. It
// implements body.Library.
type library struct {
	store versionstore.Reader
	blobs *versionstore.FileBlobs
}

// Manifest implements body.Library.
func (l *library) Manifest(ctx context.Context, v record.VersionKey) (record.Manifest, []byte, error) {
	stored, err := l.store.Version(ctx, v.Config, v.Version)
	if err == nil && stored.Manifest.Digest() != v.Digest {
		err = fmt.Errorf("%s version %d with manifest %s: %w", v.Config, v.Version, v.Digest, versionstore.ErrNotFound)
	}
	return stored.Manifest, stored.Raw, err
}

// Forms implements body.Library.
func (l *library) Forms(m record.Manifest) (set uint8) {
	for i, f := range m.Forms {
		if l.blobs.Has(f.SHA256) {
			set |= 1 << i
		}
	}
	return set
}

// OpenForm implements body.Library.
func (l *library) OpenForm(ctx context.Context, m record.Manifest, n uint8) (io.ReadCloser, error) {
	r, _, err := l.blobs.Open(ctx, m.Forms[n].SHA256)
	return r, err
}

// OpenBody implements body.Library. It decodes the first form of the version while the
// caller reads. Reading a form that is damaged on disk ends in record.ErrChecksum.
func (l *library) OpenBody(ctx context.Context, m record.Manifest) (io.ReadCloser, error) {
	f := m.Forms[0]
	encoded, err := l.OpenForm(ctx, m, 0)
	if err != nil || f.Encoding == record.EncodingIdentity {
		return encoded, err
	}
	r, w := io.Pipe()
	go func() {
		defer encoded.Close()
		w.CloseWithError(forms.Decode(m, f, encoded, nil, w))
	}()
	return r, nil
}

// load opens and verifies a form whose shards are to be served. It is a shardstore.Loader.
func (l *library) load(key record.FormKey) (*os.File, record.Form, fec.Index, error) {
	m, _, err := l.Manifest(context.Background(), key.VersionKey)
	if err != nil {
		return nil, record.Form{}, nil, err
	}
	f, err := body.FormOf(m, key.Form)
	if err != nil {
		return nil, record.Form{}, nil, err
	}
	file, err := l.blobs.OpenFile(f.SHA256)
	if err != nil {
		return nil, record.Form{}, nil, err
	}
	index, err := forms.Verify(f, file)
	if err != nil {
		file.Close()
		return nil, record.Form{}, nil, fmt.Errorf("form %d of %s version %d: %w", key.Form, key.Config, key.Version, err)
	}
	return file, f, index, nil
}
