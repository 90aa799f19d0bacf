package gossip

import (
	"cmp"
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

// Config says how a pool is opened. Pool, Name, Listen and Key are required.
type Config struct {
	// Pool is the name of the pool: a region, or WAN. Members of different pools ignore each
	// other.
	Pool string
	// Name is the name of this member, unique in the pool.
	Name string
	// Listen is the address to bind, TCP and UDP, host:port; port 0 chooses one.
	Listen string
	// Advertise is the host for other members; default the bound host.
	Advertise string
	// Key encrypts all messages. The whole fleet has the same key of 32 bytes.
	Key []byte
	// Wide is set if members are far from each other.
	Wide bool
	// OnRevision is called for each received revision, also for an old revision. It must not
	// block.
	OnRevision func(region string, revision uint64)
	// OnFailed is called for each member that dies without leaving. It must not block.
	OnFailed func(name string)
	// Log takes the pool's log; default none.
	Log *slog.Logger
}

// WAN is the pool of coordinators of all regions.
const WAN = "wan"

// Limits of a pool.
const (
	eventBuffer = 256 // waiting events of Serf
	maxPayload  = 64  // bytes
)

// eventName is the name of the user event with a revision.
const eventName = "revision"

// ErrKey is returned if the gossip key does not have 32 bytes.
var ErrKey = errors.New("a gossip key of 32 bytes is needed")

// Pool is the membership of this process in a pool.
type Pool struct {
	cfg  Config
	serf *serf.Serf
	addr string
	done sync.WaitGroup

	mu        sync.Mutex
	announced map[string]uint64 // newest announced revision, by region; guarded by mu
}

// Open binds the addresses and starts a pool of one member.
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
	events := make(chan serf.Event, eventBuffer)
	p := &Pool{cfg: cfg, announced: map[string]uint64{}}
	if p.serf, err = serf.Create(cfg.serf(host, number, events)); err != nil {
		// memberlist keeps only the text of the system's error.
		if strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
			err = errors.New("address already in use; stop the other process, or choose another gossip address")
		}
		return nil, fmt.Errorf("gossip pool %s on %s: %w", cfg.Pool, cfg.Listen, err)
	}
	local := p.serf.LocalMember()
	p.addr = net.JoinHostPort(local.Addr.String(), strconv.Itoa(int(local.Port)))
	p.done.Go(func() { p.listen(events) })
	return p, nil
}

// serf returns the configuration of Serf.
func (c *Config) serf(host string, port int, events chan serf.Event) *serf.Config {
	s := serf.DefaultConfig()
	s.Init()
	s.NodeName = c.Name
	s.MemberlistConfig = c.memberlist(host, port)
	s.EventCh = events
	s.LogOutput = io.Discard
	s.DisableCoordinates = true
	s.EnableNameConflictResolution = false
	s.LeavePropagateDelay = 0
	s.BroadcastTimeout = time.Second
	return s
}

// memberlist returns the configuration of memberlist.
func (c *Config) memberlist(host string, port int) *memberlist.Config {
	m := memberlist.DefaultLANConfig()
	if c.Wide {
		m = memberlist.DefaultWANConfig()
	}
	m.Name = c.Name
	m.Label = "banyan/" + c.Pool
	m.SecretKey = c.Key
	m.BindAddr = cmp.Or(host, "0.0.0.0")
	m.BindPort = port
	m.AdvertiseAddr = c.Advertise
	m.AdvertisePort = port
	if ip := net.ParseIP(m.BindAddr); c.Advertise == "" && ip.IsUnspecified() {
		m.AdvertiseAddr = ownAddress()
	}
	m.LogOutput = io.Discard
	m.TCPTimeout = 3 * time.Second
	return m
}

// ownAddress returns an address of this host for other hosts, preferably an IPv4
// address. memberlist by itself accepts only a private address.
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

// Addr is the address for other members.
func (p *Pool) Addr() string { return p.addr }

// Join joins the pool through one of the members at addrs.
func (p *Pool) Join(addrs []string) error {
	if _, err := p.serf.Join(addrs, true); err != nil {
		return fmt.Errorf("join gossip pool %s: %w", p.cfg.Pool, err)
	}
	return nil
}

// Members returns the names of the living members, including this member.
func (p *Pool) Members() (names []string) {
	for _, m := range p.serf.Members() {
		if m.Status == serf.StatusAlive {
			names = append(names, m.Name)
		}
	}
	return names
}

// Announce spreads a region's revision. It does nothing if this member has announced the
// revision or a newer one.
func (p *Pool) Announce(region string, revision uint64) error {
	p.mu.Lock()
	old := p.announced[region]
	if revision > old {
		p.announced[region] = revision
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

// encode encodes the revision as a varint, and then the region.
func encode(region string, revision uint64) []byte {
	return append(binary.AppendUvarint(nil, revision), region...)
}

// decode decodes the payload of a user event.
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

// listen handles the events of Serf until the pool is closed.
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

// Close ends the membership. Unless Leave was called before, the other members see a member
// that has died.
func (p *Pool) Close() error {
	err := p.serf.Shutdown()
	p.done.Wait()
	return err
}

// Leave announces to the other members that this member leaves.
func (p *Pool) Leave() error { return p.serf.Leave() }
