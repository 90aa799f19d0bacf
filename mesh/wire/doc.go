// Package wire defines the messages that the nodes of a region's tree send to each other.
//
// Entry points: [AppendMessage] encodes a [Message]; [DecodeMessage] decodes one and
// checks its limits. The comment of each type says which node sends the message, and why.
//
//	mesh.Node ── Message ──► AppendMessage ── bytes ──► QUIC ── bytes ──► DecodeMessage ── Message ──► mesh.Node
//
// Promises: a decoded message is within the limits of limits.go, shares no memory with the bytes,
// and can be encoded again. A message of a later build that may be skipped gives [ErrUnknown]. Any
// other input gives an error that wraps [ErrMalformed]. Signatures are not checked here: a message
// may carry signed bytes, which package mesh verifies.
//
// Bytes: docs/protocol.md.
package wire
