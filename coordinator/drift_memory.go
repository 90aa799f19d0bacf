package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"banyan/coordinator/ledger"
)

// The document that drifts are stored in.
const (
	kindDrifts = "drifts"
	driftsName = "files"
)

// driftMemory remembers which hosts show a changed file across restarts of the leader. Hosts repeat
// their acknowledgements as soon as they are attached again, and a drift only at their next look at
// the file: without the memory, such a host would count as applied until then.
type driftMemory struct {
	ledger  *ledger.Ledger
	tracker *tracker
	name    string // the coordinator, as the writer
	log     *slog.Logger
	stored  []byte // as stored last
}

// storedDrift is the stored form of a drift.
type storedDrift struct {
	Agent   string    `json:"agent"`
	Region  string    `json:"region"`
	Config  string    `json:"config"`
	Version uint64    `json:"version"`
	Index   uint32    `json:"index"`
	Since   time.Time `json:"since"`
}

// load gives the tracker the stored drifts. They are forgotten like others if no host reports them.
func (m *driftMemory) load(ctx context.Context) {
	d, err := m.ledger.Document(ctx, kindDrifts, driftsName)
	if isNotFound(err) {
		return
	}
	var stored []storedDrift
	if err == nil {
		err = decodeDocument(d, &stored)
	}
	if err != nil {
		m.log.Warn("changed files of hosts are not known until the hosts look again", "error", err)
		return
	}
	m.stored = d.Raw
	m.tracker.restoreDrifts(stored[:min(len(stored), storedDrifts)])
}

// remember stores the present drifts if they changed. It must not be called concurrently.
func (m *driftMemory) remember(ctx context.Context) {
	if m.ledger.Refusal() != nil {
		return
	}
	stored := []storedDrift{}
	for _, d := range m.tracker.allDrifts() {
		if !d.Repaired && len(stored) < storedDrifts {
			stored = append(stored, storedDrift{d.Agent, d.Region, d.Config, d.Version, d.index, d.Since})
		}
	}
	raw, err := json.Marshal(stored)
	if err != nil || bytes.Equal(raw, m.stored) || len(stored) == 0 && m.stored == nil {
		return
	}
	err = m.ledger.ReplaceDocument(ctx, ledger.Act{By: m.name}, kindDrifts, driftsName, raw)
	if err == nil {
		m.stored = raw
		return
	}
	if ctx.Err() == nil {
		m.log.Debug("changed files of hosts are not remembered", "error", err)
	}
}
