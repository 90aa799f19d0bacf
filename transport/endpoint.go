package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"

	"banyan/transport/identity"
)

// Protocols are the versions of the protocol that this build speaks, the best first. They are ALPN
// names (RFC 7301): two peers speak the best version that both know, and the TLS handshake fails if
// there is none. docs/protocol.md says when a change needs a new version.
var Protocols = []string{"banyan/2"}

// Config says how an endpoint is opened. Listen and Identity are required.
type Config struct {
	// Listen is the UDP address to bind, host:port; port 0 chooses one.
	Listen string
	// Identity has the certificate and the trust policy of this process.
	Identity *identity.Bundle
	// KeepAlive is the time between keep-alives on an idle link; default 1.5 s.
	KeepAlive time.Duration
	// IdleTimeout is the time after which a silent link ends; default 5 s.
	IdleTimeout time.Duration
	// Protocols are the versions of the protocol that the process speaks, the best first; default
	// the versions of this build.
	Protocols []string
	// Limits are the rates of bodies and shards over all links together; default none.
	Limits *Limits
	// PacketConn is used instead of binding Listen, if it is set. The endpoint closes it.
	PacketConn net.PacketConn
}

// ErrPortInUse is wrapped when another process has bound the address.
var ErrPortInUse = errors.New("address already in use")

// Endpoint is the UDP socket of a process, for listening and dialing.
type Endpoint struct {
	cfg      Config
	conn     net.PacketConn
	quic     *quic.Transport
	listener *quic.Listener

	mu    sync.Mutex
	links map[*Link]struct{} // nil after Close; guarded by mu
}

// Open binds the socket and starts to listen.
func Open(cfg Config) (*Endpoint, error) {
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = defaultKeepAlive
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = defaultIdleTimeout
	}
	if cfg.Protocols == nil {
		cfg.Protocols = Protocols
	}
	conn := cfg.PacketConn
	if conn == nil {
		var err error
		if conn, err = listenUDP(cfg.Listen); err != nil {
			return nil, err
		}
	}
	e := &Endpoint{cfg: cfg, conn: conn, links: map[*Link]struct{}{}}
	// The key is the same after a restart. So the peers of a killed process notice at their
	// next packet that the connection is lost, and not after the idle timeout (RFC 9000 §10.3).
	key, err := cfg.Identity.Derive("stateless reset")
	if err != nil {
		conn.Close()
		return nil, err
	}
	resetKey := quic.StatelessResetKey(key)
	e.quic = &quic.Transport{Conn: conn, StatelessResetKey: &resetKey}
	listener, err := e.quic.Listen(cfg.Identity.ServerTLS(cfg.Protocols...), e.quicConfig())
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %s: %w", cfg.Listen, err)
	}
	e.listener = listener
	return e, nil
}

func listenUDP(address string) (net.PacketConn, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w; give host:port", address, err)
	}
	conn, err := net.ListenUDP("udp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on udp %s: %w; stop the other process or choose another port",
			address, ErrPortInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on udp %s: %w", address, err)
	}
	// A burst to many children must wait in the socket's buffer. The system may grant less.
	_ = conn.SetReadBuffer(4 << 20)
	_ = conn.SetWriteBuffer(4 << 20)
	return conn, nil
}

func (e *Endpoint) quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           handshakeTimeout,
		KeepAlivePeriod:                e.cfg.KeepAlive,
		MaxIdleTimeout:                 e.cfg.IdleTimeout,
		MaxIncomingStreams:             MaxRequests,
		MaxIncomingUniStreams:          1 + MaxShardStreams,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         4 << 20,
		InitialConnectionReceiveWindow: connectionWindow,
		MaxConnectionReceiveWindow:     8 << 20,
	}
}

// Addr is the address the socket is bound to.
func (e *Endpoint) Addr() net.Addr { return e.conn.LocalAddr() }

// Identity is the identity of this process.
func (e *Endpoint) Identity() identity.Identity { return e.cfg.Identity.Identity }

// Dial connects to the node at address.
func (e *Endpoint) Dial(ctx context.Context, address string) (*Link, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", address, err)
	}
	conn, err := e.quic.Dial(ctx, addr, e.cfg.Identity.ClientTLS(e.cfg.Protocols...), e.quicConfig())
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return e.newLink(conn)
}

// Accept returns the next link that a peer has dialed. It refuses peers whose identity does
// not belong in the tree.
func (e *Endpoint) Accept(ctx context.Context) (*Link, error) {
	for {
		conn, err := e.listener.Accept(ctx)
		if err != nil {
			return nil, err
		}
		if link, err := e.newLink(conn); err == nil {
			return link, nil
		}
	}
}

// newLink checks the identity of the peer and starts a link.
func (e *Endpoint) newLink(conn *quic.Conn) (*Link, error) {
	id, err := identity.PeerOf(conn.ConnectionState().TLS)
	if err == nil && id.Role == identity.RoleClient {
		err = fmt.Errorf("%w: %s may use the control API only", identity.ErrIdentity, id)
	}
	if err != nil {
		conn.CloseWithError(closeRefused, "identity refused")
		return nil, err
	}
	l, err := startLink(conn, id, e.cfg.Limits)
	if err != nil {
		conn.CloseWithError(closeRefused, "stream refused")
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.links == nil {
		l.Close("endpoint closed")
		return nil, net.ErrClosed
	}
	e.links[l] = struct{}{}
	context.AfterFunc(conn.Context(), func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.links, l)
	})
	return l, nil
}

// Close closes every link, with a reason for the peer, and then the socket.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	links := e.links
	e.links = nil
	e.mu.Unlock()
	for l := range links {
		l.Close("shutting down")
	}
	for l := range links {
		l.wait()
	}
	e.listener.Close()
	err := e.quic.Close()
	return errors.Join(err, e.conn.Close())
}

// Advertised returns the address that other hosts should dial: the configured address, or the
// bound address. If the bound address names no host, the host is the one from which peer is
// reached.
func Advertised(configured, bound, peer string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	host, port, err := net.SplitHostPort(bound)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return bound, nil
	}
	for _, to := range []string{peer, anywhere4, anywhere6} {
		local, err := sourceTo(to)
		if err == nil {
			return net.JoinHostPort(local, port), nil
		}
	}
	return "", fmt.Errorf("find this host's address: no route to %s or elsewhere; set the advertised address", peer)
}

// Addresses for documentation (RFC 5737, RFC 3849), to which nothing is sent: they stand for any
// host elsewhere, if the name of the peer does not resolve yet.
const (
	anywhere4 = "192.0.2.1:9"
	anywhere6 = "[2001:db8::1]:9"
)

// sourceTo returns the address of this host from which a peer is reached. Dial sends no packet over
// UDP: it asks the system.
func sourceTo(peer string) (string, error) {
	conn, err := net.Dial("udp", peer)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	local, _, err := net.SplitHostPort(conn.LocalAddr().String())
	return local, err
}
