// Command banyan is the one binary: the coordinator, the agent, and the CLI that talks to
// them. The command reads flags and calls the packages that do the work.
//
// Start at [newRoot] for the list of commands, and at exit.go for the exit codes.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/VictoriaMetrics/metrics"
)

// version is set at build time: -ldflags "-X main.version=v1.2.3".
var version = "dev"

func main() {
	metrics.ExposeMetadata(true) // TYPE and HELP lines, which Prometheus users expect
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
