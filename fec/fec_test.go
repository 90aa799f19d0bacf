package fec

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/reedsolomon"
	"pgregory.net/rapid"

	"banyan/record"
)

func randomBytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	r.Read(b)
	return b
}

// cut makes the form of a body, and its shards.
func cut(t testing.TB, body []byte, g record.Geometry) (record.Form, Index, [][]byte) {
	t.Helper()
	size := int64(len(body))
	index, sum, err := BuildIndex(bytes.NewReader(body), size, g)
	if err != nil {
		t.Fatal(err)
	}
	coder, err := CoderFor(g)
	if err != nil {
		t.Fatal(err)
	}
	var shards [][]byte
	for r := bytes.NewReader(body); r.Len() > 0; {
		stripe := coder.NewStripe()
		if _, err := coder.fill(r, stripe, int64(r.Len())); err != nil {
			t.Fatal(err)
		}
		if err := coder.Encode(stripe); err != nil {
			t.Fatal(err)
		}
		shards = append(shards, stripe...)
	}
	form := record.Form{Encoding: record.EncodingIdentity, Size: size, SHA256: sum, Geometry: g, IndexSHA256: index.Digest()}
	return form, index, shards
}

func create(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func drawGeometry(t *rapid.T) record.Geometry {
	return record.Geometry{
		Data:       uint16(rapid.IntRange(1, 12).Draw(t, "data")),
		Parity:     uint16(rapid.IntRange(0, 6).Draw(t, "parity")),
		ShardBytes: uint32(rapid.IntRange(1, 200).Draw(t, "shard bytes")),
	}
}

func TestAnyShardsInAnyOrderRestoreAForm(t *testing.T) {
	dir := t.TempDir()
	tries := 0
	rapid.Check(t, func(rt *rapid.T) {
		tries++
		g := drawGeometry(rt)
		body := randomBytes(rapid.IntRange(0, 3*int(g.Data)*int(g.ShardBytes)).Draw(rt, "size"), 1)
		form, index, shards := cut(t, body, g)
		path := filepath.Join(dir, fmt.Sprint(tries))
		file, err := NewFile(create(t, path), form, index, false)
		if err != nil {
			rt.Fatal(err)
		}
		for _, n := range rapid.Permutation(numbers(len(shards))).Draw(rt, "order") {
			if file.Whole() {
				break
			}
			if _, err := file.Put(n, shards[n]); err != nil {
				rt.Fatal(err)
			}
		}
		if err := file.Finish(); err != nil {
			rt.Fatal(err)
		}
		if got, _ := os.ReadFile(path); !bytes.Equal(got, body) {
			rt.Fatal("the file differs from the body")
		}
		buf := make([]byte, g.ShardBytes)
		for n := range shards {
			if err := file.Get(n, buf); err != nil || !bytes.Equal(buf, shards[n]) {
				rt.Fatalf("shard %d read from the whole file: %v", n, err)
			}
		}
	})
}

func numbers(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestWhatWasWrittenIsFoundAgain(t *testing.T) {
	body := randomBytes(300_000, 2)
	form, index, shards := cut(t, body, GeometryFor(int64(len(body))))
	path := filepath.Join(t.TempDir(), "form")
	first, err := NewFile(create(t, path), form, index, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 3, 11} {
		if _, err := first.Put(n, shards[n]); err != nil {
			t.Fatal(err)
		}
	}
	damaged := create(t, path)
	if _, err := damaged.WriteAt([]byte("torn"), first.disk.offset(3)); err != nil {
		t.Fatal(err)
	}
	second, err := NewFile(create(t, path), form, index, false)
	if err != nil {
		t.Fatal(err)
	}
	if have := second.Have(); !have.Test(0) || have.Test(3) || !have.Test(11) || have.Count() != 2+padding(form) {
		t.Errorf("found %v, want shards 0 and 11", have)
	}
}

func padding(f record.Form) (n uint) {
	for i := range f.Geometry.Shards(f.Size) {
		if f.Geometry.IsPadding(f.Size, i) {
			n++
		}
	}
	return n
}

func TestPoisonIsNeitherStoredNorServed(t *testing.T) {
	body := randomBytes(300_000, 3)
	form, index, shards := cut(t, body, GeometryFor(int64(len(body))))
	path := filepath.Join(t.TempDir(), "form")
	file, err := NewFile(create(t, path), form, index, false)
	if err != nil {
		t.Fatal(err)
	}
	poison := slices.Clone(shards[5])
	poison[7] ^= 1
	if _, err := file.Put(5, poison); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("poison: got %v, want ErrChecksum", err)
	}
	buf := make([]byte, form.Geometry.ShardBytes)
	if err := file.Get(5, buf); !errors.Is(err, ErrNotHeld) {
		t.Errorf("a shard that is not there: got %v, want ErrNotHeld", err)
	}
	if _, err := file.Put(5, shards[5]); err != nil {
		t.Fatal(err)
	}
	if _, err := create(t, path).WriteAt([]byte("rot"), file.disk.offset(5)); err != nil {
		t.Fatal(err)
	}
	if err := file.Get(5, buf); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("a shard the disk damaged: got %v, want ErrChecksum", err)
	}
	for _, n := range []int{-1, len(shards)} {
		if _, err := file.Put(n, shards[0]); !errors.Is(err, record.ErrChecksum) {
			t.Errorf("shard %d: got %v, want ErrChecksum", n, err)
		}
	}
}

func TestIndexIsHeldToItsForm(t *testing.T) {
	body := randomBytes(100_000, 4)
	form, index, _ := cut(t, body, GeometryFor(int64(len(body))))
	if got, err := ParseIndex(index.Bytes(), form); err != nil || !slices.Equal(got, index) {
		t.Fatalf("the index read again: %v", err)
	}
	other := slices.Clone(index.Bytes())
	other[0] ^= 1
	if _, err := ParseIndex(other, form); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("another index: got %v, want ErrChecksum", err)
	}
	if _, err := ParseIndex(other[:len(other)-1], form); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("an index cut short: got %v, want ErrChecksum", err)
	}
	lies := form
	lies.Geometry.ShardBytes = 1
	lies.Size = record.MaxBody
	if _, err := ParseIndex(other, lies); !errors.Is(err, record.ErrInvalid) {
		t.Errorf("an impossible geometry: got %v, want ErrInvalid", err)
	}
}

func TestAFormWhoseHashLiesIsRefusedAtTheEnd(t *testing.T) {
	body := randomBytes(100_000, 5)
	form, index, shards := cut(t, body, GeometryFor(int64(len(body))))
	form.SHA256 = record.Sum([]byte("another"))
	file, err := NewFile(create(t, filepath.Join(t.TempDir(), "form")), form, index, false)
	if err != nil {
		t.Fatal(err)
	}
	for n := range form.Geometry.Data {
		if _, err := file.Put(int(n), shards[n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Finish(); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
}

func TestBodyOfAnotherSizeIsRefused(t *testing.T) {
	body := randomBytes(1000, 1)
	for _, said := range []int64{999, 1001} {
		if _, _, err := BuildIndex(bytes.NewReader(body), said, GeometryFor(said)); !errors.Is(err, ErrSize) {
			t.Errorf("said %d bytes, has 1000: got %v, want ErrSize", said, err)
		}
	}
}

func TestImpossibleGeometryIsRefused(t *testing.T) {
	for _, g := range []record.Geometry{{}, {Data: 1}, {Data: 200, Parity: 100, ShardBytes: 1}, {Data: 1, ShardBytes: record.MaxShardBytes + 1}} {
		if _, _, err := BuildIndex(bytes.NewReader(nil), 0, g); !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%+v: got %v, want ErrInvalid", g, err)
		}
	}
}

func TestGeometryFitsEverySize(t *testing.T) {
	for _, size := range []int64{0, 1, 200, singleShardLimit, singleShardLimit + 1, 1 << 20, 64 << 20, record.MaxBody} {
		g := GeometryFor(size)
		if err := g.Validate(size); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
		if single := g.Data == 1; single != (size <= singleShardLimit) {
			t.Errorf("size %d: geometry %+v", size, g)
		}
	}
}

// The benchmarks come in pairs: ours, and the bare library on the same stripes.

const benchSize = 16 << 20

func BenchmarkEncode(b *testing.B) {
	g := GeometryFor(benchSize)
	coder, err := CoderFor(g)
	if err != nil {
		b.Fatal(err)
	}
	stripe := coder.NewStripe()
	fillRandom(stripe)
	benchStripe(b, g, func() error { return coder.Encode(stripe) })
}

func BenchmarkEncodeBare(b *testing.B) {
	g := GeometryFor(benchSize)
	rs, stripe := bare(b, g)
	benchStripe(b, g, func() error { return rs.Encode(stripe) })
}

func BenchmarkRebuild(b *testing.B) {
	g := GeometryFor(benchSize)
	coder, err := CoderFor(g)
	if err != nil {
		b.Fatal(err)
	}
	stripe := coder.NewStripe()
	fillRandom(stripe)
	if err := coder.Encode(stripe); err != nil {
		b.Fatal(err)
	}
	benchStripe(b, g, func() error {
		lose(stripe)
		return coder.Rebuild(stripe)
	})
}

func BenchmarkRebuildBare(b *testing.B) {
	g := GeometryFor(benchSize)
	rs, stripe := bare(b, g)
	if err := rs.Encode(stripe); err != nil {
		b.Fatal(err)
	}
	benchStripe(b, g, func() error {
		lose(stripe)
		return rs.ReconstructData(stripe)
	})
}

func bare(b *testing.B, g record.Geometry) (reedsolomon.Encoder, [][]byte) {
	rs, err := reedsolomon.New(int(g.Data), int(g.Parity), reedsolomon.WithAutoGoroutines(int(g.ShardBytes)))
	if err != nil {
		b.Fatal(err)
	}
	stripe := make([][]byte, g.PerStripe())
	for i := range stripe {
		stripe[i] = make([]byte, g.ShardBytes)
	}
	fillRandom(stripe)
	return rs, stripe
}

func fillRandom(stripe [][]byte) {
	for i := range stripe {
		copy(stripe[i], randomBytes(len(stripe[i]), uint64(i)))
	}
}

// lose drops as many data shards as parity can restore.
func lose(stripe [][]byte) {
	for i := range parityShards {
		stripe[i] = stripe[i][:0]
	}
}

func benchStripe(b *testing.B, g record.Geometry, fn func() error) {
	b.SetBytes(int64(g.Data) * int64(g.ShardBytes))
	for b.Loop() {
		if err := fn(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBuildIndex reads, encodes and hashes; the bare parts are the two beside it.
func BenchmarkBuildIndex(b *testing.B) {
	body := randomBytes(benchSize, 1)
	g := GeometryFor(benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		if _, _, err := BuildIndex(bytes.NewReader(body), benchSize, g); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHashBare(b *testing.B) {
	body := randomBytes(benchSize, 1)
	b.SetBytes(benchSize)
	for b.Loop() {
		record.Sum(body)
	}
}

func BenchmarkFilePut(b *testing.B) {
	body := randomBytes(benchSize, 1)
	form, index, shards := cut(b, body, GeometryFor(benchSize))
	dir := b.TempDir()
	b.SetBytes(benchSize)
	for i := 0; b.Loop(); i++ {
		path := filepath.Join(dir, fmt.Sprint(i))
		file, err := NewFile(create(b, path), form, index, false)
		if err != nil {
			b.Fatal(err)
		}
		for n := range shards {
			if n%form.Geometry.PerStripe() < int(form.Geometry.Data) {
				if _, err := file.Put(n, shards[n]); err != nil {
					b.Fatal(err)
				}
			}
		}
		file.Close()
		os.Remove(path)
	}
}

func FuzzParseIndex(f *testing.F) {
	form, index, _ := cut(f, randomBytes(50_000, 1), GeometryFor(50_000))
	f.Add(index.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := ParseIndex(b, form); err == nil && !slices.Equal(x, index) {
			t.Fatal("an index of another hash was taken")
		}
	})
}
