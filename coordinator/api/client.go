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
	"time"

	"banyan/record"
	"banyan/transport/identity"
)

// maxResponse bounds what a client reads of a JSON answer.
const maxResponse = 64 << 20

// Client speaks to a coordinator's control API.
type Client struct {
	base string
	http *http.Client
}

// NewClient makes a client of the coordinator at address, host:port, that
// authenticates with the bundle's certificate.
func NewClient(address string, bundle *identity.Bundle) *Client {
	transport := &http.Transport{TLSClientConfig: bundle.ClientTLS(), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 60 * time.Second}
	return &Client{base: "https://" + address, http: &http.Client{Transport: transport}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func configPath(config, rest string) string {
	return "/v1/configs/" + url.PathEscape(config) + rest
}

// do sends a request and decodes the answer into out, unless that is nil.
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
	if err := json.NewDecoder(io.LimitReader(response.Body, maxResponse)).Decode(out); err != nil {
		return fmt.Errorf("answer of %s: %w", c.base, err)
	}
	return nil
}

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

// roundTrip sends a request and makes an error of an answer that tells of one.
func (c *Client) roundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.http.Do(request)
	if err != nil {
		if ctx := request.Context(); ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	var failure struct {
		Error *Error `json:"error"`
	}
	raw, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if json.Unmarshal(raw, &failure) != nil || failure.Error == nil {
		return nil, &Error{Code: CodeInternal, Message: fmt.Sprintf("%s %s: %s", request.Method, request.URL.Path, response.Status)}
	}
	return nil, failure.Error
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

// Status asks the coordinator how it stands.
func (c *Client) Status(ctx context.Context) (s CoordinatorStatus, err error) {
	return s, c.get(ctx, "/v1/status", &s)
}

// Agents lists the agents of the coordinator's region.
func (c *Client) Agents(ctx context.Context) ([]Agent, error) {
	var out struct {
		Agents []Agent `json:"agents"`
	}
	return out.Agents, c.get(ctx, "/v1/agents", &out)
}

// Configs lists the names of configs at or below prefix.
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

// PutBody uploads the bytes of a form. They are opened anew for each coordinator that
// the request is sent on to.
func (c *Client) PutBody(ctx context.Context, digest record.Digest, size int64, open func() (io.ReadCloser, error)) error {
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
	request.ContentLength, request.GetBody = size, open
	response, err := c.roundTrip(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// PutVersion stores a signed manifest, whose body was uploaded before.
func (c *Client) PutVersion(ctx context.Context, config string, signed []byte) (v Version, err error) {
	return v, c.putJSON(ctx, http.MethodPost, configPath(config, "/versions"), PutVersion{signed}, &v)
}

// Version reads a version; 0 is the last.
func (c *Client) Version(ctx context.Context, config string, version uint64) (v Version, err error) {
	return v, c.get(ctx, configPath(config, "/versions/"+versionName(version)), &v)
}

// Holders asks all agents what they hold of a version (0: the last), and waits for their
// answers, up to 30 s.
func (c *Client) Holders(ctx context.Context, config string, version uint64, wait time.Duration) (h Holders, err error) {
	return h, c.get(ctx, configPath(config, "/versions/"+versionName(version)+"/holders?wait="+wait.String()), &h)
}

func versionName(version uint64) string {
	if version == 0 {
		return "last"
	}
	return strconv.FormatUint(version, 10)
}

// History lists versions, newest first.
func (c *Client) History(ctx context.Context, config string, limit int) ([]Version, error) {
	var out struct {
		Versions []Version `json:"versions"`
	}
	return out.Versions, c.get(ctx, configPath(config, "/versions?limit="+strconv.Itoa(limit)), &out)
}

// Body opens the body of a version; the caller closes it. Its bytes are not
// verified: hold them against the version's manifest.
func (c *Client) Body(ctx context.Context, config string, version uint64) (io.ReadCloser, error) {
	response, err := c.send(ctx, http.MethodGet, configPath(config, "/versions/"+versionName(version)+"/body"), nil, 0)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// Blob downloads the bytes of a form as they are stored, unverified.
func (c *Client) Blob(ctx context.Context, digest record.Digest) (io.ReadCloser, error) {
	response, err := c.send(ctx, http.MethodGet, "/v1/bodies/"+digest.String(), nil, 0)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// Activate moves pointers.
func (c *Client) Activate(ctx context.Context, config string, a Activate) ([]Pointer, error) {
	var out Activated
	return out.Pointers, c.putJSON(ctx, http.MethodPost, configPath(config, "/pointers"), a, &out)
}

// Pointers lists the pointers of a config, by region.
func (c *Client) Pointers(ctx context.Context, config string) ([]Pointer, error) {
	var out Activated
	return out.Pointers, c.get(ctx, configPath(config, "/pointers"), &out)
}

// ConfigStatus asks how far a config's pointers have been applied.
func (c *Client) ConfigStatus(ctx context.Context, config string) (s ConfigStatus, err error) {
	return s, c.get(ctx, configPath(config, "/status"), &s)
}

// Schema reads the schema attached to a config; nil if it has none.
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

// PutSchema attaches a schema to a config; an empty one removes it.
func (c *Client) PutSchema(ctx context.Context, config string, schema []byte) error {
	if len(schema) == 0 {
		return c.do(ctx, http.MethodDelete, configPath(config, "/schema"), nil, 0, nil)
	}
	return c.do(ctx, http.MethodPut, configPath(config, "/schema"), bytes.NewReader(schema), int64(len(schema)), nil)
}
