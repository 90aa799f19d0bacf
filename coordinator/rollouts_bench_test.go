package coordinator

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/mesh/wire"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
	"banyan/versionstore"
	"banyan/versionstore/storetest"
)

// BenchmarkSteps measures the controller of a leader with 256 rollouts of 100 regions, each with 1000
// hosts. An operation is a rollout.Tick in which nothing happens, one in which all coordinators repeat
// their censuses, or one in which hosts of one region acknowledge one pointer.
func BenchmarkSteps(b *testing.B) {
	const regions, configs, hosts = 100, maxRollouts, 1000
	c := crowd(b, regions, configs, hosts)
	for range 10 {
		c.rollouts.look(b.Context())
	}
	measure := func(what string, happens func()) {
		b.Run(what, func(b *testing.B) {
			var took []time.Duration
			stepped := c.metrics.steps.Get()
			for b.Loop() {
				happens()
				time.Sleep(rollout.Tick)
				began := time.Now()
				c.rollouts.look(b.Context())
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(100*took[len(took)/2].Seconds()/rollout.Tick.Seconds(), "%core-median")
			b.ReportMetric(float64(c.metrics.steps.Get()-stepped)/float64(b.N), "commits/op")
		})
	}
	measure("quiet", func() {})
	measure("censuses", func() {
		for i := range regions {
			c.counted(fmt.Sprint("root-", i), fmt.Sprintf("r%03d", i), census(configs, hosts))
		}
	})
	measure("host", func() {
		host := api.RosterHost{Name: "host-0"}
		c.inventory.hear("root-0", "r000", api.Roster{Last: true, Total: hosts, Hosts: []api.RosterHost{host}})
	})
}

// census returns a census of hosts with a tenth of them in the wave of each of configs.
func census(configs, hosts int) *wire.Census {
	present := roaring.New()
	present.AddRange(0, uint64(hosts))
	c := &wire.Census{Agents: uint32(hosts)}
	c.SetPresent(present)
	for i := range configs {
		c.Waves = append(c.Waves, wire.WaveSize{
			Config:   fmt.Sprint("config-", i),
			Position: record.At(1, 1),
			Agents:   uint32(hosts),
			InWave:   uint32(hosts) / 10,
		})
	}
	return c
}

// crowd returns a leader that does not run, with rollouts that bake.
func crowd(b testing.TB, regions, configs, hosts int) *Coordinator {
	var names []string
	for i := range regions {
		names = append(names, fmt.Sprintf("r%03d", i))
	}
	home, err := identity.InitHome(filepath.Join(b.TempDir(), "home"), names, "dev")
	if err != nil {
		b.Fatal(err)
	}
	bundle, err := identity.Load(home.CoordinatorDir(names[0]))
	if err != nil {
		b.Fatal(err)
	}
	cfg := Config{Identity: bundle, DataDir: b.TempDir(), Listen: "127.0.0.1:0", API: "127.0.0.1:0"}
	for _, name := range names {
		key, err := record.LoadKey(home.ActivationKey(name))
		if err != nil {
			b.Fatal(err)
		}
		cfg.ActivationKeys = append(cfg.ActivationKeys, key)
	}
	c, err := Open(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	for i := range configs {
		begin(b, c, fmt.Sprint("config-", i), names)
	}
	for i, name := range names {
		c.counted(fmt.Sprint("root-", i), name, census(configs, hosts))
		report := api.Roster{First: true, Last: true, Total: hosts}
		for j := range hosts {
			report.Hosts = append(report.Hosts, api.RosterHost{Name: fmt.Sprint("host-", j), Index: uint32(j)})
		}
		c.inventory.hear(fmt.Sprint("root-", i), name, report)
	}
	return c
}

// begin stores a version, and a rollout that stages it in regions.
func begin(b testing.TB, c *Coordinator, config string, regions []string) {
	m, raw, _ := storetest.NewSigner().Manifest(b, config, 1)
	plan, err := rollout.ParsePlan([]byte("stage: {timeout: 1h}\n" + longPlan))
	if err != nil {
		b.Fatal(err)
	}
	pointers := map[string]record.Pointer{}
	for _, region := range regions {
		pointers[region] = record.Pointer{}
	}
	s, err := rollout.Start(1, config, m.Ref(), plan, pointers, nil, "dev", "", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	next, moves, _ := rollout.Decide(s, epochsOf(pointers), 0)
	err = c.ledger.Update(func(w *ledger.Writer) error {
		changes := ledger.Changes{
			Versions: []versionstore.SignedManifest{{Manifest: m, Raw: raw, By: "dev"}},
			Moves:    moves,
		}
		if _, err := c.rollouts.commit(b.Context(), w, ledger.Act{By: "dev"}, next, 0, changes); err != nil {
			return err
		}
		c.rollouts.keep(next, 1)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	stored, err := c.ledger.PointersOf(b.Context(), config, slices.Values(regions))
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range stored {
		c.tracker.moved(p)
	}
}
