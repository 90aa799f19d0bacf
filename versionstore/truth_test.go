package versionstore_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"banyan/internal/embeddb"
	"banyan/record"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

// killed returns a copy of a store with n acknowledged versions of "a", as a killed process leaves
// the store: the versions are in the log and not in a table.
func killed(t *testing.T, n uint64) string {
	t.Helper()
	dir := t.TempDir()
	s, err := versionstore.OpenBadger(dir, embeddb.Options{MemTable: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sign := storetest.NewSigner()
	for v := uint64(1); v <= n; v++ {
		m, raw, _ := sign.Manifest(t, "a", v)
		if _, err := storetest.PutManifest(t.Context(), s, m, raw, "tester"); err != nil {
			t.Fatal(err)
		}
	}
	return copied(t, dir)
}

func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// versionsIn returns the number of versions of "a" in the store in dir, or the error of opening
// the store.
func versionsIn(t *testing.T, dir string) (int, error) {
	t.Helper()
	s, err := versionstore.OpenBadger(dir, embeddb.Options{MemTable: 1 << 20})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	h, err := s.History(t.Context(), "a", 0, 0)
	if errors.Is(err, versionstore.ErrNotFound) {
		err = nil
	}
	return len(h), err
}

// flip changes one bit of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// A store with one flipped bit in the log has lost acknowledged writes. The store does not open
// without a word, and nothing is cut off; the operator may accept the loss.
func TestTruthAFlippedBitInTheLogIsReported(t *testing.T) {
	const acknowledged = 30
	pristine := killed(t, acknowledged)
	if n, err := versionsIn(t, copied(t, pristine)); n != acknowledged || err != nil {
		t.Fatalf("undamaged: %d versions, %v", n, err)
	}
	log := newestLog(t, pristine)
	for _, share := range []int64{0, 10, 50, 99} {
		dir := copied(t, pristine)
		path := filepath.Join(dir, filepath.Base(log))
		flip(t, path, logHeader+(usedOf(t, path)-logHeader)*share/100)
		before := content(t, path)
		_, err := versionsIn(t, dir)
		if !errors.Is(err, versionstore.ErrLost) || !strings.Contains(err.Error(), "accept-loss") ||
			!strings.Contains(err.Error(), "write 30 was acknowledged") {
			t.Errorf("a bit at %d%%: %v; want ErrLost, what is missing and what to do", share, err)
		}
		if share > 0 && !bytes.Equal(content(t, path), before) {
			t.Errorf("a bit at %d%%: the log was changed", share)
		}
		saved, err := versionstore.AcceptLoss(dir, embeddb.Options{MemTable: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := versionsIn(t, dir); n >= acknowledged || err != nil {
			t.Errorf("a bit at %d%%: after the loss was accepted: %d versions, %v", share, n, err)
		}
		if share > 0 && !bytes.Equal(content(t, filepath.Join(saved, filepath.Base(path))), before) {
			t.Errorf("a bit at %d%%: no copy of the damaged log", share)
		}
	}
}

// logHeader is the size of the header of a log.
const logHeader = 20

func newestLog(t *testing.T, dir string) string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	return logs[len(logs)-1]
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// usedOf returns the number of bytes of a log before the zeros at the end.
func usedOf(t *testing.T, path string) int64 {
	return int64(len(bytes.TrimRight(content(t, path), "\x00")))
}

// Whichever bit of a table flips: the store either does not open, or holds all that was
// acknowledged, or reports the damage to the reader.
func TestTruthAFlippedBitInATableIsReported(t *testing.T) {
	pristine := t.TempDir()
	fill(t, pristine, 30)
	tables, err := filepath.Glob(filepath.Join(pristine, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	info, err := os.Stat(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(1); at < info.Size(); at += info.Size()/40 + 1 {
		dir := copied(t, pristine)
		flip(t, filepath.Join(dir, filepath.Base(tables[0])), at)
		if n, err := versionsIn(t, dir); n != 30 && err == nil {
			t.Errorf("bit %d of a table: the store opens with %d of 30 versions", at, n)
		}
	}
}

// A crash between the commit and the mark leaves the mark behind the database. That is no loss.
func TestTruthACrashBeforeTheMarkIsNoAlarm(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 1)
	older := content(t, filepath.Join(dir, "MARK"))
	s, err := versionstore.OpenBadger(dir, embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, raw, _ := storetest.NewSigner().Manifest(t, "a", 2)
	if _, err := storetest.PutManifest(t.Context(), s, m, raw, "tester"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := os.WriteFile(filepath.Join(dir, "MARK"), older, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := versionsIn(t, dir); n != 2 || err != nil {
		t.Errorf("%d versions, %v", n, err)
	}
}

// Files of the store that are gone are a loss, also if all of them are gone.
func TestTruthMissingFilesAreReported(t *testing.T) {
	for what, remove := range map[string]string{"the mark": "MARK", "the logs": "*.mem", "the database": "[^M]*"} {
		dir := killed(t, 3)
		paths, err := filepath.Glob(filepath.Join(dir, remove))
		if err != nil || len(paths) == 0 {
			t.Fatal(paths, err)
		}
		if what == "the database" {
			paths = append(paths, filepath.Join(dir, "MANIFEST"))
		}
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := versionsIn(t, dir); !errors.Is(err, versionstore.ErrLost) {
			t.Errorf("without %s: %v, want ErrLost", what, err)
		}
	}
}

// A damaged mark is a loss that nobody can count. The error says what to do, and that works.
func TestTruthADamagedMarkSaysWhatToDo(t *testing.T) {
	for what, mark := range map[string][]byte{"damaged": make([]byte, 4112), "cut": []byte("x"), "empty": nil} {
		dir := killed(t, 3)
		if err := os.WriteFile(filepath.Join(dir, "MARK"), mark, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := versionsIn(t, dir)
		if !errors.Is(err, versionstore.ErrLost) || !strings.Contains(err.Error(), "MARK is damaged") ||
			!strings.Contains(err.Error(), "accept-loss") {
			t.Errorf("%s: %v; want ErrLost, the file and what to do", what, err)
		}
		if _, err := versionstore.AcceptLoss(dir, embeddb.Options{MemTable: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		if n, err := versionsIn(t, dir); n != 3 || err != nil {
			t.Errorf("%s: after accept-loss: %d versions, %v", what, n, err)
		}
	}
}

// A body that a crash left renamed and unsynced is synced before Put says that it is stored.
func TestTruthPutSyncsABodyThatIsThere(t *testing.T) {
	dir := t.TempDir()
	blobs, err := versionstore.OpenFileBlobs(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("the body")
	digest := record.Sum(body)
	path := filepath.Join(dir, digest.String()[:2], digest.String())
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	var synced []string
	blobs.OnSync(func(path string) { synced = append(synced, path) })
	if err := blobs.Put(t.Context(), digest, int64(len(body)), bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{path, filepath.Dir(path), dir} {
		if !slices.Contains(synced, want) {
			t.Errorf("Put returned before a sync of %s; synced %v", want, synced)
		}
	}
	// The digest and the size are compared, whatever stands there.
	if err := blobs.Put(t.Context(), digest, int64(len(body))+1, bytes.NewReader(append(body, 'x'))); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("another size for the digest: %v, want ErrChecksum", err)
	}
}

// BenchmarkMark writes by turns to a database with a mark and to one without, so that both meet the
// same load, and reports the median of each.
func BenchmarkMark(b *testing.B) {
	marked, plain := openFor(b, true), openFor(b, false)
	var withMark, without []time.Duration
	value := make([]byte, 300)
	write := func(db *embeddb.DB) time.Duration {
		began := time.Now()
		err := db.Write(func(txn *badger.Txn) error { return embeddb.Put(txn, []byte("key"), value) })
		if err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	for b.Loop() {
		withMark = append(withMark, write(marked))
		without = append(without, write(plain))
	}
	b.ReportMetric(float64(median(withMark).Microseconds()), "µs/marked")
	b.ReportMetric(float64(median(without).Microseconds()), "µs/plain")
}

func openFor(b *testing.B, mark bool) *embeddb.DB {
	db, err := embeddb.Open(b.TempDir(), embeddb.Options{Mark: mark})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return db
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// A leader whose store was restored gives revisions out again. A replica of that store keeps every
// pointer, and takes the leader's content of a version instead of the content of the lost history.
func TestTruthAReplicaKeepsPointersWhenRevisionsComeAgain(t *testing.T) {
	s, err := versionstore.OpenBadger(t.TempDir(), embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sign := storetest.NewSigner()
	listed := func(want map[string]uint64) {
		t.Helper()
		for _, region := range []string{"eu", ""} {
			pointers, err := s.Pointers(t.Context(), region, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]uint64{}
			for _, p := range pointers {
				got[p.Pointer.Config] = p.Pointer.Epoch
			}
			if !maps.Equal(got, want) {
				t.Errorf("pointers of region %q: epochs %v, want %v", region, got, want)
			}
		}
	}
	move := func(config string, epoch, revision uint64) {
		t.Helper()
		p, raw := sign.Pointer(t, config, "eu", epoch, 1)
		if err := s.ImportPointer(t.Context(), p, raw, revision); err != nil {
			t.Fatal(err)
		}
	}
	move("a", 1, 7)
	move("b", 1, 7) // the leader was restored from a copy before revision 7
	listed(map[string]uint64{"a": 1, "b": 1})
	move("a", 2, 9)
	listed(map[string]uint64{"a": 2, "b": 1})
	move("b", 2, 9)
	listed(map[string]uint64{"a": 2, "b": 2})

	lost, rawLost, _ := sign.Manifest(t, "a", 2)
	other := lost
	other.Message = "written after the restore"
	rawOther, err := record.SignManifest(other, record.KeyFromSeed([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{rawLost, rawOther} {
		if err := s.ImportManifest(t.Context(), lost, raw, 10); err != nil {
			t.Fatal(err)
		}
	}
	v, err := s.Version(t.Context(), "a", 2)
	if err != nil || v.Manifest.Message != other.Message {
		t.Errorf("version 2 is %q, %v; want the leader's", v.Manifest.Message, err)
	}
}

// A damaged pointer or version does not stop the others from being watched and listed.
func TestTruthADamagedRowDoesNotStopTheOthers(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 5)
	damage(t, dir, []byte("ma\x00\x00\x00\x00\x00\x00\x00\x00\x03")) // the row of version 3 of "a"
	s, err := versionstore.OpenBadger(dir, embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var seen, damaged int
	all := errors.New("all events")
	err = s.Watch(t.Context(), 0, func(events []versionstore.Event) error {
		e := events[0]
		if e.Version != nil {
			seen++
		}
		if errors.Is(e.Damaged, versionstore.ErrCorrupt) && e.Revision == 3 {
			damaged++
		}
		if e.Revision == 5 {
			return all
		}
		return nil
	})
	if !errors.Is(err, all) || seen != 4 || damaged != 1 {
		t.Errorf("%d events and %d damaged, %v; want 4 and 1", seen, damaged, err)
	}
}

// A leader of a term that is over writes nothing: neither versions, pointers nor
// documents. Revisions of the next term follow all revisions of this one.
func TestTruthAWriterOfAnotherTermIsFencedOff(t *testing.T) {
	s, err := versionstore.OpenBadger(t.TempDir(), embeddb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m, raw, _ := storetest.NewSigner().Manifest(t, "a", 1)
	before, err := storetest.PutManifest(t.Context(), s, m, raw, "tester")
	if err != nil {
		t.Fatal(err)
	}
	if term, err := s.RaiseTerm(t.Context(), 4); err != nil || term != 4 {
		t.Fatalf("term %d, %v; want 4", term, err)
	}
	next, rawNext, _ := storetest.NewSigner().Manifest(t, "a", 2)
	p, rawPointer := storetest.NewSigner().Pointer(t, "a", "eu", 1, 1)
	for name, w := range map[string]versionstore.Transaction{
		"a version":  {Versions: []versionstore.SignedManifest{{Manifest: next, Raw: rawNext}}},
		"a pointer":  {Pointers: []versionstore.SignedPointer{{Pointer: p, Raw: rawPointer}}},
		"a document": {Documents: []versionstore.DocumentWrite{{Kind: "k", Name: "n", Raw: []byte("x")}}},
	} {
		w.Term = 1
		var fenced *versionstore.FencedError
		if _, err := s.Commit(t.Context(), w); !errors.As(err, &fenced) || fenced.Current != 4 {
			t.Errorf("%s of term 1 in term 4: %v", name, err)
		}
	}
	after, err := storetest.PutManifest(t.Context(), s, next, rawNext, "tester")
	if err != nil || after <= 3<<40 || before >= 1<<40 {
		t.Errorf("revision %d in term 4 after %d in term 1: %v", after, before, err)
	}
}

// A store that is restored from an older copy has forgotten which agent indices were reserved after the
// copy was made. It must not reserve them again: an acknowledgement names its agent by the index.
func TestTruthARestoredStoreReservesOtherIndices(t *testing.T) {
	dir := t.TempDir()
	open := func(dir string) *versionstore.Badger {
		b, err := versionstore.OpenBadger(dir, embeddb.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	open(dir).Close()
	reserved := map[uint32]bool{}
	const restores = 3 // one in 2^17 restores meets a block by chance
	for range restores {
		restored := t.TempDir()
		if err := os.CopyFS(restored, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		b := open(restored)
		first, err := b.ReserveIndices(t.Context(), "eu")
		if err != nil {
			t.Fatal(err)
		}
		reserved[first] = true
		b.Close()
	}
	if len(reserved) == 1 {
		t.Errorf("each of %d restored stores reserved the block %v", restores, reserved)
	}
}
