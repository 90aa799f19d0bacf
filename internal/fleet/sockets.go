package fleet

import (
	"net"

	"banyan/agent"
	"banyan/transport/emulated"
)

// Conn is the socket of a coordinator or agent, if there is a Link.
func (f *Fleet) Conn(name string) emulated.Socket { return f.conns[name] }

// socket binds a socket behind the fleet's emulated link; nil if there is none.
func (f *Fleet) socket(name, listen string) (net.PacketConn, error) {
	if f.Config.Link == nil {
		return nil, nil
	}
	link := *f.Config.Link
	link.Seed += uint64(len(f.conns))
	s, err := f.listen(listen, link)
	if err != nil {
		return nil, err
	}
	f.conns[name] = s
	return s, nil
}

func (f *Fleet) listen(address string, link emulated.Link) (emulated.Socket, error) {
	if f.net != nil {
		return f.net.Listen(address, link)
	}
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	return emulated.Wrap(conn, link), nil
}

// Kill ends an agent as a power cut would: its peers hear nothing more of it.
func (f *Fleet) Kill(a *agent.Agent) {
	f.conns[a.Name()].Cut(true)
	f.stops[a.Name()]()
}

// Sent adds up what all sockets of the fleet have sent: packets and bytes, without
// the headers of UDP and below.
func (f *Fleet) Sent() (packets, bytes uint64) {
	for _, c := range f.conns {
		s := c.Stats()
		packets += s.Sent
		bytes += s.Bytes
	}
	return packets, bytes
}
