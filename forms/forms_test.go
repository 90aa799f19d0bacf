package forms

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"banyan/fec"
	"banyan/record"
)

// services is a config as people have them: many lines that are alike.
func services(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "  {\"service\": \"svc-%05d\", \"host\": \"h%08x.example.net\", \"port\": %d, \"weight\": %d},\n", i, r.Uint32(), 1000+r.IntN(60000), r.IntN(1000))
	}
	return b.Bytes()
}

// edited changes a share of the lines.
func edited(body []byte, share float64) []byte {
	r := rand.New(rand.NewPCG(3, 4))
	lines := bytes.SplitAfter(bytes.Clone(body), []byte("\n"))
	for range int(share * float64(len(lines))) {
		lines[r.IntN(len(lines))] = fmt.Appendf(nil, "  {\"service\": \"moved\", \"host\": \"h%08x.example.net\", \"port\": %d},\n", r.Uint32(), r.IntN(60000))
	}
	return bytes.Join(lines, nil)
}

func made(t testing.TB, body []byte, base *Base) (record.Manifest, []Made, string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "body")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	forms, size, sum, err := Make(dir, path, base)
	if err != nil {
		t.Fatal(err)
	}
	m := record.Manifest{Config: "a", Version: 2, Parent: 1, BodySize: size, BodySHA256: sum, ContentType: "text/plain"}
	for i := range forms {
		m.Forms = append(m.Forms, forms[i].Form)
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	return m, forms, path
}

// first names the version that deltas are made to.
var first = record.Ref{Version: 1, Digest: record.Digest{1}}

func TestFormsDecodeToTheBody(t *testing.T) {
	old := services(300_000)
	incompressible := make([]byte, 100_000)
	for i := range incompressible {
		incompressible[i] = byte(rand.Uint32())
	}
	for name, c := range map[string]struct {
		body  []byte
		base  *Base
		forms []string
	}{
		"empty":          {nil, nil, []string{"identity 0"}},
		"small":          {[]byte("x: 1\n"), nil, []string{"identity 0"}},
		"incompressible": {incompressible, &Base{first, old}, []string{"identity 0"}},
		"text":           {old, nil, []string{"zstd 0"}},
		"edited":         {edited(old, 0.01), &Base{first, old}, []string{"zstd 0", "zstd 1"}},
	} {
		m, forms, path := made(t, c.body, c.base)
		var got []string
		for i, f := range m.Forms {
			got = append(got, fmt.Sprint(f.Encoding, " ", f.Base.Version))
			file, err := forms[i].Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if index, err := Verify(f, file); err != nil || index.Digest() != f.IndexSHA256 {
				t.Errorf("%s: form %d does not verify: %v", name, i, err)
			}
			file.Seek(0, io.SeekStart)
			var base, body bytes.Buffer
			if !f.Base.IsZero() {
				base.Write(old)
			}
			if err := Decode(m, f, file, base.Bytes(), &body); err != nil || !bytes.Equal(body.Bytes(), c.body) {
				t.Errorf("%s: form %d decodes to %d bytes, %v", name, i, body.Len(), err)
			}
			file.Close()
		}
		if fmt.Sprint(got) != fmt.Sprint(c.forms) {
			t.Errorf("%s: forms %v, want %v", name, got, c.forms)
		}
	}
}

func TestAnEditIsASmallDelta(t *testing.T) {
	old := services(10 << 20)
	m, _, _ := made(t, edited(old, 0.01), &Base{first, old})
	if len(m.Forms) != 2 || m.Forms[1].Size > m.BodySize/100 {
		t.Errorf("a 1%% edit of %d bytes: forms %+v", m.BodySize, m.Forms)
	}
}

func TestADeltaNeedsItsBase(t *testing.T) {
	old := services(300_000)
	m, forms, path := made(t, edited(old, 0.01), &Base{first, old})
	file, err := forms[1].Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := Decode(m, m.Forms[1], file, nil, io.Discard); !errors.Is(err, ErrBase) {
		t.Errorf("without it: got %v, want ErrBase", err)
	}
	if err := Decode(m, m.Forms[1], file, []byte("another"), io.Discard); err == nil {
		t.Error("with another: it decoded")
	}
}

func TestABombIsNotBlownUp(t *testing.T) {
	var bomb bytes.Buffer
	z, err := zstd.NewWriter(&bomb, zstd.WithWindowSize(window))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(z, zeros{}, 1<<30); err != nil {
		t.Fatal(err)
	}
	z.Close()
	form, index, err := fec.FormOf(bomb.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	form.Encoding, form.IndexSHA256 = record.EncodingZstd, index.Digest()
	m := record.Manifest{Config: "a", Version: 1, BodySize: 1000, BodySHA256: record.Sum([]byte("small")), Forms: []record.Form{form}}
	var written counter
	if err := Decode(m, form, bytes.NewReader(bomb.Bytes()), nil, &written); !errors.Is(err, record.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
	if written > 1001 {
		t.Errorf("%d bytes of a body of 1000 were written", written)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

func TestATooLargeBodyIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, record.MaxBody+1); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := Make(t.TempDir(), path, nil); !errors.Is(err, record.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func FuzzDecode(f *testing.F) {
	old := services(30_000)
	body := edited(old, 0.05)
	m, forms, path := made(f, body, &Base{first, old})
	for i := range forms {
		file, err := forms[i].Open(path)
		if err != nil {
			f.Fatal(err)
		}
		encoded, _ := io.ReadAll(file)
		file.Close()
		f.Add(encoded, uint8(i))
	}
	f.Fuzz(func(t *testing.T, encoded []byte, which uint8) {
		form := m.Forms[int(which)%len(m.Forms)]
		var base []byte
		if !form.Base.IsZero() {
			base = old
		}
		var got bytes.Buffer
		if err := Decode(m, form, bytes.NewReader(encoded), base, &got); err == nil && !bytes.Equal(got.Bytes(), body) {
			t.Fatal("other bytes were taken for the body")
		}
		if int64(got.Len()) > m.BodySize+1 {
			t.Fatalf("%d bytes were written", got.Len())
		}
	})
}

// BenchmarkDelta makes the delta of a 1% edit of 10 MiB, and tells how large it is.
func BenchmarkDelta(b *testing.B) {
	old := services(10 << 20)
	body := edited(old, 0.01)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		m, _, _ := made(b, body, &Base{first, old})
		b.ReportMetric(100*float64(m.Forms[1].Size)/float64(m.BodySize), "%sent")
		b.ReportMetric(100*float64(m.Forms[0].Size)/float64(m.BodySize), "%compressed")
	}
}
