package coordinator

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"banyan/coordinator/api"
	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// warmUp is the time in which a leader of 25,600 pointers and 100,000 hosts has read and written what it
// does once.
const warmUp = 20 * time.Second

// BenchmarkLeader measures a whole leader with 256 rollouts of 100 regions, each with 1000 hosts. An
// operation is a head interval: every coordinator sends its census, and in each of three regions a tenth of
// the hosts starts again, so that their acknowledgements of all configs come once more.
func BenchmarkLeader(b *testing.B) {
	const regions, configs, hosts = 100, maxRollouts, 1000
	c := crowd(b, regions, configs, hosts)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	observe := func(o step.Output) {
		c.driver.Do(ctx, func(*mesh.Node) { c.observe(o) })
	}
	counts := census(configs, hosts)
	acks := make([]*wire.Ack, regions)
	for i := range regions {
		acks[i] = acknowledgements(b, c, i, configs, hosts)
	}
	time.Sleep(warmUp)
	restarted := 0
	before := processorTime(b)
	began := time.Now()
	for b.Loop() {
		for i := range regions {
			name := fmt.Sprintf("r%03d", i)
			c.inventory.hear(fmt.Sprint("root-", i), name, api.Roster{Last: true, Total: hosts})
			observe(step.Output{Op: step.OpCensus, Name: fmt.Sprint("root-", i), Region: name, Message: counts})
		}
		for range 3 {
			restarted++
			observe(step.Output{Op: step.OpAcked, Message: acks[restarted%regions]})
			time.Sleep(DefaultHeadInterval / 3)
		}
	}
	b.ReportMetric(100*(processorTime(b)-before).Seconds()/time.Since(began).Seconds(), "%core")
}

// acknowledgements returns the acknowledgements of a tenth of the hosts of a region, for every config.
func acknowledgements(b *testing.B, c *Coordinator, region, configs, hosts int) *wire.Ack {
	m := &wire.Ack{}
	for i := range configs {
		key := record.PointerKey{Config: fmt.Sprint("config-", i), Region: fmt.Sprintf("r%03d", region)}
		p, err := c.ledger.Pointer(b.Context(), key.Config, key.Region)
		if err != nil {
			b.Fatal(err)
		}
		entry := wire.NewAckEntry(key, p.Pointer.Position(), p.Pointer.Digest())
		entry.Applied.AddRange(0, uint64(hosts)/10)
		m.Entries = append(m.Entries, *entry)
	}
	return m
}

// processorTime returns the processor time of this process.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
