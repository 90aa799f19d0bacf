// Package body decides what a host offers for a version that a peer asks for, and checks
// what a peer offers before the host stores it. The agent and the coordinator share it.
//
//	Wish ──► Server.Open: shards on their way, or a form of the Library ──► Offer ──► peer
//	peer ──► Offer ──► Offer.Verify: signature, version, form, size ──► Verified
//	Verified ──► Verified.Begin, shards, Assemble ──► adopt: the owner's storage
//
// Entry points: [Server] offers versions; [Offer.Verify] checks an offer; [Assemble] turns
// the shards of a form into a stored version; [Choose] picks a form.
//
// Promises: Verify returns only manifests that a trusted publisher signed for the version
// that was asked for. The bytes of an offer are checked by the code that stores them.
package body
