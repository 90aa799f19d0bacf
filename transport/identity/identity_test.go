package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/internal/usage"
	"banyan/mesh/wire"
	"banyan/record"
)

func newHome(t *testing.T, regions ...string) *Home {
	t.Helper()
	h, err := InitHome(filepath.Join(t.TempDir(), "home"), regions, "admin", "10.0.0.1", "config.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func issue(t *testing.T, h *Home, id Identity) *Bundle {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	if err := h.Issue(dir, id); err != nil {
		t.Fatal(err)
	}
	b, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// certify replaces the certificate of a bundle by one that is valid from one time until
// another.
func certify(t *testing.T, h *Home, id Identity, from, until time.Time) *Bundle {
	t.Helper()
	b := issue(t, h, id)
	authority, err := OpenAuthority(h.Dir)
	if err != nil {
		t.Fatal(err)
	}
	der, key, err := authority.certify(id, from, until, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return b
}

// shake makes a TLS connection and returns the identities that the two sides see.
func shake(t *testing.T, client, server *tls.Config) (seenByClient, seenByServer Identity, err error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	serving := tls.Server(b, server)
	served := make(chan error, 1)
	go func() { served <- serving.HandshakeContext(t.Context()) }()
	connecting := tls.Client(a, client)
	clientErr := connecting.HandshakeContext(t.Context())
	if clientErr != nil {
		a.Close()
	} else {
		// In TLS 1.3 the server's session ticket, or its refusal, comes after the client's
		// handshake has ended.
		go io.Copy(io.Discard, connecting)
	}
	if err := errors.Join(clientErr, <-served); err != nil {
		return Identity{}, Identity{}, err
	}
	seenByClient, clientErr = PeerOf(connecting.ConnectionState())
	seenByServer, serverErr := PeerOf(serving.ConnectionState())
	return seenByClient, seenByServer, errors.Join(clientErr, serverErr)
}

func TestAHomeHasABundleForEveryCoordinatorAndTheClient(t *testing.T) {
	h := newHome(t, "eu", "us")
	for dir, want := range map[string]Identity{
		h.CoordinatorDir("eu"): {RoleCoordinator, "eu", "coordinator-eu"},
		h.CoordinatorDir("us"): {RoleCoordinator, "us", "coordinator-us"},
		h.ClientDir():          {RoleClient, "eu", "admin"},
	} {
		b, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if b.Identity != want || b.Dir != dir {
			t.Errorf("%s is of %v", dir, b.Identity)
		}
		if got := b.Policy.Regions(); !slices.Equal(got, []string{"eu", "us"}) {
			t.Errorf("%s: the policy has regions %v", dir, got)
		}
		if isClient := want.Role == RoleClient; (b.Gossip == nil) != isClient {
			t.Errorf("%s: gossip key of %d bytes", dir, len(b.Gossip))
		}
	}
	publisher, err := record.LoadKey(h.PublisherKey("admin"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(h.ClientDir())
	if err != nil {
		t.Fatal(err)
	}
	if !b.Policy.MayPublish(publisher.ID, "any/config") {
		t.Error("the first publisher may not publish")
	}
	for _, region := range []string{"eu", "us"} {
		key, err := record.LoadKey(h.ActivationKey(region))
		if err != nil {
			t.Fatal(err)
		}
		if !b.Policy.MayActivate(key.ID, region) || b.Policy.MayActivate(key.ID, "other") {
			t.Errorf("the activation key of %s does not serve its region only", region)
		}
	}
	for _, name := range []string{"root.key", "ca.key", GossipFile, "coordinator-eu/node.key", "publishers/admin.key"} {
		info, err := os.Stat(h.path(name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", name, info.Mode().Perm(), err)
		}
	}
}

func TestAHomeIsNeverOverwritten(t *testing.T) {
	h := newHome(t, "eu")
	before, err := os.ReadFile(h.path("root.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := InitHome(h.Dir, []string{"eu"}, "admin"); !errors.Is(err, ErrExists) {
		t.Errorf("a second init: %v, want ErrExists", err)
	}
	if err := h.Issue(h.ClientDir(), Identity{RoleClient, "eu", "admin"}); !errors.Is(err, ErrExists) {
		t.Errorf("a second bundle in the same directory: %v, want ErrExists", err)
	}
	if after, _ := os.ReadFile(h.path("root.key")); !bytes.Equal(before, after) {
		t.Error("the root key has changed")
	}
}

func TestAHomeNeedsRegionsWithNames(t *testing.T) {
	var misuse *usage.Error
	if _, err := InitHome(t.TempDir(), nil, "admin"); !errors.As(err, &misuse) {
		t.Errorf("no region: %v, want a usage error", err)
	}
	if _, err := InitHome(t.TempDir(), []string{"EU"}, "admin"); !errors.Is(err, record.ErrInvalid) {
		t.Errorf("region EU: %v, want ErrInvalid", err)
	}
}

func TestIdentitiesThatCannotBeAreRefused(t *testing.T) {
	h := newHome(t, "eu")
	for name, id := range map[string]Identity{
		"no role":         {"", "eu", "a"},
		"unknown role":    {"root", "eu", "a"},
		"no region":       {RoleAgent, "", "a"},
		"bad region":      {RoleAgent, "E U", "a"},
		"no name":         {RoleAgent, "eu", ""},
		"name with slash": {RoleAgent, "eu", "a/b"},
		"long name":       {RoleAgent, "eu", strings.Repeat("a", record.MaxSegment+1)},
	} {
		if err := h.Issue(filepath.Join(t.TempDir(), "b"), id); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s: %v, want ErrIdentity", name, err)
		}
	}
	nowhere := &Home{Dir: t.TempDir()}
	if err := nowhere.Issue(t.TempDir(), Identity{RoleAgent, "eu", "a"}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "banyan init") {
		t.Errorf("a home without an authority: %v", err)
	}
}

func TestTheTwoSidesOfALinkSeeEachOther(t *testing.T) {
	h := newHome(t, "eu", "us")
	agent := issue(t, h, Identity{RoleAgent, "us", "host-1"})
	coordinator, err := Load(h.CoordinatorDir("eu"))
	if err != nil {
		t.Fatal(err)
	}
	server, client, err := shake(t, agent.ClientTLS("x"), coordinator.ServerTLS("x"))
	if err != nil || server != coordinator.Identity || client != agent.Identity {
		t.Errorf("the agent sees %v, the coordinator sees %v: %v", server, client, err)
	}
	if m := client.Mesh(); m.Role != wire.RoleAgent || m.Region != "us" || m.Name != "host-1" {
		t.Errorf("in the mesh it is %+v", m)
	}
	if m := server.Mesh(); m.Role != wire.RoleCoordinator {
		t.Errorf("in the mesh it is %+v", m)
	}
	if s := client.String(); s != "banyan://agent/us/host-1" {
		t.Errorf("as text: %s", s)
	}
	// The extra names of the coordinators are for HTTPS clients other than banyan.
	byName := agent.ClientTLS()
	byName.ServerName = "config.example.com"
	if _, _, err := shake(t, byName, coordinator.ServerTLS()); err != nil {
		t.Errorf("the coordinator is not valid for its DNS name: %v", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	h, other := newHome(t, "eu"), newHome(t, "eu")
	id := Identity{RoleAgent, "eu", "host-1"}
	agent := issue(t, h, id)
	coordinator, err := Load(h.CoordinatorDir("eu"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := Load(h.ClientDir())
	if err != nil {
		t.Fatal(err)
	}
	stranger := issue(t, other, id)
	now := time.Now()
	expired := certify(t, h, id, now.Add(-2*time.Hour), now.Add(-time.Hour))
	early := certify(t, h, id, now.Add(time.Hour), now.Add(2*time.Hour))
	anonymous := agent.ClientTLS()
	anonymous.Certificates = nil
	for name, c := range map[string]struct{ client, server *tls.Config }{
		"a client of another authority":  {stranger.ClientTLS(), coordinator.ServerTLS()},
		"a server of another authority":  {stranger.ClientTLS(), agent.ServerTLS()},
		"an expired client":              {expired.ClientTLS(), coordinator.ServerTLS()},
		"an expired server":              {agent.ClientTLS(), expired.ServerTLS()},
		"a client that is not valid yet": {early.ClientTLS(), coordinator.ServerTLS()},
		"a client without certificate":   {anonymous, coordinator.ServerTLS()},
		"a user of the CLI as a server":  {agent.ClientTLS(), client.ServerTLS()},
		"an agent as the control API":    {client.ControlTLS(), agent.ServerTLS()},
	} {
		if _, _, err := shake(t, c.client, c.server); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := PeerOf(tls.ConnectionState{}); !errors.Is(err, ErrIdentity) {
		t.Errorf("a peer that was not verified: %v, want ErrIdentity", err)
	}
}

func TestADamagedBundleIsRefusedByName(t *testing.T) {
	h, other := newHome(t, "eu"), newHome(t, "eu")
	foreign, err := os.ReadFile(other.path(PolicyFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file    string
		content []byte // nil: the file is deleted
		want    error
	}{
		"no certificate":              {"node.pem", nil, os.ErrNotExist},
		"no key":                      {"node.key", nil, os.ErrNotExist},
		"no authority":                {"ca.pem", nil, os.ErrNotExist},
		"an authority that is no PEM": {"ca.pem", []byte("x"), nil},
		"no root key":                 {RootFile, nil, os.ErrNotExist},
		"no policy":                   {PolicyFile, nil, os.ErrNotExist},
		"a policy that is none":       {PolicyFile, []byte("x"), record.ErrMalformed},
		"another fleet's policy":      {PolicyFile, foreign, record.ErrUnknownKey},
	} {
		dir := issue(t, h, Identity{RoleAgent, "eu", "host-1"}).Dir
		path := filepath.Join(dir, c.file)
		if c.content == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, c.content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err := Load(dir)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %v with the directory", name, err, c.want)
		}
	}
	// Gossip is optional.
	dir := issue(t, h, Identity{RoleAgent, "eu", "host-1"}).Dir
	if err := os.Remove(filepath.Join(dir, GossipFile)); err != nil {
		t.Fatal(err)
	}
	if b, err := Load(dir); err != nil || b.Gossip != nil {
		t.Errorf("a bundle without a gossip key: %v", err)
	}
}

func TestACertificateWithoutAnIdentityIsRefused(t *testing.T) {
	for _, uri := range []string{
		"https://agent/eu/host-1", "banyan://agent/eu", "banyan://agent/eu/", "banyan://agent//host-1", "banyan://root/eu/host-1",
		"banyan://agent/eu/host-1/more", "banyan:agent/eu/host-1", "banyan://agent/EU/host-1", "banyan://agent/eu/host%2F1",
	} {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := Of(&x509.Certificate{URIs: []*url.URL{u}}); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s: %v, %v; want ErrIdentity", uri, id, err)
		}
	}
	if _, err := Of(&x509.Certificate{}); !errors.Is(err, ErrIdentity) {
		t.Errorf("no URI: %v, want ErrIdentity", err)
	}
}

func TestADerivedSecretIsTheSameAfterARestartAndDiffersByPurpose(t *testing.T) {
	h := newHome(t, "eu")
	first := issue(t, h, Identity{RoleAgent, "eu", "host-1"})
	again, err := Load(first.Dir)
	if err != nil {
		t.Fatal(err)
	}
	derive := func(b *Bundle, purpose string) [32]byte {
		secret, err := b.Derive(purpose)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	if derive(first, "a") != derive(again, "a") {
		t.Error("the secret differs after a restart")
	}
	if derive(first, "a") == derive(first, "b") {
		t.Error("two purposes have the same secret")
	}
	if derive(first, "a") == derive(issue(t, h, Identity{RoleAgent, "eu", "host-2"}), "a") {
		t.Error("two nodes have the same secret")
	}
}

func TestAnAuthorityThatIsDamagedSaysWhichFile(t *testing.T) {
	for file, content := range map[string]string{
		"ca.pem": "no PEM",
		"ca.key": "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
	} {
		h := newHome(t, "eu")
		if err := os.WriteFile(h.path(file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenAuthority(h.Dir); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// FuzzOf reads the identity in a peer's certificate. An identity that is read is valid, and
// writing it as a URI gives the same identity again.
func FuzzOf(f *testing.F) {
	authority, err := NewAuthority()
	if err != nil {
		f.Fatal(err)
	}
	for _, id := range []Identity{{RoleAgent, "eu", "host-1"}, {RoleCoordinator, "us", "coordinator-us"}, {RoleClient, "eu", "admin"}} {
		der, _, err := authority.certify(id, time.Unix(1_800_000_000, 0), time.Unix(1_900_000_000, 0), []string{"10.0.0.1"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der, id.String())
	}
	f.Add(authority.der, "banyan://agent/eu/..")
	f.Add([]byte{0x30, 0x82}, "banyan://agent:7400/eu/host-1?x=y#z")
	f.Fuzz(func(t *testing.T, der []byte, uri string) {
		if cert, err := x509.ParseCertificate(der); err == nil {
			checkOf(t, cert)
		}
		if u, err := url.Parse(uri); err == nil {
			checkOf(t, &x509.Certificate{URIs: []*url.URL{u}})
		}
	})
}

func checkOf(t *testing.T, cert *x509.Certificate) {
	t.Helper()
	id, err := Of(cert)
	if err != nil {
		if !errors.Is(err, ErrIdentity) {
			t.Fatalf("refused with %v, which is not ErrIdentity", err)
		}
		return
	}
	if err := id.Validate(); err != nil {
		t.Fatalf("an identity that is not valid was read: %+v: %v", id, err)
	}
	again, err := Of(&x509.Certificate{URIs: []*url.URL{id.uri()}})
	if err != nil || again != id {
		t.Fatalf("%+v is written as %s and read as %+v: %v", id, id, again, err)
	}
}

// An init that fails leaves nothing behind, so that the next one can use the directory.
func TestTruthAFailedInitLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	for what, try := range map[string]func() error{
		"a region twice":       func() error { return last(InitHome(dir, []string{"a", "a"}, "admin")) },
		"a publisher's path":   func() error { return last(InitHome(dir, []string{"a"}, "../x")) },
		"an impossible host":   func() error { return last(InitHome(dir, []string{"a"}, "admin", "h\u00f6st")) },
		"a region with spaces": func() error { return last(InitHome(dir, []string{"a", "b c"}, "admin")) },
	} {
		if err := try(); err == nil {
			t.Errorf("%s: no error", what)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: something is left of the directory: %v", what, err)
		}
	}
	if _, err := InitHome(dir, []string{"a"}, "admin"); err != nil {
		t.Fatal(err)
	}
}

func last[T any](_ T, err error) error { return err }

// Nothing would ever reach a host of a region that the trust policy does not have.
func TestTruthABundleIsOfARegionThatThereIs(t *testing.T) {
	h := newHome(t, "eu", "us")
	dir := filepath.Join(t.TempDir(), "bundle")
	err := h.Issue(dir, Identity{RoleAgent, "mars", "m1"})
	if !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), `region "mars" is not in the trust policy, which has [eu us]`) {
		t.Errorf("region mars: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}

func FuzzParseAuthority(f *testing.F) {
	a, err := NewAuthority()
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	if err := a.Save(dir); err != nil {
		f.Fatal(err)
	}
	cert, _ := os.ReadFile(filepath.Join(dir, "ca.pem"))
	key, _ := os.ReadFile(filepath.Join(dir, "ca.key"))
	f.Add(cert, key)
	f.Add(cert, []byte("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		a, err := parseAuthority(cert, key)
		if err == nil && (a.cert == nil || a.key == nil || len(a.der) == 0) {
			t.Error("an authority without a certificate or a key")
		}
	})
}

func TestABundleHasSmallFiles(t *testing.T) {
	h := newHome(t, "eu")
	if err := os.WriteFile(filepath.Join(h.ClientDir(), "ca.pem"), make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(h.ClientDir()); !errors.Is(err, record.ErrTooLarge) {
		t.Errorf("a file of %d bytes: %v", maxFile+1, err)
	}
}
