package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"banyan/coordinator/api"
	"banyan/coordinator/ledger"
	"banyan/draft"
	"banyan/internal/diskspace"
	"banyan/record"
	"banyan/rollout"
	"banyan/versionstore"
)

// statusOf is the HTTP status for each code of an api.Error.
var statusOf = map[string]int{
	api.CodeInvalid:     http.StatusBadRequest,
	api.CodeRejected:    http.StatusUnprocessableEntity,
	api.CodeForbidden:   http.StatusForbidden,
	api.CodeNotFound:    http.StatusNotFound,
	api.CodeConflict:    http.StatusConflict,
	api.CodeTooLarge:    http.StatusRequestEntityTooLarge,
	api.CodeUnavailable: http.StatusServiceUnavailable,
	api.CodeInternal:    http.StatusInternalServerError,
}

// fail answers a request with an error.
func fail(w http.ResponseWriter, e *api.Error) {
	w.Header().Set("Content-Type", "application/json")
	if e.Wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.Wait.Seconds()))))
	}
	w.WriteHeader(statusOf[e.Code])
	json.NewEncoder(w).Encode(map[string]any{"error": e})
}

func isNotFound(err error) bool { return errors.Is(err, versionstore.ErrNotFound) }

// errRequest is wrapped if a request is not possible.
var errRequest = errors.New("invalid request")

// coded lists the errors that become an api.Error with their own message. The first match
// counts.
var coded = []struct {
	err  error
	code string
	hint string
}{
	{record.ErrTooLarge, api.CodeTooLarge, ""},
	{versionstore.ErrNotFound, api.CodeNotFound, ""},
	{versionstore.ErrUnknown, api.CodeUnavailable, hintUnknown},
	{versionstore.ErrUnavailable, api.CodeUnavailable, ""},
	{record.ErrUnknownKey, api.CodeRejected, hintTrust},
	{record.ErrScope, api.CodeRejected, hintTrust},
	{record.ErrSignature, api.CodeRejected, hintTrust},
	{record.ErrChecksum, api.CodeRejected, hintTrust},
	{ledger.ErrNoKey, api.CodeRejected, "give the key to this coordinator, or ask the coordinator that has it"},
	{rollout.ErrNotPossible, api.CodeConflict, ""},
	{rollout.ErrPlan, api.CodeRejected, hintPlan},
	{errRequest, api.CodeInvalid, ""},
	{record.ErrInvalid, api.CodeInvalid, ""},
	{record.ErrMalformed, api.CodeInvalid, ""},
	{diskspace.ErrFull, api.CodeUnavailable, "make room on the coordinator's disk"},
}

const (
	hintTrust   = "the trust policy says which keys may sign what"
	hintUnknown = "the request may be done: look with 'banyan log' and 'banyan status' before you repeat it"

	hintPlan = "'banyan rollout lint FILE' checks a plan; 'banyan rollout schema' prints its JSON Schema"
)

// toAPIError returns the error that the caller gets for err: a code, a message, and a hint if
// the caller can do something.
func toAPIError(err error) *api.Error {
	var (
		ready     *api.Error
		conflict  *versionstore.ConflictError
		rejection *draft.Rejection
		tooLong   *http.MaxBytesError
		fenced    *versionstore.FencedError
		stopped   *ledger.StoppedError
		waiting   *ledger.WaitingError
		full      *ledger.FullError
	)
	switch {
	case errors.As(err, &ready):
		return ready
	case errors.As(err, &conflict):
		return &api.Error{
			Code:    api.CodeConflict,
			Message: err.Error(),
			Hint:    "read the newest version, merge, and publish again",
		}
	case errors.As(err, &fenced):
		return &api.Error{
			Code:    api.CodeUnavailable,
			Message: err.Error(),
			Hint:    "nothing was written; another coordinator leads now: use its address",
		}
	case errors.As(err, &stopped):
		return &api.Error{
			Code:    api.CodeUnavailable,
			Message: err.Error(),
			Hint: "'banyan store recover' takes the history of the hosts, 'banyan store new-term' keeps the history " +
				"of this store",
		}
	case errors.As(err, &waiting):
		return &api.Error{
			Code:    api.CodeUnavailable,
			Message: err.Error(),
			Hint:    "wait; 'banyan store new-term' ends the wait if this store is the right one",
			Wait:    waiting.Left(),
		}
	case errors.As(err, &full):
		return &api.Error{
			Code:    api.CodeRejected,
			Message: err.Error(),
			Hint:    "delete configs that nobody needs with 'banyan delete CONFIG'",
		}
	case errors.As(err, &rejection):
		return &api.Error{Code: api.CodeRejected, Message: err.Error(), Line: rejection.Line}
	case errors.As(err, &tooLong):
		return &api.Error{
			Code:    api.CodeTooLarge,
			Message: fmt.Sprintf("the request has more than %d bytes", tooLong.Limit),
		}
	case errors.Is(err, versionstore.ErrClosed), errors.Is(err, context.Canceled):
		return &api.Error{Code: api.CodeUnavailable, Message: "the coordinator is stopping", Unsure: true}
	}
	for _, c := range coded {
		if errors.Is(err, c.err) {
			unknown := errors.Is(err, versionstore.ErrUnknown)
			return &api.Error{Code: c.code, Message: err.Error(), Hint: c.hint, Unsure: unknown}
		}
	}
	return &api.Error{Code: api.CodeInternal, Message: err.Error(), Unsure: true}
}

// checkMessage refuses a message, the reason of an act, that is too long to be kept.
func checkMessage(message string) error {
	if len(message) > record.MaxMessage {
		return fmt.Errorf("%w: a message of %d bytes, the limit is %d", errRequest, len(message), record.MaxMessage)
	}
	return nil
}
