package transport

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"banyan/mesh"
	"banyan/mesh/step"
	"banyan/mesh/wire"
	"banyan/transport/identity"
)

// panics is set in the environment of the process that TestAPanicOfTheNodeEndsTheProcess starts.
const panics = "BANYAN_TEST_DRIVER_PANICS"

// A panic of the node ends the process, and shows where it was, although the caller of Run has deferred
// calls that wait for other goroutines.
func TestAPanicOfTheNodeEndsTheProcess(t *testing.T) {
	if os.Getenv(panics) != "" {
		runAndPanic(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), panics+"=1")
	out, err := child.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatal("the process did not end")
	}
	if err == nil {
		t.Error("the process ended as if nothing had happened")
	}
	for _, want := range []string{"panic: the node is broken", "transport.runAndPanic"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}

func runAndPanic(t *testing.T) {
	node := mesh.NewNode(mesh.Config{Self: wire.Identity{Role: wire.RoleAgent, Region: "eu", Name: "a"}})
	endpoint := newFixture(t).endpoint(identity.RoleAgent, "a")
	d := NewDriver(node, endpoint, Handlers{Observe: func(step.Output) {}}, slog.New(slog.DiscardHandler))
	go d.Decide(context.Background(), func(*mesh.Node) []step.Input { panic("the node is broken") })
	var others sync.WaitGroup
	others.Add(1) // does not end by itself
	defer others.Wait()
	d.Run(t.Context())
}
