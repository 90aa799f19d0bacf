// Package agent is the daemon on every host. It joins its region's tree, relays messages,
// verifies what it receives, applies configs to files, and serves readers on the host.
//
// Entry points: [Open] with a [Config], then [Agent.Run].
//
//	announcement ─► mesh.Node (verify, dedupe, relay) ─► bodies ─► tree: stage on disk, SHA-256, fsync
//	   ─► hooks: check ─► applier: commit (config, epoch, version) to state, swap a symlink
//	   ─► hooks: reload ─► acknowledge
//
// The commit decides. It is one synchronous write, and the symlink follows from the commit:
// an agent that dies between the two finishes the swap at its next start, before it serves
// any reader. So after any crash the files are those of one epoch, and epochs never go back.
//
// On disk, for config payments/limits under the output directory:
//
//	payments/limits/value      ─► ..data/value        the file that programs read
//	payments/limits/meta.json  ─► ..data/meta.json    which version it is
//	payments/limits/..data     ─► ..v7                swapped by one rename
//	payments/limits/..v7/      one version, complete and fsynced before it gets its name
//	..partial/                 bodies on their way
//	..cache/                   shards of other configs, for other hosts; empty after a start
//
// Kubernetes gives a ConfigMap volume the same layout. A program that follows a ConfigMap
// can follow an agent.
package agent
