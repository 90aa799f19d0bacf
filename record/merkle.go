package record

import "crypto/sha256"

// merkleTree is a binary hash tree over a list of payloads. The first level has the hashes of the
// payloads, and each further level has the hashes of the pairs of the level below. A last hash
// without a partner moves up unchanged. The last level has only the root.
//
// Leaves and inner nodes are hashed with different first bytes. Otherwise the two hashes below an inner
// node would pass for a payload.
//
// Source: RFC 9162 §2.1.
type merkleTree [][]Digest

// First bytes of what is hashed.
const (
	leafPrefix = 0
	nodePrefix = 1
)

// newMerkleTree returns the tree over payloads, of which there is at least one.
func newMerkleTree(payloads [][]byte) merkleTree {
	leaves := make([]Digest, len(payloads))
	for i, payload := range payloads {
		leaves[i] = leafHash(payload)
	}
	t := merkleTree{leaves}
	for level := leaves; len(level) > 1; {
		above := make([]Digest, 0, (len(level)+1)/2)
		for i := 0; i+1 < len(level); i += 2 {
			above = append(above, nodeHash(level[i], level[i+1]))
		}
		if len(level)%2 == 1 {
			above = append(above, level[len(level)-1])
		}
		t = append(t, above)
		level = above
	}
	return t
}

// root returns the hash of the whole list.
func (t merkleTree) root() Digest { return t[len(t)-1][0] }

// path returns the hashes that lead from payload i to the root, one after another.
func (t merkleTree) path(i int) []byte {
	path := make([]byte, 0, len(t)*sha256.Size)
	for _, level := range t {
		if sibling := i ^ 1; sibling < len(level) {
			path = append(path, level[sibling][:]...)
		}
		i /= 2
	}
	return path
}

// climb returns the root of a tree of size payloads from the payload with the given index and its
// path. ok is false if the path is shorter or longer than the path of that payload.
func climb(payload []byte, index, size uint64, path []byte) (root Digest, ok bool) {
	if index >= size {
		return root, false
	}
	root = leafHash(payload)
	for ; size > 1; size = (size + 1) / 2 {
		if sibling := index ^ 1; sibling < size {
			if len(path) < sha256.Size {
				return root, false
			}
			other := Digest(path[:sha256.Size])
			path = path[sha256.Size:]
			if index < sibling {
				root = nodeHash(root, other)
			} else {
				root = nodeHash(other, root)
			}
		}
		index /= 2
	}
	return root, len(path) == 0
}

func leafHash(payload []byte) Digest {
	buf := make([]byte, 0, 1+MaxPointerPayload)
	buf = append(buf, leafPrefix)
	return sha256.Sum256(append(buf, payload...))
}

func nodeHash(left, right Digest) Digest {
	var buf [1 + 2*sha256.Size]byte
	buf[0] = nodePrefix
	copy(buf[1:], left[:])
	copy(buf[1+sha256.Size:], right[:])
	return sha256.Sum256(buf[:])
}
