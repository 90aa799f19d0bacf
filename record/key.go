package record

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"os"
)

// KeyID identifies a public key: the first eight bytes of its SHA-256. It selects the policy
// entry for a verification and proves nothing by itself. A policy with two keys of the same
// id is refused.
type KeyID [8]byte

// String returns the id in hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText encodes the id in hexadecimal.
func (id KeyID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// IDOf returns the id of a public key.
func IDOf(pub ed25519.PublicKey) KeyID {
	sum := sha256.Sum256(pub)
	return KeyID(sum[:8])
}

// Key is a private Ed25519 key with the id of the public key.
type Key struct {
	ID      KeyID
	private ed25519.PrivateKey
}

// GenerateKey makes a key from the system's random source.
func GenerateKey() (Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("generate key: %w", err)
	}
	return keyOf(private), nil
}

// KeyFromSeed returns the key of a 32-byte seed, for test vectors.
func KeyFromSeed(seed [ed25519.SeedSize]byte) Key {
	return keyOf(ed25519.NewKeyFromSeed(seed[:]))
}

func keyOf(private ed25519.PrivateKey) Key {
	return Key{ID: IDOf(private.Public().(ed25519.PublicKey)), private: private}
}

// Public returns the public half.
func (k Key) Public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// Save writes the key to path as PKCS #8 PEM, readable by its owner only. It does not
// overwrite a file, because an overwritten key is lost.
func (k Key) Save(path string) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close()
}

// LoadKey reads a private key that Save or "openssl genpkey -algorithm ed25519" has written.
func LoadKey(path string) (Key, error) {
	raw, err := readKeyFile(path)
	if err != nil {
		return Key{}, err
	}
	key, err := parseKey(raw)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// parseKey reads the content of a file that Save has written.
func parseKey(raw []byte) (Key, error) {
	der, err := parsePEM(raw, "PRIVATE KEY")
	if err != nil {
		return Key{}, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return Key{}, err
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return Key{}, fmt.Errorf("the key is a %T; an Ed25519 key is needed", parsed)
	}
	return keyOf(private), nil
}

// SavePublic writes a public key to path as PKIX PEM.
func SavePublic(path string, pub ed25519.PublicKey) error {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return fmt.Errorf("encode public key: %w", err)
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}

// LoadPublic reads a public key written by SavePublic.
func LoadPublic(path string) (ed25519.PublicKey, error) {
	raw, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	pub, err := parsePublic(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return pub, nil
}

// parsePublic reads the content of a file that SavePublic has written.
func parsePublic(raw []byte) (ed25519.PublicKey, error) {
	der, err := parsePEM(raw, "PUBLIC KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	pub, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is a %T; an Ed25519 key is needed", parsed)
	}
	return pub, nil
}

// readKeyFile reads a file of at most MaxKeyFile bytes.
func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxKeyFile+1))
	if err == nil && len(raw) > MaxKeyFile {
		err = fmt.Errorf("%s: %w: a key file has at most %d bytes", path, ErrTooLarge, MaxKeyFile)
	}
	return raw, err
}

func parsePEM(raw []byte, kind string) ([]byte, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("not a PEM file with a %s", kind)
	}
	return block.Bytes, nil
}
