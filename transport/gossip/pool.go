package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"banyan/record"
)

// Config opens a pool. A zero value means the default where one is named.
type Config struct {
	// Pool tells pools apart: members of another are not heard. The region, or WAN.
	Pool string
	// Name of this member, unique in the pool.
	Name string
	// Listen is the address to bind, TCP and UDP, host:port; port 0 chooses one.
	Listen string
	// Advertise is the host that others reach this member at; default the bound one.
	Advertise string
	// Key encrypts, 32 bytes; the same for the whole fleet.
	Key []byte
	// Wide says that members are far from each other.
	Wide bool
	// OnRevision is told of revisions, newest or not. It must not block.
	OnRevision func(region string, revision uint64)
	// OnFailed is told of members that died without a word. It must not block.
	OnFailed func(name string)
	Log      *slog.Logger
}

// WAN is the pool of coordinators of all regions.
const WAN = "wan"

// Limits of a pool.
const (
	eventBuffer = 256
	maxPayload  = 64
	eventName   = "revision"
)

// ErrKey: the key is none.
var ErrKey = errors.New("a gossip key of 32 bytes is needed")

// Pool is a membership of one process.
type Pool struct {
	cfg  Config
	serf *serf.Serf
	addr string
	done sync.WaitGroup

	mu   sync.Mutex
	told map[string]uint64 // newest revision announced here, by region; guarded by mu
}

// Open binds the addresses and starts a pool of one; Join finds the others.
func Open(cfg Config) (*Pool, error) {
	if len(cfg.Key) != 32 {
		return nil, ErrKey
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("gossip: listen on %q: %w; give host:port", cfg.Listen, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("gossip: listen on %q: %w", cfg.Listen, err)
	}
	members := memberlist.DefaultLANConfig()
	if cfg.Wide {
		members = memberlist.DefaultWANConfig()
	}
	members.Name, members.Label, members.SecretKey = cfg.Name, "banyan/"+cfg.Pool, cfg.Key
	members.BindAddr, members.BindPort, members.AdvertisePort = host, number, number
	if host == "" {
		members.BindAddr = "0.0.0.0"
	}
	members.AdvertiseAddr = cfg.Advertise
	if ip := net.ParseIP(members.BindAddr); cfg.Advertise == "" && ip.IsUnspecified() {
		members.AdvertiseAddr = ownAddress()
	}
	members.LogOutput = io.Discard
	members.TCPTimeout = 3 * time.Second
	events := make(chan serf.Event, eventBuffer)
	sc := serf.DefaultConfig()
	sc.Init()
	sc.NodeName, sc.MemberlistConfig, sc.EventCh, sc.LogOutput = cfg.Name, members, events, io.Discard
	sc.DisableCoordinates, sc.EnableNameConflictResolution = true, false
	sc.LeavePropagateDelay, sc.BroadcastTimeout = 0, time.Second
	p := &Pool{cfg: cfg, told: map[string]uint64{}}
	if p.serf, err = serf.Create(sc); err != nil {
		if strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) { // memberlist keeps no more than the text
			err = errors.New("address already in use; stop the other process, or choose another gossip address")
		}
		return nil, fmt.Errorf("gossip pool %s on %s: %w", cfg.Pool, cfg.Listen, err)
	}
	local := p.serf.LocalMember()
	p.addr = net.JoinHostPort(local.Addr.String(), strconv.Itoa(int(local.Port)))
	p.done.Go(func() { p.listen(events) })
	return p, nil
}

// ownAddress is an address of this host that others may reach: memberlist alone
// would look for a private one and give up where there is none.
func ownAddress() string {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}

// Addr is where other members reach this one.
func (p *Pool) Addr() string { return p.addr }

// Join finds the pool through any of its members.
func (p *Pool) Join(addrs []string) error {
	if _, err := p.serf.Join(addrs, true); err != nil {
		return fmt.Errorf("join gossip pool %s: %w", p.cfg.Pool, err)
	}
	return nil
}

// Members lists those that are alive, this one among them.
func (p *Pool) Members() (names []string) {
	for _, m := range p.serf.Members() {
		if m.Status == serf.StatusAlive {
			names = append(names, m.Name)
		}
	}
	return names
}

// Announce spreads a region's revision, unless that or a newer one was.
func (p *Pool) Announce(region string, revision uint64) error {
	p.mu.Lock()
	old := p.told[region]
	if revision > old {
		p.told[region] = revision
	}
	p.mu.Unlock()
	if revision <= old {
		return nil
	}
	if err := p.serf.UserEvent(eventName, encode(region, revision), false); err != nil {
		return fmt.Errorf("gossip pool %s: %w", p.cfg.Pool, err)
	}
	return nil
}

// encode writes the revision as a varint, then the region.
func encode(region string, revision uint64) []byte {
	return append(binary.AppendUvarint(nil, revision), region...)
}

func decode(b []byte) (region string, revision uint64, err error) {
	if len(b) > maxPayload {
		return "", 0, fmt.Errorf("%w: %d bytes", record.ErrTooLarge, len(b))
	}
	revision, n := binary.Uvarint(b)
	if n <= 0 {
		return "", 0, fmt.Errorf("%w: revision", record.ErrMalformed)
	}
	region = string(b[n:])
	return region, revision, record.ValidateRegion(region)
}

// listen hands on what Serf tells, until the pool is closed.
func (p *Pool) listen(events <-chan serf.Event) {
	for {
		select {
		case e := <-events:
			p.handle(e)
		case <-p.serf.ShutdownCh():
			return
		}
	}
}

func (p *Pool) handle(e serf.Event) {
	switch e := e.(type) {
	case serf.UserEvent:
		region, revision, err := decode(e.Payload)
		if e.Name != eventName || err != nil {
			p.cfg.Log.Warn("gossip event refused", "event", e.Name, "error", err)
			return
		}
		if p.cfg.OnRevision != nil {
			p.cfg.OnRevision(region, revision)
		}
	case serf.MemberEvent:
		if e.Type != serf.EventMemberFailed || p.cfg.OnFailed == nil {
			return
		}
		for _, m := range e.Members {
			p.cfg.OnFailed(m.Name)
		}
	}
}

// Close leaves without ceremony: others notice as they would a death, or at once
// if Leave was called.
func (p *Pool) Close() error {
	err := p.serf.Shutdown()
	p.done.Wait()
	return err
}

// Leave tells the others, so that they don't take it for a death.
func (p *Pool) Leave() error { return p.serf.Leave() }
