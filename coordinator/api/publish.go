package api

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"banyan/draft"
	"banyan/forms"
	"banyan/record"
)

// Draft is the next version of a config before it is published.
type Draft struct {
	Config string
	// Body is the content, if File is empty.
	Body []byte
	// File is the name of the file with the content. Publish reads the file as a stream,
	// unless the content type has to be validated.
	File        string
	ContentType string
	Message     string
	// Parent is the version from which the draft was made. If Parent is not the newest
	// version, Publish fails with a conflict. 0 means the newest version.
	Parent uint64
	// Progress, if not nil, is called during the upload with the number of bytes sent and
	// the number of bytes to send.
	Progress func(sent, total int64)
}

// Publish validates a draft, signs the next version, and stores the version without
// activating it. If another publisher came first, the error has CodeConflict and
// names the other publisher.
func (c *Client) Publish(ctx context.Context, d Draft, key record.Key) (Version, error) {
	if err := record.ValidateConfig(d.Config); err != nil {
		return Version{}, err
	}
	dir, err := os.MkdirTemp("", "banyan-publish-")
	if err != nil {
		return Version{}, err
	}
	defer os.RemoveAll(dir)
	if err := d.toFile(dir); err != nil {
		return Version{}, err
	}
	schema, err := c.Schema(ctx, d.Config)
	if err != nil {
		return Version{}, err
	}
	if err := draft.CheckFile(d.ContentType, d.File, schema); err != nil {
		return Version{}, err
	}
	last, err := c.Version(ctx, d.Config, 0)
	if err != nil && !IsCode(err, CodeNotFound) {
		return Version{}, err
	}
	if d.Parent == 0 {
		d.Parent = last.Version
	}
	base, err := c.baseFor(ctx, d, last)
	if err != nil {
		return Version{}, err
	}
	signed, _, made, err := d.sign(dir, base, key)
	if err != nil {
		return Version{}, err
	}
	if err := c.upload(ctx, d, made); err != nil {
		return Version{}, fmt.Errorf("upload body: %w", err)
	}
	return c.PutVersion(ctx, d.Config, signed)
}

// toFile writes a draft in memory to a file in dir.
func (d *Draft) toFile(dir string) error {
	if d.File != "" {
		return nil
	}
	d.File = filepath.Join(dir, "draft")
	return os.WriteFile(d.File, d.Body, 0o600)
}

// baseFor fetches version last as the base of a delta. It returns nil if a delta would not
// be worth the cost, or if the draft was made from another version.
func (c *Client) baseFor(ctx context.Context, d Draft, last Version) (*forms.Base, error) {
	info, err := os.Stat(d.File)
	if err != nil {
		return nil, err
	}
	if last.Version != d.Parent || last.Version == 0 || !forms.Worthwhile(info.Size(), last.BodySize) {
		return nil, nil
	}
	r, err := c.Body(ctx, d.Config, last.Version)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body, err := forms.ReadBase(last.Version, r)
	if err == nil && record.Sum(body) != last.BodySHA256 {
		err = fmt.Errorf("%s version %d: %w", d.Config, last.Version, record.ErrChecksum)
	}
	return &forms.Base{Version: last.Version, Body: body}, err
}

// sign makes the forms of a draft in dir, and signs the manifest.
func (d *Draft) sign(
	dir string,
	base *forms.Base,
	key record.Key,
) ([]byte, record.Manifest, []forms.Made, error) {
	made, size, sum, err := forms.Make(dir, d.File, base)
	if err != nil {
		return nil, record.Manifest{}, nil, err
	}
	m := record.Manifest{
		Config:      d.Config,
		Version:     d.Parent + 1,
		Parent:      d.Parent,
		BodySize:    size,
		BodySHA256:  sum,
		ContentType: d.ContentType,
		Message:     d.Message,
		TimeMillis:  time.Now().UnixMilli(),
	}
	for i := range made {
		m.Forms = append(m.Forms, made[i].Form)
	}
	signed, err := record.SignManifest(m, key)
	return signed, m, made, err
}

// upload sends the forms of a draft.
func (c *Client) upload(ctx context.Context, d Draft, made []forms.Made) error {
	p := &progress{tell: d.Progress}
	for i := range made {
		p.total += made[i].Size
	}
	for i := range made {
		err := c.PutBody(ctx, made[i].SHA256, made[i].Size, func() (io.ReadCloser, error) {
			f, err := made[i].Open(d.File)
			return progressFile{f, p}, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// progress counts the bytes of an upload that were read. After a redirect to the leader
// the bytes are read again, possibly before the first reading has ended. The count is
// limited to total.
type progress struct {
	tell  func(sent, total int64) // may be nil
	total int64

	mu   sync.Mutex // held during calls of tell
	sent int64      // guarded by mu
}

type progressFile struct {
	*os.File
	p *progress
}

func (f progressFile) Read(b []byte) (int, error) {
	n, err := f.File.Read(b)
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	f.p.sent = min(f.p.sent+int64(n), f.p.total)
	if f.p.tell != nil {
		f.p.tell(f.p.sent, f.p.total)
	}
	return n, err
}

// Sign returns the manifest of a draft as the version after parent, signed and as a value.
// It makes no delta and stores nothing.
func Sign(d Draft, parent uint64, key record.Key) ([]byte, record.Manifest, error) {
	dir, err := os.MkdirTemp("", "banyan-sign-")
	if err != nil {
		return nil, record.Manifest{}, err
	}
	defer os.RemoveAll(dir)
	if err := d.toFile(dir); err != nil {
		return nil, record.Manifest{}, err
	}
	d.Parent = parent
	signed, m, _, err := d.sign(dir, nil, key)
	return signed, m, err
}
