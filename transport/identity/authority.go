package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Lifetimes of certificates.
const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	// NodeLifetime is the time for which a node certificate is valid.
	NodeLifetime = 2 * 365 * 24 * time.Hour
	// clockSlack is the time by which the clock of a host may be behind.
	clockSlack = time.Hour
)

// Authority issues node certificates.
type Authority struct {
	cert *x509.Certificate
	der  []byte
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority with a new key.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate authority key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Banyan node authority"},
		NotBefore:             time.Now().Add(-clockSlack),
		NotAfter:              time.Now().Add(authorityLifetime),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("create authority certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert, der, key}, err
}

// serial returns a random serial number.
func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // the system has no randomness
	}
	return n
}

// Save writes ca.pem and ca.key to dir. It does not overwrite a key.
func (a *Authority) Save(dir string) error {
	if err := writeKey(filepath.Join(dir, "ca.key"), a.key); err != nil {
		return err
	}
	return a.SaveCertificate(dir)
}

// SaveCertificate writes ca.pem to dir.
func (a *Authority) SaveCertificate(dir string) error {
	return os.WriteFile(filepath.Join(dir, "ca.pem"), encodeCert(a.der), 0o644)
}

// OpenAuthority reads an authority that Save has written.
func OpenAuthority(dir string) (*Authority, error) {
	rawCert, err := readFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	rawKey, err := readFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	authority, err := parseAuthority(rawCert, rawKey)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return authority, nil
}

// parseAuthority reads the contents of ca.pem and ca.key.
func parseAuthority(rawCert, rawKey []byte) (*Authority, error) {
	certBlock, _ := pem.Decode(rawCert)
	keyBlock, _ := pem.Decode(rawKey)
	if certBlock == nil || keyBlock == nil {
		return nil, errors.New("ca.pem or ca.key is not PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("ca.pem: %w", err)
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("ca.key: %w", err)
	}
	return &Authority{cert, certBlock.Bytes, key}, nil
}

// Issue makes a key and a certificate for id and writes node.key, node.pem and ca.pem to dir.
// It does not overwrite a key. hosts are DNS names or IP addresses for which the certificate is
// valid too; HTTPS clients other than banyan need them.
func (a *Authority) Issue(dir string, id Identity, hosts ...string) error {
	if err := id.Validate(); err != nil {
		return err
	}
	now := time.Now()
	der, key, err := a.certify(id, now.Add(-clockSlack), now.Add(NodeLifetime), hosts)
	if err != nil {
		return fmt.Errorf("issue certificate for %s: %w", id, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, "node.key"), key); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "node.pem"), encodeCert(der), 0o644); err != nil {
		return err
	}
	return a.SaveCertificate(dir)
}

// certify makes a key and a certificate for id. A client's certificate is not valid for a
// server.
func (a *Authority) certify(
	id Identity, from, until time.Time, hosts []string,
) (der []byte, key *ecdsa.PrivateKey, err error) {
	key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: id.Name, OrganizationalUnit: []string{string(id.Role), id.Region}},
		NotBefore:    from,
		NotAfter:     until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{id.uri()},
	}
	if id.Role != RoleClient {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		template.DNSNames = []string{ServerName}
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err = x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	return der, key, err
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// writeKey writes a new file that only its owner can read.
func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := pem.Encode(f, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
