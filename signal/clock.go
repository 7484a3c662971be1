package signal

import (
	"math"
	"time"
)

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
