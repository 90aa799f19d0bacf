package agent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"banyan/fec"
	"banyan/internal/diskspace"
	"banyan/record"
)

var signer = record.KeyFromSeed([32]byte{5})

func manifestOf(t testing.TB, config string, version uint64, body []byte) (record.Manifest, []byte) {
	form, _, err := fec.FormOf(body)
	if err != nil {
		t.Fatal(err)
	}
	m := record.Manifest{Config: config, Version: version, Parent: version - 1, BodySize: int64(len(body)), BodySHA256: record.Sum(body),
		Forms: []record.Form{form}, ContentType: "text/plain"}
	raw, err := record.SignManifest(m, signer)
	if err != nil {
		t.Fatal(err)
	}
	return m, raw
}

func newTree(t testing.TB) *tree {
	tr, err := openTree(filepath.Join(t.TempDir(), "out"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func (t *tree) put(tb testing.TB, config string, version uint64, body string) {
	tb.Helper()
	m, raw := manifestOf(tb, config, version, []byte(body))
	if err := t.stage(m, raw, func(dir string) error { return t.writeBody(dir, m, m.Forms[0], bytes.NewReader([]byte(body)), nil) }); err != nil {
		tb.Fatal(err)
	}
}

func (t *tree) shown(tb testing.TB, config string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(t.dir(config), valueFile))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func key(config string, version uint64) record.VersionKey {
	return record.VersionKey{Config: config, Version: version}
}

func TestStagingShowsNothingAndShowingIsOneSwap(t *testing.T) {
	tr := newTree(t)
	tr.put(t, "a", 1, "one")
	if _, err := os.Stat(filepath.Join(tr.dir("a"), valueFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a staged version shows: %v", err)
	}
	for _, v := range []uint64{1, 2, 1, 1} {
		tr.put(t, "a", 2, "two")
		if err := tr.show(key("a", v)); err != nil {
			t.Fatal(err)
		}
		if got, want := tr.shown(t, "a"), map[uint64]string{1: "one", 2: "two"}[v]; got != want {
			t.Errorf("version %d shows %q", v, got)
		}
	}
	if err := tr.hide("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(tr.dir("a"), valueFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a hidden config shows: %v", err)
	}
}

// Configs nest: a and a/b are both configs, on the same path.
func TestAConfigMayLieUnderAnother(t *testing.T) {
	tr := newTree(t)
	for _, config := range []string{"a", "a/b", "a/b/c"} {
		tr.put(t, config, 1, config)
		if err := tr.show(key(config, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, config := range []string{"a", "a/b", "a/b/c"} {
		if got := tr.shown(t, config); got != config {
			t.Errorf("%s shows %q", config, got)
		}
	}
	if found, err := tr.scan(); err != nil || len(found) != 3 {
		t.Errorf("scan found %v, %v", found, err)
	}
}

func TestABodyThatIsNotTheManifestsLeavesNothingBehind(t *testing.T) {
	tr := newTree(t)
	m, raw := manifestOf(t, "a", 1, []byte("good"))
	for _, body := range []string{"evil", "goo", "good and more", ""} {
		if err := tr.stage(m, raw, func(dir string) error { return tr.writeBody(dir, m, m.Forms[0], bytes.NewReader([]byte(body)), nil) }); !errors.Is(err, record.ErrChecksum) {
			t.Errorf("%q: got %v, want ErrChecksum", body, err)
		}
	}
	entries, err := os.ReadDir(tr.dir("a"))
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestScanRemovesWhatACrashLeftHalfWritten(t *testing.T) {
	tr := newTree(t)
	tr.put(t, "a/b", 3, "three")
	half := filepath.Join(tr.dir("a/b"), stagingDir+"123")
	if err := os.MkdirAll(half, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, valueFile), []byte("ha"), 0o644); err != nil {
		t.Fatal(err)
	}
	found, err := tr.scan()
	if err != nil || len(found) != 1 || found[0] != key("a/b", 3) {
		t.Errorf("scan found %v, %v", found, err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half-written version is still there: %v", err)
	}
}

func TestPruneKeepsTheShownVersionAndTheNewest(t *testing.T) {
	tr := newTree(t)
	for v := uint64(1); v <= 6; v++ {
		tr.put(t, "a", v, "x")
	}
	removed, err := tr.prune("a", 3, func(v record.VersionKey) bool { return v.Version == 1 })
	if err != nil || len(removed) != 2 {
		t.Errorf("removed %v, %v", removed, err)
	}
	for v, want := range map[uint64]bool{1: true, 2: false, 3: false, 4: true, 5: true, 6: true} {
		if kept := tr.check(key("a", v)) == nil; kept != want {
			t.Errorf("version %d kept: %v", v, kept)
		}
	}
}

func TestADamagedVersionIsNoticed(t *testing.T) {
	tr := newTree(t)
	tr.put(t, "a", 1, "good")
	if err := os.WriteFile(filepath.Join(tr.versionPath(key("a", 1)), valueFile), []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := tr.check(key("a", 1)); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
	tr.put(t, "a", 1, "good") // fetched again, it takes the damaged one's place
	if err := tr.check(key("a", 1)); err != nil {
		t.Error(err)
	}
}

func TestAFullDiskIsSaid(t *testing.T) {
	tr := newTree(t)
	tr.reserve = 1 << 60
	m, raw := manifestOf(t, "a", 1, []byte("x"))
	if err := tr.stage(m, raw, func(dir string) error { return tr.writeBody(dir, m, m.Forms[0], bytes.NewReader([]byte("x")), nil) }); !errors.Is(err, diskspace.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
}

func TestCommittedEpochsNeverGoBack(t *testing.T) {
	dir := t.TempDir()
	s, err := openState(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	commit := func(epoch uint64) error {
		p := record.Pointer{Config: "a", Region: "eu", Epoch: epoch, Baseline: 1, Phase: record.PhaseActive, TimeMicros: 1}
		raw, err := record.SignPointer(p, signer)
		if err != nil {
			t.Fatal(err)
		}
		return s.commit([]committed{{Raw: raw, Revision: 10 * epoch, Version: 1, Watermark: 10*epoch - 1, pointer: p}})
	}
	for _, epoch := range []uint64{1, 5, 5} {
		if err := commit(epoch); err != nil {
			t.Fatal(err)
		}
	}
	if err := commit(4); !errors.Is(err, errStale) {
		t.Errorf("an older epoch was committed: %v", err)
	}
	if err := s.saveIndex(8); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if s, err = openState(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	rows, watermark, index, err := s.load()
	if err != nil || len(rows) != 1 || rows[0].pointer.Epoch != 5 || watermark != 49 || index != 8 {
		t.Errorf("loaded %+v, watermark %d, index %d, %v", rows, watermark, index, err)
	}
}

func FuzzDecodeCommitted(f *testing.F) {
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, b []byte) { decodeCommitted(b) })
}
