package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"banyan/record"
)

// A publication whose outcome is not known does not claim that nothing was stored.
func TestTruthAPublicationKnowsWhetherItIsSure(t *testing.T) {
	answer := func(e Error) error {
		e.Message = "no"
		return fmt.Errorf("publish: %w", &e)
	}
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for _, c := range []struct {
		what string
		err  error
		sure bool
	}{
		{"no error", nil, true},
		{"refused by a rule", answer(Error{Code: CodeRejected}), true},
		{"another write came first", answer(Error{Code: CodeConflict}), true},
		{"the leader waits for its hosts", answer(Error{Code: CodeUnavailable, Wait: time.Second}), true},
		{"the coordinator takes no new requests", answer(Error{Code: CodeUnavailable}), true},
		{"the connection was refused", fmt.Errorf("%w: %w", ErrUnreachable, refused), true},
		{"the write may have happened, or the coordinator stopped", answer(Error{Code: CodeUnavailable, Unsure: true}), false},
		{"an unforeseen error of the coordinator", answer(Error{Code: CodeInternal, Unsure: true}), false},
		{"no answer", ErrUnreachable, false},
		{"half an answer", fmt.Errorf("answer: %w", io.ErrUnexpectedEOF), false},
		{"the command was stopped", context.Canceled, false},
	} {
		if got := !unsure(c.err); got != c.sure {
			t.Errorf("%s: sure: %v, want %v", c.what, got, c.sure)
		}
	}
}

// Only the request that stores the version can leave its outcome open. A coordinator that stops
// before has stored nothing.
func TestTruthACoordinatorThatStopsDuringAPublication(t *testing.T) {
	cut := func(w http.ResponseWriter) {
		connection, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			connection.Close()
		}
	}
	for _, c := range []struct {
		stops string
		sure  bool
	}{{"check", true}, {"bodies", true}, {"after bodies", true}, {"versions", false}} {
		var server *httptest.Server
		server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Connection", "close")
			at := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
			if strings.HasPrefix(r.URL.Path, "/v1/bodies/") {
				at = "bodies"
			}
			switch {
			case at == c.stops:
				cut(w)
			case r.Method == http.MethodGet:
				w.WriteHeader(http.StatusNotFound)
				io.WriteString(w, `{"error": {"code": "not_found", "message": "nothing yet"}}`)
			case at == "bodies" && c.stops == "after bodies":
				server.Listener.Close() // the coordinator takes no new connections
			default:
				io.WriteString(w, "{}")
			}
		}))
		key, err := record.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		client := &Client{base: server.URL, http: server.Client()}
		_, err = client.PublishAndStart(t.Context(), Draft{Config: "a", Body: []byte("x")}, nil, key)
		if !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUnsure) == c.sure {
			t.Errorf("it stops at %s: %v; sure: %v", c.stops, err, c.sure)
		}
		server.Close()
	}
}

// An answer that is cut off is no answer.
func TestTruthAnAnswerThatIsCutOffIsNoAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusConflict)
		}
		io.WriteString(w, `{"name": "eu", `)
	}))
	defer server.Close()
	c := &Client{base: server.URL, http: server.Client()}
	_, status := c.Status(t.Context())
	_, schema := c.Schema(t.Context(), "a")
	lift := c.Lift(t.Context(), Hold{})
	body, err := c.Body(t.Context(), "a", 1)
	if err != nil {
		t.Fatal(err)
	}
	_, read := io.ReadAll(body)
	for what, err := range map[string]error{"status": status, "schema": schema, "an error": lift, "a body": read} {
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "was cut off") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A rollback whose answer is lost may have moved pointers; one whose connection was refused has not.
func TestTruthARollbackWithoutAnAnswerIsNotCertain(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}))
	c := &Client{base: server.URL, http: server.Client()}
	_, back := c.Rollback(t.Context(), "a", Rollback{})
	_, deleted := c.Delete(t.Context(), "a", Delete{})
	if !errors.Is(back, ErrUnsure) || !errors.Is(back, ErrUnreachable) || !strings.Contains(back.Error(), "rolled back") {
		t.Errorf("a rollback: %v", back)
	}
	if !errors.Is(deleted, ErrUnsure) || !strings.Contains(deleted.Error(), "deleted") {
		t.Errorf("a deletion: %v", deleted)
	}
	server.Close()
	_, back = c.Rollback(t.Context(), "a", Rollback{})
	_, deleted = c.Delete(t.Context(), "a", Delete{})
	for what, err := range map[string]error{"a rollback": back, "a deletion": deleted} {
		if err == nil || errors.Is(err, ErrUnsure) {
			t.Errorf("%s that was never sent: %v", what, err)
		}
	}
}
