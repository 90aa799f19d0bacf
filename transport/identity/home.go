package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
//
// After an error nothing is left in dir, unless dir had files before.
func InitHome(dir string, regions []string, publisher string, hosts ...string) (h *Home, err error) {
	h = &Home{dir}
	if err := checkInit(regions, publisher); err != nil {
		return nil, err
	}
	if _, err := os.Stat(h.path("root.key")); err == nil {
		return nil, fmt.Errorf("%s: %w; its keys are not overwritten; choose another directory", dir, ErrExists)
	}
	before, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := h.init(regions, publisher, hosts); err != nil {
		if len(before) == 0 {
			os.RemoveAll(dir)
		}
		return nil, err
	}
	return h, nil
}

// checkInit checks the names in the arguments of InitHome.
func checkInit(regions []string, publisher string) error {
	if len(regions) == 0 {
		return usage.Errorf("at least one region is required")
	}
	for i, r := range regions {
		if err := record.ValidateRegion(r); err != nil {
			return err
		}
		if slices.Contains(regions[:i], r) {
			return usage.Errorf("region %s is named twice", r)
		}
	}
	if err := (Identity{RoleClient, regions[0], publisher}).Validate(); err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	return nil
}

// init makes the files of a home.
func (h *Home) init(regions []string, publisher string, hosts []string) error {
	for _, d := range []string{h.Dir, h.path("publishers"), h.path("activation")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	if err := h.makeTrust(regions, publisher); err != nil {
		return err
	}
	authority, err := NewAuthority()
	if err != nil {
		return err
	}
	if err := authority.Save(h.Dir); err != nil {
		return err
	}
	for _, region := range regions {
		id := Identity{RoleCoordinator, region, "coordinator-" + region}
		if err := h.Issue(h.CoordinatorDir(region), id, hosts...); err != nil {
			return err
		}
	}
	return h.Issue(h.ClientDir(), Identity{RoleClient, regions[0], publisher})
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
// key and the gossip key. It does not overwrite a bundle. A client gets no gossip key. The trust
// policy must have the region of id.
func (h *Home) Issue(dir string, id Identity, hosts ...string) error {
	authority, err := OpenAuthority(h.Dir)
	if err != nil {
		return fmt.Errorf("open the fleet's authority: %w; run 'banyan init' first, or name the directory with --home",
			err)
	}
	if err := h.checkRegion(id.Region); err != nil {
		return err
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

// checkRegion refuses a region that the trust policy does not have: nothing would ever reach a
// host there.
func (h *Home) checkRegion(region string) error {
	root, err := record.LoadPublic(h.path(RootFile))
	if err != nil {
		return err
	}
	raw, err := readFile(h.path(PolicyFile))
	if err != nil {
		return err
	}
	policy, err := record.OpenPolicy(raw, []ed25519.PublicKey{root}, time.Now())
	if err != nil {
		return fmt.Errorf("%s: %w", h.path(PolicyFile), err)
	}
	if known := policy.Regions(); !slices.Contains(known, region) {
		return fmt.Errorf("%w: region %q is not in the trust policy, which has %v", ErrIdentity, region, known)
	}
	return nil
}

// copyTo copies a file of the home to dir.
func (h *Home) copyTo(dir, name string, mode os.FileMode) error {
	raw, err := readFile(h.path(name))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), raw, mode)
}
