package versionstore

// Limits of a store. They are such that etcd can keep them; the embedded store keeps them as well, so that
// what works on one store works on the other.
const (
	// MaxDocument is the maximum size of a document, in bytes.
	MaxDocument = 512 << 10
	// maxRow is the maximum size of a stored row, in bytes: a document, its writer, and some numbers.
	maxRow = MaxDocument + 4<<10
	// MaxOperations is the maximum number of operations of a transaction; see Transaction.Operations. The
	// step of a rollout in 256 regions needs 780.
	MaxOperations = 1024
	// FewOperations is the number of operations that every store takes, also an etcd with its default
	// settings (--max-txn-ops). Whoever can split what it writes makes transactions no larger than that.
	FewOperations = 128
	// MaxTransaction is the maximum size of what a transaction stores, in bytes. etcd refuses requests of
	// more than 1.5 MiB by default (--max-request-bytes).
	MaxTransaction = 1 << 20
	// MaxRemoved is the maximum number of versions in a removal.
	MaxRemoved = 40
	// MaxPage is the maximum number of entries that a listing returns.
	MaxPage = 10_000
	// watchBatch is the maximum number of events that Watch reads at a time.
	watchBatch = 256
)
