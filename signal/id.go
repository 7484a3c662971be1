package signal

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// idLen is the length of a UUID in text.
const idLen = len("01952f0e-8a00-7000-8000-000000000006")

// An idSource makes UUIDs of version 7 (RFC 9562, section 5.7), each greater than the one before: 48 bits of milliseconds,
// 12 bits of a millisecond's fraction (section 6.2, method 3) and 62 random bits. The time is that of the event, moved on by
// 1/4096 ms where it is not later than that of the id before.
type idSource struct {
	// last is the time of the last id in 1/4096 ms since 1970.
	last uint64
	// random need not be secret, only different in each source.
	random *rand.ChaCha8
}

func newIDSource() idSource {
	var seed [32]byte
	crand.Read(seed[:]) // never fails: it ends the process rather
	return idSource{random: rand.NewChaCha8(seed)}
}

// put writes a new id into the first idLen bytes of dst.
func (s *idSource) put(dst []byte, t time.Time) {
	ns := uint64(t.Nanosecond())
	ms := uint64(max(t.Unix(), 0))*1000 + ns/1e6
	s.last = max(ms<<12|ns%1e6<<12/1e6, s.last+1)

	const version, variant = 7 << 12, 1 << 63
	hi := s.last>>12<<16 | version | s.last&0xfff
	lo := variant | s.random.Uint64()>>2

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
