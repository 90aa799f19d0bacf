package record

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// Pointers are encoded and decoded by hand here, in a tenth of the time of the general codec: at a
// thousand pointers a second, every host decodes each of them. Tests compare the two codecs.

// Major types of CBOR, and the encoding of null.
const (
	majorUint  = 0
	majorNeg   = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	cborNull   = 0xf6
)

// appendHead appends the head of a data item in its shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte { return append(appendHead(b, majorBytes, uint64(len(s))), s...) }

// appendField appends a key of a map, and an unsigned value.
func appendField(b []byte, key byte, n uint64) []byte {
	return appendHead(append(b, key), majorUint, n)
}

// appendPointer appends the canonical encoding of p.
func appendPointer(b []byte, p *Pointer) []byte {
	fields := uint64(7)
	for _, r := range []*Ref{&p.Baseline, &p.Candidate} {
		if !r.IsZero() {
			fields++
		}
	}
	b = appendHead(b, majorMap, fields)
	b = appendText(append(b, 1), p.Config)
	b = appendText(append(b, 2), p.Region)
	b = appendField(b, 3, p.Epoch)
	b = appendRef(b, 4, &p.Baseline)
	b = appendRef(b, 5, &p.Candidate)
	b = appendWave(append(b, 6), &p.Wave)
	b = appendField(b, 7, uint64(p.Phase))
	b = append(b, 8)
	if p.TimeMicros < 0 {
		b = appendHead(b, majorNeg, uint64(-1-p.TimeMicros))
	} else {
		b = appendHead(b, majorUint, uint64(p.TimeMicros))
	}
	return appendField(b, 9, p.Term)
}

// appendRef appends a key of a map and a reference; nothing for the zero Ref.
func appendRef(b []byte, key byte, r *Ref) []byte {
	if r.IsZero() {
		return b
	}
	b = appendHead(append(b, key), majorMap, 2)
	b = appendField(b, 1, r.Version)
	return appendBytes(append(b, 2), r.Digest[:])
}

func appendWave(b []byte, w *Wave) []byte {
	fields := uint64(2)
	if w.Bound != 0 {
		fields++
	}
	b = appendHead(b, majorMap, fields)
	b = appendField(b, 1, uint64(w.Share))
	b = append(b, 2)
	if w.Any == nil {
		b = append(b, cborNull)
	} else {
		b = append(b, must(canonical.Marshal(w.Any))...)
	}
	if w.Bound != 0 {
		b = appendField(b, 3, uint64(w.Bound))
	}
	return b
}

// parsePointer decodes a payload into p. It reports whether the payload was decoded: it was not if the
// payload is not canonical, or if the wave has labels, which is rare. The caller then asks the general
// codec, which decodes labels and names the fault.
func parsePointer(payload []byte, p *Pointer) bool {
	r := compactReader{rest: payload}
	r.head(majorMap)
	r.expect(1)
	p.Config = r.text()
	r.expect(2)
	p.Region = r.text()
	p.Epoch = r.field(3)
	p.Baseline = r.ref(4)
	p.Candidate = r.ref(5)
	r.expect(6)
	p.Wave = r.wave()
	phase := r.field(7)
	p.Phase = Phase(phase)
	r.expect(8)
	p.TimeMicros = r.int()
	p.Term = r.field(9)
	if r.bad || len(r.rest) > 0 || uint64(p.Phase) != phase {
		return false
	}
	var buf [MaxPointerPayload]byte
	return bytes.Equal(payload, appendPointer(buf[:0], p))
}

// compactReader reads data items. After the first one that is not as expected, bad is true and nothing
// more is read.
type compactReader struct {
	rest []byte
	bad  bool
}

// head reads the head of a data item of the given type, in its shortest form, and returns its number.
func (r *compactReader) head(major byte) uint64 {
	if r.bad || len(r.rest) == 0 || r.rest[0]>>5 != major {
		r.bad = true
		return 0
	}
	short := r.rest[0] & 31
	if short < 24 {
		r.rest = r.rest[1:]
		return uint64(short)
	}
	size := 1 << (short - 24)
	if short > 27 || len(r.rest) < 1+size {
		r.bad = true
		return 0
	}
	var number [8]byte
	copy(number[8-size:], r.rest[1:])
	n := binary.BigEndian.Uint64(number[:])
	var shortest [9]byte
	if len(appendHead(shortest[:0], major, n)) != 1+size {
		r.bad = true
	}
	r.rest = r.rest[1+size:]
	return n
}

// string reads a byte string or a text. The result aliases what is read.
func (r *compactReader) string(major byte) []byte {
	n := r.head(major)
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *compactReader) text() string {
	s := r.string(majorText)
	r.bad = r.bad || !utf8.Valid(s)
	return string(s)
}

// accept reports whether the next byte is b, and reads it if so. A key of a map is one byte, and so is null.
func (r *compactReader) accept(b byte) bool {
	if r.bad || len(r.rest) == 0 || r.rest[0] != b {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

// expect reads the byte b.
func (r *compactReader) expect(b byte) {
	if !r.accept(b) {
		r.bad = true
	}
}

// field reads a key of a map, and an unsigned value.
func (r *compactReader) field(key byte) uint64 {
	r.expect(key)
	return r.head(majorUint)
}

// int reads an integer of 64 bits.
func (r *compactReader) int() int64 {
	negative := len(r.rest) > 0 && r.rest[0]>>5 == majorNeg
	major := byte(majorUint)
	if negative {
		major = majorNeg
	}
	n := int64(r.head(major))
	if n < 0 {
		r.bad = true // more than 63 bits
	}
	if negative {
		return -1 - n
	}
	return n
}

// ref reads a key of a map and a reference. It returns the zero Ref, and reads nothing, if the next key is
// another one.
func (r *compactReader) ref(key byte) (ref Ref) {
	if !r.accept(key) {
		return ref
	}
	r.head(majorMap)
	ref.Version = r.field(1)
	r.expect(2)
	digest := r.string(majorBytes)
	if len(digest) != len(ref.Digest) {
		r.bad = true
		return ref
	}
	copy(ref.Digest[:], digest)
	return ref
}

// wave reads a wave without labels.
func (r *compactReader) wave() (w Wave) {
	r.head(majorMap)
	share := r.field(1)
	w.Share = uint16(share)
	r.expect(2)
	r.expect(cborNull) // no labels
	var bound uint64
	if r.accept(3) {
		bound = r.head(majorUint)
	}
	w.Bound = uint32(bound)
	r.bad = r.bad || uint64(w.Share) != share || uint64(w.Bound) != bound
	return w
}
