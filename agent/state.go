package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/fxamacker/cbor/v2"

	"banyan/internal/embeddb"
	"banyan/mesh"
	"banyan/mesh/wire"
	"banyan/record"
)

// state is the agent's database: the last applied pointer of each config.
//
// Everything but the epochs can be fetched again from the mesh. The epochs protect the
// host against old pointers. A damaged database is refused and never replaced by an empty
// one.
type state struct{ db *embeddb.DB }

// Keys of the database. A config's row has the key configTag followed by the name.
const (
	configTag    = 'c'
	watermarkKey = "w"
)

// errStale is wrapped if a row would replace a row of a newer pointer.
var errStale = errors.New("stale epoch")

// committed is the row of a config: the applied pointer.
type committed struct {
	Raw      []byte `cbor:"1,keyasint"` // the pointer as signed
	Revision uint64 `cbor:"2,keyasint"`
	// Version is the zero Ref if the pointer gives this host no version.
	Version   record.Ref `cbor:"3,keyasint"`
	AtMicros  int64      `cbor:"4,keyasint"` // time of the commit, since the Unix epoch
	Watermark uint64     `cbor:"5,keyasint"` // of the node, at the time of the commit
	// Pending is set until the reload hook has succeeded.
	Pending bool `cbor:"6,keyasint,omitempty"`
	// Proven are the versions that were the baseline of the config's pointers, the latest first:
	// the whole region was to run them. A version that was taken back is not among them. commit sets
	// Proven.
	Proven []record.Ref `cbor:"7,keyasint,omitempty"`

	pointer record.Pointer // decoded from Raw
}

// decodeCommitted decodes a row and the pointer in it.
func decodeCommitted(raw []byte) (committed, error) {
	var c committed
	if err := cbor.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("%w: %s", embeddb.ErrCorrupt, err)
	}
	pointer, err := record.DecodePointer(c.Raw)
	if err != nil {
		return c, fmt.Errorf("%w: %s", embeddb.ErrCorrupt, err)
	}
	c.pointer = pointer
	return c, nil
}

// key names the applied version.
func (c *committed) key() record.VersionKey {
	return c.Version.Of(c.pointer.Config)
}

// announcement returns the announcement of the pointer.
func (c *committed) announcement() *wire.Announcement {
	return wire.NewAnnouncement(c.Revision, c.Raw, c.pointer)
}

// describe returns the row for readers. m is the manifest of the version, if there is a version.
func (c *committed) describe(m record.Manifest) Applied {
	applied := Applied{
		Config:    c.pointer.Config,
		Region:    c.pointer.Region,
		Term:      c.pointer.Term,
		Epoch:     c.pointer.Epoch,
		Position:  c.pointer.Position(),
		Version:   c.Version.Version,
		Deleted:   c.pointer.Deleted(),
		Manifest:  c.Version.Digest,
		AppliedAt: time.UnixMicro(c.AtMicros),
		Pending:   c.Pending,
	}
	if !c.Version.IsZero() {
		applied.SHA256 = m.BodySHA256.String()
		applied.Size = m.BodySize
		applied.Type = m.ContentType
	}
	return applied
}

// MinDiskReserve returns the least number of bytes for Config.DiskReserve with which pointers move
// on a full disk.
func MinDiskReserve() int64 { return embeddb.MinReserve(memTable) }

// openState opens the database in dir, or makes a new database.
func openState(dir string, reserve int64) (*state, error) {
	db, err := embeddb.Open(dir, embeddb.Options{MemTable: memTable, Reserve: reserve})
	if err != nil {
		return nil, fmt.Errorf("agent state: %w", err)
	}
	return &state{db}, nil
}

func (s *state) close() error { return s.db.Close() }

// commit makes all rows durable, or no row. There are at most maxCommit rows. The error wraps errStale
// if a row would replace one of a newer pointer.
func (s *state) commit(rows []committed) error {
	return s.db.Write(func(txn *badger.Txn) error {
		for _, r := range rows {
			if err := putCommitted(txn, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// keep writes the rows of configs without a subscription, and then the watermark. Unlike commit, keep does
// not check whether a row replaces that of a newer pointer: the node keeps no older pointers than it has.
func (s *state) keep(rows []committed, watermark uint64) error {
	for part := range slices.Chunk(rows, maxCommit) {
		err := s.db.Write(func(txn *badger.Txn) error {
			for i := range part {
				if err := putRow(txn, &part[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.db.Write(func(txn *badger.Txn) error { return putWatermark(txn, watermark) })
}

func putCommitted(txn *badger.Txn, r committed) error {
	held, err := readCommitted(txn, rowKey(r.pointer.Config))
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	if held.pointer.Position() > r.pointer.Position() {
		return fmt.Errorf("%w: %s of %s after %s",
			errStale, r.pointer.Position(), r.pointer.Config, held.pointer.Position())
	}
	r.Proven = held.Proven
	if !r.pointer.Deleted() { // a rollback brings a deleted config back
		r.Proven = movedBaseline(held.Proven, held.pointer.Baseline, r.pointer.Baseline)
	}
	if err := putRow(txn, &r); err != nil {
		return err
	}
	return putWatermark(txn, r.Watermark)
}

// rowKey returns the key of the row of config.
func rowKey(config string) []byte { return append([]byte{configTag}, config...) }

func putRow(txn *badger.Txn, r *committed) error {
	encoded, err := cbor.Marshal(r)
	if err != nil {
		return err
	}
	return embeddb.Put(txn, rowKey(r.pointer.Config), encoded)
}

func putWatermark(txn *badger.Txn, watermark uint64) error {
	return embeddb.Put(txn, []byte(watermarkKey), binary.BigEndian.AppendUint64(nil, watermark))
}

// movedBaseline returns proven after the baseline of the config's pointers moved from before to now:
// now comes first, and at most maxProven versions are kept. A baseline that makes way for an older
// version was taken back, and leaves the list.
func movedBaseline(proven []record.Ref, before, now record.Ref) []record.Ref {
	next := []record.Ref{now}
	if now.IsZero() {
		next = nil
	}
	back := now.Version < before.Version
	for _, v := range proven {
		bad := back && v == before
		if v != now && !bad && len(next) < maxProven {
			next = append(next, v)
		}
	}
	return next
}

// deletedBefore returns the pointers of deleted configs that were committed before a time.
func (s *state) deletedBefore(at time.Time) ([]record.Pointer, error) {
	var deleted []record.Pointer
	add := func(item *badger.Item) (more bool, err error) {
		raw, err := embeddb.Value(item)
		if err != nil {
			return false, err
		}
		c, err := decodeCommitted(raw)
		if err != nil {
			return true, nil // a damaged row is reported at the start, and forgets nothing
		}
		if c.pointer.Deleted() && time.UnixMicro(c.AtMicros).Before(at) {
			deleted = append(deleted, c.pointer)
		}
		return true, nil
	}
	err := s.db.View(func(txn *badger.Txn) error {
		return embeddb.Scan(txn, []byte{configTag}, nil, false, add)
	})
	return deleted, err
}

// forget deletes the row of a config if it is still of the pointer at a position.
func (s *state) forget(config string, at record.Position) error {
	return s.db.Write(func(txn *badger.Txn) error {
		key := rowKey(config)
		held, err := readCommitted(txn, key)
		if errors.Is(err, badger.ErrKeyNotFound) || err == nil && held.pointer.Position() != at {
			return nil
		}
		if err != nil {
			return err
		}
		return txn.Delete(key)
	})
}

// proven returns the versions that were the baseline of config, the latest first; nil if the row
// of config can't be read.
func (s *state) proven(config string) []record.Ref {
	var c committed
	err := s.db.View(func(txn *badger.Txn) (err error) {
		c, err = readCommitted(txn, rowKey(config))
		return err
	})
	if err != nil {
		return nil
	}
	return c.Proven
}

func readCommitted(txn *badger.Txn, key []byte) (committed, error) {
	raw, err := embeddb.Get(txn, key)
	if err != nil {
		return committed{}, err
	}
	return decodeCommitted(raw)
}

// remembered is the content of the database.
type remembered struct {
	rows      []committed
	watermark uint64
}

// load reads the database.
func (s *state) load() (remembered, error) {
	var r remembered
	err := s.db.View(func(txn *badger.Txn) error {
		watermark, err := getOptional(txn, watermarkKey, 8)
		if err != nil {
			return err
		}
		r.watermark = binary.BigEndian.Uint64(watermark)
		return embeddb.Scan(txn, []byte{configTag}, nil, false, r.add)
	})
	if err != nil {
		return remembered{}, fmt.Errorf("agent state: %w", err)
	}
	return r, nil
}

// add adds the row in item. more is false when there are as many rows as a node can have.
func (r *remembered) add(item *badger.Item) (more bool, err error) {
	raw, err := embeddb.Value(item)
	if err != nil {
		return false, err
	}
	c, err := decodeCommitted(raw)
	if err != nil {
		return false, err
	}
	r.rows = append(r.rows, c)
	return len(r.rows) < mesh.MaxConfigs, nil
}

// getOptional reads a value of size bytes; zero bytes if the key is absent.
func getOptional(txn *badger.Txn, key string, size int) ([]byte, error) {
	raw, err := embeddb.Get(txn, []byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return make([]byte, size), nil
	}
	if err == nil && len(raw) != size {
		err = fmt.Errorf("%w: %q has %d bytes", embeddb.ErrCorrupt, key, len(raw))
	}
	return raw, err
}
