package etcdstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banyan/versionstore/etcdstore"
)

func TestTruthAURLSaysWhereAStoreIs(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := etcdstore.ParseURL("etcd://a:2379,b:2379?prefix=/x/&user=banyan&password-file=" + password)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cfg.Endpoints, []string{"a:2379", "b:2379"}) || cfg.Prefix != "/x/" || cfg.TLS != nil ||
		cfg.Username != "banyan" || cfg.Password != "secret" {
		t.Errorf("got %+v", cfg)
	}
	for bad, word := range map[string]string{
		"http://a:2379":                "etcd://",
		"etcd://":                      "HOST:PORT",
		"etcd://a":                     "HOST:PORT",
		"etcd://a:2379,":               "HOST:PORT",
		"etcd://a:2379?perfix=/x/":     "perfix",
		"etcd://a:2379?prefix=x":       "slash",
		"etcd://a:2379?cert=x":         "key",
		"etcd://a:2379?%zz":            "%zz",
		"etcd://a:2379?ca=" + password: "PEM",
	} {
		if _, err := etcdstore.ParseURL(bad); !errors.Is(err, etcdstore.ErrURL) || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v; want ErrURL that says %q", bad, err, word)
		}
	}
}
