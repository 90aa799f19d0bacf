package fec

import (
	"io"
	"os"

	"banyan/record"
)

// shardFile is a file with the shards of a form. Data shards are at their places in the form.
// Parity shards are behind the end of the form, until Finish cuts them off.
//
// For example, with 2 data and 1 parity shards of 10 bytes, a form of 35 bytes has the data
// shards 0, 1, 3 and 4 at 0, 10, 20 and 30, and the parity shards 2 and 5 at 40 and 50.
type shardFile struct {
	f    *os.File
	form record.Form
}

// offset returns the place of shard n.
func (s *shardFile) offset(n int) int64 {
	g := s.form.Geometry
	stripe, i := n/g.PerStripe(), n%g.PerStripe()
	if i < int(g.Data) {
		return (int64(stripe)*int64(g.Data) + int64(i)) * int64(g.ShardBytes)
	}
	end := g.Stripes(s.form.Size) * int64(g.Data) * int64(g.ShardBytes)
	return end + (int64(stripe)*int64(g.Parity)+int64(i)-int64(g.Data))*int64(g.ShardBytes)
}

// length returns the number of bytes of shard n that are in the file. The last data shard is
// cut at the end of the form.
func (s *shardFile) length(n int) int64 {
	g := s.form.Geometry
	size := int64(g.ShardBytes)
	if n%g.PerStripe() < int(g.Data) {
		return max(min(size, s.form.Size-s.offset(n)), 0)
	}
	return size
}

// read reads shard n into buf. Bytes behind the end of the form or of the file are zero.
func (s *shardFile) read(n int, buf []byte) error {
	got, err := s.f.ReadAt(buf[:s.length(n)], s.offset(n))
	if err != nil && err != io.EOF {
		return err
	}
	clear(buf[got:])
	return nil
}

// write writes shard n without its padding.
func (s *shardFile) write(n int, shard []byte) error {
	_, err := s.f.WriteAt(shard[:s.length(n)], s.offset(n))
	return err
}

// finish cuts the file at the end of the form and makes it durable.
func (s *shardFile) finish() error {
	if err := s.f.Truncate(s.form.Size); err != nil {
		return err
	}
	return s.f.Sync()
}
