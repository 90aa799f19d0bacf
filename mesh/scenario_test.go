package mesh

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/record"
)

// The files in testdata/scenarios are scripts of one node: each command is an input, and
// the lines below the command are the outputs of the node. After a change that is meant to
// alter outputs, run the test with -rewrite and read the diff.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", runScenario)
}

// A full queue, a full disk and a time-out of a host are tried again, and are not acknowledged as
// failures of the version.
func TestTruthAFaultOfAHostIsNotTheVersions(t *testing.T) {
	runScenario(t, "testdata/scenarios/delayed.txt")
}

// A recovery waits for the last page of each child: evidence that a child sends meanwhile does not
// stand for its pointers.
func TestTruthARecoveryEndsWithTheLastPage(t *testing.T) {
	runScenario(t, "testdata/scenarios/evidence_root.txt")
}

// Pointers that follow each other soon leave the leader under one signature.
func TestTruthPointersOfAMomentHaveOneSignature(t *testing.T) {
	runScenario(t, "testdata/scenarios/batch_root.txt")
}

// A host without children is not sent the versions of configs that it does not subscribe to.
func TestTruthALeafGetsNoVersionsOfOtherConfigs(t *testing.T) {
	runScenario(t, "testdata/scenarios/subscriptions.txt")
}

// A node checks one signature for a batch, relays the batch as it came, and writes nothing at once for
// the configs that the node does not subscribe to.
func TestTruthABatchIsCheckedOnce(t *testing.T) {
	runScenario(t, "testdata/scenarios/batch_agent.txt")
}

func runScenario(t *testing.T, path string) {
	s := &scenario{t: t, ids: map[string]step.PeerID{}, names: map[step.PeerID]string{}, said: map[string]*wire.Announcement{}}
	datadriven.RunTest(t, path, s.command)
}

type scenario struct {
	t     *testing.T
	node  *Node
	now   step.Time
	ids   map[string]step.PeerID
	names map[step.PeerID]string
	said  map[string]*wire.Announcement // announcements so far, by "config@epoch"
	signs plainVerifier
}

// plainVerifier reads pointers and heads that are written out; "forged" ones fail.
type plainVerifier struct{}

func (plainVerifier) VerifyPointer(raw []byte) (p record.Pointer, err error) {
	if strings.HasPrefix(string(raw), "forged") {
		return p, record.ErrSignature
	}
	p = record.Pointer{Phase: record.PhaseActive}
	words := strings.Fields(string(raw))
	p.Config, p.Region = words[1], words[2]
	epoch, after, found := strings.Cut(words[3], ".") // "7" is epoch 7 of term 1, "2.7" is of term 2
	p.Term = 1
	if found {
		fmt.Sscan(epoch, &p.Term)
		epoch = after
	}
	if _, err = fmt.Sscan(epoch, &p.Epoch); err != nil {
		return p, err
	}
	p.Baseline = plainRef(words[4])
	if words[4] == "deleted" {
		p.Phase = record.PhaseDeleted
	}
	switch rest := words[5:]; {
	case len(rest) == 2 && rest[1] == "staged":
		p.Phase = record.PhaseStage
		p.Candidate = plainRef(rest[0])
	case len(rest) == 2:
		p.Candidate = plainRef(rest[0])
		_, err = fmt.Sscan(rest[1], &p.Wave.Share)
	}
	return p, err
}

// VerifyBatch reads pointers that are written out. Their payloads are their proofs. A "forged" root fails.
func (v plainVerifier) VerifyBatch(root []byte, payloads [][]byte) (signed []record.SignedPointer, err error) {
	if string(root) == "forged" {
		return nil, record.ErrSignature
	}
	for _, payload := range payloads {
		p, err := v.VerifyPointer(payload)
		if err != nil {
			return nil, err
		}
		signed = append(signed, record.SignedPointer{Pointer: p, Digest: p.Digest(), Raw: payload})
	}
	return signed, nil
}

// signBatch signs a batch of a leader: the root says how many pointers there are.
func signBatch(region string, payloads [][]byte) ([]byte, error) {
	if region == "keyless" {
		return nil, errors.New("no key")
	}
	return fmt.Appendf(nil, "root of %d", len(payloads)), nil
}

// plainRef reads a reference: "7" is version 7, and "7b" is a version 7 with other content.
func plainRef(text string) record.Ref {
	var r record.Ref
	fmt.Sscanf(text, "%d", &r.Version)
	if r.Version != 0 {
		r.Digest = record.Sum([]byte(text))
	}
	return r
}

func (plainVerifier) VerifyHead(raw []byte) (h record.Head, err error) {
	if strings.HasPrefix(string(raw), "forged") {
		return h, record.ErrSignature
	}
	var state []byte
	_, err = fmt.Sscanf(string(raw), "head %s %d %d %d %x", &h.Region, &h.Revision, &h.TimeMicros, &h.Term, &state)
	copy(h.State[:], state)
	h.Number = uint64(h.TimeMicros) // the position of the head is its term and its time
	return h, err
}

// VerifyVersion takes any manifest but a forged one.
func (plainVerifier) VerifyVersion(_ record.VersionKey, manifest, _ []byte) error {
	if strings.HasPrefix(string(manifest), "forged") {
		return record.ErrSignature
	}
	return nil
}

func (s *scenario) command(t *testing.T, d *datadriven.TestData) string {
	run, ok := commands[d.Cmd]
	if !ok {
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	}
	return run(s, arguments{t: t, d: d, s: s})
}

// stateOf returns the state that a head covers: of=(config@epoch@version, …), or
// of=(config@term.epoch@version, …).
func stateOf(d *datadriven.TestData) []byte {
	var s record.State
	for _, a := range d.CmdArgs {
		if a.Key != "of" {
			continue
		}
		for _, v := range a.Vals {
			parts := strings.Split(v, "@")
			p, err := plainVerifier{}.VerifyPointer(fmt.Appendf(nil, "pointer %s eu %s %s", parts[0], parts[1], parts[2]))
			if err != nil {
				panic(err)
			}
			s.AddPointer(&p, p.Digest())
		}
	}
	return s[:]
}

// pass lets time pass, with a tick at each deadline on the way.
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
