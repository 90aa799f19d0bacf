package etcdstore

import (
	"fmt"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Keys of the store, after the prefix. A name contains no zero byte, so a zero byte ends a name: with a
// printable separator, "a-b" would sort between "a" and the keys below "a". Numbers in keys have 20
// decimal digits, so that keys sort by number. Numbers in values are decimal, so that a transaction can
// compare them without a read.
//
//	m/<config> 0 <version>   row of a manifest
//	n/<config>               newest version of the config
//	p/<region> 0 <config>    row of a pointer
//	e/<config> 0 <region>    epoch of the pointer; written whenever the pointer moves
//	h/<config> 0 <version>   digest of the manifest
//	d/<kind> 0 <name>        row of a document; its sequence is etcd's version of the key
//	x/<region> 0 <block>     nothing; the block of agent indices is reserved
//	r                        term; written by every transaction
//	t                        term
//	f                        term whose leader has resigned
//	l                        name of the leader, under the leader's lease
//
// What a watch reports, m and p, is in one range, with n between them.
const (
	tagManifest = "m/"
	tagNewest   = "n/"
	tagPointer  = "p/"
	tagEpoch    = "e/"
	tagDigest   = "h/"
	tagDocument = "d/"
	tagIndices  = "x/"
	tagRevision = "r"
	tagTerm     = "t"
	tagResigned = "f"
	tagLeader   = "l"
)

// keys makes the keys below a prefix.
type keys string

// name returns the key: prefix, tag, name.
func (k keys) name(tag, name string) string { return string(k) + tag + name }

// pair returns the key: prefix, tag, first, 0, second.
func (k keys) pair(tag, first, second string) string { return k.name(tag, first) + "\x00" + second }

// numbered returns the key: prefix, tag, name, 0, n.
func (k keys) numbered(tag, name string, n uint64) string {
	return k.pair(tag, name, fmt.Sprintf("%020d", n))
}

// split returns the tag and the two parts of a key. second is empty for a key with one part.
func (k keys) split(key string) (tag, first, second string) {
	rest, ok := strings.CutPrefix(key, string(k))
	if !ok || len(rest) < 2 {
		return "", "", ""
	}
	first, second, _ = strings.Cut(rest[2:], "\x00")
	return rest[:2], first, second
}

// end returns the end of the range of keys that begin with prefix.
func end(prefix string) string { return clientv3.GetPrefixRangeEnd(prefix) }

// number returns the number that a value holds; 0 if it holds none.
func number(value []byte) uint64 {
	n, _ := strconv.ParseUint(string(value), 10, 64)
	return n
}

func text(n uint64) string { return strconv.FormatUint(n, 10) }
