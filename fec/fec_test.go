package fec

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"banyan/record"
)

func randomBytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestAnyDataManyShardsRestoreAStripe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := record.Geometry{
			Data:       uint16(rapid.IntRange(1, 12).Draw(t, "data")),
			Parity:     uint16(rapid.IntRange(0, 6).Draw(t, "parity")),
			ShardBytes: uint32(rapid.IntRange(1, 200).Draw(t, "shard bytes")),
		}
		data := randomBytes(rapid.IntRange(0, int(g.Data)*int(g.ShardBytes)).Draw(t, "size"), 1)
		shards, err := EncodeStripe(data, g)
		if err != nil {
			t.Fatal(err)
		}
		for lost := 0; lost < int(g.Parity); lost++ {
			shards[rapid.IntRange(0, len(shards)-1).Draw(t, "lost")] = nil
		}
		if err := RebuildStripe(shards, g); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Join(shards[:g.Data], nil)[:len(data)]; !bytes.Equal(got, data) {
			t.Fatal("rebuilt stripe differs")
		}
	})
}

func TestIndexCoversEveryShardOfEveryStripe(t *testing.T) {
	for _, size := range []int{0, 1, singleShardLimit, singleShardLimit + 1, 1 << 20, 3<<20 + 17} {
		body := randomBytes(size, uint64(size))
		g := GeometryFor(int64(size))
		index, sum, err := BuildIndex(bytes.NewReader(body), int64(size), g)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if want := g.Stripes(int64(size)) * int64(g.Data+g.Parity); int64(len(index)) != want {
			t.Errorf("size %d: %d hashes, want %d", size, len(index), want)
		}
		if sum != record.Sum(body) {
			t.Errorf("size %d: hash of the whole differs", size)
		}
		stripe := int(g.Data) * int(g.ShardBytes)
		for s := 0; s*stripe < size; s++ {
			shards, err := EncodeStripe(body[s*stripe:min((s+1)*stripe, size)], g)
			if err != nil {
				t.Fatal(err)
			}
			for i, shard := range shards {
				if index[s*len(shards)+i] != record.Sum(shard) {
					t.Fatalf("size %d: stripe %d shard %d: hash differs", size, s, i)
				}
			}
		}
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
	for _, g := range []record.Geometry{{}, {Data: 1}, {Data: 200, Parity: 100, ShardBytes: 1}} {
		if _, _, err := BuildIndex(bytes.NewReader(nil), 0, g); !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%+v: got %v, want ErrInvalid", g, err)
		}
	}
}

func BenchmarkBuildIndex(b *testing.B) {
	body := randomBytes(1<<20, 1)
	g := GeometryFor(int64(len(body)))
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, _, err := BuildIndex(bytes.NewReader(body), int64(len(body)), g); err != nil {
			b.Fatal(err)
		}
	}
}
