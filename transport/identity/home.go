package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"banyan/internal/usage"
	"banyan/record"
)

// Home is the directory with the keys of a fleet. `banyan init` makes it:
//
//	root.key root.pub        signs the trust policy; keep root.key offline
//	ca.key ca.pem            issues node certificates
//	policy.cose              trust policy
//	publishers/NAME.key      signs manifests
//	activation/REGION.key    signs pointers and heads
//	gossip.key               encrypts gossip
//	coordinator-REGION/      bundle of the region's coordinator
//	client/                  bundle of the user of the CLI
type Home struct{ Dir string }

// PolicyLifetime is the time for which a trust policy made by InitHome is valid.
const PolicyLifetime = 365 * 24 * time.Hour

// ErrExists is wrapped if a directory has keys already. Keys are not overwritten.
var ErrExists = errors.New("already initialized")

// InitHome makes the keys, the trust policy and the bundles of a fleet. publisher is the name
// of the first publisher, who may sign for every config. hosts are DNS names or IP addresses
// for which the certificates of the coordinators are valid too.
func InitHome(dir string, regions []string, publisher string, hosts ...string) (*Home, error) {
	h := &Home{dir}
	if len(regions) == 0 {
		return nil, usage.Errorf("at least one region is required")
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

// makeTrust makes the signing keys, the trust policy that lists them, and the gossip key.
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
	policy := record.PolicyDocument{
		Version:    1,
		ExpiresSec: time.Now().Add(PolicyLifetime).Unix(),
		Publishers: []record.PublisherEntry{{Name: publisher, Public: signer.Public(), Scopes: []string{"*"}}},
		Activators: []record.ActivatorEntry{},
	}
	for _, region := range regions {
		key, err := newKey(h.ActivationKey(region))
		if err != nil {
			return err
		}
		policy.Activators = append(policy.Activators, record.ActivatorEntry{
			Name:    "activation-" + region,
			Public:  key.Public(),
			Regions: []string{region},
		})
	}
	raw, err := record.SignPolicy(policy, root)
	if err != nil {
		return err
	}
	gossip := make([]byte, 32)
	rand.Read(gossip) // never fails
	if err := os.WriteFile(h.path(GossipFile), gossip, 0o600); err != nil {
		return err
	}
	return os.WriteFile(h.path(PolicyFile), raw, 0o644)
}

func (h *Home) path(name string) string { return filepath.Join(h.Dir, name) }

// PublisherKey is the file with a publisher's key.
func (h *Home) PublisherKey(name string) string {
	return h.path(filepath.Join("publishers", name+".key"))
}

// ActivationKey is the file with a region's activation key.
func (h *Home) ActivationKey(region string) string {
	return h.path(filepath.Join("activation", region+".key"))
}

// CoordinatorDir is the bundle of a region's coordinator.
func (h *Home) CoordinatorDir(region string) string { return h.path("coordinator-" + region) }

// ClientDir is the bundle of the user of the CLI.
func (h *Home) ClientDir() string { return h.path("client") }

// Issue makes a bundle for id in dir: a certificate, and copies of the trust policy, the root
// key and the gossip key. It does not overwrite a bundle. A client gets no gossip key.
func (h *Home) Issue(dir string, id Identity, hosts ...string) error {
	authority, err := OpenAuthority(h.Dir)
	if err != nil {
		return fmt.Errorf("open the fleet's authority: %w; run 'banyan init' first, or name the directory with --home",
			err)
	}
	if err := authority.Issue(dir, id, hosts...); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w; its key is not overwritten; choose another directory", dir, ErrExists)
		}
		return err
	}
	if err := h.copyTo(dir, RootFile, 0o644); err != nil {
		return err
	}
	if err := h.copyTo(dir, PolicyFile, 0o644); err != nil {
		return err
	}
	if id.Role == RoleClient {
		return nil
	}
	err = h.copyTo(dir, GossipFile, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a fleet that an older version has made
	}
	return err
}

// copyTo copies a file of the home to dir.
func (h *Home) copyTo(dir, name string, mode os.FileMode) error {
	raw, err := os.ReadFile(h.path(name))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), raw, mode)
}
