// Package etcdtest runs real etcd members inside a test: etcd's own server, on loopback, with its data
// in a temporary directory.
package etcdtest

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// startTimeout is the time for a cluster to become ready on a loaded machine.
const startTimeout = time.Minute

// Cluster is a number of etcd members.
type Cluster struct {
	t       testing.TB
	dir     string
	initial string
	change  func(*embed.Config)
	members []*member
}

type member struct {
	name         string
	client, peer url.URL
	server       *embed.Etcd // nil if the member is stopped
}

// Start starts a cluster of n members. It stops with the test.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	return StartWith(t, n, func(*embed.Config) {})
}

// StartWith starts a cluster of n members with a changed configuration.
func StartWith(t testing.TB, n int, change func(*embed.Config)) *Cluster {
	t.Helper()
	c := &Cluster{t: t, dir: t.TempDir(), change: change}
	var initial []string
	for i := range n {
		m := &member{name: fmt.Sprintf("m%d", i+1), client: address(t), peer: address(t)}
		c.members = append(c.members, m)
		initial = append(initial, m.name+"="+m.peer.String())
	}
	c.initial = strings.Join(initial, ",")
	t.Cleanup(func() {
		for i := range c.members {
			c.Stop(i)
		}
	})
	for i := range c.members {
		c.launch(i)
	}
	for i := range c.members {
		c.awaitReady(i)
	}
	return c
}

// address returns a URL with a free port of loopback.
func address(t testing.TB) url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

// Endpoints returns the addresses of the members.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, m := range c.members {
		all = append(all, m.client.Host)
	}
	return all
}

// Stop stops member i, as a killed process would: without a word to the others.
func (c *Cluster) Stop(i int) {
	m := c.members[i]
	if m.server != nil {
		m.server.Server.HardStop()
		m.server.Close()
		m.server = nil
	}
}

// Restart starts member i again, on its data.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	c.launch(i)
	c.awaitReady(i)
}

// Leader returns the member that leads the others; -1 if none does.
func (c *Cluster) Leader() int {
	for i, m := range c.members {
		if m.server != nil && m.server.Server.Leader() == m.server.Server.MemberID() {
			return i
		}
	}
	return -1
}

// launch starts member i, and does not wait for the others.
func (c *Cluster) launch(i int) {
	c.t.Helper()
	m := c.members[i]
	cfg := embed.NewConfig()
	cfg.Name = m.name
	cfg.Dir = filepath.Join(c.dir, m.name)
	cfg.ListenClientUrls = []url.URL{m.client}
	cfg.AdvertiseClientUrls = []url.URL{m.client}
	cfg.ListenPeerUrls = []url.URL{m.peer}
	cfg.AdvertisePeerUrls = []url.URL{m.peer}
	cfg.InitialCluster = c.initial
	cfg.LogLevel = "fatal"
	cfg.LogOutputs = []string{filepath.Join(c.dir, m.name+".log")}
	c.change(cfg)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		c.t.Fatalf("etcd member %s: %v", m.name, err)
	}
	m.server = server
}

func (c *Cluster) awaitReady(i int) {
	c.t.Helper()
	select {
	case <-c.members[i].server.Server.ReadyNotify():
	case <-time.After(startTimeout):
		c.t.Fatalf("etcd member %s is not ready after %s", c.members[i].name, startTimeout)
	}
}
