// Package body decides which form of a version a host offers to a peer, and checks
// the offers of peers. The agent and the coordinator share the package.
//
//	Wish ──► Server.Open: shards on their way, or a form of the Library ──► Offer ──► peer
//	peer ──► Offer ──► Offer.Verify: signature, version, form, size ──► Verified
//	Verified ──► Verified.Begin, shards, Assemble ──► adopt: the owner's storage
//
// Entry points: [Server] offers versions; [Offer.Verify] checks an offer; [Assemble] turns
// the shards of a form into a stored version; [Choose] picks a form.
//
// Promises: Verify returns only manifests signed by a trusted publisher for the requested
// version. The code that stores the bytes of an offer checks the bytes.
package body
