package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/forms"
	"banyan/record"
	"banyan/versionstore"
)

// uploads checks uploaded bodies and manifests. The CLI makes the same checks; the
// coordinator repeats them because another program may have made the upload.
type uploads struct {
	store   versionstore.Reader
	blobs   versionstore.Blobs
	library *library
	maxBody int64 // in bytes

	large sync.Mutex // held while a body over largeCheck is checked
}

// largeCheck is the size in bytes above which bodies are checked one at a time: the check of a
// body takes many times the memory of the body.
const largeCheck = 1 << 20

// checkSize refuses a body or a form over the limit.
func (u *uploads) checkSize(size int64) error {
	if size > u.maxBody {
		return fmt.Errorf("%w: a body of %d bytes, the limit of this coordinator is %d",
			record.ErrTooLarge, size, u.maxBody)
	}
	return nil
}

// check verifies the uploaded forms against the manifest, and validates the body against
// its content type and the schema of the config. It returns the guard that the schema stays as it is.
func (u *uploads) check(ctx context.Context, m record.Manifest) (versionstore.Guard, error) {
	for _, f := range m.Forms {
		if err := u.checkForm(ctx, m, f); err != nil {
			return versionstore.Guard{}, err
		}
	}
	schema, guard, err := schemaOf(ctx, u.store, m.Config)
	if err != nil {
		return guard, err
	}
	if m.BodySize > largeCheck {
		u.large.Lock()
		defer u.large.Unlock()
	}
	err = draft.CheckReader(m.ContentType, m.BodySize, schema, func() ([]byte, error) { return u.read(ctx, m) })
	return guard, err
}

// read returns the body of a version whose first form was uploaded.
func (u *uploads) read(ctx context.Context, m record.Manifest) ([]byte, error) {
	r, err := u.library.OpenBody(ctx, m)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// checkForm verifies the bytes of an uploaded form, the shard index, and that the form
// decodes to the body of m.
func (u *uploads) checkForm(ctx context.Context, m record.Manifest, f record.Form) error {
	r, size, err := u.blobs.Open(ctx, f.SHA256)
	if errors.Is(err, versionstore.ErrNotFound) {
		return &api.Error{
			Code:    api.CodeRejected,
			Message: fmt.Sprintf("body %s was not uploaded", f.SHA256),
			Hint:    "PUT /v1/bodies/{sha256} comes first",
		}
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if size != f.Size {
		return fmt.Errorf("%w: the manifest says %d bytes, the uploaded body has %d",
			errRequest, f.Size, size)
	}
	if _, err := forms.Verify(f, r); err != nil {
		return err
	}
	if f.Encoding == record.EncodingIdentity {
		return nil
	}
	base, err := u.baseOf(ctx, m, f)
	if err != nil {
		return err
	}
	encoded, _, err := u.blobs.Open(ctx, f.SHA256)
	if err != nil {
		return err
	}
	defer encoded.Close()
	return forms.Decode(m, f, encoded, base, io.Discard)
}

// baseOf returns the body that f is a delta to; nil if f is no delta.
func (u *uploads) baseOf(ctx context.Context, m record.Manifest, f record.Form) ([]byte, error) {
	if f.Base.IsZero() {
		return nil, nil
	}
	v, err := u.store.Version(ctx, m.Config, f.Base.Version)
	if err != nil {
		return nil, err
	}
	if v.Manifest.Ref() != f.Base {
		return nil, fmt.Errorf("%w: a delta to another version %d of %s than the stored one",
			errRequest, f.Base.Version, m.Config)
	}
	if v.Manifest.BodySize > record.MaxDelta {
		return nil, fmt.Errorf("%w: a delta to version %d, which has %d bytes; the limit is %d",
			errRequest, f.Base.Version, v.Manifest.BodySize, record.MaxDelta)
	}
	return u.read(ctx, v.Manifest)
}
