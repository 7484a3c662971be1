package phoenix

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// errScriptEnd ends a scripted transport.
var errScriptEnd = errors.New("end of the script")

// A scriptedTransport delivers messages in pieces. A nil piece is a wait for the network.
type scriptedTransport struct {
	transport
	messages [][][]byte
	wait     func()
}

func (s *scriptedTransport) beforeWait(f func())   { s.wait = f }
func (s *scriptedTransport) receivedAt() time.Time { return time.Time{} }
func (s *scriptedTransport) emptyAt() time.Time    { return time.Time{} }
func (s *scriptedTransport) unread() int           { return 0 }

func (s *scriptedTransport) burstAt() time.Time { return time.Time{} }

func (s *scriptedTransport) ended(err error) error { return err }

func (s *scriptedTransport) onDrained(func(at time.Time)) {}

func (s *scriptedTransport) next() (io.Reader, bool, error) {
	if len(s.messages) == 0 {
		return nil, false, errScriptEnd
	}
	message := &scriptedMessage{s, s.messages[0]}
	s.messages = s.messages[1:]
	return message, false, nil
}

// A scriptedMessage is the reader of one message.
type scriptedMessage struct {
	from   *scriptedTransport
	pieces [][]byte
}

func (m *scriptedMessage) Read(p []byte) (int, error) {
	for len(m.pieces) > 0 && len(m.pieces[0]) == 0 {
		if m.pieces[0] == nil {
			m.from.wait()
		}
		m.pieces = m.pieces[1:]
	}
	if len(m.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.pieces[0])
	m.pieces[0] = m.pieces[0][n:]
	return n, nil
}

// read runs a reader over the script and calls use with each batch. What is used is overwritten, as the next use of its
// buffer would.
func read(t *testing.T, script *scriptedTransport, set func(*reader), use func(*batch)) error {
	t.Helper()
	batches := make(chan *batch, 1)
	r := &reader{
		transport: script, codec: codecV2{}, log: slog.New(slog.DiscardHandler), scratch: make([]byte, 4<<10),
		maxMessage: 64 << 20, batches: batches,
	}
	if set != nil {
		set(r)
	}
	go r.run()
	for b := range batches {
		use(b)
		err := b.err
		for i := range b.buf {
			b.buf[i] = '#'
		}
		b.release()
		if err != nil {
			return err
		}
	}
	return nil
}

func payloadOf(i, size int) string {
	return fmt.Sprintf(`"%d %s"`, i, strings.Repeat(string(rune('a'+i%26)), size))
}

// Messages of all sizes, split anywhere, with waits anywhere: every one arrives whole and in order, although a wait in the
// midst of a message hands the batch before it over.
func TestReaderKeepsMessagesWhole(t *testing.T) {
	const messages = 3000
	rng := rand.New(rand.NewPCG(1, 2))
	script := &scriptedTransport{}
	sizes := make([]int, messages)
	for i := range sizes {
		sizes[i] = rng.IntN(200)
		switch rng.IntN(50) {
		case 0:
			sizes[i] = rng.IntN(20_000)
		case 1:
			sizes[i] = rng.IntN(2 * maxKeptBuffer)
		}
		script.messages = append(script.messages, pieces(rng, `[null,null,"room:1","msg",`+payloadOf(i, sizes[i])+`]`))
	}
	next, largest := 0, 0
	err := read(t, script, nil, func(b *batch) {
		largest = max(largest, len(b.frames))
		for _, f := range b.frames {
			if want := payloadOf(next, sizes[next]); string(f.payload.Data) != want {
				t.Fatalf("message %d is %.100s, want %.100s", next, f.payload.Data, want)
			}
			next++
		}
	})
	if !errors.Is(err, errScriptEnd) || next != messages {
		t.Errorf("%d messages, error %v", next, err)
	}
	if largest < 2 {
		t.Error("no batch had more than one frame")
	}
}

// pieces splits a message anywhere, with a wait before some of the pieces.
func pieces(rng *rand.Rand, message string) [][]byte {
	var ps [][]byte
	for rest := []byte(message); len(rest) > 0; {
		if rng.IntN(20) == 0 {
			ps = append(ps, nil)
		}
		n := len(rest)
		if rng.IntN(3) == 0 {
			n = 1 + rng.IntN(len(rest))
		}
		ps = append(ps, rest[:n])
		rest = rest[n:]
	}
	return ps
}

// Frames are handed over before the reader waits, and not before.
func TestReaderHandsOverBeforeWaiting(t *testing.T) {
	frame := []byte(`[null,null,"room:1","msg",{}]`)
	cut := [][]byte{frame[:10], nil, frame[10:]}
	script := &scriptedTransport{messages: [][][]byte{{frame}, {frame}, cut, {frame}}}
	var sizes []int
	_ = read(t, script, nil, func(b *batch) { sizes = append(sizes, len(b.frames)) })
	if got := fmt.Sprint(sizes); got != "[2 2]" {
		t.Errorf("batches of %s frames, want [2 2]", got)
	}
}

// A batch is bounded in frames, and in bytes by its buffer, which may have been a larger one before.
func TestReaderBoundsBatches(t *testing.T) {
	script := &scriptedTransport{}
	for range 10 * maxBatchFrames {
		script.messages = append(script.messages, [][]byte{[]byte(`[null,null,"a","b",1]`)})
	}
	_ = read(t, script, nil, func(b *batch) {
		if len(b.frames) > maxBatchFrames || len(b.buf) > maxKeptBuffer {
			t.Errorf("a batch of %d frames in %d bytes", len(b.frames), len(b.buf))
		}
	})
}

// A large buffer is not kept for ever.
func TestReleaseDropsLargeBuffers(t *testing.T) {
	large := &batch{buf: make([]byte, maxKeptBuffer+1)}
	large.release()
	if large.buf != nil {
		t.Error("a large buffer was kept")
	}
	small := &batch{buf: make([]byte, 10)}
	small.release()
	if cap(small.buf) != 10 || len(small.buf) != 0 {
		t.Error("a small buffer was not kept")
	}
}

// A message over the limit is not read to its end, and what came before it is handed over.
func TestReaderLimit(t *testing.T) {
	frame := []byte(`[null,null,"room:1","msg",{}]`)
	endless := make([][]byte, 1000)
	for i := range endless {
		endless[i] = bytes.Repeat([]byte("x"), 100)
	}
	script := &scriptedTransport{messages: [][][]byte{{frame}, endless, {frame}}}
	frames := 0
	err := read(t, script, func(r *reader) { r.maxMessage = 1000 }, func(b *batch) { frames += len(b.frames) })
	if !errors.Is(err, errTooBig) || frames != 1 {
		t.Errorf("%d frames, error %v", frames, err)
	}
	if len(endless[20]) == 0 {
		t.Error("read on behind the limit")
	}
}

// A frame that cannot be read leaves the ones around it as they are.
func TestReaderDropsUnreadable(t *testing.T) {
	script := &scriptedTransport{}
	for i := range 10 {
		text := fmt.Sprintf(`[null,null,"room:1","msg",%d]`, i)
		if i%2 == 1 {
			text = text[:len(text)-1]
		}
		script.messages = append(script.messages, [][]byte{[]byte(text)})
	}
	var got []string
	_ = read(t, script, nil, func(b *batch) {
		for _, f := range b.frames {
			got = append(got, string(f.payload.Data))
		}
	})
	if fmt.Sprint(got) != "[0 2 4 6 8]" {
		t.Errorf("read %v", got)
	}
}

// The hot path: a message costs no allocation of ours (gorilla has one of its own).
func TestDecodeDoesNotAllocate(t *testing.T) {
	message := []byte(`[null,null,"room:1","tick",{"n":1}]`)
	r := &reader{
		transport: &scriptedTransport{}, codec: codecV2{}, log: slog.New(slog.DiscardHandler), current: newBatch(4 << 10),
		skip: func(_, event []byte) bool { return string(event) == "other" },
	}
	allocs := testing.AllocsPerRun(1000, func() {
		r.current.buf = append(r.current.buf[:0], message...)
		r.current.frames, r.start = r.current.frames[:0], 0
		r.decode(false)
	})
	if allocs != 0 || len(r.current.frames) != 1 {
		t.Errorf("%v allocations a message, %d frames", allocs, len(r.current.frames))
	}
}

func oneFrame(s string) []outFrame { return []outFrame{{data: []byte(s)}} }

// tellJob is a job as one line.
func tellJob(j writeJob) string {
	s := fmt.Sprint(j.pongs)
	for _, f := range j.frames {
		s += " " + string(f.data)
	}
	if j.close {
		s += fmt.Sprint(" close ", j.code)
	}
	return s
}

// wantJob takes what there is to write, which must not have to be waited for.
func wantJob(t *testing.T, o *outbox, want string) {
	t.Helper()
	job, ok := o.take(0)
	if got := tellJob(job); !ok || got != want {
		t.Errorf("took %q (%v), want %q", got, ok, want)
	}
}

// All that waits is taken at once, pongs first and the close frame last.
func TestOutboxTakesAll(t *testing.T) {
	o := newOutbox(make(chan struct{}, 1))
	o.put(oneFrame("a"))
	o.pong("p")
	o.put(oneFrame("b"))
	o.close(1000)
	o.close(1009)
	o.put(oneFrame("too late"))
	wantJob(t, o, "[p] a b close 1000")
	if n := o.attempted(); n != 2 {
		t.Errorf("%d frames attempted, want 2", n)
	}
	o.end()
	if job, ok := o.take(0); ok {
		t.Errorf("took %q after the end", tellJob(job))
	}
}

// After the end only a close frame is still written: frames that were not taken never reach the server (rule 19).
func TestOutboxEnd(t *testing.T) {
	o := newOutbox(make(chan struct{}, 1))
	o.put(oneFrame("a"))
	wantJob(t, o, "[] a")
	o.put(oneFrame("b"))
	o.pong("p")
	o.close(0)
	o.end()
	wantJob(t, o, "[] close 0")
	if n, waiting := o.attempted(), o.backlog(); n != 1 || waiting != 0 {
		t.Errorf("%d frames attempted and %d bytes waiting, want 1 and none", n, waiting)
	}
	if _, ok := o.take(0); ok {
		t.Error("something was left")
	}
}

// The pongs that wait are bounded, and the newest are kept (RFC 6455, section 5.5.3).
func TestOutboxBoundsPongs(t *testing.T) {
	o := newOutbox(make(chan struct{}, 1))
	for i := range 100 {
		o.pong(fmt.Sprint(i))
	}
	job, _ := o.take(0)
	if n := len(job.pongs); n != maxPongs || job.pongs[0] != "84" || job.pongs[n-1] != "99" {
		t.Errorf("pongs %v", job.pongs)
	}
}

// Who has put in too much is told when there is room again.
func TestOutboxRoom(t *testing.T) {
	o := newOutbox(make(chan struct{}, 1))
	o.put(oneFrame("small"))
	wantJob(t, o, "[] small")
	select {
	case <-o.room:
		t.Error("room was signalled although there always was some")
	default:
	}
	o.put([]outFrame{{data: make([]byte, maxBacklog)}, {data: []byte("x")}})
	if n := o.backlog(); n != maxBacklog+1 {
		t.Errorf("backlog of %d bytes", n)
	}
	_, _ = o.take(0)
	select {
	case <-o.room:
	default:
		t.Error("room was not signalled")
	}
}

// A writer that waits is woken by each of the things that there are to write, and by the end.
func TestOutboxWakesWriter(t *testing.T) {
	for name, change := range map[string]func(*outbox){
		"put":   func(o *outbox) { o.put(oneFrame("a")) },
		"pong":  func(o *outbox) { o.pong("a") },
		"close": func(o *outbox) { o.close(1000) },
		"end":   func(o *outbox) { o.end() },
	} {
		o := newOutbox(make(chan struct{}, 1))
		took := make(chan bool)
		go func() {
			_, ok := o.take(0)
			took <- ok
		}()
		change(o)
		if ok := <-took; ok != (name != "end") {
			t.Errorf("%s: took something: %v", name, ok)
		}
	}
}

// A deadline that is not the drain's ends a read, whoever has set it: gorilla sets one for its handshake.
func TestDeadlineEndsARead(t *testing.T) {
	for name, set := range map[string]func(w *wire, at time.Time) error{
		"both": (*wire).SetDeadline, "reads": (*wire).SetReadDeadline,
		"under the wire": func(w *wire, at time.Time) error { return w.Conn.SetDeadline(at) },
	} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			defer theirs.Close()
			w := &wire{Conn: ours}
			if err := set(w, time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if _, err := w.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != time.Second {
				t.Errorf("%s: error %v after %v, want that of the deadline after 1s", name, err, time.Since(begun))
			}
		})
	}
}
