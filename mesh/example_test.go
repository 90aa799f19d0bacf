package mesh_test

import (
	"fmt"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// trusting accepts every pointer and version. A real node gets a *record.Policy.
type trusting struct{ pointer record.Pointer }

func (t trusting) VerifyPointer([]byte) (record.Pointer, error) { return t.pointer, nil }
func (t trusting) VerifyBatch([]byte, [][]byte) ([]record.SignedPointer, error) {
	return nil, nil
}
func (t trusting) VerifyHead([]byte) (record.Head, error)                { return record.Head{}, nil }
func (t trusting) VerifyVersion(record.VersionKey, []byte, []byte) error { return nil }

// wired drives a node of the example: it carries out outputs, and feeds back what came of them.
type wired struct {
	node  *mesh.Node
	who   wire.Identity
	other *wired
}

const link = step.PeerID(1) // the only link of the example, at both ends

func (d *wired) step(in step.Input) {
	for _, o := range d.node.Step(0, in, nil) {
		switch o.Op {
		case step.OpConnect:
			d.other.step(step.Input{Kind: step.InAccepted, Peer: link, Link: step.Link{Identity: d.who}})
			d.step(step.Input{Kind: step.InConnected, Peer: link, Link: step.Link{Identity: d.other.who, Addr: o.Addr}})
		case step.OpSend:
			d.other.step(step.Input{Kind: step.InReceived, Peer: link, Message: o.Message})
		case step.OpStore:
			d.step(step.Input{Kind: step.InFetched, Body: step.Body{Version: o.Push.Key(), Forms: 1}})
		case step.OpActivate:
			p := &o.Pointer.Announcement.Pointer
			fmt.Printf("%s applies %s version %d, epoch %d\n", d.who.Name, p.Config, o.Pointer.Version.Version, p.Epoch)
			d.step(step.Input{Kind: step.InActivated, Pointer: o.Pointer})
		}
	}
}

// A coordinator and an agent, without network, disk and clock: the agent joins, and the
// coordinator publishes a pointer with a small version behind it.
func ExampleNode() {
	version := record.VersionKey{Config: "web/flags", Version: 3, Digest: record.Sum([]byte("manifest"))}
	pointer := record.Pointer{
		Config:   "web/flags",
		Region:   "eu",
		Term:     1,
		Epoch:    1,
		Baseline: version.Ref(),
		Phase:    record.PhaseActive,
	}
	coordinator := &wired{who: wire.Identity{Role: wire.RoleCoordinator, Region: "eu", Name: "coordinator-eu"}}
	agent := &wired{who: wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "eu-host-1"}, other: coordinator}
	coordinator.other = agent
	coordinator.node = mesh.NewNode(mesh.Config{
		Self:     coordinator.who,
		Root:     &mesh.RootConfig{},
		HoldsAll: true,
		Verifier: trusting{pointer},
	})
	agent.node = mesh.NewNode(mesh.Config{
		Self:     agent.who,
		Seeds:    []string{"coordinator:7400"},
		Verifier: trusting{pointer},
	})

	agent.step(step.Input{Kind: step.InStart})
	fmt.Println("attached:", agent.node.Attached(), "children of the coordinator:", coordinator.node.Children())

	coordinator.step(step.Input{Kind: step.InPublish, Pointer: step.Pointer{
		Announcement: wire.NewAnnouncement(1, []byte("signed"), pointer),
		Push:         &wire.Push{Config: "web/flags", Version: 3, Digest: version.Digest, Body: []byte("{}")},
	}})

	// Output:
	// attached: true children of the coordinator: 1
	// eu-host-1 applies web/flags version 3, epoch 1
}
