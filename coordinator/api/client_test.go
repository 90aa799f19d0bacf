package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answering returns a client of a server that gives one answer to every request.
func answering(t *testing.T, status int, body string) *Client {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return &Client{base: server.URL, http: server.Client()}
}

func TestAnErrorOfTheServerIsReturned(t *testing.T) {
	c := answering(t, 409, `{"error": {"code": "conflict", "message": "version 2 conflicts", "hint": "merge", "line": 3}}`)
	_, err := c.Status(t.Context())
	var e *Error
	if !errors.As(err, &e) || *e != (Error{Code: CodeConflict, Message: "version 2 conflicts", Hint: "merge", Line: 3}) {
		t.Errorf("got %+v", err)
	}
	if !IsCode(err, CodeConflict) || IsCode(err, CodeInternal) || IsCode(nil, CodeConflict) {
		t.Error("IsCode")
	}
}

// A proxy in between may answer with a page of its own.
func TestAnAnswerThatIsNoErrorBecomesAnInternalError(t *testing.T) {
	for _, body := range []string{"", "<html>bad gateway</html>", "{}", `{"error": null}`} {
		_, err := answering(t, 502, body).Status(t.Context())
		if !IsCode(err, CodeInternal) || !strings.Contains(err.Error(), "502") || !strings.Contains(err.Error(), "GET /v1/status") {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestAnAnswerThatIsNoJSONIsAnError(t *testing.T) {
	if _, err := answering(t, 200, "<html>").Status(t.Context()); err == nil {
		t.Error("a page was taken for a status")
	}
	c := answering(t, 200, "<html>")
	if err := c.Lift(t.Context(), Hold{}); err != nil {
		t.Errorf("a request without an answer to decode: %v", err)
	}
}

func TestACoordinatorThatDoesNotAnswerIsUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	c := &Client{base: server.URL, http: server.Client()}
	server.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("a request that the caller cancelled: %v", err)
	}
}

func TestNamesAreEscapedInPaths(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		w.Write([]byte("{}"))
	}))
	defer server.Close()
	c := &Client{base: server.URL, http: server.Client()}
	ctx := t.Context()
	c.Version(ctx, "a/b", 0)
	c.Version(ctx, "a/b", 7)
	c.Release(ctx, "eu/agent 1")
	c.PutPlan(ctx, "p", "")
	c.Lift(ctx, Hold{Scope: "a b", Region: "eu", Lock: true})
	c.History(ctx, "a", 5)
	want := []string{
		"GET /v1/configs/a%2Fb/versions/last",
		"GET /v1/configs/a%2Fb/versions/7",
		"DELETE /v1/quarantine/eu%2Fagent%201",
		"DELETE /v1/plans/p",
		"DELETE /v1/holds?lock=true&region=eu&scope=a+b",
		"GET /v1/configs/a/versions?limit=5",
	}
	if strings.Join(asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}
}

func TestConfigsAreReadPageByPage(t *testing.T) {
	pages := map[string]string{
		"":  `{"configs": ["a", "b"], "more": true}`,
		"b": `{"configs": ["c"], "more": false}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(pages[r.URL.Query().Get("after")]))
	}))
	defer server.Close()
	c := &Client{base: server.URL, http: server.Client()}
	got, err := c.Configs(t.Context(), "")
	if err != nil || strings.Join(got, " ") != "a b c" {
		t.Errorf("configs %v, %v", got, err)
	}
}

// A leader that waits for its hosts answers with the time after which it may write. The client says
// so, and sends the whole request again.
func TestTruthAClientWaitsUntilTheLeaderWrites(t *testing.T) {
	left := 2
	var bodies []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(raw))
		if left == 0 {
			io.WriteString(w, `{"pointers": []}`)
			return
		}
		left--
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"error": {"code": "unavailable", "message": "no host was heard of"}}`)
	}))
	defer server.Close()
	said := 0
	c := &Client{base: server.URL, http: server.Client(), Waiting: func(why *Error) {
		if why.Message == "no host was heard of" {
			said++
		}
	}}
	if _, err := c.Activate(t.Context(), "a", Activate{Version: 1}); err != nil {
		t.Fatal(err)
	}
	if len(bodies) != 3 || bodies[0] == "" || bodies[1] != bodies[0] || bodies[2] != bodies[0] || said != 2 {
		t.Errorf("requests %q, said %d times", bodies, said)
	}
}

// A recovery may take minutes. The client does not cut it off, although it expects other answers
// sooner.
func TestTruthALongRecoveryIsNotCutOff(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/store/") {
			<-release
		} else {
			<-r.Context().Done()
		}
		io.WriteString(w, `{"term": 2}`)
	}))
	defer server.Close()
	prompt := server.Client().Transport.(*http.Transport).Clone()
	prompt.ResponseHeaderTimeout = 100 * time.Millisecond
	c := &Client{base: server.URL, http: &http.Client{Transport: prompt}, patient: server.Client()}
	defer c.Close()
	recovered := make(chan error, 1)
	go func() {
		out, err := c.Recover(t.Context(), Recover{})
		if err == nil && out.Term != 2 {
			err = errors.New("another answer")
		}
		recovered <- err
	}()
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a status without an answer: %v", err)
	}
	close(release)
	if err := <-recovered; err != nil {
		t.Errorf("a recovery that took longer: %v", err)
	}
}
