package phoenix

import "testing"

// A stream that a burst went through is small again after some messages, whichever of its slices they went through.
func TestStreamForgetsBurst(t *testing.T) {
	s := newStream()
	put := func(spare []Event, n int) []Event {
		spare = s.put(append(spare, numbered(1, n)...), nil)
		for range n {
			if _, err := s.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return spare
	}
	var spare []Event
	for range 10 {
		spare = put(spare, 1000)
	}
	if cap(spare) < 1000 || cap(s.waiting.events) < 1000 {
		t.Errorf("room for %d, %d and %d events in the midst of a burst: it is made anew each time",
			cap(spare), cap(s.waiting.events), cap(s.current.events))
	}
	for range 10 * maxLittleUses {
		spare = put(spare, 1)
	}
	if n := cap(spare) + cap(s.waiting.events) + cap(s.current.events); n > 3*keptEvents {
		t.Errorf("room for %d events is kept", n)
	}
}

// So is a batch, whose buffer is kept at the size that was asked for.
func TestBatchForgetsBurst(t *testing.T) {
	b := &batch{size: 4 << 10}
	use := func(bytes, frames, times int) {
		for range times {
			b.buf = append(b.buf[:0], make([]byte, bytes)...)
			b.frames = append(b.frames[:0], make([]frame, frames)...)
			b.reset()
		}
	}
	use(100<<10, 1000, 5)
	use(100, 1, maxLittleUses-1)
	if cap(b.buf) < 100<<10 || cap(b.frames) < 1000 {
		t.Errorf("%d bytes and %d frames: forgotten too early", cap(b.buf), cap(b.frames))
	}
	use(100, 1, 1)
	if b.buf != nil || b.frames != nil {
		t.Errorf("%d bytes and %d frames are kept", cap(b.buf), cap(b.frames))
	}
	b.buf = make([]byte, 0, 4<<10)
	use(100, 1, 10*maxLittleUses)
	if cap(b.buf) != 4<<10 {
		t.Errorf("a buffer of the size that was asked for has %d bytes now", cap(b.buf))
	}
	use(maxKeptBuffer+1, 1, 1)
	if b.buf != nil {
		t.Errorf("%d bytes are kept", cap(b.buf))
	}
}
