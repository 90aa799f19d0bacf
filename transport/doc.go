// Package transport carries mesh messages over QUIC and drives a mesh.Node. No package above
// it imports quic-go.
//
// Entry points: [Open] binds the UDP socket of a process, for listening and dialing; a [Link]
// is a connection to a peer whose certificate has been verified; a [Driver] runs a node over
// an endpoint and calls the [Handlers] of its owner.
//
//	UDP socket ── QUIC, mutual TLS 1.3, ALPN banyan/2 ── Link
//	   ├─ one stream each way: length-prefixed mesh messages, ahead of all other streams
//	   ├─ a stream for each body: request, header, bytes
//	   └─ a stream for each shard: header, bytes
//	Link ──messages, requests, loss──► Driver ──inputs──► mesh.Node ──outputs──► Driver ──► Links, Handlers
//
// Promises: messages on a link arrive in order, or the link ends. A frame or header over its
// limit ends the link. A link whose peer does not read is cut when MaxQueue bytes wait; the
// peer catches up after it has dialed again.
//
// Bytes: docs/protocol.md. Sources: RFC 9000 (QUIC), RFC 9001 (TLS in QUIC).
package transport
