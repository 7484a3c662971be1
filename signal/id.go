package signal

import (
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"
)

// idLen is the length of a UUID in text.
const idLen = len("01952f0e-8a00-7000-8000-000000000006")

// An idSource makes the UUIDs of a connection's events, of version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, 12 bits of
// a millisecond's fraction (section 6.2, method 3), 32 bits of the event's number (method 1) and 30 bits that differ between
// processes and connections. They grow with time and number.
//
// An id is a matter of the event alone: whoever encodes it, in whichever format, gives it the same one, so that a reader of
// two outputs can tell that both have it.
type idSource struct{ key uint64 }

// processKey makes the ids of two processes differ. It need not be secret.
var processKey = sync.OnceValue(maphash.MakeSeed)

func newIDSource(connection string) idSource {
	return idSource{key: maphash.String(processKey(), connection)}
}

// put writes the id of the event with a time and a number into the first idLen bytes of dst.
func (s *idSource) put(dst []byte, t time.Time, seq uint64) { putID(dst, t, seq, mix(s.key+seq)) }

// putNew writes an id for what has no number: each one is different.
func (s *idSource) putNew(dst []byte, t time.Time) {
	putID(dst, t, uint64(rand.Uint32()), rand.Uint64())
}

// mix spreads x over all bits (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func putID(dst []byte, t time.Time, seq, random uint64) {
	ns := uint64(t.Nanosecond())
	ms := uint64(max(t.Unix(), 0))*1000 + ns/1e6

	const version, variant = 7 << 12, 1 << 63
	hi := ms<<16 | version | ns%1e6<<12/1e6
	lo := variant | seq<<32>>2 | random>>34

	_ = dst[idLen-1]
	h1, h2, h3, h4 := hex8(uint32(hi>>32)), hex8(uint32(hi)), hex8(uint32(lo>>32)), hex8(uint32(lo))
	binary.BigEndian.PutUint64(dst[0:], h1)
	dst[8] = '-'
	binary.BigEndian.PutUint32(dst[9:], uint32(h2>>32))
	dst[13] = '-'
	binary.BigEndian.PutUint32(dst[14:], uint32(h2))
	dst[18] = '-'
	binary.BigEndian.PutUint32(dst[19:], uint32(h3>>32))
	dst[23] = '-'
	binary.BigEndian.PutUint32(dst[24:], uint32(h3))
	binary.BigEndian.PutUint64(dst[28:], h4)
}

// hex8 returns the eight lower-case hexadecimal digits of x as eight bytes, the first digit in the highest. It works on all of
// them at once.
func hex8(x uint32) uint64 {
	const ones = 0x0101010101010101
	n := uint64(x)
	n = (n | n<<16) & 0x0000ffff0000ffff
	n = (n | n<<8) & 0x00ff00ff00ff00ff
	n = (n | n<<4) & 0x0f0f0f0f0f0f0f0f // one nibble a byte
	letters := (n + 6*ones) >> 4 & ones // 1 where the nibble is more than 9
	return n + '0'*ones + letters*('a'-'0'-10)
}
