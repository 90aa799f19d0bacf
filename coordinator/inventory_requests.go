package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/versionstore"
)

// expect lists hosts that have not attached yet. It returns those that were not listed before. Hosts are
// independent of each other, so many are stored in several transactions.
func (v *inventory) expect(ctx context.Context, keys []hostKey, by string) (added []hostKey, err error) {
	now := time.Now()
	err = v.ledger.Update(func(w *ledger.Writer) error {
		added, err = v.unlisted(keys)
		if err != nil || len(added) == 0 {
			return err
		}
		h := storedHost{Since: now}
		raw, err := json.Marshal(h)
		if err != nil {
			return err
		}
		act := ledger.Act{By: by, What: "expects " + namesOf(added)}
		for batch := range slices.Chunk(added, hostBatch) {
			var writes []versionstore.DocumentWrite
			for _, key := range batch {
				writes = append(writes, versionstore.DocumentWrite{Kind: kindHost, Name: key.document(), Raw: raw})
			}
			if _, err := w.Commit(ctx, act, ledger.Changes{Documents: writes}); err != nil {
				return err
			}
			v.expected(batch, h)
			act.What = ""
		}
		return nil
	})
	return added, err
}

// elsewhere returns the error of a request for a host whose name a host of another region has.
func elsewhere(key hostKey, region string) error {
	return &api.Error{
		Code:    api.CodeConflict,
		Message: fmt.Sprintf("host %s is in region %s, not %s; nothing was changed", key.name, region, key.region),
		Hint: fmt.Sprintf("name region %s, or choose another name; if the host of %s is gone: banyan agents retire %s --region %s",
			region, region, key.name, region),
	}
}

// unlisted returns the hosts that are not in the inventory, without duplicates. It is an error if a
// host of another region has the name of one of them.
func (v *inventory) unlisted(keys []hostKey) (unlisted []hostKey, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	regions := map[string]string{} // by name, of the hosts that are named
	for _, key := range keys {
		regions[key.name] = ""
	}
	for key := range v.hosts {
		if _, named := regions[key.name]; named {
			regions[key.name] = key.region
		}
	}
	for _, key := range keys {
		switch region := regions[key.name]; {
		case v.hosts[key] != nil, region == key.region:
		case region != "":
			return nil, elsewhere(key, region)
		default:
			regions[key.name] = key.region
			unlisted = append(unlisted, key)
		}
	}
	if len(v.hosts)+len(unlisted) > maxInventory {
		return nil, &api.Error{
			Code:    api.CodeConflict,
			Message: fmt.Sprintf("the inventory is full: it has %d hosts, the limit is %d; nothing was changed", len(v.hosts), maxInventory),
			Hint:    "retire hosts that are gone: banyan agents retire HOST",
		}
	}
	return unlisted, nil
}

// expected lists hosts whose documents have just been created.
func (v *inventory) expected(keys []hostKey, as storedHost) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, key := range keys {
		if h := v.hosts[key]; h != nil { // the host attached meanwhile
			h.seq = 1
			continue
		}
		v.enter(key, &host{storedHost: as, seq: 1})
	}
}

// namesOf names hosts for the journal, at most listedHosts of them.
func namesOf(keys []hostKey) string {
	var names []string
	for _, key := range keys[:min(listedHosts, len(keys))] {
		names = append(names, fmt.Sprintf("host %s of region %s", key.name, key.region))
	}
	if more := len(keys) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// retire removes a host that is in no tree, or returns an error that says why not.
func (v *inventory) retire(ctx context.Context, key hostKey, by string) error {
	return v.ledger.Update(func(w *ledger.Writer) error {
		v.mu.Lock()
		listed := v.hosts[key]
		var h host
		if listed != nil {
			h = *listed
		}
		v.mu.Unlock()
		switch {
		case listed == nil:
			return &api.Error{
				Code:    api.CodeNotFound,
				Message: fmt.Sprintf("host %s is not in the inventory of region %s", key.name, key.region),
			}
		case h.attached:
			return &api.Error{
				Code:    api.CodeConflict,
				Message: fmt.Sprintf("host %s is attached to %s; nothing was changed", key.name, h.Via),
				Hint:    "stop its agent first: a host that attaches is listed again",
			}
		}
		act := ledger.Act{By: by, What: fmt.Sprintf("retired host %s of region %s", key.name, key.region)}
		var writes []versionstore.DocumentWrite
		if h.seq != 0 {
			writes = append(writes, versionstore.DocumentWrite{Kind: kindHost, Name: key.document(), IfSeq: h.seq})
		}
		if _, err := w.Commit(ctx, act, ledger.Changes{Documents: writes}); err != nil {
			return err
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		if listed.attached { // the host attached meanwhile: it is listed again
			listed.seq = 0
			v.unstored[key] = struct{}{}
			return nil
		}
		v.remove(key)
		return nil
	})
}

// find returns the host with a name. region is needed only if several regions have such a host.
func (v *inventory) find(name, region string) (hostKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []hostKey
	for key := range v.hosts {
		if key.name == name && (region == "" || key.region == region) {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		e := &api.Error{
			Code:    api.CodeNotFound,
			Message: fmt.Sprintf("host %q is not in the inventory", name),
			Hint:    "'banyan agents --all' lists it",
		}
		if near := nearest(name, v.hostNames()); near != "" {
			e.Hint = "did you mean " + near + "?"
		}
		return hostKey{}, e
	case 1:
		return found[0], nil
	}
	return hostKey{}, &api.Error{
		Code:    api.CodeConflict,
		Message: fmt.Sprintf("%d regions have a host %q", len(found), name),
		Hint:    "choose with --region",
	}
}

// hostNames returns the names of all hosts, sorted. The caller holds mu.
func (v *inventory) hostNames() []string {
	var names []string
	for key := range v.hosts {
		names = append(names, key.name)
	}
	slices.Sort(names)
	return names
}
