package identity

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"banyan/record"
)

// Bundle is the directory with the identity of a process and its trust:
//
//	node.pem node.key   certificate of the process
//	ca.pem              authority of all certificates
//	root.pub            key that signs the trust policy
//	policy.cose         trust policy
//	gossip.key          key that encrypts gossip, 32 bytes; may be missing
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

// Load reads the bundle in dir and verifies its trust policy.
func Load(dir string) (*Bundle, error) {
	b, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", dir, err)
	}
	return b, nil
}

func load(dir string) (*Bundle, error) {
	rawCert, err := readFile(filepath.Join(dir, "node.pem"))
	if err != nil {
		return nil, err
	}
	rawKey, err := readFile(filepath.Join(dir, "node.key"))
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(rawCert, rawKey)
	if err != nil {
		return nil, fmt.Errorf("node.pem and node.key: %w", err)
	}
	b := &Bundle{Dir: dir, cert: cert, pool: x509.NewCertPool()}
	if b.Identity, err = Of(cert.Leaf); err != nil {
		return nil, err
	}
	authority, err := readFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	if !b.pool.AppendCertsFromPEM(authority) {
		return nil, errors.New("ca.pem has no certificate")
	}
	root, err := record.LoadPublic(filepath.Join(dir, RootFile))
	if err != nil {
		return nil, err
	}
	policy, err := readFile(filepath.Join(dir, PolicyFile))
	if err != nil {
		return nil, err
	}
	if b.Policy, err = record.OpenPolicy(policy, []ed25519.PublicKey{root}, time.Now()); err != nil {
		return nil, err
	}
	b.Gossip, err = readFile(filepath.Join(dir, GossipFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return b, nil
}

// maxFile is the maximum size of a file of a bundle or a home, in bytes.
const maxFile = 1 << 20

// readFile reads a file of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = fmt.Errorf("%s: %w: more than %d bytes, the limit", path, record.ErrTooLarge, maxFile)
	}
	return raw, err
}

// ServerTLS configures the side that accepts connections. It requires a certificate of the
// authority from the other side. alpn may be empty.
func (b *Bundle) ServerTLS(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{b.cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    b.pool,
		NextProtos:   alpn,
	}
}

// ClientTLS configures the side that connects.
func (b *Bundle) ClientTLS(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{b.cert},
		RootCAs:      b.pool,
		ServerName:   ServerName,
		NextProtos:   alpn,
	}
}

// ControlTLS configures a client of the control API. The other side must be a coordinator: a client
// sends it the bodies of new versions.
func (b *Bundle) ControlTLS() *tls.Config {
	c := b.ClientTLS()
	c.VerifyConnection = func(state tls.ConnectionState) error {
		id, err := PeerOf(state)
		if err == nil && id.Role != RoleCoordinator {
			err = fmt.Errorf("%w: %s answers where a coordinator should", ErrIdentity, id)
		}
		return err
	}
	return c
}

// Derive derives a secret for a purpose from the private key of the node. The secret is the
// same after a restart.
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
