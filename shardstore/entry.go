package shardstore

import (
	"time"

	"banyan/fec"
)

// entry is an open form.
type entry struct {
	file *fec.File
	// dir is the directory of a form on the way; empty for a complete form.
	dir    string
	signed []byte // manifest of a form on the way, as signed
	index  []byte // of a form on the way
	used   time.Time
}

// onItsWay reports whether shards of the form are still coming.
func (e *entry) onItsWay() bool { return e.dir != "" }

// stored returns the size of the shards of a form on the way.
func (e *entry) stored() int64 {
	form := e.file.Form()
	if e.file.Whole() {
		return form.Size
	}
	bytes := int64(0)
	have := e.file.Have()
	for n, ok := have.NextSet(0); ok; n, ok = have.NextSet(n + 1) {
		if !form.Geometry.IsPadding(form.Size, int(n)) {
			bytes += int64(form.Geometry.ShardBytes)
		}
	}
	return bytes
}
