// Package transport carries mesh messages over QUIC, and drives a mesh.Node with
// them. Nothing above it imports quic-go.
//
// Entry points: [Open] binds the one UDP socket of a process, to listen and to
// dial; a [Link] is a connection to a peer whose identity its certificate
// proved; a [Driver] runs a node over an endpoint.
//
//	UDP socket ── QUIC, mutual TLS 1.3, ALPN banyan/1 ── Link
//	   ├─ one stream each way: length-prefixed mesh messages, ahead of everything else
//	   └─ a stream per body: request, header, bytes
//	Link ──messages, requests, loss──► Driver ──inputs──► mesh.Node ──outputs──► Driver ──► Links, Handler
//
// Promises: messages on a link arrive in order or the link ends; a frame or
// header over its limit ends the link; a link whose peer does not read is cut
// when MaxQueue bytes wait for it, and the peer catches up when it is back.
//
// Bytes: docs/protocol.md. Sources: RFC 9000 (QUIC), RFC 9001 (TLS in QUIC).
package transport
