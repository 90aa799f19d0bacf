package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"banyan/agent"
	"banyan/coordinator/api"
	"banyan/draft"
	"banyan/internal/diskspace"
	"banyan/internal/embeddb"
	"banyan/internal/usage"
	"banyan/record"
	"banyan/rollout"
	"banyan/simulator/world"
	"banyan/transport"
	"banyan/transport/identity"
)

// The exit codes of every command.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRejected    = 3 // by validation or policy
	exitUnreachable = 4
	exitConflict    = 5
	exitTakenBack   = 6 // a gate failed, or a rollout was taken back
	exitTimedOut    = 7
	exitInterrupted = 130
)

// usagef makes an error of a command line that is wrong.
func usagef(format string, args ...any) error { return usage.Errorf(format, args...) }

// hinted adds what to do to what went wrong.
type hinted struct {
	err  error
	hint string
}

func (e hinted) Error() string { return e.err.Error() }
func (e hinted) Unwrap() error { return e.err }

func withHint(err error, hint string) error { return hinted{err, hint} }

// errTimedOut is wrapped when something did not happen in the time given.
var errTimedOut = errors.New("timed out")

// failure is an error as the CLI reports it.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Line    int    `json:"line,omitempty"`
	exit    int
}

func describe(err error) failure {
	f := failure{Message: err.Error()}
	var (
		misuse    *usage.Error
		hint      hinted
		answered  *api.Error
		rejection *draft.Rejection
	)
	if errors.As(err, &hint) {
		f.Hint = hint.hint
	}
	switch {
	case errors.As(err, &misuse), strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		f.Code, f.exit = "usage", exitUsage
		f.Hint = "run with --help for the usage"
	case errors.As(err, &answered):
		f.Code, f.Line, f.exit = answered.Code, answered.Line, exitOf(answered.Code)
		if f.Hint == "" {
			f.Hint = answered.Hint
		}
	case errors.As(err, &rejection):
		f.Code, f.Line, f.exit = "rejected", rejection.Line, exitRejected
	case errors.Is(err, errTakenBack):
		f.Code, f.exit = "taken_back", exitTakenBack
	case errors.Is(err, errTimedOut), errors.Is(err, context.DeadlineExceeded):
		f.Code, f.exit = "timed_out", exitTimedOut
	case errors.Is(err, context.Canceled):
		f.Code, f.Message, f.exit = "interrupted", "interrupted", exitInterrupted
	case errors.Is(err, api.ErrUnreachable):
		f.Code, f.exit = "unreachable", exitUnreachable
		if strings.Contains(err.Error(), "certificate") {
			f.Hint = "the two sides do not trust each other's certificate: check --identity, and that both come from one 'banyan init'"
		} else if f.Hint == "" {
			f.Hint = "check --coordinator, and that it runs"
		}
	case errors.Is(err, record.ErrInvalid), errors.Is(err, record.ErrUnknownKey), errors.Is(err, record.ErrScope), errors.Is(err, record.ErrSignature),
		errors.Is(err, record.ErrChecksum), errors.Is(err, record.ErrExpired), errors.Is(err, record.ErrTooLarge), errors.Is(err, rollout.ErrPlan), errors.Is(err, agent.ErrHooks), errors.Is(err, world.ErrInvalid),
		errors.Is(err, identity.ErrIdentity):
		f.Code, f.exit = "rejected", exitRejected
		if errors.Is(err, rollout.ErrPlan) {
			f.Hint = "'banyan rollout schema' prints what a plan may hold; docs/rollouts.md explains it"
		}
	case errors.Is(err, identity.ErrExists):
		f.Code, f.exit = "conflict", exitConflict
	default:
		f.Code, f.exit = "failed", exitFailed
		if f.Hint == "" {
			f.Hint = hintFor(err)
		}
	}
	return f
}

func exitOf(code string) int {
	switch code {
	case api.CodeInvalid, api.CodeRejected, api.CodeForbidden, api.CodeTooLarge:
		return exitRejected
	case api.CodeConflict:
		return exitConflict
	case api.CodeUnavailable:
		return exitUnreachable
	}
	return exitFailed
}

func hintFor(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "run as a user who may, or choose another path"
	case errors.Is(err, fs.ErrNotExist):
		return "check the path; 'banyan init' makes the keys and certificates"
	case errors.Is(err, transport.ErrPortInUse), errors.Is(err, embeddb.ErrInUse), errors.Is(err, embeddb.ErrCorrupt), errors.Is(err, diskspace.ErrFull):
		return "" // the message says it
	}
	return ""
}

// report prints an error and returns the exit code.
func report(w io.Writer, err error, asJSON bool) int {
	f := describe(err)
	if asJSON {
		json.NewEncoder(w).Encode(map[string]failure{"error": f})
		return f.exit
	}
	fmt.Fprintln(w, "error:", strings.ReplaceAll(f.Message, "\n", " "))
	if f.Hint != "" {
		fmt.Fprintln(w, "hint:", f.Hint)
	}
	return f.exit
}
