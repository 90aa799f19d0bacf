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

// arguments reads the arguments of one command of a scenario.
type arguments struct {
	t *testing.T
	d *datadriven.TestData
	s *scenario
}

func (a arguments) has(name string) bool { return a.d.HasArg(name) }

// text returns an argument; otherwise, if the argument is missing.
func (a arguments) text(name, otherwise string) string {
	if !a.has(name) {
		return otherwise
	}
	var v string
	a.d.ScanArgs(a.t, name, &v)
	return v
}

// number returns an argument; 0 if the argument is missing.
func (a arguments) number(name string) uint64 {
	n, err := strconv.ParseUint(a.text(name, "0"), 10, 64)
	if err != nil {
		a.t.Fatalf("%s: %s: %v", a.d.Pos, name, err)
	}
	return n
}

func (a arguments) duration(name string) step.Time {
	d, err := time.ParseDuration(a.text(name, "0s"))
	if err != nil {
		a.t.Fatalf("%s: %s: %v", a.d.Pos, name, err)
	}
	return step.Time(d)
}

func (a arguments) index(name string) uint32 { return uint32(a.number(name)) }

// list returns the values of an argument: name=(one, two).
func (a arguments) list(name string) []string {
	var values []string
	for _, arg := range a.d.CmdArgs {
		if arg.Key == name {
			values = append(values, arg.Vals...)
		}
	}
	return values
}

func (a arguments) numbers(name string) []int {
	var all []int
	for _, v := range a.list(name) {
		if n, err := strconv.Atoi(v); err == nil {
			all = append(all, n)
		}
	}
	return all
}

func (a arguments) shards(name string) *bitset.BitSet {
	set := bitset.New(0)
	for _, n := range a.numbers(name) {
		set.Set(uint(n))
	}
	return set
}

// locations returns a list of NAME or NAME:SUBSCRIPTIONS.
func (a arguments) locations(name string) []wire.Location {
	var all []wire.Location
	for _, v := range a.list(name) {
		name, scopes, _ := strings.Cut(v, ":")
		all = append(all, wire.Location{Name: name, Addr: name + ":1", Subscriptions: wire.Subscriptions(scopes)})
	}
	return all
}

// peer returns the link of the peer called name=peer. The first use of a name makes the link.
func (a arguments) peer() step.PeerID {
	name := a.text("peer", "")
	if a.s.ids[name] == 0 {
		a.s.ids[name] = step.PeerID(len(a.s.ids) + 1)
		a.s.names[a.s.ids[name]] = name
	}
	return a.s.ids[name]
}

// identity returns who the peer is: a coordinator if its name begins so, or if the argument is there.
func (a arguments) identity() wire.Identity {
	peer := a.text("peer", "")
	who := wire.Identity{Role: wire.RoleAgent, Region: a.text("region", "eu"), Name: a.text("name", peer)}
	if a.has("coordinator") || strings.HasPrefix(peer, "coordinator") {
		who.Role = wire.RoleCoordinator
	}
	return who
}

func (a arguments) version() record.VersionKey {
	return plainRef(a.text("version", "0")).Of(a.text("config", "a"))
}

func (a arguments) form() record.FormKey {
	return record.FormKey{VersionKey: a.version(), Form: uint8(a.number("form"))}
}

func (a arguments) body() step.Body {
	b := step.Body{Version: a.version(), Request: a.number("id"), Delay: a.duration("delay")}
	if a.has("only") {
		b.Choice = wire.OnlyForm(uint8(a.number("only")))
	}
	return b
}

func (a arguments) shard() step.Shard {
	return step.Shard{Key: a.form(), Number: int(a.number("shard"))}
}

// failure returns the failure with reason=; some reasons say whose fault it is.
func (a arguments) failure() step.Failure {
	why := step.Failure{Reason: a.text("reason", "")}
	switch why.Reason {
	case "denied":
		why.Fault = step.FaultDenied
	case "disk":
		why.Fault = step.FaultHost
	case "late":
		why.Fault = step.FaultPath
	case "check":
		why.Fault = step.FaultVersion
	}
	return why
}

// announcement returns an announcement whose raw bytes are readable text.
func (a arguments) announcement(prefix string) *wire.Announcement {
	config, epoch := a.text("config", "a"), a.number("epoch")
	position := strconv.FormatUint(epoch, 10)
	if term := a.number("term"); term != 0 {
		position = fmt.Sprintf("%d.%d", term, epoch)
	}
	raw := fmt.Sprintf("%s %s %s %s %s", prefix, config, a.text("region", "eu"), position, a.text("version", "0"))
	switch {
	case a.has("stage"):
		raw += fmt.Sprintf(" %s staged", a.text("stage", ""))
	case a.has("candidate"):
		raw += fmt.Sprintf(" %s %d", a.text("candidate", ""), a.number("share"))
	}
	if a.has("encoded-again") {
		raw += " " // other bytes, the same pointer
	}
	m := &wire.Announcement{Revision: a.number("revision"), Raw: []byte(raw), Pushed: a.has("pushed")}
	if name := fmt.Sprintf("%s@%d", config, epoch); a.s.said[name] == nil {
		a.s.said[name] = m
	}
	return m
}

// verified returns an announcement with its pointer set.
func (a arguments) verified() *wire.Announcement {
	m := a.announcement("pointer")
	p, _ := a.s.signs.VerifyPointer(m.Raw)
	m.Verified(p)
	return m
}

// commands are the commands of scenarios: what happens to the node.
var commands = map[string]func(*scenario, arguments) string{
	// The node.
	"agent":     startAgent,
	"root":      startRoot,
	"follower":  startFollower,
	"pass":      func(s *scenario, a arguments) string { return s.pass(a.text("time", "0s")) },
	"watermark": func(s *scenario, _ arguments) string { return fmt.Sprintln(s.node.Watermark()) },
	"census": func(s *scenario, _ arguments) string {
		return describeMessage(s.node.Census(s.now)) + "\n"
	},

	// Links.
	"connected":   connected,
	"accepted":    accepted,
	"unreachable": unreachable,
	"lost":        input(step.InDisconnected),
	"congested":   input(step.InCongested),
	"drained":     input(step.InDrained),

	// Inputs from the driver and its owner.
	"restore": func(s *scenario, a arguments) string {
		pointer := step.Pointer{Announcement: a.verified(), Version: plainRef(a.text("version", "0")), Unapplied: a.has("unapplied")}
		return s.step(step.Input{Kind: step.InRestore, Pointer: pointer})
	},
	"resume": func(s *scenario, a arguments) string {
		return s.step(step.Input{Kind: step.InResume, Revision: a.number("revision")})
	},
	"start":   func(s *scenario, _ arguments) string { return s.step(step.Input{Kind: step.InStart}) },
	"hold":    func(s *scenario, a arguments) string { return s.step(step.Input{Kind: step.InHold, Body: a.body()}) },
	"publish": publish,
	"publish-head": func(s *scenario, a arguments) string {
		signed := head(a).(*wire.SignedHead)
		h, _ := s.signs.VerifyHead(signed.Raw)
		return s.step(step.Input{Kind: step.InPublishHead, Head: step.Head{Head: h, Signed: signed}})
	},
	"stored":    func(s *scenario, a arguments) string { return s.step(step.Input{Kind: step.InStored, Body: a.body()}) },
	"request":   bodyInput(step.InRequest),
	"withdrawn": bodyInput(step.InWithdrawn),
	"answered":  bodyInput(step.InAnswered),
	"throttled": bodyInput(step.InThrottled),
	"asked":     bodyInput(step.InAsked),
	"delayed":   bodyInput(step.InDelayed),
	"fetched":   bodyInput(step.InFetched),
	"assembled": bodyInput(step.InAssembled),
	"evicted":   bodyInput(step.InEvicted),
	"damaged":   bodyInput(step.InRefetch),
	"indexed":   indexed,
	"shard":     shardInput(step.InShard),
	"sent":      shardInput(step.InSent),
	"applied":   applied,
	"drift": func(s *scenario, a arguments) string {
		return s.step(step.Input{Kind: step.InDrift, Body: a.body(), Drift: wire.DriftSeen})
	},
	"forget": func(s *scenario, a arguments) string {
		key := record.PointerKey{Config: a.text("config", "a"), Region: a.text("region", "eu")}
		return s.step(step.Input{Kind: step.InForget, Pointer: step.Pointer{Key: key}})
	},
	"recover":   input(step.InRecover),
	"recovered": input(step.InRecovered),
	"release": func(s *scenario, a arguments) string {
		return s.step(step.Input{Kind: step.InRelease, Name: a.text("name", "")})
	},
	"hint": func(s *scenario, a arguments) string {
		return s.step(step.Input{Kind: step.InHint, Revision: a.number("revision")})
	},
	"doubt": func(s *scenario, a arguments) string {
		return s.step(step.Input{Kind: step.InDoubt, Name: a.text("name", "")})
	},
	"survey": func(s *scenario, a arguments) string {
		if a.has("peer") {
			v := a.version()
			return s.receive(a, &wire.Survey{ID: a.number("id"), Config: v.Config, Version: v.Version, Digest: v.Digest})
		}
		return s.step(step.Input{Kind: step.InSurvey, Body: a.body()})
	},

	// Messages from a peer.
	"placement": message(placement),
	"attached":  message(attachedMessage),
	"rejected": message(func(a arguments) wire.Message {
		return &wire.Rejected{Reason: a.text("reason", "no"), After: a.index("after"), HangUp: a.has("hang-up")}
	}),
	"join":   message(join),
	"attach": message(attach),
	"shadow": message(func(a arguments) wire.Message { return &wire.Shadow{Index: a.index("index")} }),
	"notice": message(func(a arguments) wire.Message {
		return &wire.Notice{Revision: a.number("revision"), Head: record.Position(a.number("head"))}
	}),
	"catch-up": message(func(a arguments) wire.Message {
		return &wire.CatchUp{Since: a.number("since"), Paged: a.number("paged") > 0}
	}),
	"page": message(func(a arguments) wire.Message {
		return &wire.Page{Last: a.number("last"), More: a.number("more") > 0}
	}),
	"announce":        message(func(a arguments) wire.Message { return a.announcement("pointer") }),
	"announce-forged": message(func(a arguments) wire.Message { return a.announcement("forged") }),
	"head":            message(head),
	"head-forged": message(func(arguments) wire.Message {
		return &wire.SignedHead{Raw: []byte("forged")}
	}),
	"push": message(push),
	"news-stored": message(func(a arguments) wire.Message {
		v := a.version()
		return &wire.Stored{Config: v.Config, Version: v.Version, Digest: v.Digest}
	}),
	"want": message(func(a arguments) wire.Message {
		return &wire.Want{Key: a.form(), Shards: a.shards("shards"), Cancel: a.shards("cancel")}
	}),
	"decline": message(func(a arguments) wire.Message {
		return &wire.Decline{Key: a.form(), Shards: a.shards("shards")}
	}),
	"circle": message(func(a arguments) wire.Message {
		return &wire.Circle{Members: a.locations("members"), Feeders: a.locations("feeders")}
	}),
	"circles": message(func(a arguments) wire.Message {
		return &wire.Circles{Below: []*wire.Circle{{Members: a.locations("members"), Feeders: a.locations("feeders")}}}
	}),
	"brood": message(func(a arguments) wire.Message {
		return &wire.Brood{Members: a.locations("members")}
	}),
	"ack":     message(ack),
	"adopted": message(adopted),
	"gone": message(func(a arguments) wire.Message {
		return &wire.Gone{Parent: a.index("parent"), Agents: []uint32{a.index("index")}}
	}),
	"accusation": message(func(a arguments) wire.Message {
		return &wire.Accusation{Accuser: a.index("accuser"), Name: a.text("name", "")}
	}),
	"displaced": message(func(a arguments) wire.Message { return &wire.Displaced{Index: a.index("index")} }),
	"roll-call": message(func(a arguments) wire.Message {
		m := &wire.RollCall{All: a.has("all")}
		for _, i := range a.numbers("of") {
			m.Of = append(m.Of, uint32(i))
		}
		for _, i := range a.numbers("list") {
			m.List = append(m.List, uint32(i))
		}
		return m
	}),
	"family": message(func(a arguments) wire.Message {
		f := wire.Family{Parent: a.index("parent")}
		for _, i := range a.numbers("children") {
			f.Children = append(f.Children, uint32(i))
		}
		return &wire.Families{Families: []wire.Family{f}}
	}),
	"batch": message(batch),
	"news-census": message(func(a arguments) wire.Message {
		return &wire.Census{Agents: a.index("agents")}
	}),
	"news-drift": message(newsDrift),
	"holdings":   message(holdings),
}

func message(make func(arguments) wire.Message) func(*scenario, arguments) string {
	return func(s *scenario, a arguments) string { return s.receive(a, make(a)) }
}

func (s *scenario) receive(a arguments, m wire.Message) string {
	return s.step(step.Input{Kind: step.InReceived, Peer: a.peer(), Message: m})
}

// input returns a command that has only a peer.
func input(kind step.InputKind) func(*scenario, arguments) string {
	return func(s *scenario, a arguments) string { return s.step(step.Input{Kind: kind, Peer: a.peer()}) }
}

func bodyInput(kind step.InputKind) func(*scenario, arguments) string {
	return func(s *scenario, a arguments) string {
		return s.step(step.Input{Kind: kind, Peer: a.peer(), Body: a.body(), Failure: a.failure()})
	}
}

func shardInput(kind step.InputKind) func(*scenario, arguments) string {
	return func(s *scenario, a arguments) string {
		shard := a.shard()
		shard.Restored = a.numbers("restored")
		return s.step(step.Input{Kind: kind, Peer: a.peer(), Shard: shard, Failure: a.failure()})
	}
}

func startAgent(s *scenario, a arguments) string {
	s.node = NewNode(Config{
		Self: wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "me"},
		Description: wire.Description{
			Addr:          "me:1",
			Relay:         true,
			Subscriptions: wire.Subscriptions(a.text("subscribe", "")),
		},
		Seeds:      []string{"coordinator:1"},
		Verifier:   s.signs,
		CacheLimit: int64(a.number("cache")),
	})
	if a.has("stopped") {
		return ""
	}
	return s.step(step.Input{Kind: step.InStart})
}

func startRoot(s *scenario, a arguments) string {
	s.node = NewNode(Config{
		Self:        wire.Identity{Role: wire.RoleCoordinator, Region: "eu", Name: "me"},
		Description: wire.Description{Relay: true},
		HoldsAll:    true,
		Verifier:    s.signs,
		Root:        &RootConfig{Planner: tree.PlannerConfig{Fanout: int(a.number("fanout"))}, SignBatch: signBatch},
	})
	return s.step(step.Input{Kind: step.InStart})
}

func startFollower(s *scenario, _ arguments) string {
	s.node = NewNode(Config{
		Self:        wire.Identity{Role: wire.RoleCoordinator, Region: "eu", Name: "me"},
		Description: wire.Description{Addr: "me:1", Relay: true},
		Seeds:       []string{"coordinator:1"},
		Verifier:    s.signs,
		Root:        &RootConfig{},
	})
	return s.step(step.Input{Kind: step.InStart})
}

func connected(s *scenario, a arguments) string {
	link := step.Link{Addr: a.text("addr", ""), Identity: a.identity()}
	return s.step(step.Input{Kind: step.InConnected, Peer: a.peer(), Link: link})
}

func accepted(s *scenario, a arguments) string {
	return s.step(step.Input{Kind: step.InAccepted, Peer: a.peer(), Link: step.Link{Identity: a.identity()}})
}

func unreachable(s *scenario, a arguments) string {
	return s.step(step.Input{Kind: step.InConnectFailed, Link: step.Link{Addr: a.text("addr", "")}})
}

func publish(s *scenario, a arguments) string {
	pointer := step.Pointer{Announcement: a.verified(), Batchable: a.has("batchable")}
	if pointer.Announcement.Pushed {
		v := a.version()
		pointer.Push = &wire.Push{Config: v.Config, Version: v.Version, Digest: v.Digest}
	}
	return s.step(step.Input{Kind: step.InPublish, Pointer: pointer})
}

// batch returns a batch of pointers: of=(config@epoch@version@revision, …). forged: its root is not signed.
func batch(a arguments) wire.Message {
	m := &wire.Batch{Root: []byte("root")}
	if a.has("forged") {
		m.Root = []byte("forged")
	}
	for _, v := range a.list("of") {
		var p wire.BatchedPointer
		parts := strings.Split(v, "@")
		fmt.Sscan(parts[3], &p.Revision)
		p.Payload = fmt.Appendf(nil, "pointer %s %s %s %s", parts[0], a.text("region", "eu"), parts[1], parts[2])
		m.Pointers = append(m.Pointers, p)
	}
	return m
}

// indexed reports the index of a form with stripes of one data shard, or of data= and
// parity= shards.
func indexed(s *scenario, a arguments) string {
	data := max(a.number("data"), 1)
	geometry := record.Geometry{Data: uint16(data), Parity: uint16(a.number("parity")), ShardBytes: 100}
	info := step.FormInfo{Size: 100 * int64(data*max(a.number("stripes"), 1)), Geometry: geometry}
	return s.step(step.Input{
		Kind:  step.InIndexed,
		Body:  a.body(),
		Index: step.Index{Form: a.form().Form, Info: info, Held: a.shards("here")},
	})
}

func applied(s *scenario, a arguments) string {
	m := s.said[fmt.Sprintf("%s@%d", a.text("config", "a"), a.number("epoch"))]
	return s.step(step.Input{
		Kind:    step.InActivated,
		Pointer: step.Pointer{Announcement: m, Version: plainRef(a.text("version", "0")), LatencyMicros: 1000},
		Failure: a.failure(),
	})
}

func placement(a arguments) wire.Message {
	m := &wire.Placement{Index: a.index("index")}
	if a.has("parent") {
		m.Parent = wire.Location{Name: a.text("parent", ""), Addr: a.text("parent", "") + ":1"}
	}
	if a.has("backup") {
		m.Backups = []wire.Location{{Name: a.text("backup", ""), Addr: a.text("backup", "") + ":1"}}
	}
	return m
}

func attachedMessage(a arguments) wire.Message {
	m := &wire.Attached{}
	for _, index := range a.numbers("path") {
		m.Path = append(m.Path, uint32(index))
	}
	return m
}

func join(a arguments) wire.Message {
	return &wire.Join{
		Index:       uint32(a.number("again")),
		Avoid:       a.list("avoids"),
		Description: wire.Description{Addr: a.text("peer", "") + ":1", Relay: true},
		Accuse:      a.text("accuses", ""),
	}
}

func attach(a arguments) wire.Message {
	return &wire.Attach{
		Index:       a.index("index"),
		Since:       a.number("since"),
		Description: wire.Description{Relay: true, Subscriptions: wire.Subscriptions(a.text("subscribe", ""))},
		Children:    a.index("children"),
	}
}

func head(a arguments) wire.Message {
	raw := fmt.Appendf(nil, "head eu %d %d %d %x",
		a.number("revision"), a.number("time"), a.number("term"), stateOf(a.d))
	return &wire.SignedHead{Raw: raw}
}

func push(a arguments) wire.Message {
	v := a.version()
	return &wire.Push{Config: v.Config, Version: v.Version, Digest: v.Digest, Manifest: []byte(a.text("manifest", "signed"))}
}

func ack(a arguments) wire.Message {
	key := record.PointerKey{Config: a.text("config", "a"), Region: "eu"}
	epoch := a.number("epoch")
	e := wire.NewAckEntry(key, record.At(max(a.number("term"), 1), epoch), record.Sum([]byte{byte(epoch)}))
	if m := a.s.said[fmt.Sprintf("%s@%d", key.Config, epoch)]; m != nil {
		e.Pointer = m.Digest
	}
	if a.has("applied") {
		e.Applied.Add(a.index("applied"))
	}
	if a.has("failed") {
		e.Failed.Add(a.index("failed"))
		e.Failures = []wire.Failure{{
			Agent:    a.index("failed"),
			Name:     a.text("name", ""),
			Reason:   a.text("reason", ""),
			Attempts: a.index("attempts"),
		}}
	}
	return &wire.Ack{Entries: []wire.AckEntry{*e}}
}

func adopted(a arguments) wire.Message {
	member := wire.Member{
		Index:       a.index("index"),
		Name:        a.text("name", ""),
		Description: wire.Description{Addr: a.text("addr", "")},
		Children:    a.index("children"),
	}
	return &wire.Adopted{Parent: a.index("parent"), Members: []wire.Member{member}}
}

func newsDrift(a arguments) wire.Message {
	v := a.version()
	return &wire.Drift{Name: a.text("name", ""), Config: v.Config, Version: v.Version, State: wire.DriftSeen, Region: "eu"}
}

func holdings(a arguments) wire.Message {
	m := &wire.Holdings{ID: a.number("id"), Region: a.text("region", "eu")}
	for _, name := range a.list("whole") {
		m.Held = append(m.Held, wire.Holding{Name: name, Whole: true})
	}
	return m
}
