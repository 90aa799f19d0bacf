// Package agent is the daemon on every host: it joins its region's tree, relays,
// verifies what it is sent, applies it to files, and serves local readers.
//
// Entry points: [Open] with a [Config], then [Agent.Run].
//
//	announcement ─► mesh.Node (verify, dedupe, relay) ─► fetch ─► stage on disk, SHA-256, fsync
//	   ─► commit (config, epoch, version) to the agent's Badger ─► swap a symlink ─► acknowledge
//
// The commit is the moment of truth: it is one synchronous write, and the symlink
// follows from it. An agent that dies between the two finishes the swap when it
// starts again, before it serves anybody. So after any crash the applied state is
// one epoch's whole body, and epochs never go back.
//
// On disk, for config payments/limits under the output directory:
//
//	payments/limits/value      ─► ..data/value        what programs read
//	payments/limits/meta.json  ─► ..data/meta.json    what version it is
//	payments/limits/..data     ─► ..v7                swapped by one rename
//	payments/limits/..v7/      one version, whole and fsynced before it got its name
//	..partial/                 bodies on their way
//	..cache/                   shards of other configs, for other hosts; empty after a start
//
// It is the layout that Kubernetes gives a ConfigMap volume, and programs that
// follow one follow the other.
package agent
