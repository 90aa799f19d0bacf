package fleet

import (
	"net"

	"banyan/transport/emulated"
)

// sockets are the emulated sockets of a fleet.
type sockets struct {
	link    *emulated.Link    // nil in a fleet without emulated sockets
	network *emulated.Network // nil if packets pass over loopback
	byName  map[string]emulated.Socket
}

func newSockets(link *emulated.Link, inMemory bool) *sockets {
	s := &sockets{link: link, byName: map[string]emulated.Socket{}}
	if inMemory {
		s.network = emulated.NewNetwork()
	}
	return s
}

// open binds the socket of a coordinator or agent behind the link. It returns nil if the fleet
// has no link: the coordinator or agent then binds an ordinary socket.
func (s *sockets) open(name, address string) (net.PacketConn, error) {
	if s.link == nil {
		return nil, nil
	}
	link := *s.link
	link.Seed += uint64(len(s.byName)) // each socket loses other packets
	socket, err := s.listen(address, link)
	if err != nil {
		return nil, err
	}
	s.byName[name] = socket
	return socket, nil
}

func (s *sockets) listen(address string, link emulated.Link) (emulated.Socket, error) {
	if s.network != nil {
		return s.network.Listen(address, link)
	}
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	return emulated.Wrap(conn, link), nil
}

// sent returns the number of packets that all sockets have sent, and their bytes.
func (s *sockets) sent() (packets, bytes uint64) {
	for _, socket := range s.byName {
		stats := socket.Stats()
		packets += stats.Sent
		bytes += stats.Bytes
	}
	return packets, bytes
}

func (s *sockets) close() {
	if s.network != nil {
		s.network.Close()
	}
}
