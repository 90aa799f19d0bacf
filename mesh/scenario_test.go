package mesh

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bits-and-blooms/bitset"
	"github.com/cockroachdb/datadriven"

	"banyan/mesh/step"
	"banyan/mesh/tree"
	"banyan/mesh/wire"
	"banyan/record"
)

// The scenarios in testdata/scenarios tell, step by step, what one node does:
// each command is an input, and what stands below it is the node's answer. Run
// with -rewrite after a change that is meant.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		s := &scenario{t: t, ids: map[string]step.PeerID{}, names: map[step.PeerID]string{}, said: map[string]*wire.Announcement{}}
		datadriven.RunTest(t, path, s.command)
	})
}

type scenario struct {
	t     *testing.T
	node  *Node
	now   step.Time
	ids   map[string]step.PeerID
	names map[step.PeerID]string
	said  map[string]*wire.Announcement // announcements made so far, by "config@epoch"
	signs plainVerifier
}

// plainVerifier reads pointers and heads that are written out; "forged" ones fail.
type plainVerifier struct{}

func (plainVerifier) VerifyPointer(raw []byte) (p record.Pointer, err error) {
	if strings.HasPrefix(string(raw), "forged") {
		return p, record.ErrSignature
	}
	p = record.Pointer{Phase: record.PhaseActive}
	if _, err = fmt.Sscanf(string(raw), "pointer %s %s %d %d", &p.Config, &p.Region, &p.Epoch, &p.Baseline); err != nil {
		return p, err
	}
	switch rest := strings.Fields(string(raw))[5:]; {
	case len(rest) == 2 && rest[1] == "staged":
		p.Phase = record.PhaseStage
		_, err = fmt.Sscan(rest[0], &p.Candidate)
	case len(rest) == 2:
		_, err = fmt.Sscan(strings.Join(rest, " "), &p.Candidate, &p.Wave.Share)
	}
	return p, err
}

func (plainVerifier) VerifyHead(raw []byte) (h record.Head, err error) {
	if strings.HasPrefix(string(raw), "forged") {
		return h, record.ErrSignature
	}
	var state []byte
	_, err = fmt.Sscanf(string(raw), "head %s %d %d %x", &h.Region, &h.Revision, &h.TimeMicros, &state)
	copy(h.State[:], state)
	return h, err
}

// VerifyVersion takes any manifest but a forged one.
func (plainVerifier) VerifyVersion(_ string, _ uint64, manifest, _ []byte) error {
	if strings.HasPrefix(string(manifest), "forged") {
		return record.ErrSignature
	}
	return nil
}

func (s *scenario) command(t *testing.T, d *datadriven.TestData) string {
	arg := func(name, otherwise string) string {
		if !d.HasArg(name) {
			return otherwise
		}
		var v string
		d.ScanArgs(t, name, &v)
		return v
	}
	num := func(name string) uint64 {
		var n uint64
		if _, err := fmt.Sscan(arg(name, "0"), &n); err != nil {
			t.Fatalf("%s: %s: %v", d.Pos, name, err)
		}
		return n
	}
	peer := func() step.PeerID {
		name := arg("peer", "")
		if s.ids[name] == 0 {
			s.ids[name] = step.PeerID(len(s.ids) + 1)
			s.names[s.ids[name]] = name
		}
		return s.ids[name]
	}
	want := record.VersionKey{Config: arg("config", "a"), Version: num("version")}
	receive := func(m wire.Message) string {
		return s.step(step.Input{Kind: step.InReceived, Peer: peer(), Message: m})
	}
	announcement := func(prefix string) *wire.Announcement {
		raw := fmt.Sprintf("%s %s %s %d %d", prefix, want.Config, arg("region", "eu"), num("epoch"), num("version"))
		switch {
		case d.HasArg("stage"):
			raw += fmt.Sprintf(" %d staged", num("stage"))
		case d.HasArg("candidate"):
			raw += fmt.Sprintf(" %d %d", num("candidate"), num("share"))
		}
		a := &wire.Announcement{Revision: num("revision"), Raw: []byte(raw), Pushed: d.HasArg("pushed")}
		if name := fmt.Sprintf("%s@%d", want.Config, num("epoch")); s.said[name] == nil {
			s.said[name] = a
		}
		return a
	}
	key, choice := record.FormKey{VersionKey: want, Form: uint8(num("form"))}, wire.AnyForm
	if d.HasArg("only") {
		choice = wire.OnlyForm(uint8(num("only")))
	}
	values := func(name string) (vals []string) {
		for _, a := range d.CmdArgs {
			if a.Key == name {
				vals = append(vals, a.Vals...)
			}
		}
		return vals
	}
	set := func(name string) *bitset.BitSet {
		set := bitset.New(0)
		for _, v := range values(name) {
			if n, err := strconv.Atoi(v); err == nil {
				set.Set(uint(n))
			}
		}
		return set
	}
	locations := func(name string) (all []wire.Location) {
		for _, v := range values(name) { // NAME or NAME:SUBSCRIPTIONS
			name, scopes, _ := strings.Cut(v, ":")
			all = append(all, wire.Location{Name: name, Addr: name + ":1", Subscriptions: wire.Subscriptions(scopes)})
		}
		return all
	}
	switch d.Cmd {
	case "agent":
		s.node = NewNode(Config{Self: wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "me"}, Description: wire.Description{Addr: "me:1", Relay: true, Subscriptions: wire.Subscriptions(arg("subscribe", ""))},
			Seeds: []string{"coordinator:1"}, Verifier: s.signs, CacheLimit: int64(num("cache"))})
		return s.step(step.Input{Kind: step.InStart})
	case "root":
		s.node = NewNode(Config{Self: wire.Identity{Role: wire.RoleCoordinator, Region: "eu", Name: "me"}, Description: wire.Description{Relay: true}, HoldsAll: true, Verifier: s.signs,
			Root: &RootConfig{Planner: tree.PlannerConfig{Fanout: int(num("fanout"))}}})
		return s.step(step.Input{Kind: step.InStart})
	case "connected":
		role := wire.RoleAgent
		if strings.HasPrefix(arg("peer", ""), "coordinator") {
			role = wire.RoleCoordinator
		}
		return s.step(step.Input{
			Kind: step.InConnected,
			Peer: peer(),
			Link: step.Link{Addr: arg("addr", ""), Identity: wire.Identity{Role: role, Region: "eu", Name: arg("peer", "")}},
		})
	case "accepted":
		role, region := wire.RoleAgent, arg("region", "eu")
		if d.HasArg("coordinator") {
			role = wire.RoleCoordinator
		}
		return s.step(step.Input{
			Kind: step.InPeer,
			Peer: peer(),
			Link: step.Link{Identity: wire.Identity{Role: role, Region: region, Name: arg("name", arg("peer", ""))}},
		})
	case "unreachable":
		return s.step(step.Input{Kind: step.InConnectFailed, Link: step.Link{Addr: arg("addr", "")}})
	case "lost":
		return s.step(step.Input{Kind: step.InDisconnected, Peer: peer()})
	case "placement":
		m := &wire.Placement{Index: uint32(num("index"))}
		if d.HasArg("parent") {
			m.Parent = wire.Location{Name: arg("parent", ""), Addr: arg("parent", "") + ":1"}
		}
		if d.HasArg("backup") {
			m.Backups = []wire.Location{{Name: arg("backup", ""), Addr: arg("backup", "") + ":1"}}
		}
		return receive(m)
	case "attached":
		m := &wire.Attached{}
		for _, a := range d.CmdArgs {
			for _, v := range a.Vals {
				if index, err := strconv.Atoi(v); a.Key == "path" && err == nil {
					m.Path = append(m.Path, uint32(index))
				}
			}
		}
		return receive(m)
	case "shadow":
		return receive(&wire.Shadow{Index: uint32(num("index"))})
	case "notice":
		return receive(&wire.Notice{Revision: num("revision"), HeadMicros: int64(num("head"))})
	case "congested":
		return s.step(step.Input{Kind: step.InCongested, Peer: peer()})
	case "drained":
		return s.step(step.Input{Kind: step.InDrained, Peer: peer()})
	case "roll-call":
		return receive(&wire.RollCall{})
	case "rejected":
		return receive(&wire.Rejected{Reason: arg("reason", "no"), After: uint32(num("after"))})
	case "join":
		var avoided []string
		if d.HasArg("avoids") {
			avoided = []string{arg("avoids", "")}
		}
		return receive(&wire.Join{Description: wire.Description{Addr: arg("peer", "") + ":1", Relay: true}, Avoid: avoided, Accuse: arg("accuses", "")})
	case "attach":
		return receive(&wire.Attach{Index: uint32(num("index")), Since: num("since"), Description: wire.Description{Relay: true}, Children: uint32(num("children"))})
	case "catch-up":
		return receive(&wire.CatchUp{Since: num("since")})
	case "announce":
		return receive(announcement("pointer"))
	case "announce-forged":
		return receive(announcement("forged"))
	case "head":
		return receive(&wire.SignedHead{Raw: fmt.Appendf(nil, "head eu %d %d %x", num("revision"), num("time"), stateOf(d))})
	case "publish":
		a := announcement("pointer")
		a.Pointer, _ = s.signs.VerifyPointer(a.Raw)
		in := step.Input{Kind: step.InPublish, Pointer: step.Pointer{Announcement: a}}
		if a.Pushed {
			in.Pointer.Push = &wire.Push{Config: want.Config, Version: want.Version}
		}
		return s.step(in)
	case "push":
		return receive(&wire.Push{Config: want.Config, Version: want.Version, Manifest: []byte(arg("manifest", "signed"))})
	case "request":
		return s.step(step.Input{
			Kind: step.InRequest,
			Peer: peer(),
			Body: step.Body{Request: num("id"), Version: want, Choice: choice},
		})
	case "want":
		return receive(&wire.Want{Key: key, Shards: set("shards"), Cancel: set("cancel")})
	case "decline":
		return receive(&wire.Decline{Key: key, Shards: set("shards")})
	case "shard":
		return s.step(step.Input{
			Kind:  step.InShard,
			Peer:  peer(),
			Shard: step.Shard{Key: key, Number: int(num("shard"))},
		})
	case "evicted":
		return s.step(step.Input{Kind: step.InEvicted, Body: step.Body{Version: want}})
	case "survey":
		if d.HasArg("peer") {
			return receive(&wire.Survey{ID: num("id"), Config: want.Config, Version: want.Version})
		}
		return s.step(step.Input{Kind: step.InSurvey, Body: step.Body{Version: want, Request: num("id")}})
	case "holdings":
		var held []wire.Holding
		for _, name := range values("whole") {
			held = append(held, wire.Holding{Name: name, Whole: true})
		}
		return receive(&wire.Holdings{ID: num("id"), Region: arg("region", "eu"), Held: held})
	case "circle":
		return receive(&wire.Circle{Members: locations("members"), Feeders: locations("feeders")})
	case "sent":
		return s.step(step.Input{
			Kind:    step.InSent,
			Peer:    peer(),
			Shard:   step.Shard{Key: record.FormKey{VersionKey: want}, Number: int(num("shard"))},
			Failure: step.Failure{Reason: arg("reason", "")},
		})
	case "indexed":
		info := step.FormInfo{Size: 100 * int64(max(num("stripes"), 1)), Geometry: record.Geometry{Data: 1, ShardBytes: 100}}
		return s.step(step.Input{
			Kind:  step.InIndexed,
			Body:  step.Body{Version: want, Choice: choice},
			Index: step.Index{Form: key.Form, Info: info, Held: set("here")},
		})
	case "assembled":
		return s.step(step.Input{
			Kind:    step.InAssembled,
			Body:    step.Body{Version: want},
			Failure: step.Failure{Reason: arg("reason", ""), Fault: step.FaultHost},
		})
	case "fetched":
		why := step.Failure{Reason: arg("reason", "")}
		if why.Reason == "denied" {
			why.Fault = step.FaultDenied
		}
		return s.step(step.Input{
			Kind:    step.InFetched,
			Body:    step.Body{Version: want, Choice: choice},
			Failure: why,
		})
	case "applied":
		a := s.said[fmt.Sprintf("%s@%d", want.Config, num("epoch"))]
		return s.step(step.Input{
			Kind:    step.InActivated,
			Pointer: step.Pointer{Announcement: a, Version: num("version"), LatencyMicros: 1000},
			Failure: step.Failure{Reason: arg("reason", "")},
		})
	case "ack":
		e := wire.NewAckEntry(record.PointerKey{Config: want.Config, Region: "eu"}, num("epoch"))
		if d.HasArg("applied") {
			e.Applied.Add(uint32(num("applied")))
		}
		if d.HasArg("failed") {
			e.Failed.Add(uint32(num("failed")))
			e.Failures = []wire.Failure{{Agent: uint32(num("failed")), Name: arg("name", ""), Reason: arg("reason", ""), Attempts: uint32(num("attempts"))}}
		}
		return receive(&wire.Ack{Entries: []wire.AckEntry{*e}})
	case "adopted":
		return receive(&wire.Adopted{Parent: uint32(num("parent")), Members: []wire.Member{{Index: uint32(num("index")), Name: arg("name", ""), Children: uint32(num("children"))}}})
	case "release":
		return s.step(step.Input{Kind: step.InRelease, Name: arg("name", "")})
	case "census":
		return describeMessage(s.node.Census(s.now)) + "\n"
	case "drift":
		return s.step(step.Input{
			Kind:  step.InDrift,
			Body:  step.Body{Version: want},
			Drift: wire.DriftSeen,
		})
	case "damaged":
		return s.step(step.Input{Kind: step.InRefetch, Body: step.Body{Version: want}})
	case "pass":
		return s.pass(arg("time", "0s"))
	case "watermark":
		return fmt.Sprintln(s.node.Watermark())
	}
	t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	return ""
}

// stateOf is the state that a head tells of: of=(config@epoch@version, …).
func stateOf(d *datadriven.TestData) []byte {
	var s record.State
	for _, a := range d.CmdArgs {
		if a.Key != "of" {
			continue
		}
		for _, v := range a.Vals {
			parts := strings.Split(v, "@")
			s.Add([]byte(fmt.Sprintf("pointer %s eu %s %s", parts[0], parts[1], parts[2])))
		}
	}
	return s[:]
}

// pass lets time go by, with a tick at each deadline on the way.
func (s *scenario) pass(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	var out strings.Builder
	until := s.now.Add(d)
	for s.node.Deadline() <= until {
		s.now = max(s.now, s.node.Deadline())
		out.WriteString(s.step(step.Input{Kind: step.InTick}))
	}
	s.now = until
	return out.String()
}

func (s *scenario) step(in step.Input) string {
	var b strings.Builder
	for _, o := range s.node.Step(s.now, in, nil) {
		b.WriteString(s.describe(o) + "\n")
	}
	return b.String()
}
