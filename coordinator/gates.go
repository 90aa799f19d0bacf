package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"banyan/rollout"
)

// Limits of gates that are asked elsewhere.
const (
	gateTimeout = 10 * time.Second
	maxAnswer   = 1 << 20
)

// asker asks the gates of one wave, each at its own interval, while the wave bakes.
type asker struct {
	part   string
	state  *rollout.State
	wake   func()
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu    sync.Mutex
	known map[string]rollout.Answer // guarded by mu
}

// gateClient follows no redirects: a gate is where the plan says.
var gateClient = &http.Client{Timeout: gateTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func startAsker(ctx context.Context, part string, s *rollout.State, wake func()) *asker {
	ctx, cancel := context.WithCancel(ctx)
	frozen := *s
	a := &asker{part: part, state: &frozen, wake: wake, cancel: cancel, known: map[string]rollout.Answer{}}
	g := s.Gates()
	for _, q := range g.Queries {
		a.group.Go(func() {
			a.repeat(ctx, q.Name, time.Duration(q.Every), q.Strikes, func(ctx context.Context) rollout.Answer { return a.query(ctx, q) })
		})
	}
	for _, h := range g.Webhooks {
		a.group.Go(func() {
			a.repeat(ctx, h.Name, time.Duration(h.Every), h.Strikes, func(ctx context.Context) rollout.Answer { return a.call(ctx, h) })
		})
	}
	return a
}

// stop ends the asking and waits for what is under way. A nil asker has nothing to end.
func (a *asker) stop() {
	if a != nil {
		a.cancel()
		a.group.Wait()
	}
}

// answers are the newest answers by gate.
func (a *asker) answers() map[string]rollout.Answer {
	known := map[string]rollout.Answer{}
	if a != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		for name, answer := range a.known {
			known[name] = answer
		}
	}
	return known
}

// repeat asks one gate. It must fail strikes times in a row to fail.
func (a *asker) repeat(ctx context.Context, name string, every time.Duration, strikes int, ask func(context.Context) rollout.Answer) {
	ticker := time.NewTicker(max(every, 10*time.Millisecond))
	defer ticker.Stop()
	for failed := 0; ; {
		answer := ask(ctx)
		if ctx.Err() != nil {
			return
		}
		if answer.Verdict == rollout.Fail {
			if failed++; failed < strikes {
				answer = rollout.Answer{Verdict: rollout.Unknown, Detail: fmt.Sprintf("%s (%d of %d in a row)", answer.Detail, failed, strikes)}
			}
		} else {
			failed = 0
		}
		a.mu.Lock()
		a.known[name] = answer
		a.mu.Unlock()
		a.wake()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func unknown(format string, args ...any) rollout.Answer {
	return rollout.Answer{Verdict: rollout.Unknown, Detail: fmt.Sprintf(format, args...)}
}

// query asks Prometheus, by its HTTP API's instant queries.
func (a *asker) query(ctx context.Context, q rollout.Query) rollout.Answer {
	expression := strings.NewReplacer("$CONFIG", a.state.Config, "$VERSION", strconv.FormatUint(a.state.Version, 10)).Replace(q.Query)
	form := url.Values{"query": {expression}, "timeout": {"8s"}}
	status, raw, err := post(ctx, strings.TrimSuffix(q.URL, "/")+"/api/v1/query", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	if err != nil {
		return unknown("%s", err)
	}
	values, err := samples(raw)
	if err != nil {
		return unknown("%s answers %d: %s", q.URL, status, err)
	}
	if len(values) == 0 {
		return unknown("%q has no samples", expression)
	}
	if !q.Holds(values) {
		return rollout.Answer{Verdict: rollout.Fail, Detail: fmt.Sprintf("%q is %v, want %s", expression, values[:min(len(values), 3)], q.Condition)}
	}
	return rollout.Answer{Verdict: rollout.Pass, Detail: fmt.Sprint(values[:min(len(values), 3)])}
}

// samples reads the values of a scalar or vector from Prometheus's answer.
func samples(raw []byte) ([]float64, error) {
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Type   string          `json:"resultType"`
			Result json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s", answer.Error)
	}
	var pairs [][2]any
	switch answer.Data.Type {
	case "scalar":
		pairs = make([][2]any, 1)
		if err := json.Unmarshal(answer.Data.Result, &pairs[0]); err != nil {
			return nil, err
		}
	case "vector":
		var series []struct {
			Value [2]any `json:"value"`
		}
		if err := json.Unmarshal(answer.Data.Result, &series); err != nil {
			return nil, err
		}
		for _, s := range series {
			pairs = append(pairs, s.Value)
		}
	default:
		return nil, fmt.Errorf("a %s, where a vector or scalar is needed", answer.Data.Type)
	}
	var values []float64
	for _, p := range pairs {
		text, _ := p[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("sample %v is no number", p[1])
		}
		values = append(values, v)
	}
	return values, nil
}

// call asks a webhook.
func (a *asker) call(ctx context.Context, h rollout.Webhook) rollout.Answer {
	body, err := json.Marshal(map[string]any{"config": a.state.Config, "version": a.state.Version, "rollout": a.state.ID,
		"group": a.state.Group + 1, "wave": a.state.Wave + 1, "waves": len(a.state.Plan.Waves), "plan": a.state.Plan.Name})
	if err != nil {
		return unknown("%s", err)
	}
	status, raw, err := post(ctx, h.URL, "application/json", bytes.NewReader(body))
	switch {
	case err != nil:
		return unknown("%s", err)
	case status >= 200 && status < 300:
		return rollout.Answer{Verdict: rollout.Pass}
	case status == http.StatusServiceUnavailable:
		return unknown("%s is not ready to tell", h.URL)
	}
	return rollout.Answer{Verdict: rollout.Fail, Detail: fmt.Sprintf("%s answers %d: %.200s", h.URL, status, raw)}
}

func post(ctx context.Context, target, contentType string, body io.Reader) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, body)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", contentType)
	response, err := gateClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, raw, err
}
