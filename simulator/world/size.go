package world

import (
	"banyan/mesh/wire"
)

// Sizes of messages on the wire, in bytes, with their framing and their share of the QUIC,
// UDP and IP headers. TestModelledSizesAreThoseOfRealMessages compares them with encoded
// messages.
const (
	PacketOverhead   = 60
	AnnouncementSize = 200 + PacketOverhead
	RootSize         = 170 + PacketOverhead
	BatchedSize      = 100
	HeadSize         = 225 + PacketOverhead
	ControlSize      = 40 + PacketOverhead
	ackEntrySize     = 98
	handshakeSize    = 6000
	ManifestSize     = 420
)

// messageSize returns the size of a message on the wire.
func (w *World) messageSize(m wire.Message) int64 {
	switch m := m.(type) {
	case *wire.Push:
		return w.bodySize(m.Key()) + ManifestSize + PacketOverhead
	case *wire.Announcement:
		return AnnouncementSize
	case *wire.Batch:
		return RootSize + BatchedSize*int64(len(m.Pointers))
	case *wire.SignedHead:
		return HeadSize
	case *wire.Ack:
		size := int64(PacketOverhead)
		for i := range m.Entries {
			size += ackEntrySize + int64(m.Entries[i].Applied.GetSizeInBytes())
		}
		return size
	}
	return ControlSize
}
