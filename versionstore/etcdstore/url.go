package etcdstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// Scheme begins the URL of a store in etcd.
const Scheme = "etcd://"

// maxPasswordFile is the maximum size of a file with a password, in bytes.
const maxPasswordFile = 4 << 10

// ErrURL is wrapped if a URL does not say where a store is.
var ErrURL = errors.New("invalid URL of a store")

// ParseURL returns the configuration that a URL stands for:
//
//	etcd://HOST:PORT,HOST:PORT,…?prefix=/banyan/&ca=FILE&cert=FILE&key=FILE&user=NAME&password-file=FILE
//
// Every part after the hosts is optional. ca is the certificate that members' certificates are verified
// with; connections have TLS if ca or cert is given.
func ParseURL(s string) (Config, error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	if !ok {
		return Config{}, fmt.Errorf("%w: %q does not begin with %s", ErrURL, s, Scheme)
	}
	hosts, query, _ := strings.Cut(rest, "?")
	var cfg Config
	for host := range strings.SplitSeq(hosts, ",") {
		name, port, ok := strings.Cut(host, ":")
		if name == "" || !ok || port == "" {
			return cfg, fmt.Errorf("%w: %q in %q is not HOST:PORT", ErrURL, host, s)
		}
		cfg.Endpoints = append(cfg.Endpoints, host)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return cfg, fmt.Errorf("%w: %q: %w", ErrURL, s, err)
	}
	for name := range values {
		switch name {
		case "prefix", "ca", "cert", "key", "user", "password-file":
		default:
			return cfg, fmt.Errorf("%w: unknown setting %q; there are prefix, ca, cert, key, user and password-file", ErrURL, name)
		}
	}
	cfg.Prefix = values.Get("prefix")
	if cfg.Prefix != "" && (!strings.HasPrefix(cfg.Prefix, "/") || !strings.HasSuffix(cfg.Prefix, "/")) {
		return cfg, fmt.Errorf("%w: prefix %q does not begin and end with a slash", ErrURL, cfg.Prefix)
	}
	cfg.TLS, err = tlsOf(values.Get("ca"), values.Get("cert"), values.Get("key"))
	if err != nil {
		return cfg, err
	}
	cfg.Username = values.Get("user")
	cfg.Password, err = passwordIn(values.Get("password-file"))
	return cfg, err
}

// tlsOf returns the configuration of connections with certificates in files; nil if there are none.
func tlsOf(ca, cert, key string) (*tls.Config, error) {
	if ca == "" && cert == "" && key == "" {
		return nil, nil
	}
	if (cert == "") != (key == "") {
		return nil, fmt.Errorf("%w: cert and key belong together", ErrURL)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("certificate of etcd's authority: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: %s has no certificate in PEM", ErrURL, ca)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("certificate for etcd: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// passwordIn returns the password in a file, without the end of the line; "" if path is "".
func passwordIn(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("password for etcd: %w", err)
	}
	if len(b) > maxPasswordFile {
		return "", fmt.Errorf("%w: %s has %d bytes, which is no password", ErrURL, path, len(b))
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
