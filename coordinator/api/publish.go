package api

import (
	"context"
	"crypto/sha256"
	"errors"
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
	File string
	// ContentType is the content type of the body. If it is empty, it is that of the newest
	// version. Of a first version it is what the name of the config says, as in app/flags.json,
	// else what the content is: JSON, or opaque bytes.
	ContentType string
	Message     string
	// Parent is the version from which the draft was made. If Parent is not the newest
	// version, Publish fails with a conflict. 0 means the newest version.
	Parent uint64
	// Force makes PublishAndStart store a version even if the content is there already.
	Force bool
	// Progress, if not nil, is called during the upload with the number of bytes sent and
	// the number of bytes to send.
	Progress func(sent, total int64)
}

// Publish validates a draft, signs the next version, and stores the version without
// activating it. If another publisher came first, the error has CodeConflict and
// names the other publisher.
func (c *Client) Publish(ctx context.Context, d Draft, key record.Key) (Version, error) {
	d.Force = true
	p, err := c.publish(ctx, d, nil, key, false)
	return p.Version, err
}

// PublishAndStart validates a draft, signs the next version, and stores the version and starts
// its rollout in one transaction. If start is nil, it only stores the version. All checks are
// made before the upload: the plan, the regions, holds, and whether the content is there
// already. After an error nothing is stored, unless the error wraps ErrUnsure.
func (c *Client) PublishAndStart(ctx context.Context, d Draft, start *StartRollout, key record.Key) (Published, error) {
	return c.publish(ctx, d, start, key, true)
}

func (c *Client) publish(
	ctx context.Context,
	d Draft,
	start *StartRollout,
	key record.Key,
	check bool,
) (Published, error) {
	if err := record.ValidateConfig(d.Config); err != nil {
		return Published{}, err
	}
	dir, err := os.MkdirTemp("", "banyan-publish-")
	if err != nil {
		return Published{}, err
	}
	defer os.RemoveAll(dir)
	if err := d.toFile(dir); err != nil {
		return Published{}, err
	}
	schema, err := c.Schema(ctx, d.Config)
	if err != nil {
		return Published{}, err
	}
	last, err := c.Version(ctx, d.Config, 0)
	if err != nil && !IsCode(err, CodeNotFound) {
		return Published{}, err
	}
	if err := d.check(last, schema); err != nil {
		return Published{}, err
	}
	if check {
		same, err := c.checkDraft(ctx, d, start)
		if err != nil || same.Unchanged {
			return same, err
		}
	}
	if d.Parent == 0 {
		d.Parent = last.Version
	}
	base, err := c.baseFor(ctx, d, last)
	if err != nil {
		return Published{}, err
	}
	signed, _, made, err := d.sign(dir, base, key)
	if err != nil {
		return Published{}, err
	}
	if err := c.upload(ctx, d, made); err != nil {
		return Published{}, fmt.Errorf("upload body: %w", err)
	}
	p, err := c.PutPublication(ctx, d.Config, PutVersion{Signed: signed, Start: start, IfChanged: !d.Force})
	return p, orUnsure(err, "it is not known whether the version is stored")
}

// check sets the content type of a draft, if it is empty, and validates the body.
func (d *Draft) check(last Version, schema []byte) error {
	switch {
	case d.ContentType != "":
		return draft.CheckFile(d.ContentType, d.File, schema)
	case last.ContentType == "":
		d.ContentType = draft.TypeOf(d.Config)
		if d.ContentType == draft.TypeAny {
			guessed, err := draft.TypeOfFile(d.File)
			if err != nil {
				return err
			}
			d.ContentType = guessed
		}
		return draft.CheckFile(d.ContentType, d.File, schema)
	}
	d.ContentType = last.ContentType
	err := draft.CheckFile(d.ContentType, d.File, schema)
	var rejection *draft.Rejection
	if errors.As(err, &rejection) {
		return fmt.Errorf("%w (checked as %s, the content type of version %d)", err, d.ContentType, last.Version)
	}
	return err
}

// checkDraft asks the coordinator for the checks of a publication. If the content is there
// already, it returns the version and the rollout with the content.
func (c *Client) checkDraft(ctx context.Context, d Draft, start *StartRollout) (Published, error) {
	in := Check{Start: start, ContentType: d.ContentType, IfChanged: !d.Force}
	f, err := os.Open(d.File)
	if err != nil {
		return Published{}, err
	}
	defer f.Close()
	sum := sha256.New()
	in.BodySize, err = io.Copy(sum, f)
	if err != nil {
		return Published{}, err
	}
	in.BodySHA256 = record.Digest(sum.Sum(nil))
	checked, err := c.Check(ctx, d.Config, in)
	if err != nil || !checked.Unchanged {
		return Published{}, err
	}
	v, err := c.Version(ctx, d.Config, checked.Version)
	if err != nil {
		return Published{}, err
	}
	out := Published{Version: v, Unchanged: true, Live: checked.Live}
	if checked.Rollout == 0 {
		return out, nil
	}
	r, err := c.Rollout(ctx, d.Config)
	if err == nil && r.ID == checked.Rollout {
		out.Rollout = &r
	}
	return out, err
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
	body, err := forms.ReadBase(last.Ref(), r)
	if err == nil && record.Sum(body) != last.BodySHA256 {
		err = fmt.Errorf("%s version %d: %w", d.Config, last.Version, record.ErrChecksum)
	}
	return &forms.Base{Version: last.Ref(), Body: body}, err
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
