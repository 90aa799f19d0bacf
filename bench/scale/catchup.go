package scale

import (
	"fmt"
	"time"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// region is the region of every node that is measured.
const region = "eu"

// CatchUpResult is what the catch-up of a new agent takes.
type CatchUpResult struct {
	Configs int
	// CPU is the processor time that the agent's node needs, without signatures and disks.
	CPU time.Duration
	// Asked is the number of bodies that the agent asked for.
	Asked int
	// Flying is the largest number of bodies that were asked for and had not arrived.
	Flying int
}

// CatchUp measures the node of an agent that attaches for the first time to a parent with many
// configs. The parent sends a body in a millisecond of the node's clock, one after another.
func CatchUp(configs int) (CatchUpResult, error) {
	c := catchUp{
		node: mesh.NewNode(mesh.Config{
			Self:        wire.Identity{Role: wire.RoleAgent, Region: region, Name: "new"},
			Description: wire.Description{Addr: "new:1"},
			Seeds:       []string{"coordinator:1"},
			Verifier:    trusting{},
		}),
		CatchUpResult: CatchUpResult{Configs: configs},
	}
	announcements := make([]*wire.Announcement, configs)
	for i := range announcements {
		p := pointerOf(fmt.Sprintf("config/%06d", i), region, 1)
		announcements[i] = wire.NewAnnouncement(uint64(i+1), rawPointer(p), p)
	}
	began := cpuTime()
	c.attach()
	for _, a := range announcements {
		c.step(received(1, a))
	}
	err := c.run()
	c.CPU = cpuTime() - began
	return c.CatchUpResult, err
}

// catchUp runs one node of an agent against a parent that has everything.
type catchUp struct {
	CatchUpResult
	node    *mesh.Node
	now     step.Time
	asked   []record.VersionKey // requests that the parent has yet to answer
	applied int
}

func (c *catchUp) attach() {
	c.step(step.Input{Kind: step.InStart})
	coordinator := wire.Identity{Role: wire.RoleCoordinator, Region: region, Name: "coordinator"}
	c.step(step.Input{
		Kind: step.InConnected,
		Peer: 1,
		Link: step.Link{Addr: "coordinator:1", Identity: coordinator},
	})
	c.step(received(1, &wire.Placement{}))
	c.step(received(1, &wire.Attached{}))
}

// run lets the parent answer until every config is applied.
func (c *catchUp) run() error {
	for range 10 * c.Configs {
		if c.applied == c.Configs {
			return nil
		}
		c.now += step.Time(time.Millisecond)
		for c.node.Deadline() <= c.now {
			c.step(step.Input{Kind: step.InTick})
		}
		if len(c.asked) == 0 {
			continue
		}
		v := c.asked[0]
		c.asked = c.asked[1:]
		c.step(step.Input{Kind: step.InFetched, Body: step.Body{Version: v, Forms: 1}})
	}
	return fmt.Errorf("%d of %d configs were applied", c.applied, c.Configs)
}

// step gives the node an input and carries out the outputs.
func (c *catchUp) step(in step.Input) {
	for _, o := range c.node.Step(c.now, in, nil) {
		switch o.Op {
		case step.OpFetch:
			c.asked = append(c.asked, o.Body.Version)
			c.Asked++
			c.Flying = max(c.Flying, len(c.asked))
		case step.OpActivate:
			c.node.Watermark() // an agent stores it with each pointer
			c.applied++
			c.step(step.Input{Kind: step.InActivated, Pointer: o.Pointer})
		}
	}
}

func received(peer step.PeerID, m wire.Message) step.Input {
	return step.Input{Kind: step.InReceived, Peer: peer, Message: m}
}
