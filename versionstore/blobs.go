package versionstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"banyan/internal/atomicfile"
	"banyan/internal/diskspace"
	"banyan/record"
)

// Blobs stores bodies under their SHA-256. A stored body never changes.
type Blobs interface {
	// Put reads size bytes and stores them under digest. It returns record.ErrChecksum if
	// the bytes have another hash. If an undamaged body is stored under digest already,
	// Put writes nothing and returns nil.
	Put(ctx context.Context, digest record.Digest, size int64, body io.Reader) error
	// Open opens a body for reading and returns its size, or ErrNotFound. If the stored
	// bytes are damaged, the read of the last byte returns record.ErrChecksum.
	Open(ctx context.Context, digest record.Digest) (io.ReadCloser, int64, error)
}

// FileBlobs stores each body as a file named dir/ab/abcdef….
type FileBlobs struct {
	dir     string
	reserve int64
	sync    func(path string) error // makes a file or a directory durable
}

var _ Blobs = (*FileBlobs)(nil)

// OpenFileBlobs opens or creates the blob store in dir. A write fails if fewer than reserve
// bytes would stay free on the disk; reserve 0 means 32 MiB.
func OpenFileBlobs(dir string, reserve int64) (*FileBlobs, error) {
	if reserve == 0 {
		reserve = 32 << 20
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o700); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	// A file in tmp was being written when an earlier process died.
	stale, err := filepath.Glob(filepath.Join(dir, "tmp", "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range stale {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("open blob store: %w", err)
		}
	}
	return &FileBlobs{dir: dir, reserve: reserve, sync: atomicfile.SyncPath}, nil
}

func (b *FileBlobs) path(d record.Digest) string {
	name := d.String()
	return filepath.Join(b.dir, name[:2], name)
}

// Put implements Blobs. It writes a temporary file, syncs the file, renames it and syncs
// the directory. A body that is there is synced, too: a process may have died after the
// rename.
func (b *FileBlobs) Put(ctx context.Context, digest record.Digest, size int64, body io.Reader) (err error) {
	if size < 0 || size > record.MaxBody {
		return fmt.Errorf("%w: a body of %d bytes, the limit is %d", record.ErrTooLarge, size, record.MaxBody)
	}
	if b.whole(ctx, digest, size) {
		return b.settle(digest)
	}
	if err := diskspace.Check(b.dir, size, b.reserve); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Join(b.dir, "tmp"), "put-*")
	if err != nil {
		return fmt.Errorf("store body: %w", err)
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(tmp, sum), io.LimitReader(body, size+1))
	if err != nil {
		return fmt.Errorf("store body: %w", err)
	}
	if n != size || record.Digest(sum.Sum(nil)) != digest {
		return fmt.Errorf("%w: got %d bytes, want %d bytes with the SHA-256 %s", record.ErrChecksum, n, size, digest)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return fmt.Errorf("store body: %w", err)
	}
	return b.Adopt(tmp.Name(), digest)
}

// Has reports whether a body is stored. It does not check the bytes.
func (b *FileBlobs) Has(digest record.Digest) bool {
	_, err := os.Stat(b.path(digest))
	return err == nil
}

// OpenFile opens a body for reading at any offset. The caller must verify the bytes.
func (b *FileBlobs) OpenFile(digest record.Digest) (*os.File, error) {
	f, err := os.Open(b.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("body %s: %w", digest, ErrNotFound)
	}
	return f, err
}

// Adopt moves the file at path into the store. The file must be on the same disk, and the
// caller must have synced it and verified its bytes.
func (b *FileBlobs) Adopt(path string, digest record.Digest) error {
	final := b.path(digest)
	if err := os.MkdirAll(filepath.Dir(final), 0o700); err != nil {
		return fmt.Errorf("store body: %w", err)
	}
	if err := os.Rename(path, final); err != nil {
		return fmt.Errorf("store body: %w", err)
	}
	if err := b.sync(filepath.Dir(final)); err != nil {
		return err
	}
	return b.sync(b.dir)
}

// settle makes the file of a stored body durable, and young, so that Collect does not take the file
// for a forgotten one before a version names it.
func (b *FileBlobs) settle(digest record.Digest) error {
	path := b.path(digest)
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil {
		return fmt.Errorf("store body: %w", err)
	}
	for _, p := range []string{path, filepath.Dir(path), b.dir} {
		if err := b.sync(p); err != nil {
			return fmt.Errorf("store body: %w", err)
		}
	}
	return nil
}

// whole reports whether a body of size bytes is stored and undamaged.
func (b *FileBlobs) whole(ctx context.Context, digest record.Digest, size int64) bool {
	r, held, err := b.Open(ctx, digest)
	if err != nil {
		return false
	}
	defer r.Close()
	if held != size {
		return false
	}
	_, err = io.Copy(io.Discard, r)
	return err == nil
}

// Collect deletes the bodies that were stored before a time and for which used is false. It calls
// take for each of them with its size in bytes, and deletes it if take returns true. A file that is no
// body is left alone.
func (b *FileBlobs) Collect(
	ctx context.Context, before time.Time, used func(record.Digest) bool, take func(size int64) bool,
) error {
	paths, err := filepath.Glob(filepath.Join(b.dir, "??", "*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		digest, err := record.ParseDigest(filepath.Base(path))
		if err != nil || path != b.path(digest) || used(digest) {
			continue
		}
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || !info.ModTime().Before(before) || !take(info.Size()) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("delete body: %w", err)
		}
	}
	return nil
}

// Open implements Blobs.
func (b *FileBlobs) Open(_ context.Context, digest record.Digest) (io.ReadCloser, int64, error) {
	f, err := os.Open(b.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("body %s: %w", digest, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open body: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("open body: %w", err)
	}
	return &checkedReader{f: f, want: digest, sum: sha256.New()}, info.Size(), nil
}

// checkedReader reads a body and returns record.ErrChecksum at the end if its hash is not
// want.
type checkedReader struct {
	f    *os.File
	want record.Digest
	sum  hash.Hash
}

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	r.sum.Write(p[:n])
	if err == io.EOF && record.Digest(r.sum.Sum(nil)) != r.want {
		return n, fmt.Errorf("stored body %s: %w", r.want, record.ErrChecksum)
	}
	return n, err
}

func (r *checkedReader) Close() error { return r.f.Close() }
