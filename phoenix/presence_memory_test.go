package phoenix

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"
)

// The states that wait for a slow consumer take more memory than their messages, and reads pause for that, too.
func TestPresenceMemoryPausesReads(t *testing.T) {
	const crowd = 1000
	refs := strings.Fields(strings.Repeat("x ", crowd))
	for i := range refs {
		refs[i] = fmt.Sprint(i)
	}
	m, now := upMachine(t, "room:1")
	m.presence, m.presenceLimit = true, 1<<20
	receive := func(event, payload string) int {
		m.out = output{}
		m.received(now, &frame{at: now, topic: []byte("room:1"), event: []byte(event), payload: JSON(payload)})
		return m.out.presence
	}
	state := presencesJSON("all: " + strings.Join(refs, " "))
	if got := receive(eventPresenceState, state); got < len(state) {
		t.Errorf("a state of %d bytes counts %d", len(state), got)
	}
	left := receive(eventPresenceDiff, `{"joins":{},"leaves":`+presencesJSON("all: 7")+`}`)
	if want := (crowd - 1) * int(unsafe.Sizeof(presenceMeta{})); left < want {
		t.Errorf("a leave from %d metas counts %d bytes, and copies %d", crowd, left, want)
	}
	if again := receive(eventPresenceDiff, `{"joins":{},"leaves":`+presencesJSON("all: 7")+`}`); again != 0 {
		t.Errorf("a diff that is no news counts %d bytes", again)
	}

	s := newStream()
	s.put(numbered(1, 1), &batch{presence: maxWaitingMemory - 1})
	if s.full() {
		t.Error("full too early")
	}
	s.put(numbered(2, 1), &batch{presence: left})
	if !s.full() {
		t.Error("not full")
	}
	if _, err := s.Next(t.Context()); err != nil || s.full() {
		t.Errorf("still full when it has been read from (error %v)", err)
	}
}
