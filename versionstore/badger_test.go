package versionstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banyan/internal/diskspace/disktest"
	"banyan/internal/embeddb"
	"banyan/record"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

func TestBadgerKeepsTheContract(t *testing.T) {
	dirs := map[versionstore.Store]string{}
	open := func(t *testing.T, dir string) versionstore.Store {
		s, err := versionstore.OpenBadger(dir, embeddb.Options{})
		if err != nil {
			t.Fatal(err)
		}
		dirs[s] = dir
		t.Cleanup(func() { s.Close() })
		return s
	}
	storetest.Run(t,
		func(t *testing.T) versionstore.Store { return open(t, t.TempDir()) },
		func(t *testing.T, s versionstore.Store) versionstore.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, dirs[s])
		})
}

func TestReplicaKeepsTheNewestEpochAndTheLeadersRevisions(t *testing.T) {
	s, err := versionstore.OpenBadger(t.TempDir(), embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sign, ctx := storetest.NewSigner(), t.Context()
	m, rawManifest, _ := sign.Manifest(t, "a", 7) // versions 1 to 6 are never imported
	for range 2 {
		if err := s.ImportManifest(ctx, m, rawManifest, 50); err != nil {
			t.Fatal(err)
		}
	}
	for _, epoch := range []uint64{3, 9, 5} {
		p, raw := sign.Pointer(t, "a", "eu", epoch, 7)
		if err := s.ImportPointer(ctx, p, raw, 100+epoch); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Pointers(ctx, "eu", 0, 0)
	if err != nil || len(got) != 1 || got[0].Pointer.Epoch != 9 || got[0].Revision != 109 {
		t.Errorf("pointers: %+v, %v; want epoch 9 at revision 109", got, err)
	}
	if v, err := s.Version(ctx, "a", 0); err != nil || v.Manifest.Version != 7 {
		t.Errorf("version: %+v, %v", v, err)
	}
}

func TestAStoreInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := versionstore.OpenBadger(dir, embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := versionstore.OpenBadger(dir, embeddb.Options{}); !errors.Is(err, embeddb.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
}

// Opening a store with a truncated file either fails with an error that says what to do, or
// gives a store with all of its data. It never crashes the process.
func TestATruncatedStoreIsRefusedOrWhole(t *testing.T) {
	pristine := t.TempDir()
	fill(t, pristine, 30)
	files, err := filepath.Glob(filepath.Join(pristine, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if name := filepath.Base(f); strings.HasSuffix(name, ".sst") || name == "MANIFEST" {
			t.Run(name, func(t *testing.T) { openTruncated(t, pristine, name) })
		}
	}
	if err := os.Remove(filepath.Join(pristine, "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	if _, err := versionstore.OpenBadger(pristine, embeddb.Options{}); !errors.Is(err, embeddb.ErrCorrupt) {
		t.Errorf("without its MANIFEST: %v, want ErrCorrupt", err)
	}
}

func fill(t *testing.T, dir string, versions uint64) {
	s, err := versionstore.OpenBadger(dir, embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sign := storetest.NewSigner()
	for n := uint64(1); n <= versions; n++ {
		m, raw, _ := sign.Manifest(t, "a", n)
		if _, err := storetest.PutManifest(t.Context(), s, m, raw, "tester"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func openTruncated(t *testing.T, pristine, name string) {
	for _, share := range []int64{0, 50, 90} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(pristine)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()*share/100); err != nil {
			t.Fatal(err)
		}
		s, err := versionstore.OpenBadger(dir, embeddb.Options{})
		if err != nil {
			if !errors.Is(err, embeddb.ErrCorrupt) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("cut to %d%%: %v; want ErrCorrupt and a hint", share, err)
			}
			continue
		}
		if h, err := s.History(context.Background(), "a", 0, 0); len(h) != 30 && !errors.Is(err, versionstore.ErrCorrupt) {
			t.Errorf("cut to %d%%: opened with %d of 30 versions, %v", share, len(h), err)
		}
		s.Close()
	}
}

// A process that was killed leaves a truncated table that no MANIFEST names, or a log of
// length 0. Neither is damage. (Found by the kill test on a loaded machine.)
func TestFilesLeftByAKilledProcessAreNoDamage(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 30)
	for name, content := range map[string][]byte{"000900.sst": nil, "000901.sst": []byte("half a table"), "000902.vlog": nil, "00903.mem": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := versionstore.OpenBadger(dir, embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if h, err := s.History(t.Context(), "a", 0, 0); err != nil || len(h) != 30 {
		t.Errorf("%d versions, %v", len(h), err)
	}
}

// smallDisk mounts a tmpfs. The test is skipped without the right to mount.
func smallDisk(t *testing.T, size string) string {
	dir := t.TempDir()
	disktest.Mount(t, dir, size)
	return dir
}

func TestBlobsAreWholeOrAbsent(t *testing.T) {
	dir := t.TempDir()
	blobs, err := versionstore.OpenFileBlobs(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, body := t.Context(), []byte("the body")
	digest := record.Sum(body)
	for name, put := range map[string]error{
		"wrong hash": blobs.Put(ctx, record.Sum([]byte("other")), int64(len(body)), bytes.NewReader(body)),
		"too short":  blobs.Put(ctx, digest, int64(len(body)), bytes.NewReader(body[1:])),
		"too long":   blobs.Put(ctx, digest, int64(len(body)), bytes.NewReader(append(body[:len(body):len(body)], 'x'))),
	} {
		if !errors.Is(put, record.ErrChecksum) {
			t.Errorf("%s: %v, want ErrChecksum", name, put)
		}
	}
	if err := blobs.Put(ctx, digest, record.MaxBody+1, bytes.NewReader(body)); !errors.Is(err, record.ErrTooLarge) {
		t.Errorf("oversized: %v", err)
	}
	if _, _, err := blobs.Open(ctx, digest); !errors.Is(err, versionstore.ErrNotFound) {
		t.Errorf("a refused body is there: %v", err)
	}
	for range 2 {
		if err := blobs.Put(ctx, digest, int64(len(body)), bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	if got := readBlob(t, blobs, digest); !bytes.Equal(got, body) {
		t.Errorf("read %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "tmp", "*")); len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func TestADamagedBlobIsNoticedAndReplaced(t *testing.T) {
	dir := t.TempDir()
	blobs, err := versionstore.OpenFileBlobs(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("the body")
	digest := record.Sum(body)
	if err := blobs.Put(t.Context(), digest, int64(len(body)), bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, digest.String()[:2], digest.String())
	if err := os.WriteFile(path, []byte("THE BODY"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, _, err := blobs.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("reading a damaged body: %v, want ErrChecksum", err)
	}
	r.Close()
	if err := blobs.Put(t.Context(), digest, int64(len(body)), bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	if got := readBlob(t, blobs, digest); !bytes.Equal(got, body) {
		t.Errorf("after putting it again: %q", got)
	}
}

func readBlob(t *testing.T, b *versionstore.FileBlobs, d record.Digest) []byte {
	r, _, err := b.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
