package record

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func FuzzParseKey(f *testing.F) {
	key := KeyFromSeed([32]byte{1})
	dir := f.TempDir()
	private, public := filepath.Join(dir, "a.key"), filepath.Join(dir, "a.pub")
	if err := errors.Join(key.Save(private), SavePublic(public, key.Public())); err != nil {
		f.Fatal(err)
	}
	for _, path := range []string{private, public} {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if k, err := parseKey(raw); err == nil && k.ID != IDOf(k.Public()) {
			t.Errorf("the key %s has the ID %s", IDOf(k.Public()), k.ID)
		}
		if pub, err := parsePublic(raw); err == nil {
			IDOf(pub)
		}
	})
}

func TestAKeyFileIsSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.key")
	if err := os.WriteFile(path, make([]byte, MaxKeyFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a private key of %d bytes: %v", MaxKeyFile+1, err)
	}
	if _, err := LoadPublic(path); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a public key of %d bytes: %v", MaxKeyFile+1, err)
	}
}
