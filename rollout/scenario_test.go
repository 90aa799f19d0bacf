package rollout

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"banyan/record"
)

// The scenarios in testdata/scenarios show step by step what a rollout does: what is seen of
// the fleet goes in, pointer moves and lines of the history come out. After an intended
// change, run with -rewrite.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		s := &story{t: t, fleet: map[string]*region{}, answers: map[string]Answer{}}
		datadriven.RunTest(t, path, s.command)
	})
}

// story is one rollout and its fleet.
type story struct {
	t       *testing.T
	plan    Plan
	state   State
	fleet   map[string]*region
	answers map[string]Answer
	frozen  string
	now, up time.Duration
}

// region is the agents of a region. They do at once what the pointer says, except the
// agents that a script makes fail or be silent.
type region struct {
	pointer    record.Pointer
	agents     int
	labelled   int  // agents that carry every label
	failing    int  // agents of the wave that fail
	silent     int  // agents of the wave that acknowledge nothing
	unknown    bool // no coordinator has counted the agents
	skew       time.Duration
	reason     string // of each failure
	unstaged   int    // agents that do not stage the version
	notRunning int    // agents of the wave that stopped to run the version
	gone       int    // agents of the wave that ran the version and then left
}

func (r *region) seen() Region {
	p, out := r.pointer, Region{Epoch: r.pointer.Epoch, Known: !r.unknown, Agents: r.agents, Placed: r.agents - r.gone, Skew: r.skew}
	switch {
	case p.Phase == record.PhaseStage:
		out.Applied = r.agents - r.unstaged
	case !p.Candidate.IsZero():
		out.InWave = int(uint64(r.agents) * uint64(p.Wave.End()) / record.WavePlaces)
		if len(p.Wave.Any) > 0 {
			out.InWave = max(out.InWave, r.labelled)
		}
		out.Failed = min(r.failing, out.InWave)
		out.Running = max(out.InWave-out.Failed-r.silent-r.notRunning, 0)
		out.Applied = out.Running + r.agents - out.InWave
	default:
		out.Failed = min(r.failing, r.agents)
		out.Applied = r.agents - r.silent - out.Failed
	}
	out.Agents, out.InWave = out.Agents-r.gone, max(out.InWave-r.gone, 0)
	if out.Failed > 0 && r.reason != "" {
		out.Reasons = []string{r.reason}
	}
	return out
}

func (s *story) view() View {
	v := View{Now: time.Unix(0, 0).Add(s.now), Regions: map[string]Region{}, Uptime: s.up, Frozen: s.frozen, Answers: s.answers}
	for name, r := range s.fleet {
		v.Regions[name] = r.seen()
	}
	return v
}

func (s *story) command(t *testing.T, d *datadriven.TestData) string {
	arg := func(name string) string {
		if !d.HasArg(name) {
			return ""
		}
		var v string
		d.ScanArgs(t, name, &v)
		return strings.ReplaceAll(v, "_", " ")
	}
	number := func(name string, into *int) {
		if d.HasArg(name) {
			d.ScanArgs(t, name, into)
		}
	}
	switch d.Cmd {
	case "plan":
		p, err := ParsePlan([]byte(d.Input))
		s.plan = p
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		return "ok\n"
	case "region":
		name := d.CmdArgs[0].Key
		r := s.fleet[name]
		if r == nil {
			r = &region{pointer: record.Pointer{Baseline: ref(1), Epoch: 1, Phase: record.PhaseActive}}
			s.fleet[name] = r
		}
		number("agents", &r.agents)
		number("canaries", &r.labelled)
		number("failing", &r.failing)
		number("silent", &r.silent)
		number("unstaged", &r.unstaged)
		number("stopped", &r.notRunning)
		number("gone", &r.gone)
		if v := arg("reason"); v != "" {
			r.reason = v
		}
		if v := arg("skew"); v != "" {
			r.skew, _ = time.ParseDuration(v)
		}
		if v := arg("moved-to"); v != "" {
			r.pointer = record.Pointer{Baseline: ref(9), Epoch: r.pointer.Epoch + 1, Phase: record.PhaseActive}
		}
		r.unknown = d.HasArg("unknown")
		return ""
	case "start":
		pointers := map[string]record.Pointer{}
		for name, r := range s.fleet {
			pointers[name] = r.pointer
		}
		var err error
		s.state, err = Start(1, "payments/limits", ref(2), s.plan, pointers, nil, "alice", "", s.view().Now)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		if d.HasArg("two-persons") {
			s.state.Wait(s.view().Now)
		}
		return s.pass(0)
	case "answer":
		verdicts := map[string]Verdict{"unknown": Unknown, "pass": Pass, "fail": Fail}
		s.answers[arg("gate")] = Answer{verdicts[arg("is")], arg("detail")}
		return ""
	case "restart":
		s.up = 0
		return ""
	case "freeze":
		s.frozen = arg("reason")
		return ""
	case "thaw":
		s.frozen = ""
		return ""
	case "ask":
		r := Request{What: d.CmdArgs[0].Key, By: arg("by"), Full: d.HasArg("full")}
		if v := arg("region"); v != "" {
			r.Regions = []string{v}
		}
		next, moves, err := Apply(s.state, r, s.view())
		if err != nil {
			if !errors.Is(err, ErrNotPossible) {
				t.Fatal(err)
			}
			return "error: " + err.Error() + "\n"
		}
		return s.take(next, moves)
	case "pass":
		v, err := time.ParseDuration(arg("time"))
		if err != nil {
			t.Fatal(err)
		}
		return s.pass(v)
	}
	t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	return ""
}

// pass decides a step each second for a duration, and then steps until nothing changes.
func (s *story) pass(d time.Duration) string {
	var out strings.Builder
	for end := s.now + d; s.now < end; {
		s.now, s.up = s.now+time.Second, s.up+time.Second
		next, moves, _ := Decide(s.state, s.view(), time.Second)
		out.WriteString(s.take(next, moves))
	}
	for range 20 { // steps that follow without waiting
		next, moves, changed := Decide(s.state, s.view(), 0)
		if !changed {
			break
		}
		out.WriteString(s.take(next, moves))
	}
	return out.String()
}

// take commits a step and describes it.
func (s *story) take(next State, moves []Move) string {
	var out strings.Builder
	for _, e := range next.Log[min(len(s.state.Log), len(next.Log)):] {
		fmt.Fprintf(&out, "%4s  %s\n", s.now, e.What)
	}
	for _, p := range moves {
		r := s.fleet[p.Region]
		if p.Epoch != r.pointer.Epoch+1 {
			s.t.Fatalf("a move to epoch %d of %s, which is at %d", p.Epoch, p.Region, r.pointer.Epoch)
		}
		p.Term = 1 // the ledger sets the term
		if _, err := record.SignPointer(p, record.KeyFromSeed([32]byte{1})); err != nil {
			s.t.Fatal(err)
		}
		r.pointer = p
		fmt.Fprintf(&out, "      → %s\n", strings.TrimPrefix(p.String(), "payments/limits@"))
	}
	s.state = next
	return out.String()
}
