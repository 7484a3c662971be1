package phoenix

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// numbered returns n events that begin with seq.
func numbered(seq, n int) []Event {
	events := make([]Event, n)
	for i := range events {
		events[i] = Event{Seq: uint64(seq + i), Detail: &Message{}}
	}
	return events
}

func TestStreamHandsOutInOrder(t *testing.T) {
	const total = 50_000
	s := newStream(make(chan struct{}, 1))
	var wg sync.WaitGroup
	wg.Go(func() {
		var events []Event
		for seq := 1; seq <= total; {
			n := min(1+seq%7, total-seq+1)
			events = s.put(append(events, numbered(seq, n)...), nil)
			seq += n
		}
		s.end()
	})
	want := uint64(1)
	for e, err := range s.All(t.Context()) {
		if err != nil || e.Seq != want {
			t.Fatalf("event %d, error %v, want %d", e.Seq, err, want)
		}
		want++
	}
	wg.Wait()
	if want != total+1 {
		t.Errorf("%d events, want %d", want-1, total)
	}
	for range 2 {
		if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("error %v behind the end", err)
		}
	}
}

// A Next that gives up loses nothing.
func TestStreamNextWithContext(t *testing.T) {
	s := newStream(make(chan struct{}, 1))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for _, err := range s.All(ended) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	s.put(numbered(1, 2), nil)
	for want := uint64(1); want <= 2; want++ {
		if e, err := s.Next(ended); err != nil || e.Seq != want {
			t.Errorf("event %v, error %v: what is there does not have to be waited for", e, err)
		}
	}
}

func TestStreamReady(t *testing.T) {
	s := newStream(make(chan struct{}, 1))
	if s.Ready() {
		t.Error("ready without an event")
	}
	s.put(numbered(1, 2), nil)
	for range 2 {
		if !s.Ready() {
			t.Error("not ready with an event")
		}
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s.Ready() {
		t.Error("ready although all was handed out")
	}
	s.end()
	if !s.Ready() {
		t.Error("not ready to tell its end")
	}
}

// What waits is bounded in events, in bytes and in memory; what the consumer holds does not count.
func TestStreamFull(t *testing.T) {
	for name, fill := range map[string]func(*Stream){
		"events": func(s *Stream) { s.put(numbered(1, maxWaitingEvents), nil) },
		"bytes":  func(s *Stream) { s.put(numbered(1, 1), &batch{buf: make([]byte, maxWaitingBytes)}) },
		"memory": func(s *Stream) { s.put(numbered(1, 1), &batch{buf: make([]byte, 10, maxWaitingMemory)}) },
	} {
		s := newStream(make(chan struct{}, 1))
		s.put(numbered(1, 1), nil)
		if s.full() {
			t.Errorf("%s: full with one event", name)
		}
		fill(s)
		if !s.full() {
			t.Errorf("%s: not full", name)
		}
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.room:
		default:
			t.Errorf("%s: room was not signalled", name)
		}
		if s.full() {
			t.Errorf("%s: full although the consumer took everything", name)
		}
	}
}

// A buffer is used again only when the consumer has asked for the event behind those that point into it.
func TestStreamHoldsBuffers(t *testing.T) {
	s := newStream(make(chan struct{}, 1))
	b := &batch{buf: []byte("payload")}
	events := numbered(1, 2)
	for i := range events {
		events[i].Payload.Data = b.buf
	}
	s.put(events, b)
	s.put(numbered(3, 1), nil)
	for range 3 { // the third is in the same run, which is given back as a whole
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(b.buf) == 0 {
			t.Fatal("the buffer was given back while its events were handed out")
		}
	}
	s.end()
	if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if len(b.buf) != 0 {
		t.Error("the buffer was not given back")
	}
}

// A clone outlives the next call to Next.
func TestEventClone(t *testing.T) {
	data := []byte(`{"a":1}`)
	e := Event{Topic: "room:1", Payload: Payload{Data: data}, Detail: &Message{}}
	clone := e.Clone()
	copy(data, "garbage")
	if got := string(clone.Payload.Data); got != `{"a":1}` || clone.Topic != "room:1" {
		t.Errorf("the clone became %s", got)
	}
	if none := (&Event{}).Clone(); none.Payload.Data != nil {
		t.Error("no payload became an empty one")
	}
}

// A stream that a burst went through is small again after some messages and some time, whichever of its slices they went through.
func TestStreamForgetsBurst(t *testing.T) { synctest.Test(t, testStreamForgetsBurst) }

func testStreamForgetsBurst(t *testing.T) {
	s := newStream(make(chan struct{}, 1))
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
	if cap(spare) < 1000 || cap(s.waiting.events) < 1000 {
		t.Errorf("room for %d, %d and %d events right after a burst", cap(spare), cap(s.waiting.events), cap(s.current.events))
	}
	for range 10 * maxLittleUses {
		time.Sleep(maxLittleTime / 10)
		spare = put(spare, 1)
	}
	if n := cap(spare) + cap(s.waiting.events) + cap(s.current.events); n > 3*keptEvents {
		t.Errorf("room for %d events is kept", n)
	}
}

// So is a batch, whose buffer is kept at the size that was asked for.
func TestBatchForgetsBurst(t *testing.T) { synctest.Test(t, testBatchForgetsBurst) }

func testBatchForgetsBurst(t *testing.T) {
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
	time.Sleep(maxLittleTime)
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
