package signal

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTemplatesStayBounded: a server that invents topics fills no memory.
func TestTemplatesStayBounded(t *testing.T) {
	c := templateCache{layout: &signalLayout, connection: "backend", limit: maxTemplates}
	most := 0
	for i := range 20000 {
		key := templateKey{kind: kindMessage, topic: "room:" + strconv.Itoa(i), event: strings.Repeat("e", i%200)}
		if got := c.get(key); got.key != key {
			t.Fatalf("template of %v for %v", got.key, key)
		}
		most = max(most, len(c.templates))
		if i%1000 != 0 {
			continue
		}
		size := 0
		for _, kept := range c.templates {
			size += kept.size()
		}
		if size != c.size || size > maxTemplates {
			t.Fatalf("%d bytes of templates, counted as %d, allowed %d", size, c.size, maxTemplates)
		}
	}
	if most < 100 {
		t.Errorf("never more than %d templates kept", most)
	}
}

func TestLargeTemplateIsNotKept(t *testing.T) {
	c := templateCache{layout: &signalLayout, connection: "backend", limit: maxTemplates}
	usual := templateKey{kind: kindMessage, topic: "t", event: "e"}
	kept := c.get(usual)
	large := templateKey{kind: kindMessage, topic: strings.Repeat("t", maxTemplate), event: "e"}
	if got := c.get(large); got.key != large {
		t.Error("wrong template")
	}
	if len(c.templates) != 1 || c.latest != kept || c.get(usual) != kept {
		t.Error("the large template took a place")
	}
}

func TestCacheAtMost(t *testing.T) {
	e := NewEncoder(FormatSignal, "c")
	e.CacheAtMost(16 << 10)
	for i := range 1000 {
		e.templates.get(templateKey{kind: kindMessage, topic: "room:" + strconv.Itoa(i), event: "e"})
		if e.templates.size > 16<<10 {
			t.Fatalf("%d bytes of templates are kept", e.templates.size)
		}
	}
	usual := templateKey{kind: kindMessage, topic: "room:lobby", event: "new_msg"}
	if kept := e.templates.get(usual); e.templates.templates[usual] != kept {
		t.Error("a template of the usual size is not kept")
	}
}

func TestClock(t *testing.T) {
	c := newClock()
	var got [timeLen]byte
	moments := []time.Time{
		time.Unix(0, 0), time.Unix(0, 999), at, at, at.Add(999 * time.Nanosecond), at.Add(time.Second), at.Add(-time.Hour),
		time.Date(2026, 2, 7, 23, 59, 59, 999999999, time.FixedZone("", -3600)), {}, time.Unix(-1, 1000),
	}
	for range 1000 {
		moments = append(moments, time.Unix(rand.Int64N(2), rand.Int64N(1e9)))
	}
	for _, moment := range moments {
		c.put(got[:], moment)
		if want := moment.UTC().Format(timeLayout); string(got[:]) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// at is the time of the events in the tests of what is not exported.
var at = time.Date(2026, 2, 7, 12, 0, 6, 123456789, time.UTC)

func newID(s *idSource, t time.Time, seq uint64) string {
	var id [idLen]byte
	s.put(id[:], t, seq)
	return string(id[:])
}

func TestIDIsUUIDv7(t *testing.T) {
	layout := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	s := newIDSource("c")
	for i, moment := range []time.Time{at.Add(-time.Hour), at, at.In(time.FixedZone("", 3600)).Add(time.Hour)} {
		id := newID(&s, moment, uint64(i)<<31)
		if !layout.MatchString(id) {
			t.Errorf("id %q", id)
		}
		ms, err := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
		if err != nil || ms != moment.UnixMilli() {
			t.Errorf("id %s is of %d ms, not %d", id, ms, moment.UnixMilli())
		}
	}
	// The fraction of the millisecond, in 1/4096.
	if id := newID(&s, at, 1); id[14:18] != fmt.Sprintf("7%03x", 456789*4096/1000000) {
		t.Errorf("id %s", id)
	}
	var other [idLen]byte
	if s.putNew(other[:], at); !layout.Match(other[:]) {
		t.Errorf("id %q", other)
	}
}

// TestIDsGrow: also within one moment, and over the end of a millisecond.
func TestIDsGrow(t *testing.T) {
	s := newIDSource("c")
	last := newID(&s, time.Time{}, 1) // before 1970
	for i := range 20000 {
		moment := at
		if i > 10000 {
			moment = at.Add(time.Duration(i) * time.Nanosecond)
		}
		id := newID(&s, moment, 0x7fff_f000+uint64(i))
		if id <= last {
			t.Fatalf("%s follows %s", id, last)
		}
		last = id
	}
}

// TestIDsAreOfTheEvent: two encoders of a connection give an event the same id, those of another
// connection do not.
func TestIDsAreOfTheEvent(t *testing.T) {
	a, b, other := newIDSource("c"), newIDSource("c"), newIDSource("d")
	if newID(&a, at, 7) != newID(&b, at, 7) {
		t.Error("two encoders of a connection made different ids for one event")
	}
	if newID(&a, at, 7) == newID(&other, at, 7) {
		t.Error("two connections made the same id")
	}
	var first, second [idLen]byte
	a.putNew(first[:], at)
	a.putNew(second[:], at)
	if first == second {
		t.Error("an id was made twice")
	}
}

func TestHex8(t *testing.T) {
	for _, x := range []uint32{0, 1, 0x9a, 0x01234567, 0x89abcdef, 0xffffffff, rand.Uint32()} {
		n := hex8(x)
		var got []byte
		for shift := 56; shift >= 0; shift -= 8 {
			got = append(got, byte(n>>shift))
		}
		if want := fmt.Sprintf("%08x", x); string(got) != want {
			t.Errorf("hex8(%#x) = %q, want %q", x, got, want)
		}
	}
}
