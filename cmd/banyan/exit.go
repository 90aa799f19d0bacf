package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
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

// usagef returns the error of a wrong command line: exit code 2.
func usagef(format string, args ...any) error { return usage.Errorf(format, args...) }

// hinted is an error with a hint: what to do about the error.
type hinted struct {
	err  error
	hint string
}

func (e hinted) Error() string { return e.err.Error() }
func (e hinted) Unwrap() error { return e.err }

func withHint(err error, hint string) error { return hinted{err, hint} }

// errTimedOut is wrapped by the error of a wait that ended without the awaited event.
var errTimedOut = errors.New("timed out")

// errNobody is wrapped by the error of a command that moved a pointer that no host follows.
var errNobody = errors.New("not known")

// errUnknown is wrapped by the error of a command that has changed something, and then lost the
// coordinator while it waited for the hosts.
var errUnknown = errors.New("not known")

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
	case errors.As(err, &misuse), strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for this error
		f.Code, f.exit = "usage", exitUsage
		if f.Hint == "" {
			f.Hint = "run with --help for the usage"
		}
	case errors.Is(err, errUnknown):
		f.Code, f.exit = "unknown", exitTimedOut
	case errors.As(err, &answered):
		f.Code, f.Line = answered.Code, answered.Line
		f.exit = exitOf(answered.Code)
		if f.Hint == "" {
			f.Hint = answered.Hint
		}
	case errors.As(err, &rejection):
		f.Code, f.exit = "rejected", exitRejected
		f.Line = rejection.Line
	case errors.Is(err, errTakenBack):
		f.Code, f.exit = "taken_back", exitTakenBack
	case errors.Is(err, errNobody):
		f.Code, f.exit = "nobody", exitTimedOut
	case errors.Is(err, errTimedOut), errors.Is(err, context.DeadlineExceeded):
		f.Code, f.exit = "timed_out", exitTimedOut
	case errors.Is(err, context.Canceled):
		f.Code, f.exit = "interrupted", exitInterrupted
		f.Message = "interrupted"
		if errors.Is(err, api.ErrUnsure) {
			f.Message += "; " + api.ErrUnsure.Error()
		}
	case errors.Is(err, api.ErrUnreachable):
		f.Code, f.exit = "unreachable", exitUnreachable
		if errors.Is(err, api.ErrLeaderUnreachable) {
			f.Hint = "nothing can be changed without the leader: start it, and try again; hosts keep what they run"
		} else if strings.Contains(err.Error(), "certificate") {
			f.Hint = "the two sides do not trust each other's certificate: check --identity, and that both come from one 'banyan init'"
		} else if f.Hint == "" {
			f.Hint = "check --coordinator, and that the coordinator runs"
		}
	case isRejection(err):
		f.Code, f.exit = "rejected", exitRejected
		if errors.Is(err, rollout.ErrPlan) {
			f.Hint = "'banyan rollout schema' prints the schema of plans; docs/rollouts.md explains plans"
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

// rejections are the errors of content, keys or plans that validation or policy rejects.
var rejections = []error{
	record.ErrInvalid, record.ErrUnknownKey, record.ErrScope, record.ErrSignature, record.ErrChecksum,
	record.ErrExpired, record.ErrTooLarge, rollout.ErrPlan, agent.ErrHooks, identity.ErrIdentity,
	world.ErrInvalid,
}

func isRejection(err error) bool {
	return slices.ContainsFunc(rejections, func(target error) bool { return errors.Is(err, target) })
}

// exitOf returns the exit code for the code of an error of the control API.
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
		return "run as a user who has the permission, or choose another path"
	case errors.Is(err, fs.ErrNotExist):
		return "check the path"
	case errors.Is(err, transport.ErrPortInUse), errors.Is(err, embeddb.ErrInUse),
		errors.Is(err, embeddb.ErrCorrupt), errors.Is(err, diskspace.ErrFull):
		return "" // the message says what to do
	}
	return ""
}

// report prints an error and returns the exit code.
func report(w io.Writer, err error, asJSON bool) int {
	f := describe(err)
	if asJSON {
		line, err := json.Marshal(map[string]failure{"error": f})
		if err == nil {
			fmt.Fprintf(w, "%s\n", escapeJSON(line))
		}
		return f.exit
	}
	fmt.Fprintln(w, "error:", oneLine(f.Message))
	if f.Hint != "" {
		fmt.Fprintln(w, "hint:", oneLine(f.Hint))
	}
	return f.exit
}
