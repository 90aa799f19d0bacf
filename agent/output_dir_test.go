package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	remember(m)
	return m, raw
}

// made has the key of the last manifest that was made of each config and version.
var made sync.Map

func remember(m record.Manifest) {
	made.Store(record.VersionKey{Config: m.Config, Version: m.Version}, m.Key())
}

func newOutputDir(t testing.TB) *outputDir {
	output, err := openOutputDir(filepath.Join(t.TempDir(), "out"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// fill writes body as the first form of a version.
func fill(m record.Manifest, body string) func(*staging) error {
	return func(s *staging) error { return s.writeBody(m.Forms[0], strings.NewReader(body), nil) }
}

func (o *outputDir) put(tb testing.TB, config string, version uint64, body string) {
	tb.Helper()
	m, raw := manifestOf(tb, config, version, []byte(body))
	if err := o.stage(m, raw, fill(m, body)); err != nil {
		tb.Fatal(err)
	}
}

// present shows a version that is on disk.
func (o *outputDir) present(config string, version uint64) error {
	v := o.version(key(config, version))
	_, body, err := v.verify()
	if err != nil {
		return err
	}
	return o.config(config).show(v, body)
}

func (o *outputDir) shown(tb testing.TB, config string) string {
	tb.Helper()
	b, err := os.ReadFile(o.config(config).value())
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// check verifies a version that is on disk.
func check(o *outputDir, config string, version uint64) error {
	_, _, err := o.version(key(config, version)).verify()
	return err
}

// key returns the key of the last version of config with that number that manifestOf made, or
// the key of a version that nobody has.
func key(config string, version uint64) record.VersionKey {
	v := record.VersionKey{Config: config, Version: version}
	if last, ok := made.Load(v); ok {
		return last.(record.VersionKey)
	}
	if version != 0 {
		v.Digest = record.Sum([]byte(config))
	}
	return v
}

func TestStagingShowsNothingAndShowingIsOneSwap(t *testing.T) {
	output := newOutputDir(t)
	output.put(t, "a", 1, "one")
	if _, err := os.Stat(output.config("a").value()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a staged version shows: %v", err)
	}
	for _, v := range []uint64{1, 2, 1, 1} {
		output.put(t, "a", 2, "two")
		if err := output.present("a", v); err != nil {
			t.Fatal(err)
		}
		if got, want := output.shown(t, "a"), map[uint64]string{1: "one", 2: "two"}[v]; got != want {
			t.Errorf("version %d shows %q", v, got)
		}
	}
	if err := output.config("a").hide(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(output.config("a").value()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a hidden config shows: %v", err)
	}
}

// Configs nest: a and a/b are both configs, on the same path.
func TestAConfigMayLieUnderAnother(t *testing.T) {
	output := newOutputDir(t)
	for _, config := range []string{"a", "a/b", "a/b/c"} {
		output.put(t, config, 1, config)
		if err := output.present(config, 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, config := range []string{"a", "a/b", "a/b/c"} {
		if got := output.shown(t, config); got != config {
			t.Errorf("%s shows %q", config, got)
		}
	}
	if found, err := output.all(); err != nil || len(found) != 3 {
		t.Errorf("on disk: %v, %v", found, err)
	}
}

func TestABodyThatIsNotTheManifestsLeavesNothingBehind(t *testing.T) {
	output := newOutputDir(t)
	m, raw := manifestOf(t, "a", 1, []byte("good"))
	for _, body := range []string{"evil", "goo", "good and more", ""} {
		if err := output.stage(m, raw, fill(m, body)); !errors.Is(err, record.ErrChecksum) {
			t.Errorf("%q: got %v, want ErrChecksum", body, err)
		}
	}
	entries, err := os.ReadDir(string(output.config("a")))
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestCleanDeletesWhatACrashLeftHalfWritten(t *testing.T) {
	output := newOutputDir(t)
	output.put(t, "a/b", 3, "three")
	half := filepath.Join(string(output.config("a/b")), stagingPrefix+"123")
	if err := os.MkdirAll(half, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, valueFile), []byte("ha"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := output.clean(); err != nil {
		t.Fatal(err)
	}
	found, err := output.all()
	if err != nil || len(found) != 1 || found[0].key != key("a/b", 3) {
		t.Errorf("on disk: %v, %v", found, err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half-written version is still there: %v", err)
	}
}

func TestPruneKeepsTheShownVersionAndTheNewest(t *testing.T) {
	output := newOutputDir(t)
	for v := uint64(1); v <= 6; v++ {
		output.put(t, "a", v, "x")
	}
	removed, err := output.prune("a", func(held []record.Ref) map[record.Ref]bool { return keptVersions(held, nil, 3) }, func(v record.VersionKey) bool { return v.Version == 1 })
	if err != nil || len(removed) != 2 {
		t.Errorf("removed %v, %v", removed, err)
	}
	for v, want := range map[uint64]bool{1: true, 2: false, 3: false, 4: true, 5: true, 6: true} {
		if kept := check(output, "a", v) == nil; kept != want {
			t.Errorf("version %d kept: %v", v, kept)
		}
	}
}

func TestADamagedVersionIsNoticed(t *testing.T) {
	output := newOutputDir(t)
	output.put(t, "a", 1, "good")
	if err := os.WriteFile(output.version(key("a", 1)).value(), []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := check(output, "a", 1); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
	output.put(t, "a", 1, "good") // fetched again, it takes the damaged one's place
	if err := check(output, "a", 1); err != nil {
		t.Error(err)
	}
}

func TestAFullDiskIsSaid(t *testing.T) {
	output := newOutputDir(t)
	output.reserve = 1 << 60
	m, raw := manifestOf(t, "a", 1, []byte("x"))
	if err := output.stage(m, raw, fill(m, "x")); !errors.Is(err, diskspace.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
}

// Whatever the links say, a version counts as shown only if the path for programs leads to the
// verified file.
func TestTruthAVersionThatReadersDoNotSeeIsNotShown(t *testing.T) {
	output := newOutputDir(t)
	output.put(t, "a", 1, "one")
	v := output.version(key("a", 1))
	_, body, err := v.verify()
	if err != nil {
		t.Fatal(err)
	}
	output.put(t, "a", 1, "one") // another file comes between the check and the swap
	if err := output.config("a").show(v, body); !errors.Is(err, errNotShown) {
		t.Errorf("got %v, want errNotShown", err)
	}
	if err := output.present("a", 1); err != nil {
		t.Error(err)
	}
}
