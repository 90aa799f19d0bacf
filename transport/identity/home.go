package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"banyan/record"
)

// Home is the directory from which a fleet's trust grows. `banyan init` makes it:
//
//	root.key root.pub        signs the trust policy; take root.key offline
//	ca.key ca.pem            issues node certificates
//	policy.cose              the trust policy
//	publishers/NAME.key      sign manifests
//	activation/REGION.key    sign pointers and heads
//	coordinator-REGION/      bundle of each region's coordinator
//	client/                  bundle of the person who runs the CLI
type Home struct{ Dir string }

// PolicyLifetime is how long a trust policy made by InitHome is valid.
const PolicyLifetime = 365 * 24 * time.Hour

// ErrExists: a home is not made over another.
var ErrExists = errors.New("already initialized")

// InitHome makes the keys, the policy and the bundles of a fleet with these
// regions. publisher is the name of the first publisher, who may sign for every
// config. hosts are names or addresses that the coordinators' certificates also
// cover.
func InitHome(dir string, regions []string, publisher string, hosts ...string) (*Home, error) {
	h := &Home{dir}
	if len(regions) == 0 {
		return nil, fmt.Errorf("%w: a fleet needs a region", record.ErrInvalid)
	}
	for _, r := range regions {
		if err := record.ValidateRegion(r); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(h.path("root.key")); err == nil {
		return nil, fmt.Errorf("%s: %w; its keys are not overwritten; choose another directory", dir, ErrExists)
	}
	for _, d := range []string{dir, h.path("publishers"), h.path("activation")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	if err := h.makeTrust(regions, publisher); err != nil {
		return nil, err
	}
	authority, err := NewAuthority()
	if err != nil {
		return nil, err
	}
	if err := authority.Save(dir); err != nil {
		return nil, err
	}
	for _, region := range regions {
		id := Identity{RoleCoordinator, region, "coordinator-" + region}
		if err := h.Issue(h.CoordinatorDir(region), id, hosts...); err != nil {
			return nil, err
		}
	}
	return h, h.Issue(h.ClientDir(), Identity{RoleClient, regions[0], publisher})
}

// makeTrust makes the signing keys and the policy that lists them.
func (h *Home) makeTrust(regions []string, publisher string) error {
	newKey := func(path string) (record.Key, error) {
		key, err := record.GenerateKey()
		if err != nil {
			return key, err
		}
		return key, key.Save(path)
	}
	root, err := newKey(h.path("root.key"))
	if err != nil {
		return err
	}
	if err := record.SavePublic(h.path(RootFile), root.Public()); err != nil {
		return err
	}
	signer, err := newKey(h.PublisherKey(publisher))
	if err != nil {
		return err
	}
	policy := record.PolicyDocument{Version: 1, ExpiresSec: time.Now().Add(PolicyLifetime).Unix(),
		Publishers: []record.PublisherEntry{{Name: publisher, Public: signer.Public(), Scopes: []string{"*"}}},
		Activators: []record.ActivatorEntry{}}
	for _, region := range regions {
		key, err := newKey(h.ActivationKey(region))
		if err != nil {
			return err
		}
		policy.Activators = append(policy.Activators, record.ActivatorEntry{Name: "activation-" + region, Public: key.Public(), Regions: []string{region}})
	}
	raw, err := record.SignPolicy(policy, root)
	if err != nil {
		return err
	}
	gossip := make([]byte, 32)
	rand.Read(gossip) // does not fail
	if err := os.WriteFile(h.path(GossipFile), gossip, 0o600); err != nil {
		return err
	}
	return os.WriteFile(h.path(PolicyFile), raw, 0o644)
}

func (h *Home) path(name string) string { return filepath.Join(h.Dir, name) }

// PublisherKey is where a publisher's key lies.
func (h *Home) PublisherKey(name string) string {
	return h.path(filepath.Join("publishers", name+".key"))
}

// ActivationKey is where a region's activation key lies.
func (h *Home) ActivationKey(region string) string {
	return h.path(filepath.Join("activation", region+".key"))
}

// CoordinatorDir is where the bundle of a region's coordinator lies.
func (h *Home) CoordinatorDir(region string) string { return h.path("coordinator-" + region) }

// ClientDir is where the bundle of the CLI's user lies.
func (h *Home) ClientDir() string { return h.path("client") }

// Issue makes a bundle for id in dir: a certificate, and copies of what it is
// verified with. It refuses to overwrite one.
func (h *Home) Issue(dir string, id Identity, hosts ...string) error {
	authority, err := OpenAuthority(h.Dir)
	if err != nil {
		return fmt.Errorf("open the fleet's authority: %w; run 'banyan init' first, or name its directory with --home", err)
	}
	if err := authority.Issue(dir, id, hosts...); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w; its key is not overwritten; choose another directory", dir, ErrExists)
		}
		return err
	}
	for _, f := range []struct {
		name string
		mode os.FileMode
	}{{RootFile, 0o644}, {PolicyFile, 0o644}, {GossipFile, 0o600}} {
		raw, err := os.ReadFile(h.path(f.name))
		if f.name == GossipFile && (errors.Is(err, fs.ErrNotExist) || id.Role == RoleClient) {
			continue // a fleet from before there was one, or one who does not gossip
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.name), raw, f.mode); err != nil {
			return err
		}
	}
	return nil
}
