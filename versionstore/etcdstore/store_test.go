package etcdstore_test

import (
	"fmt"
	"testing"

	"banyan/versionstore"
	"banyan/versionstore/etcdstore"
	"banyan/versionstore/etcdstore/etcdtest"
	"banyan/versionstore/storetest"
)

// open opens the store under a prefix. It closes with the test.
func open(t testing.TB, c *etcdtest.Cluster, prefix string) *etcdstore.Store {
	t.Helper()
	s, err := etcdstore.Open(t.Context(), etcdstore.Config{Endpoints: c.Endpoints(), Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestEtcdKeepsTheContract(t *testing.T) {
	c := etcdtest.Start(t, 1)
	prefixes := map[versionstore.Store]string{}
	begin := func(t *testing.T, prefix string) versionstore.Store {
		s := open(t, c, prefix)
		prefixes[s] = prefix
		return s
	}
	n := 0
	storetest.Run(t,
		func(t *testing.T) versionstore.Store {
			n++
			return begin(t, fmt.Sprintf("/test/%d/", n))
		},
		func(t *testing.T, s versionstore.Store) versionstore.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return begin(t, prefixes[s])
		})
}
