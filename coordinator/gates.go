package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"banyan/internal/ticks"
	"banyan/rollout"
)

// gateClient follows no redirects: only the address in the plan is asked.
var gateClient = &http.Client{
	Timeout:       gateTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// asker asks the gates of one wave, each at its own interval, while the wave bakes.
type asker struct {
	part   string        // identifies the wave
	state  rollout.State // when the wave began to bake
	wake   func()        // called after each answer
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu    sync.Mutex
	known map[string]rollout.Answer // newest answer by gate; guarded by mu
}

// startAsker starts to ask the gates of the wave in progress.
func startAsker(ctx context.Context, part string, s rollout.State, wake func()) *asker {
	ctx, cancel := context.WithCancel(ctx)
	a := &asker{part: part, state: s, wake: wake, cancel: cancel, known: map[string]rollout.Answer{}}
	gates := s.Gates()
	for _, q := range gates.Queries {
		a.group.Go(func() {
			ask := func() rollout.Answer { return a.query(ctx, q) }
			a.repeat(ctx, q.Name, time.Duration(q.Every), q.Strikes, ask)
		})
	}
	for _, h := range gates.Webhooks {
		a.group.Go(func() {
			ask := func() rollout.Answer { return a.call(ctx, h) }
			a.repeat(ctx, h.Name, time.Duration(h.Every), h.Strikes, ask)
		})
	}
	return a
}

// stop cancels the requests in flight and waits for their end. A nil asker does nothing.
func (a *asker) stop() {
	if a == nil {
		return
	}
	a.cancel()
	a.group.Wait()
}

// answers returns the newest answers by gate. A nil asker has no answers.
func (a *asker) answers() map[string]rollout.Answer {
	if a == nil {
		return map[string]rollout.Answer{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.known)
}

// repeat asks one gate at an interval until ctx ends. The gate fails after strikes failures
// in a row; after fewer failures the answer is unknown.
func (a *asker) repeat(
	ctx context.Context,
	name string,
	every time.Duration,
	strikes int,
	ask func() rollout.Answer,
) {
	failed := 0
	for range ticks.FromNow(ctx, max(every, 10*time.Millisecond)) {
		answer := ask()
		if ctx.Err() != nil {
			return
		}
		if answer.Verdict == rollout.Fail {
			failed++
		} else {
			failed = 0
		}
		if failed > 0 && failed < strikes {
			answer = unknown("%s (%d of %d in a row)", answer.Detail, failed, strikes)
		}
		a.set(name, answer)
		a.wake()
	}
}

// set makes answer the newest answer of a gate.
func (a *asker) set(name string, answer rollout.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[name] = answer
}

// query asks Prometheus by an instant query of its HTTP API.
func (a *asker) query(ctx context.Context, q rollout.Query) rollout.Answer {
	version := strconv.FormatUint(a.state.Version, 10)
	expression := strings.NewReplacer("$CONFIG", a.state.Config, "$VERSION", version).Replace(q.Query)
	form := url.Values{"query": {expression}, "timeout": {queryTimeout}}
	target := strings.TrimSuffix(q.URL, "/") + "/api/v1/query"
	status, raw, err := post(ctx, target, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
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
	quoted := values[:min(len(values), quotedSamples)]
	detail := fmt.Sprintf("%q is %v, want %s", expression, quoted, q.Condition)
	return rollout.Answer{Verdict: q.Judge(values), Detail: detail}
}

// call asks a webhook by POST.
func (a *asker) call(ctx context.Context, h rollout.Webhook) rollout.Answer {
	body, err := json.Marshal(map[string]any{
		"config":  a.state.Config,
		"version": a.state.Version,
		"rollout": a.state.ID,
		"group":   a.state.Group + 1,
		"wave":    a.state.Wave + 1,
		"waves":   len(a.state.Plan.Waves),
		"plan":    a.state.Plan.Name,
	})
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
		return unknown("%s is not ready to answer", h.URL)
	}
	return rollout.Answer{Verdict: rollout.Fail, Detail: fmt.Sprintf("%s answers %d: %.200s", h.URL, status, raw)}
}

// unknown returns the answer of a gate that could not be asked or did not decide.
func unknown(format string, args ...any) rollout.Answer {
	return rollout.Answer{Verdict: rollout.Unknown, Detail: fmt.Sprintf(format, args...)}
}

// sample is a sample of Prometheus: a time, and the value as a string.
type sample [2]any

// samples returns the values in Prometheus's answer to an instant query, which must be a
// scalar or a vector.
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
		return nil, errors.New(answer.Error)
	}
	var all []sample
	switch answer.Data.Type {
	case "scalar":
		all = make([]sample, 1)
		if err := json.Unmarshal(answer.Data.Result, &all[0]); err != nil {
			return nil, err
		}
	case "vector":
		var series []struct {
			Value sample `json:"value"`
		}
		if err := json.Unmarshal(answer.Data.Result, &series); err != nil {
			return nil, err
		}
		for _, s := range series {
			all = append(all, s.Value)
		}
	default:
		return nil, fmt.Errorf("the result is a %s, want a vector or a scalar", answer.Data.Type)
	}
	return valuesOf(all)
}

func valuesOf(all []sample) ([]float64, error) {
	var values []float64
	for _, s := range all {
		text, _ := s[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("sample %v is not a number", s[1])
		}
		values = append(values, v)
	}
	return values, nil
}

// post sends a POST request and returns the status and the body of the answer.
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
