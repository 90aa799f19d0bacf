package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"banyan/record"
	"banyan/transport/identity"
)

// maxResponse is the maximum size of a JSON answer that a client reads, in bytes.
const maxResponse = 64 << 20

// Times of a client.
const (
	// answerWait is the maximum time until an answer begins.
	answerWait = time.Minute
	// pingEvery is the time of silence after which a coordinator is asked for a sign of life, and
	// pingWait the time that it has.
	pingEvery = 15 * time.Second
	pingWait  = 15 * time.Second
	// repeatEvery is the maximum time between two attempts of a request that the leader does not
	// take yet.
	repeatEvery = 250 * time.Millisecond
)

// Client sends requests to the control API of one coordinator. Methods are safe for
// concurrent use. A request to a leader that waits for its hosts is repeated until the leader
// takes it, as long as the request's context allows.
type Client struct {
	// Waiting is called, unless it is nil, before a request is repeated. It must be set before the
	// first request.
	Waiting func(why *Error)

	base string
	http *http.Client
	// patient sends the requests whose answers may take minutes. The link is checked meanwhile.
	patient *http.Client
}

// NewClient returns a client of the coordinator at address, host:port. The client
// authenticates with the certificate of bundle.
func NewClient(address string, bundle *identity.Bundle) *Client {
	patient := &http.Transport{
		TLSClientConfig:     bundle.ControlTLS(),
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 4,
		TLSHandshakeTimeout: 10 * time.Second,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingEvery, PingTimeout: pingWait},
	}
	prompt := patient.Clone()
	prompt.ResponseHeaderTimeout = answerWait
	return &Client{
		base:    "https://" + address,
		http:    &http.Client{Transport: prompt},
		patient: &http.Client{Transport: patient},
	}
}

// Close closes idle connections.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.patient.CloseIdleConnections()
}

// configPath returns the path of a config's resource, such as "/versions".
func configPath(config, rest string) string {
	return "/v1/configs/" + url.PathEscape(config) + rest
}

// do sends a request and decodes the JSON answer into out. If out is nil, do discards the
// answer.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader, size int64, out any) error {
	response, err := c.send(ctx, method, path, body, size)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxResponse))
		return err
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxResponse)).Decode(out)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return c.cutOff(err)
	}
	return fmt.Errorf("answer of %s: %w", c.base, err)
}

// cutOff returns the error of an answer that ended too early.
func (c *Client) cutOff(err error) error {
	if errors.Is(err, ErrUnreachable) {
		return err
	}
	return fmt.Errorf("%w: the answer of %s was cut off: %w", ErrUnreachable, strings.TrimPrefix(c.base, "https://"), err)
}

// answerBody is the body of an answer. The error of a body that is cut off wraps ErrUnreachable.
type answerBody struct {
	io.ReadCloser
	ctx    context.Context // of the request
	client *Client
}

func (b answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil, err == io.EOF:
		return n, err
	case b.ctx.Err() != nil:
		return n, b.ctx.Err()
	}
	return n, b.client.cutOff(err)
}

// send sends a request whose body has the given size; size 0 means unknown or no body.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader, size int64) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		request.ContentLength = size
	}
	return c.roundTrip(request)
}

// roundTrip sends a request, and repeats it while the answer says when the request may succeed.
// A status of 300 or more becomes an *Error.
func (c *Client) roundTrip(request *http.Request) (*http.Response, error) {
	for {
		response, err := c.once(request)
		var failure *Error
		if !errors.As(err, &failure) || failure.Wait == 0 {
			return response, err
		}
		if c.Waiting != nil {
			c.Waiting(failure)
		}
		select {
		case <-time.After(min(failure.Wait, repeatEvery)):
		case <-request.Context().Done():
			return nil, failure
		}
		request, err = again(request)
		if err != nil {
			return nil, err
		}
	}
}

// again returns a request to send once more.
func again(sent *http.Request) (*http.Request, error) {
	request := sent.Clone(sent.Context())
	if sent.GetBody == nil {
		return request, nil
	}
	body, err := sent.GetBody()
	request.Body = body
	return request, err
}

// once sends a request.
func (c *Client) once(request *http.Request) (*http.Response, error) {
	response, err := c.http.Do(request)
	if err != nil {
		if ctx := request.Context(); ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, c.unreachable(err)
	}
	response.Body = answerBody{response.Body, request.Context(), c}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	var failure struct {
		Error *Error `json:"error"`
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(raw, &failure) != nil || failure.Error == nil {
		message := fmt.Sprintf("%s %s: %s", request.Method, request.URL.Path, response.Status)
		return nil, &Error{Code: CodeInternal, Message: message, Unsure: true}
	}
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err == nil && seconds > 0 {
		failure.Error.Wait = time.Duration(seconds) * time.Second
	}
	return nil, failure.Error
}

// unreachable returns the error of a request without an answer. If the coordinator sent the
// request on to its leader, the error names the leader.
func (c *Client) unreachable(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		at, parseErr := url.Parse(failed.URL)
		if parseErr == nil && "https://"+at.Host != c.base {
			return fmt.Errorf("%w %s, to which the coordinator at %s sends such requests: %w",
				ErrLeaderUnreachable, at.Host, strings.TrimPrefix(c.base, "https://"), failed.Err)
		}
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

func (c *Client) get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, path, nil, 0, out)
}

func (c *Client) putJSON(ctx context.Context, method, path string, in, out any) error {
	encoded, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.do(ctx, method, path, bytes.NewReader(encoded), int64(len(encoded)), out)
}

// unhurried returns a client for a request whose answer may take minutes.
func (c *Client) unhurried() *Client {
	return &Client{Waiting: c.Waiting, base: c.base, http: c.patient}
}

// Status returns how the coordinator describes itself.
func (c *Client) Status(ctx context.Context) (s CoordinatorStatus, err error) {
	return s, c.get(ctx, "/v1/status", &s)
}

// Agents returns the agents of the coordinator's region, by name.
func (c *Client) Agents(ctx context.Context) ([]Agent, error) {
	var out struct {
		Agents []Agent `json:"agents"`
	}
	return out.Agents, c.get(ctx, "/v1/agents", &out)
}

// Hosts returns the inventory, by region and name.
func (c *Client) Hosts(ctx context.Context) ([]Host, error) {
	var out struct {
		Hosts []Host `json:"hosts"`
	}
	return out.Hosts, c.get(ctx, "/v1/inventory", &out)
}

// Expect lists hosts in the inventory before they attach. It returns those that were not listed
// before.
func (c *Client) Expect(ctx context.Context, in ExpectHosts) ([]ExpectedHost, error) {
	var out ExpectHosts
	err := c.putJSON(ctx, http.MethodPost, "/v1/inventory", in, &out)
	return out.Hosts, err
}

// Retire removes a host that is not attached from the inventory. region is needed only if
// several regions have a host with the name.
func (c *Client) Retire(ctx context.Context, name, region string) (out Host, err error) {
	q := url.Values{"region": {region}}
	path := "/v1/inventory/" + url.PathEscape(name) + "?" + q.Encode()
	return out, c.do(ctx, http.MethodDelete, path, nil, 0, &out)
}

// PutRoster reports the hosts in a coordinator's tree to the leader.
func (c *Client) PutRoster(ctx context.Context, in Roster) (again bool, err error) {
	var out RosterTaken
	err = c.putJSON(ctx, http.MethodPut, "/v1/roster", in, &out)
	return out.Again, err
}

// Configs returns the names of the configs at or below prefix; "" means all.
func (c *Client) Configs(ctx context.Context, prefix string) ([]string, error) {
	var all []string
	for after := ""; ; {
		var out struct {
			Configs []string `json:"configs"`
			More    bool     `json:"more"`
		}
		q := url.Values{"prefix": {prefix}, "after": {after}}
		if err := c.get(ctx, "/v1/configs?"+q.Encode(), &out); err != nil {
			return nil, err
		}
		all = append(all, out.Configs...)
		if !out.More || len(out.Configs) == 0 {
			return all, nil
		}
		after = all[len(all)-1]
	}
}

// PutBody uploads the bytes of a form. A coordinator that follows redirects the upload to
// its leader, and PutBody may call open more than once.
func (c *Client) PutBody(
	ctx context.Context,
	digest record.Digest,
	size int64,
	open func() (io.ReadCloser, error),
) error {
	if size == 0 {
		open = func() (io.ReadCloser, error) { return http.NoBody, nil }
	}
	body, err := open()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, c.base+"/v1/bodies/"+digest.String(), body)
	if err != nil {
		return err
	}
	request.ContentLength = size
	request.GetBody = open
	response, err := c.roundTrip(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// PutVersion stores a signed manifest. Its forms must be uploaded before.
func (c *Client) PutVersion(ctx context.Context, config string, signed []byte) (v Version, err error) {
	return v, c.putJSON(ctx, http.MethodPost, configPath(config, "/versions"), PutVersion{Signed: signed}, &v)
}

// Check makes the checks of a publication and stores nothing.
func (c *Client) Check(ctx context.Context, config string, in Check) (out Checked, err error) {
	return out, c.putJSON(ctx, http.MethodPost, configPath(config, "/check"), in, &out)
}

// PutPublication stores a signed manifest and starts its rollout, in one transaction. The forms
// of the version must be uploaded before.
func (c *Client) PutPublication(ctx context.Context, config string, in PutVersion) (p Published, err error) {
	return p, c.putJSON(ctx, http.MethodPost, configPath(config, "/versions"), in, &p)
}

// Version returns a version; version 0 means the newest.
func (c *Client) Version(ctx context.Context, config string, version uint64) (v Version, err error) {
	return v, c.get(ctx, configPath(config, "/versions/"+versionName(version)), &v)
}

// Holders asks every agent for the held part of a version, and waits for the
// answers. Version 0 means the newest. wait is at most 30 s.
func (c *Client) Holders(
	ctx context.Context,
	config string,
	version uint64,
	wait time.Duration,
) (h Holders, err error) {
	path := configPath(config, "/versions/"+versionName(version)+"/holders?wait="+wait.String())
	return h, c.get(ctx, path, &h)
}

// versionName returns the name of a version in a path: "7", or "last" for version 0.
func versionName(version uint64) string {
	if version == 0 {
		return "last"
	}
	return strconv.FormatUint(version, 10)
}

// History returns at most limit versions, newest first.
func (c *Client) History(ctx context.Context, config string, limit int) ([]Version, error) {
	var out struct {
		Versions []Version `json:"versions"`
	}
	return out.Versions, c.get(ctx, configPath(config, "/versions?limit="+strconv.Itoa(limit)), &out)
}

// Body opens the body of a version. The caller must close the reader, and must compare the
// hash of the bytes with the version's manifest: Body verifies nothing.
func (c *Client) Body(ctx context.Context, config string, version uint64) (io.ReadCloser, error) {
	path := configPath(config, "/versions/"+versionName(version)+"/body")
	response, err := c.send(ctx, http.MethodGet, path, nil, 0)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// Blob opens the encoded bytes of a form. The caller must close the reader and verify the
// hash of the bytes.
func (c *Client) Blob(ctx context.Context, digest record.Digest) (io.ReadCloser, error) {
	response, err := c.send(ctx, http.MethodGet, "/v1/bodies/"+digest.String(), nil, 0)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// Activate moves the pointers of a config at once, without a rollout.
func (c *Client) Activate(ctx context.Context, config string, a Activate) ([]Pointer, error) {
	var out Activated
	return out.Pointers, c.putJSON(ctx, http.MethodPost, configPath(config, "/pointers"), a, &out)
}

// Pointers returns the pointers of a config, by region.
func (c *Client) Pointers(ctx context.Context, config string) ([]Pointer, error) {
	var out Activated
	return out.Pointers, c.get(ctx, configPath(config, "/pointers"), &out)
}

// ConfigStatus returns the progress of every region with a config.
func (c *Client) ConfigStatus(ctx context.Context, config string) (s ConfigStatus, err error) {
	return s, c.get(ctx, configPath(config, "/status"), &s)
}

// Schema returns the JSON Schema of a config; nil if the config has none.
func (c *Client) Schema(ctx context.Context, config string) ([]byte, error) {
	response, err := c.send(ctx, http.MethodGet, configPath(config, "/schema"), nil, 0)
	var e *Error
	if errors.As(err, &e) && e.Code == CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, maxResponse))
}

// PutSchema sets the JSON Schema of a config; an empty schema removes it.
func (c *Client) PutSchema(ctx context.Context, config string, schema []byte) error {
	if len(schema) == 0 {
		return c.do(ctx, http.MethodDelete, configPath(config, "/schema"), nil, 0, nil)
	}
	path := configPath(config, "/schema")
	return c.do(ctx, http.MethodPut, path, bytes.NewReader(schema), int64(len(schema)), nil)
}

// StartRollout starts a rollout of a version.
func (c *Client) StartRollout(ctx context.Context, config string, in StartRollout) (r Rollout, err error) {
	return r, c.putJSON(ctx, http.MethodPost, configPath(config, "/rollouts"), in, &r)
}

// Rollout returns the newest rollout of a config.
func (c *Client) Rollout(ctx context.Context, config string) (r Rollout, err error) {
	return r, c.get(ctx, configPath(config, "/rollout"), &r)
}

// Rollouts returns the rollouts of config, newest first. With an empty config it returns
// the newest rollout of every config.
func (c *Client) Rollouts(ctx context.Context, config string) ([]Rollout, error) {
	type page struct {
		Rollouts []Rollout `json:"rollouts"`
		Next     string    `json:"next"`
	}
	if config != "" {
		var all page
		err := c.get(ctx, configPath(config, "/rollouts"), &all)
		return all.Rollouts, err
	}
	var all []Rollout
	for after := ""; ; {
		var out page
		q := url.Values{"after": {after}}
		if err := c.get(ctx, "/v1/rollouts?"+q.Encode(), &out); err != nil {
			return nil, err
		}
		all = append(all, out.Rollouts...)
		if out.Next <= after {
			return all, nil
		}
		after = out.Next
	}
}

// AskRollout sends a request to the newest rollout of a config: rollout.Pause, Resume,
// Promote, Abort, Undo or Approve.
func (c *Client) AskRollout(ctx context.Context, config, what string, in RolloutRequest) (r Rollout, err error) {
	return r, c.putJSON(ctx, http.MethodPost, configPath(config, "/rollout/"+what), in, &r)
}

// Rollback takes a config back. If a rollout is in progress and no version and no regions are
// named, Rollback aborts the rollout. Said again, Rollback changes nothing.
func (c *Client) Rollback(ctx context.Context, config string, in Rollback) (out RolledBack, err error) {
	err = c.putJSON(ctx, http.MethodPost, configPath(config, "/rollback"), in, &out)
	return out, orUnsure(err, "it is not known whether anything was rolled back")
}

// Delete deletes a config.
func (c *Client) Delete(ctx context.Context, config string, in Delete) (out Deleted, err error) {
	err = c.putJSON(ctx, http.MethodPost, configPath(config, "/deletion"), in, &out)
	return out, orUnsure(err, "it is not known whether the config was deleted")
}

// Plans returns the stored plans and the defaults.
func (c *Client) Plans(ctx context.Context) (p Plans, err error) {
	return p, c.get(ctx, "/v1/plans", &p)
}

// PutPlan stores a plan; an empty text removes the plan.
func (c *Client) PutPlan(ctx context.Context, name, text string) error {
	path := "/v1/plans/" + url.PathEscape(name)
	if text == "" {
		return c.do(ctx, http.MethodDelete, path, nil, 0, nil)
	}
	return c.do(ctx, http.MethodPut, path, strings.NewReader(text), int64(len(text)), nil)
}

// SetDefaultPlan makes a plan the default of a prefix of configs.
func (c *Client) SetDefaultPlan(ctx context.Context, d PlanDefault) error {
	return c.putJSON(ctx, http.MethodPut, "/v1/plan-defaults", d, nil)
}

// LintPlan checks that a plan is valid and fits the fleet, and counts the hosts of its waves.
func (c *Client) LintPlan(ctx context.Context, text string) (out LintedPlan, err error) {
	return out, c.do(ctx, http.MethodPost, "/v1/plans", strings.NewReader(text), int64(len(text)), &out)
}

// Holds returns the freezes and locks in force.
func (c *Client) Holds(ctx context.Context) ([]Hold, error) {
	var out struct {
		Holds []Hold `json:"holds"`
	}
	return out.Holds, c.get(ctx, "/v1/holds", &out)
}

// Hold freezes a scope or locks a config.
func (c *Client) Hold(ctx context.Context, h Hold) (out Hold, err error) {
	return out, c.putJSON(ctx, http.MethodPost, "/v1/holds", h, &out)
}

// Lift ends the hold with the scope, region and kind of h.
func (c *Client) Lift(ctx context.Context, h Hold) error {
	q := url.Values{"scope": {h.Scope}, "region": {h.Region}}
	if h.Lock {
		q.Set("lock", "true")
	}
	return c.do(ctx, http.MethodDelete, "/v1/holds?"+q.Encode(), nil, 0, nil)
}

// Quarantined returns the agents in quarantine, by name.
func (c *Client) Quarantined(ctx context.Context) ([]Quarantined, error) {
	var out struct {
		Agents []Quarantined `json:"agents"`
	}
	return out.Agents, c.get(ctx, "/v1/quarantine", &out)
}

// Release takes an agent of the coordinator's region out of quarantine.
func (c *Client) Release(ctx context.Context, agent string) error {
	return c.do(ctx, http.MethodDelete, "/v1/quarantine/"+url.PathEscape(agent), nil, 0, nil)
}

// Drifts returns the files whose content is not the applied version.
func (c *Client) Drifts(ctx context.Context) ([]Drift, error) {
	var out struct {
		Drifts []Drift `json:"drifts"`
	}
	return out.Drifts, c.get(ctx, "/v1/drift", &out)
}
