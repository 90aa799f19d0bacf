package step

import "banyan/record"

// FormInfo is what a node needs to know of a form to trade its shards.
type FormInfo struct {
	Size     int64
	Geometry record.Geometry
}

// Shards is how many shards the form has.
func (f FormInfo) Shards() int { return f.Geometry.Shards(f.Size) }
