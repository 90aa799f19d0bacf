// Package agent is the daemon on every host. It joins the tree of the region, relays messages,
// verifies pointers and bodies, applies configs to files, and serves readers on the host.
//
// Entry points: [Open] with a [Config], then [Agent.Run].
//
//	announcement ─► mesh.Node (verify, dedupe, relay) ─► bodies ─► outputDir: stage on disk, SHA-256, fsync
//	   ─► hooks: check ─► applier: verify, commit (config, epoch, version) to state, swap a symlink, read back
//	   ─► hooks: reload ─► acknowledge
//
// The pointers of configs without a subscription are relayed at once. They are written some seconds later,
// many at a time (see keeper).
//
// Other programs write to the output directory too. A version is verified each time before it is
// shown: the file is hashed again unless its inode, size and times are those of a verified file
// (see verifiedFiles). A version that is missing or altered is rebuilt from a form on disk, or
// fetched again. Whatever has the name of a link is replaced. An apply is acknowledged only if
// the path for programs leads to the verified file.
//
// The commit decides. The commit is a synchronous write, and the symlink follows from the commit:
// an agent that dies between the two finishes the swap at the next start, before serving
// any reader. After any crash, the files are the files of one epoch, and epochs never go back.
//
// On disk, for config payments/limits under the output directory:
//
//	payments/limits/value      ─► ..data/value        the file for programs
//	payments/limits/meta.json  ─► ..data/meta.json    the description of the version
//	payments/limits/..data     ─► ..v7-0123…         swapped by one rename
//	payments/limits/..v7-0123…/   one version, by number and digest; complete and fsynced before
//	                           the rename
//	..partial/                 bodies on their way
//	..cache/                   shards of other configs, for other hosts; empty after a start
//
// Kubernetes gives a ConfigMap volume the same layout. A program that follows a ConfigMap
// can follow an agent.
package agent
