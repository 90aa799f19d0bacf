package agent

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banyan/transport"
	"banyan/transport/identity"
)

// strange returns the address of a coordinator of another fleet.
func strange(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	home, err := identity.InitHome(filepath.Join(dir, "home"), []string{"eu"}, "admin")
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(dir, "coordinator")
	if err := home.Issue(bundle, identity.Identity{Role: identity.RoleCoordinator, Region: "eu", Name: "c"}); err != nil {
		t.Fatal(err)
	}
	b, err := identity.Load(bundle)
	if err != nil {
		t.Fatal(err)
	}
	e, err := transport.Open(transport.Config{Listen: "127.0.0.1:0", Identity: b})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	go e.Accept(t.Context())
	return e.Addr().String()
}

// An agent that finds no parent says why, once for each cause, and what to do. It runs all the same.
func TestAnAgentSaysWhyItIsAlone(t *testing.T) {
	for name, c := range map[string]struct{ join, hint string }{
		"name":        {"coordinator.invalid:7001", "does not resolve"},
		"unreachable": {"127.0.0.1:1", "no answer over UDP"},
		"authority":   {strange(t), "do not trust each other"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			socket := socketOf(t)
			log := &logBuffer{}
			a, _ := h.start(func(cfg *Config) {
				cfg.Coordinators = []string{c.join}
				cfg.Listen = "0.0.0.0:0"
				cfg.LocalAPI = "unix:" + socket
				cfg.Log = slog.New(slog.NewTextHandler(log, nil))
			})
			attempts := func() uint64 {
				return a.metrics.set.GetOrCreateCounter(`banyan_agent_alone_total{cause="` + name + `"}`).Get()
			}
			deadline := time.Now().Add(2 * time.Minute)
			for attempts() < 3 {
				if time.Now().After(deadline) {
					t.Fatalf("%d attempts with cause %s; the log:\n%s", attempts(), name, log.log.String())
				}
				time.Sleep(10 * time.Millisecond)
			}
			if n := log.count(c.hint); n != 1 { // later attempts are for debugging
				t.Errorf("%d lines with %q", n, c.hint)
			}
			if _, body := newReader(t, socket).get("/healthz"); !strings.Contains(body, c.hint) {
				t.Errorf("/healthz says %q", body)
			}
		})
	}
}

func TestReasonsHaveCauses(t *testing.T) {
	for reason, want := range map[string]string{
		"join refused: this coordinator serves region us":                                    "region",
		"join refused: too many join at once":                                                "busy",
		"join refused: there is no place at the moment: no relay has room":                   "busy",
		"join refused: the tree is full: it has 131072 agents":                               "full",
		"join refused: something else":                                                       "refused",
		"coordinator unreachable: timeout: no recent network activity":                       "unreachable",
		"coordinator unreachable: dial \"x:1\": lookup x: no such host":                      "name",
		"coordinator unreachable: tls: bad certificate":                                      "authority",
		"coordinator unreachable: CRYPTO_ERROR 0x178 (remote): tls: no application protocol": "protocol",
		"coordinator lost":                 "unreachable",
		"timed out":                        "unreachable",
		"another agent has the same index": "other",
		"coordinator unreachable: CRYPTO_ERROR: tls: expired: certificate has expired": "identity",
	} {
		if got := causeOf(reason); got.name != want || got.hint == "" {
			t.Errorf("%q has cause %q, want %q", reason, got.name, want)
		}
	}
}
