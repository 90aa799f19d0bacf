package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"banyan/coordinator/ledger"
	"banyan/internal/ticks"
	"banyan/versionstore"
)

// The documents of the inventory.
const (
	// kindHost is the kind of the documents that hold the hosts, by region and name.
	kindHost = "host"
	// kindReports and reportsName name the document that holds when each coordinator reported last.
	kindReports = "reports"
	reportsName = "rosters"
)

// load reads the stored hosts. A host that can't be read is listed with what its name says.
func (v *inventory) load(ctx context.Context) error {
	documents, err := versionstore.ListAll(ctx, v.ledger, kindHost, "")
	if err != nil {
		return fmt.Errorf("inventory: %w", err)
	}
	reported := v.loadReported(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, d := range documents {
		region, name, ok := strings.Cut(d.Name, " ")
		if !ok {
			continue
		}
		stored, err := decodeHost(d)
		if err != nil {
			v.log.Warn("host in the inventory can't be read; it stays listed", "host", name, "of", region, "error", err)
		}
		h := &host{seq: d.Seq, storedHost: stored}
		if at := reported[h.Via]; at.After(h.Heard) {
			h.Heard = at
		}
		v.enter(hostKey{region, name}, h)
	}
	return nil
}

// decodeHost returns the host in a document. A host that can't be read subscribes to every config,
// and has been listed since the document was written.
func decodeHost(d versionstore.Document) (storedHost, error) {
	var h storedHost
	err := decodeDocument(d, &h)
	if err == nil {
		err = h.Subscriptions.Validate()
	}
	if err != nil {
		return storedHost{Since: d.At}, err
	}
	return h, nil
}

// loadReported returns when each coordinator reported last, as stored.
func (v *inventory) loadReported(ctx context.Context) map[string]time.Time {
	d, err := v.ledger.Document(ctx, kindReports, reportsName)
	var reported map[string]time.Time
	if err == nil {
		err = decodeDocument(d, &reported)
	}
	if err != nil && !isNotFound(err) {
		v.log.Warn("hosts may have been heard of later than the inventory says", "error", err)
	}
	return reported
}

// storeReported stores when each coordinator reported last, so that a leader that starts knows
// when the hosts of that coordinator were last heard of.
func (v *inventory) storeReported(ctx context.Context, now time.Time) error {
	reported := v.loadReported(ctx)
	if reported == nil {
		reported = map[string]time.Time{}
	}
	v.mu.Lock()
	vouching := v.vouching()
	maps.DeleteFunc(reported, func(coordinator string, _ time.Time) bool { return !vouching[coordinator] })
	for coordinator, r := range v.reports {
		reported[coordinator] = r.at
	}
	v.mu.Unlock()
	raw, err := json.Marshal(reported)
	if err != nil {
		return err
	}
	err = v.ledger.ReplaceDocument(ctx, ledger.Act{By: v.name}, kindReports, reportsName, raw)
	if err == nil {
		v.reported = now
	}
	return err
}

// vouching returns the coordinators that were the last to report some host. The caller holds mu.
func (v *inventory) vouching() map[string]bool {
	coordinators := map[string]bool{}
	for _, h := range v.hosts {
		coordinators[h.Via] = true
	}
	return coordinators
}

// run stores the inventory and drops silent coordinators until ctx ends.
func (v *inventory) run(ctx context.Context) {
	for range ticks.Every(ctx, inventoryEvery) {
		v.expire(time.Now().Add(-rosterAge))
		v.store(ctx, time.Now().Add(-reportedEvery))
	}
	v.store(context.WithoutCancel(ctx), time.Now())
}

// store stores the hosts that changed. It also stores the times of the reports, unless that was done
// after due.
func (v *inventory) store(ctx context.Context, due time.Time) {
	if !v.leads || v.ledger.Refusal() != nil {
		return
	}
	err := v.storeHosts(ctx)
	if err == nil && v.reported.Before(due) {
		err = v.storeReported(ctx, time.Now())
	}
	switch {
	case err == nil:
		v.failed.End("")
	case ctx.Err() == nil:
		v.log.Log(ctx, v.failed.Level("", slog.LevelWarn), "inventory not stored; it is tried again", "error", err)
	}
}

// storeHosts stores the hosts that changed, at most hostBatch hosts in one transaction.
func (v *inventory) storeHosts(ctx context.Context) error {
	for {
		var keys []hostKey
		err := v.ledger.Update(func(w *ledger.Writer) error {
			var writes []versionstore.DocumentWrite
			keys, writes = v.batch()
			if len(keys) == 0 {
				return nil
			}
			_, err := w.Commit(ctx, ledger.Act{By: v.name}, ledger.Changes{Documents: writes})
			if err == nil {
				v.stored(keys)
			}
			return err
		})
		if err != nil {
			for _, key := range keys {
				v.putBack(ctx, key)
			}
		}
		if err != nil || len(keys) == 0 {
			return err
		}
	}
}

// batch takes hosts out of unstored, and returns them with their writes.
func (v *inventory) batch() (keys []hostKey, writes []versionstore.DocumentWrite) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for key := range v.unstored {
		if len(keys) == hostBatch {
			break
		}
		h := v.hosts[key]
		if h == nil { // retired
			delete(v.unstored, key)
			continue
		}
		raw, err := json.Marshal(h.storedHost)
		if err != nil {
			break
		}
		keys = append(keys, key)
		writes = append(writes, versionstore.DocumentWrite{Kind: kindHost, Name: key.document(), Raw: raw, IfSeq: h.seq})
		delete(v.unstored, key)
	}
	return keys, writes
}

// stored notes that a batch is stored. A host that was retired meanwhile is not listed.
func (v *inventory) stored(keys []hostKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, key := range keys {
		if h := v.hosts[key]; h != nil {
			h.seq++
		}
	}
}

// putBack stores a host again later. The sequence of its document is read anew: the write that
// failed may have happened.
func (v *inventory) putBack(ctx context.Context, key hostKey) {
	d, err := v.ledger.Document(ctx, kindHost, key.document())
	v.mu.Lock()
	defer v.mu.Unlock()
	h := v.hosts[key]
	if h == nil {
		return
	}
	v.unstored[key] = struct{}{}
	if err == nil {
		h.seq = d.Seq
	}
}
