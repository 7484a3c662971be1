package signal

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// idLen is the length of a UUID in text.
const idLen = len("01952f0e-8a00-7000-8000-000000000006")

// An idSource makes the UUIDs of a connection's events, of version 7 (RFC 9562, section 5.7): 48
// bits of milliseconds, 12 bits of a millisecond's fraction (section 6.2, method 3), 32 bits of
// the event's number (method 1) and 30 bits that differ between processes and connections. They
// grow with time and number.
//
// An id depends on the event alone. All encoders and formats give an event the same id, so that a
// reader of two outputs recognizes it.
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

// hex8 returns the eight lower-case hexadecimal digits of x as eight bytes, the first digit in the
// highest. It works on all of them at once.
func hex8(x uint32) uint64 {
	const ones = 0x0101010101010101
	n := uint64(x)
	n = (n | n<<16) & 0x0000ffff0000ffff
	n = (n | n<<8) & 0x00ff00ff00ff00ff
	n = (n | n<<4) & 0x0f0f0f0f0f0f0f0f // one nibble a byte
	letters := (n + 6*ones) >> 4 & ones // 1 where the nibble is more than 9
	return n + '0'*ones + letters*('a'-'0'-10)
}

// timeLayout is RFC 3339 in UTC with always six decimals, cut off and not rounded.
const timeLayout = "2006-01-02T15:04:05.000000Z"

const (
	timeLen = len(timeLayout)
	// timeSecondLayout is the part of timeLayout that changes once a second.
	timeSecondLayout = "2006-01-02T15:04:05."
)

// A clock writes times in timeLayout and remembers what does not change within a second.
type clock struct {
	second int64
	text   [len(timeSecondLayout)]byte
}

func newClock() clock { return clock{second: math.MinInt64} }

// put writes t into the first timeLen bytes of dst.
func (c *clock) put(dst []byte, t time.Time) {
	if second := t.Unix(); second != c.second {
		c.second = second
		t.UTC().AppendFormat(c.text[:0], timeSecondLayout)
	}
	_ = dst[timeLen-1]
	copy(dst, c.text[:])
	us := uint(t.Nanosecond()) / 1000
	putTwoDigits(dst[len(timeSecondLayout):], us/10000)
	putTwoDigits(dst[len(timeSecondLayout)+2:], us/100%100)
	putTwoDigits(dst[len(timeSecondLayout)+4:], us%100)
	dst[timeLen-1] = 'Z'
}

// putTwoDigits writes v, which is less than 100, into the first two bytes of dst.
func putTwoDigits(dst []byte, v uint) {
	dst[0], dst[1] = byte('0'+v/10), byte('0'+v%10)
}
