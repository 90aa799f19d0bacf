package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banyan/coordinator"
	"banyan/coordinator/api"
	"banyan/record"
	"banyan/rollout"
	"banyan/transport/identity"
)

// live is a client of a leader that runs in this process, without agents.
type live struct {
	*api.Client
	t   *testing.T
	ctx context.Context
	key record.Key // of the publisher
}

func newLive(t *testing.T) *live {
	home, err := identity.InitHome(filepath.Join(t.TempDir(), "home"), []string{"eu"}, "dev")
	if err != nil {
		t.Fatal(err)
	}
	load := func(dir string) *identity.Bundle {
		bundle, err := identity.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return bundle
	}
	loadKey := func(path string) record.Key {
		key, err := record.LoadKey(path)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	c, err := coordinator.Open(t.Context(), coordinator.Config{
		Identity:       load(home.CoordinatorDir("eu")),
		ActivationKeys: []record.Key{loadKey(home.ActivationKey("eu"))},
		DataDir:        t.TempDir(),
		Listen:         "127.0.0.1:0",
		API:            "127.0.0.1:0",
		HeadInterval:   50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	client := api.NewClient(c.APIAddr(), load(home.ClientDir()))
	t.Cleanup(func() {
		client.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the coordinator ended with %v", err)
		}
	})
	return &live{client, t, t.Context(), loadKey(home.PublisherKey("dev"))}
}

// publish publishes a draft of text.
func (l *live) publish(config, text string) api.Version {
	l.t.Helper()
	v, err := l.Publish(l.ctx, api.Draft{Config: config, Body: []byte(text), ContentType: "text/plain"}, l.key)
	if err != nil {
		l.t.Fatal(err)
	}
	return v
}

func (l *live) body(config string, version uint64) []byte {
	l.t.Helper()
	r, err := l.Body(l.ctx, config, version)
	if err != nil {
		l.t.Fatal(err)
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		l.t.Fatal(err)
	}
	return body
}

// settings is a text of n lines that compresses; the first edited lines differ.
func settings(n, edited int) []byte {
	var b bytes.Buffer
	for i := range n {
		value := uint32(i) * 2654435769
		if i < edited {
			value++
		}
		fmt.Fprintf(&b, "setting-%06d = %08x\n", i, value)
	}
	return b.Bytes()
}

func TestPublishSignsTheNextVersion(t *testing.T) {
	l := newLive(t)
	first := l.publish("a", "one")
	second := l.publish("a", "two")
	if first.Manifest.Version != 1 || second.Manifest.Version != 2 || second.Parent != 1 {
		t.Errorf("versions %d, then %d over %d", first.Manifest.Version, second.Manifest.Version, second.Parent)
	}
	if got := l.body("a", 0); string(got) != "two" {
		t.Errorf("the newest body is %q", got)
	}
	draft := api.Draft{Config: "a", Body: []byte("three"), ContentType: "text/plain", Parent: 1}
	if _, err := l.Publish(l.ctx, draft, l.key); !api.IsCode(err, api.CodeConflict) {
		t.Errorf("a draft that was made from version 1: %v", err)
	}
	if _, err := l.Publish(l.ctx, api.Draft{Config: "NOT A NAME"}, l.key); err == nil {
		t.Error("a name that is none was published")
	}
	draft = api.Draft{Config: "b", File: filepath.Join(t.TempDir(), "none")}
	if _, err := l.Publish(l.ctx, draft, l.key); !os.IsNotExist(err) && !strings.Contains(fmt.Sprint(err), "no such file") {
		t.Errorf("a file that does not exist: %v", err)
	}
	empty := api.Draft{Config: "empty", ContentType: "text/plain"}
	if v, err := l.Publish(l.ctx, empty, l.key); err != nil || v.BodySize != 0 || len(l.body("empty", 1)) != 0 {
		t.Errorf("an empty draft: %+v, %v", v, err)
	}
}

// A draft that changes little of a large body gets a delta as a form, and progress ends at
// the total.
func TestPublishUploadsADeltaAndReportsProgress(t *testing.T) {
	l := newLive(t)
	publish := func(edited int) (api.Version, []int64) {
		file := filepath.Join(t.TempDir(), "draft")
		if err := os.WriteFile(file, settings(20_000, edited), 0o600); err != nil {
			t.Fatal(err)
		}
		var sent []int64
		v, err := l.Publish(l.ctx, api.Draft{
			Config:      "a",
			File:        file,
			ContentType: "text/plain",
			Progress: func(n, total int64) {
				if len(sent) > 0 && n < sent[len(sent)-1] || n > total {
					t.Errorf("progress %d of %d after %v", n, total, sent)
				}
				sent = append(sent, n)
			},
		}, l.key)
		if err != nil {
			t.Fatal(err)
		}
		return v, sent
	}
	publish(0)
	v, sent := publish(5)
	total, deltas := int64(0), 0
	for _, f := range v.Forms {
		total += f.Size
		if !f.Base.IsZero() {
			deltas++
		}
	}
	if deltas != 1 {
		t.Errorf("%d deltas among %d forms", deltas, len(v.Forms))
	}
	if len(sent) == 0 || sent[len(sent)-1] != total {
		t.Errorf("progress ended at %v of %d", sent, total)
	}
	if !bytes.Equal(l.body("a", 2), settings(20_000, 5)) {
		t.Error("the body of version 2 is another")
	}
}

func TestPublishValidatesBeforeItUploads(t *testing.T) {
	l := newLive(t)
	if err := l.PutSchema(l.ctx, "a", []byte(`{"required": ["n"]}`)); err != nil {
		t.Fatal(err)
	}
	draft := api.Draft{Config: "a", Body: []byte(`{"m": 1}`), ContentType: "application/json"}
	if _, err := l.Publish(l.ctx, draft, l.key); err == nil || !strings.Contains(err.Error(), "n") {
		t.Errorf("a draft that the schema refuses: %v", err)
	}
	if _, err := l.Blob(l.ctx, record.Sum(draft.Body)); !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("the refused draft was uploaded: %v", err)
	}
	if err := l.PutSchema(l.ctx, "a", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Publish(l.ctx, draft, l.key); err != nil {
		t.Error(err)
	}
}

// A version is stored together with the start of its rollout, or not at all: also if the check
// before the upload passed, and something changed after it.
func TestTruthAVersionIsStoredWithItsRolloutOrNotAtAll(t *testing.T) {
	l := newLive(t)
	draft := api.Draft{Config: "a", Body: []byte("one"), ContentType: "text/plain"}
	p, err := l.PublishAndStart(l.ctx, draft, &api.StartRollout{Immediate: true, Message: "go"}, l.key)
	if err != nil || p.Manifest.Version != 1 || p.Rollout == nil || p.Rollout.Version != 1 || p.Unchanged {
		t.Fatalf("published %+v, %v", p, err)
	}
	freeze, err := l.Hold(l.ctx, api.Hold{Scope: "a", Reason: "sale"})
	if err != nil {
		t.Fatal(err)
	}
	draft.Body = []byte("two")
	progressed := false
	draft.Progress = func(int64, int64) { progressed = true }
	if _, err := l.PublishAndStart(l.ctx, draft, &api.StartRollout{}, l.key); !api.IsCode(err, api.CodeRejected) || progressed {
		t.Errorf("in a freeze: %v; uploaded: %t", err, progressed)
	}
	signed, m, err := api.Sign(draft, 1, l.key)
	if err != nil {
		t.Fatal(err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("two")), nil }
	if err := l.PutBody(l.ctx, m.Forms[0].SHA256, m.BodySize, open); err != nil {
		t.Fatal(err)
	}
	put := api.PutVersion{Signed: signed, Start: &api.StartRollout{}}
	if _, err := l.PutPublication(l.ctx, "a", put); !api.IsCode(err, api.CodeRejected) {
		t.Errorf("a freeze after the check: %v", err)
	}
	if v, err := l.Version(l.ctx, "a", 0); err != nil || v.Version != 1 {
		t.Errorf("the newest version is %d, %v", v.Version, err)
	}
	if err := l.Lift(l.ctx, freeze); err != nil {
		t.Fatal(err)
	}
	if p, err := l.PutPublication(l.ctx, "a", put); err != nil || p.Manifest.Version != 2 || p.Rollout == nil {
		t.Errorf("after the freeze: %+v, %v", p, err)
	}
	// A publication that is repeated, because its answer was lost, finds its own rollout.
	again, err := l.PublishAndStart(l.ctx, draft, &api.StartRollout{}, l.key)
	if err != nil || !again.Unchanged || again.Manifest.Version != 2 {
		t.Errorf("repeated: %+v, %v", again, err)
	}
}

func TestSignStoresNothing(t *testing.T) {
	l := newLive(t)
	signed, m, err := api.Sign(api.Draft{Config: "a", Body: []byte("x"), ContentType: "text/plain", Message: "why"}, 6, l.key)
	if err != nil || m.Version != 7 || m.Parent != 6 || m.Message != "why" || len(signed) == 0 {
		t.Errorf("signed %+v, %v", m, err)
	}
	if _, err := l.Version(l.ctx, "a", 0); !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("a signed draft is stored: %v", err)
	}
}

// Each method of the client reaches its route, and what one method writes another reads.
func TestTheClientReachesEveryRoute(t *testing.T) {
	l := newLive(t)
	l.publish("a", "one")
	started, err := l.StartRollout(l.ctx, "a", api.StartRollout{Version: 1, Message: "go"})
	if err != nil || started.ID != 1 || started.Message != "go" {
		t.Fatalf("start: %+v, %v", started, err)
	}
	for {
		r, err := l.Rollout(l.ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if r.Status == rollout.Done {
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-l.ctx.Done():
			t.Fatal("the rollout does not end")
		}
	}
	l.publish("a", "two")
	steps := []struct {
		name string
		do   func() error
	}{
		{"Status", func() error { return second(l.Status(l.ctx)) }},
		{"Agents", func() error { return second(l.Agents(l.ctx)) }},
		{"History", func() error { return second(l.History(l.ctx, "a", 10)) }},
		{"Holders", func() error { return second(l.Holders(l.ctx, "a", 1, time.Second)) }},
		{"Activate", func() error { return second(l.Activate(l.ctx, "a", api.Activate{Version: 2})) }},
		{"Pointers", func() error { return second(l.Pointers(l.ctx, "a")) }},
		{"ConfigStatus", func() error { return second(l.ConfigStatus(l.ctx, "a")) }},
		{"Rollback", func() error { return second(l.Rollback(l.ctx, "a", api.Rollback{To: 2})) }},
		{"Activations", func() error { return second(l.Activations(l.ctx, "a")) }},
		{"SetTwoPersons", func() error {
			return second(l.SetTwoPersons(l.ctx, api.SetTwoPersons{Prefix: "b", On: true}))
		}},
		{"TwoPersons", func() error { return second(l.TwoPersons(l.ctx)) }},
		{"Log", func() error { return second(l.Log(l.ctx, api.LogQuery{Prefix: "a", Since: time.Unix(1, 0), Limit: 3})) }},
		{"Rollouts", func() error { return second(l.Rollouts(l.ctx, "")) }},
		{"Rollouts of a config", func() error { return second(l.Rollouts(l.ctx, "a")) }},
		{"PutPlan", func() error { return l.PutPlan(l.ctx, "p", "waves: [{share: 100%}]\n") }},
		{"LintPlan", func() error {
			_, err := l.LintPlan(l.ctx, "waves: [{share: 100%}]\n")
			return err
		}},
		{"SetDefaultPlan", func() error { return l.SetDefaultPlan(l.ctx, api.PlanDefault{Prefix: "*", Plan: "p"}) }},
		{"Plans", func() error { return second(l.Plans(l.ctx)) }},
		{"Hold", func() error { return second(l.Hold(l.ctx, api.Hold{Scope: "b", Reason: "x"})) }},
		{"Holds", func() error { return second(l.Holds(l.ctx)) }},
		{"Lift", func() error { return l.Lift(l.ctx, api.Hold{Scope: "b"}) }},
		{"Quarantined", func() error { return second(l.Quarantined(l.ctx)) }},
		{"Drifts", func() error { return second(l.Drifts(l.ctx)) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	if _, err := l.AskRollout(l.ctx, "a", rollout.Pause, api.RolloutRequest{}); !api.IsCode(err, api.CodeConflict) {
		t.Errorf("pausing a rollout that is done: %v", err)
	}
	if err := l.Release(l.ctx, "none"); !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("releasing an agent that is not in quarantine: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestAHoldDescribesItself(t *testing.T) {
	until := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for want, h := range map[string]api.Hold{
		"frozen by alice: sale":                                  {By: "alice", Reason: "sale"},
		"frozen in eu by alice until 2026-03-01T12:00:00Z: sale": {By: "alice", Reason: "sale", Region: "eu", Until: until},
		"locked by bob: incident":                                {By: "bob", Reason: "incident", Lock: true},
	} {
		if got := h.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
