package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"banyan/record"
)

const hooksFile = `
hooks:
- config: edge/nginx
  check: {command: [nginx, -t, -c, "{path}"], timeout: 5s}
  reload: {signal: {pidFile: /run/nginx.pid}}
- config: payments
  reload: {systemd: payments.service}
  drift: repair
- config: "*"
  reload: {command: [/bin/true]}
`

func TestTheFirstRuleThatMatchesIsTheRule(t *testing.T) {
	h, err := ParseHooks([]byte(hooksFile))
	if err != nil {
		t.Fatal(err)
	}
	if r := h.rule("edge/nginx/tls"); r.Reload.Signal == nil || r.Reload.Signal.Signal != "HUP" || time.Duration(r.Check.Timeout) != 5*time.Second || r.Drift != DriftReport {
		t.Errorf("edge/nginx/tls: %+v", r)
	}
	if r := h.rule("payments/limits"); r.Reload.Systemd == "" || !h.repairs("payments/limits") || r.Reload.Timeout != hookTimeout {
		t.Errorf("payments/limits: %+v", r)
	}
	if r := h.rule("paymentsx"); len(r.Reload.Command) != 1 {
		t.Errorf("paymentsx: %+v", r)
	}
	if (*Hooks)(nil).rule("a") != nil {
		t.Error("a rule of no hooks")
	}
}

func TestHooksThatCantBeAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"hooks: [{config: /a}]":                                               "config",
		"hooks: [{config: a, chek: {}}]":                                      "chek",
		"hooks: [{config: a, check: {}}]":                                     "command",
		"hooks: [{config: a, drift: maybe}]":                                  "maybe",
		"hooks: [{config: a, reload: {}}]":                                    "one of",
		"hooks: [{config: a, reload: {command: [x], systemd: y}}]":            "one of",
		"hooks: [{config: a, reload: {signal: {signal: HUP}}}]":               "pidFile",
		"hooks: [{config: a, reload: {signal: {pidFile: /x, signal: KILL}}}]": "KILL",
		"hooks: [{config: a, check: {command: [x], timeout: 9h}}]":            "timeout",
		"hooks: [{config: a, check: {command: [x], timeout: later}}]":         "later",
		"- nonsense": "hooks",
	} {
		if _, err := ParseHooks([]byte(text)); !errors.Is(err, ErrHooks) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ParseHooks(make([]byte, maxHooksFile+1)); !errors.Is(err, record.ErrTooLarge) {
		t.Errorf("a file over the limit: %v", err)
	}
}

func FuzzParseHooks(f *testing.F) {
	f.Add([]byte(hooksFile))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := ParseHooks(raw)
		if err != nil {
			return
		}
		for _, r := range h.Rules {
			if r.Check != nil && len(r.Check.Command) == 0 || r.Reload != nil && r.Reload.Timeout <= 0 || r.Drift == "" {
				t.Fatalf("a rule that is not complete was taken: %+v", r)
			}
		}
	})
}
