package identity

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"banyan/record"
)

// Bundle is the directory a process runs with:
//
//	node.pem node.key   its certificate
//	ca.pem              the authority that issued everybody's
//	root.pub            the key that signs the trust policy
//	policy.cose         the trust policy
//	gossip.key          what gossip is encrypted with, 32 bytes; may be missing
type Bundle struct {
	Dir      string
	Identity Identity
	Policy   *record.Policy
	Gossip   []byte // the gossip key; nil if there is none
	cert     tls.Certificate
	pool     *x509.CertPool
}

// Names of files in a bundle.
const (
	PolicyFile = "policy.cose"
	RootFile   = "root.pub"
	GossipFile = "gossip.key"
)

// Load reads the bundle in dir and verifies the trust policy in it.
func Load(dir string) (*Bundle, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "node.pem"), filepath.Join(dir, "node.key"))
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", dir, err)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, fmt.Errorf("identity %s: %w", dir, err)
		}
	}
	b := &Bundle{Dir: dir, cert: cert, pool: x509.NewCertPool()}
	if b.Identity, err = Of(cert.Leaf); err != nil {
		return nil, fmt.Errorf("identity %s: %w", dir, err)
	}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", dir, err)
	}
	if !b.pool.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("identity %s: ca.pem holds no certificate", dir)
	}
	root, err := record.LoadPublic(filepath.Join(dir, RootFile))
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", dir, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, PolicyFile))
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", dir, err)
	}
	if b.Policy, err = record.OpenPolicy(raw, []ed25519.PublicKey{root}, time.Now()); err != nil {
		return nil, fmt.Errorf("identity %s: %w", dir, err)
	}
	if b.Gossip, err = os.ReadFile(filepath.Join(dir, GossipFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("identity %s: %w", dir, err)
	}
	return b, nil
}

// ServerTLS is for the side that accepts: it requires a certificate of the
// authority from whoever connects. alpn may be empty.
func (b *Bundle) ServerTLS(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{b.cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    b.pool,
		NextProtos:   alpn,
	}
}

// ClientTLS is for the side that connects.
func (b *Bundle) ClientTLS(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{b.cert},
		RootCAs:      b.pool,
		ServerName:   ServerName,
		NextProtos:   alpn,
	}
}

// Derive makes a secret for a purpose from the node's private key: the same one
// each time the process starts.
func (b *Bundle) Derive(purpose string) ([32]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(b.cert.PrivateKey)
	if err != nil {
		return [32]byte{}, fmt.Errorf("derive %s: %w", purpose, err)
	}
	secret, err := hkdf.Key(sha256.New, der, nil, "banyan "+purpose, 32)
	if err != nil {
		return [32]byte{}, fmt.Errorf("derive %s: %w", purpose, err)
	}
	return [32]byte(secret), nil
}
