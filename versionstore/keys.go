package versionstore

import (
	"encoding/binary"
)

// Keys of the embedded store. A name contains no zero byte, so a zero byte ends a name. A
// number is eight bytes, big-endian, so that keys sort by number.
//
//	m <config> 0 <version>   row of a manifest
//	n <config>               newest version of the config
//	p <config> 0 <region>    row of a pointer
//	i <region> 0 <revision> <key>
//	                         key of the pointer written at revision, until it is replaced
//	l <revision> <key>       key of the row written at revision, until it is replaced
//	d <kind> 0 <name>        row of a document; its revision is the document's sequence
//	x <region> 0 <block>     nothing; the block of agent indices is reserved
//	r                        revision of the newest write
//	t                        term
const (
	tagManifest = 'm'
	tagLast     = 'n'
	tagPointer  = 'p'
	tagRegion   = 'i'
	tagLog      = 'l'
	tagDocument = 'd'
	tagIndices  = 'x'
	tagRevision = 'r'
	tagTerm     = 't'
)

// nameKey returns the key: tag, name.
func nameKey(tag byte, name string) []byte { return append([]byte{tag}, name...) }

// pairKey returns the key: tag, name, 0, second.
func pairKey(tag byte, name, second string) []byte {
	return append(append(nameKey(tag, name), 0), second...)
}

// numberedKey returns the key: tag, name, 0, n.
func numberedKey(tag byte, name string, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(nameKey(tag, name), 0), n)
}

// blockKey returns the key of a reserved block of agent indices.
func blockKey(region string, block uint32) []byte {
	return numberedKey(tagIndices, region, uint64(block))
}

// logKey returns the key of the entry of a row in the log of revisions. The key of the row is part
// of it: in a replica, two rows have the same revision after the leader's store was restored
// and gave a revision out again.
func logKey(revision uint64, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{tagLog}, revision), key...)
}

// isManifestEntry reports whether key, of an entry in the log of revisions or in the index of a region, names
// the row of a manifest. prefix is the length of the key before the revision.
func isManifestEntry(key []byte, prefix int) bool {
	row := prefix + 8 // a revision has 8 bytes
	return len(key) > row && key[row] == tagManifest
}

// regionKey returns the key of the entry of a pointer in the index of its region.
func regionKey(region string, revision uint64, key []byte) []byte {
	return append(numberedKey(tagRegion, region, revision), key...)
}

// number decodes the last eight bytes of b; 0 if b is shorter.
func number(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b[len(b)-8:])
}

func encodeNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
