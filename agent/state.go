package agent

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/fxamacker/cbor/v2"

	"banyan/internal/embeddb"
	"banyan/mesh"
	"banyan/record"
)

// state is what an agent remembers: for each config the pointer it applied last.
// Everything in it can be had again from the mesh but the epochs, which is why a
// damaged state is refused rather than thrown away.
type state struct{ db *embeddb.DB }

// committed is one config's applied pointer.
type committed struct {
	Raw       []byte `cbor:"1,keyasint"` // the signed pointer
	Revision  uint64 `cbor:"2,keyasint"`
	Version   uint64 `cbor:"3,keyasint"` // 0: the pointer gave this host none
	AtMicros  int64  `cbor:"4,keyasint"`
	Watermark uint64 `cbor:"5,keyasint"` // of the node, when it was committed

	Pending bool `cbor:"6,keyasint,omitempty"` // the reload hook has not ended well yet

	pointer record.Pointer
}

const (
	configTag    = 'c'
	indexKey     = "i"
	watermarkKey = "w"
	// memTable keeps an agent's database small: it holds a row a config.
	memTable = 1 << 20
)

func openState(dir string, reserve int64) (*state, error) {
	db, err := embeddb.Open(dir, embeddb.Options{MemTable: memTable, Reserve: reserve})
	if err != nil {
		return nil, fmt.Errorf("agent state: %w", err)
	}
	return &state{db}, nil
}

func (s *state) close() error { return s.db.Close() }

// commit makes rows durable, all or none. A row never replaces one of a newer epoch.
func (s *state) commit(rows []committed) error {
	return s.db.Write(func(txn *badger.Txn) error {
		for _, r := range rows {
			key := append([]byte{configTag}, r.pointer.Config...)
			held, err := readCommitted(txn, key)
			if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
				return err
			}
			if held.pointer.Epoch > r.pointer.Epoch {
				return fmt.Errorf("%w: epoch %d of %s after %d", errStale, r.pointer.Epoch, r.pointer.Config, held.pointer.Epoch)
			}
			encoded, err := cbor.Marshal(r)
			if err != nil {
				return err
			}
			if err := embeddb.Put(txn, key, encoded); err != nil {
				return err
			}
			if err := embeddb.Put(txn, []byte(watermarkKey), binary.BigEndian.AppendUint64(nil, r.Watermark)); err != nil {
				return err
			}
		}
		return nil
	})
}

var errStale = errors.New("stale epoch")

func readCommitted(txn *badger.Txn, key []byte) (committed, error) {
	raw, err := embeddb.Get(txn, key)
	if err != nil {
		return committed{}, err
	}
	return decodeCommitted(raw)
}

func decodeCommitted(raw []byte) (committed, error) {
	var c committed
	if err := cbor.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("%w: %s", embeddb.ErrCorrupt, err)
	}
	var err error
	if c.pointer, err = record.DecodePointer(c.Raw); err != nil {
		return c, fmt.Errorf("%w: %s", embeddb.ErrCorrupt, err)
	}
	return c, nil
}

// load reads everything back.
func (s *state) load() (rows []committed, watermark uint64, index uint32, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		if raw, err := embeddb.Get(txn, []byte(watermarkKey)); err == nil {
			watermark = binary.BigEndian.Uint64(raw)
		} else if !errors.Is(err, badger.ErrKeyNotFound) {
			return err
		}
		if raw, err := embeddb.Get(txn, []byte(indexKey)); err == nil {
			index = binary.BigEndian.Uint32(raw)
		} else if !errors.Is(err, badger.ErrKeyNotFound) {
			return err
		}
		return embeddb.Scan(txn, []byte{configTag}, nil, false, func(item *badger.Item) (bool, error) {
			raw, err := embeddb.Value(item)
			if err != nil {
				return false, err
			}
			c, err := decodeCommitted(raw)
			if err != nil {
				return false, err
			}
			rows = append(rows, c)
			return len(rows) < mesh.MaxConfigs, nil
		})
	})
	if err != nil {
		err = fmt.Errorf("agent state: %w", err)
	}
	return rows, watermark, index, err
}

// saveIndex remembers the agent index, plus one.
func (s *state) saveIndex(index uint32) error {
	return s.db.Write(func(txn *badger.Txn) error {
		return embeddb.Put(txn, []byte(indexKey), binary.BigEndian.AppendUint32(nil, index))
	})
}
