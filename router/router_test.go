package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/signal"
)

func TestSinkGetsASignalOnce(t *testing.T) {
	var all, some recorder
	r := New(nil)
	some1 := mustCompile(t, "phoenix.backend.**")
	apply(t, r, []*Sink{roomySink("all", &all), roomySink("some", &some)}, []Route{
		{To: []string{"all"}},
		{Filter: Filter{Match: &some1}, To: []string{"some", "all"}},
		{To: []string{"all", "all"}},
	})
	backend, billing := r.Publisher("backend"), r.Publisher("billing")
	for seq := range uint64(3) {
		backend.Publish(tick(seq + 1))
		billing.Publish(tick(seq + 1))
	}
	backend.Flush()
	billing.Flush()
	shutdown(t, r)
	for _, check := range []struct {
		name string
		got  []uint64
		want []uint64
	}{
		{"all of backend", all.of("backend"), numbers(3)},
		{"all of billing", all.of("billing"), numbers(3)},
		{"some of backend", some.of("backend"), numbers(3)},
		{"some of billing", some.of("billing"), nil},
	} {
		if !slices.Equal(check.got, check.want) {
			t.Errorf("%s: %v, want %v", check.name, check.got, check.want)
		}
	}
}

func TestNoRouteLeadsNowhere(t *testing.T) {
	var out recorder
	r := New(nil)
	p := r.Publisher("backend")
	p.Publish(tick(1))
	p.Flush()
	apply(t, r, []*Sink{roomySink("out", &out)}, nil)
	p.Publish(tick(2))
	p.Flush()
	p.Flush()
	shutdown(t, r)
	if got := out.of("backend"); got != nil {
		t.Errorf("%v came without a route", got)
	}
}

func TestApplyErrorsChangeNothing(t *testing.T) {
	var out recorder
	r := New(nil)
	sink := roomySink("out", &out)
	gone := roomySink("gone", Discard())
	apply(t, r, []*Sink{sink, gone}, toAll("out"))
	apply(t, r, []*Sink{sink}, toAll("out"))
	<-gone.done
	for want, change := range map[string]func() error{
		`two sinks called "out"`: func() error { return r.Apply([]*Sink{sink, roomySink("out", Discard())}, nil) },
		`no sink of that name`:   func() error { return r.Apply([]*Sink{sink}, toAll("out", "audit")) },
		`taken away before`:      func() error { return r.Apply([]*Sink{sink, roomySink("new", Discard()), gone}, nil) },
	} {
		if err := change(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	p := r.Publisher("backend")
	p.Publish(tick(1))
	p.Flush()
	shutdown(t, r)
	if got := out.of("backend"); !slices.Equal(got, numbers(1)) {
		t.Errorf("after the errors: %v", got)
	}
	if err := r.Apply([]*Sink{sink}, nil); err != ErrShutDown {
		t.Errorf("Apply after Shutdown: %v", err)
	}
	shutdown(t, r) // does nothing
}

// TestReplacementWaits: of two sinks of one name, the second delivers when the first has.
func TestReplacementWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var first, second, third recorder
		r := New(nil)
		slow := drainFunc(func(ctx context.Context, q *Queue) error {
			<-release
			return first.Run(ctx, q)
		})
		apply(t, r, []*Sink{roomySink("out", slow)}, toAll("out"))
		p := r.Publisher("backend")
		p.Publish(tick(1))
		apply(t, r, []*Sink{roomySink("out", &second)}, toAll("out"))
		p.Publish(tick(2))
		p.Flush()
		synctest.Wait()
		apply(t, r, []*Sink{roomySink("out", &third)}, toAll("out"))
		p.Publish(tick(3))
		p.Flush()
		synctest.Wait()
		if len(second.of("backend"))+len(third.of("backend")) > 0 {
			t.Error("a replacement did not wait")
		}
		close(release)
		synctest.Wait()
		for i, out := range []*recorder{&first, &second, &third} {
			if got := out.of("backend"); !slices.Equal(got, []uint64{uint64(i + 1)}) {
				t.Errorf("sink %d got %v", i+1, got)
			}
		}
		shutdown(t, r)
	})
}

// reopened counts calls of Reopen.
type reopened struct {
	recorder
	times int
}

func (d *reopened) Reopen() { d.times++ }

func TestReopen(t *testing.T) {
	r := New(nil)
	file := &reopened{}
	apply(t, r, []*Sink{roomySink("file", file), roomySink("other", Discard())}, nil)
	r.Reopen()
	shutdown(t, r)
	if file.times != 1 {
		t.Errorf("reopened %d times, want once", file.times)
	}
}

// A recorder is a drain that keeps what it gets, for each connection apart.
type recorder struct {
	mu    sync.Mutex
	lines map[string][]string
	seqs  map[string][]uint64
}

func (r *recorder) Run(ctx context.Context, q *Queue) error {
	for {
		c, err := q.Take(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		r.record(c)
		q.Release(c)
	}
}

func (r *recorder) record(c *Chunk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines == nil {
		r.lines, r.seqs = map[string][]string{}, map[string][]uint64{}
	}
	for i := range c.Len() {
		line, seq := c.Record(i)
		connection := c.OriginOf(i).Connection
		r.lines[connection] = append(r.lines[connection], string(line))
		r.seqs[connection] = append(r.seqs[connection], seq)
	}
}

// of returns the numbers of what came from a connection.
func (r *recorder) of(connection string) []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seqs[connection]
}

// A drainFunc is a drain that does what a test wants.
type drainFunc func(ctx context.Context, q *Queue) error

func (f drainFunc) Run(ctx context.Context, q *Queue) error { return f(ctx, q) }

// roomySink returns a sink that loses nothing.
func roomySink(name string, d Drain) *Sink {
	return NewSink(SinkOptions{Name: name, Bytes: 1 << 30, Policy: DropOldest, Drain: d})
}

// A logBook is a logger that a test can read.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// count returns how often text was logged.
func (b *logBook) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), text)
}

// tick is a message, the usual event.
func tick(seq uint64) *phoenix.Event { return messageOf("room:lobby", "tick", seq) }

func messageOf(topic, name string, seq uint64) *phoenix.Event {
	return &phoenix.Event{
		Time: time.Unix(1_800_000_000, int64(seq)), Session: 1, Seq: seq, Topic: topic, Name: name,
		Payload: phoenix.JSON(`{"n":1}`), Detail: &phoenix.Message{},
	}
}

// toAll is the route of every signal to the sinks.
func toAll(names ...string) []Route { return []Route{{To: names}} }

func apply(t *testing.T, r *Router, sinks []*Sink, routes []Route) {
	t.Helper()
	if err := r.Apply(sinks, routes); err != nil {
		t.Fatal(err)
	}
}

func shutdown(t *testing.T, r *Router) {
	t.Helper()
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// lineOf returns the line of an event as an encoder of its own writes it.
func lineOf(format signal.Format, connection string, ev *phoenix.Event) string {
	return string(signal.NewEncoder(format, connection).Append(nil, ev))
}

// takeWaiting records what waits for a subscription.
func takeWaiting(s *Subscription, into *recorder) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		c, err := s.Take(ended)
		if err != nil {
			return
		}
		into.record(c)
		s.Release(c)
	}
}

// numbers returns 1 to n.
func numbers(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	return all
}

// TestGraceRunsOut: a sink that was taken away and does not get on is stopped, also while a
// publisher has forgotten to flush.
func TestGraceRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopped time.Duration
		start := time.Now()
		r := New(nil)
		r.Grace = 3 * time.Second
		sink := roomySink("stuck", drainFunc(func(ctx context.Context, q *Queue) error {
			<-ctx.Done()
			stopped = time.Since(start)
			return ctx.Err()
		}))
		var other recorder
		apply(t, r, []*Sink{sink, roomySink("other", &other)}, toAll("stuck", "other"))
		p := r.Publisher("backend")
		for seq := range uint64(5) {
			p.Publish(tick(seq + 1))
		}
		p.Flush()
		p.Publish(tick(6))
		apply(t, r, nil, nil)
		synctest.Wait()
		if got := other.of("backend"); !slices.Equal(got, numbers(5)) {
			t.Errorf("beside a stuck sink, another got %v", got)
		}
		<-sink.done
		synctest.Wait()
		p.Flush()
		if stopped != r.Grace {
			t.Errorf("stopped after %v, want %v", stopped, r.Grace)
		}
		if o := sink.origin("backend"); o.Delivered.Load() != 0 || o.Dropped.Load() != 6 {
			t.Errorf("delivered %d, dropped %d, want 0 and 6", o.Delivered.Load(), o.Dropped.Load())
		}
		shutdown(t, r)
	})
}

func TestShutdownDeliversEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(out *recorder) Drain {
			return drainFunc(func(ctx context.Context, q *Queue) error {
				time.Sleep(2 * time.Second)
				return out.Run(ctx, q)
			})
		}
		var kept, left recorder
		r := New(nil)
		sink := roomySink("kept", slow(&kept))
		apply(t, r, []*Sink{sink, roomySink("left", slow(&left))}, toAll("kept", "left"))
		sub := r.Subscribe(Filter{}, signal.FormatPayload, 1<<20)
		p := r.Publisher("backend")
		p.Publish(tick(1))
		apply(t, r, []*Sink{sink}, toAll("kept"))
		p.Publish(tick(2))
		p.Flush()
		shutdown(t, r)
		p.Publish(tick(3))
		p.Flush()
		if got := kept.of("backend"); !slices.Equal(got, numbers(2)) {
			t.Errorf("the sink got %v, want 1 and 2", got)
		}
		if got := left.of("backend"); !slices.Equal(got, numbers(1)) {
			t.Errorf("the sink that was leaving got %v, want 1", got)
		}
		var got recorder
		takeWaiting(sub, &got)
		if !slices.Equal(got.of("backend"), numbers(2)) {
			t.Errorf("the subscription got %v, want 1 and 2", got.of("backend"))
		}
		if _, err := sub.Take(t.Context()); err != io.EOF {
			t.Errorf("then %v, want io.EOF", err)
		}
		if _, err := r.Subscribe(Filter{}, signal.FormatSignal, 1<<20).Take(t.Context()); err != io.EOF {
			t.Errorf("a subscription after the end: %v, want io.EOF", err)
		}
	})
}

// TestShutdownGivesUp on sinks that are stuck: one obeys its ctx, one does not even that, one was
// leaving.
func TestShutdownGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		obedient := drainFunc(func(ctx context.Context, q *Queue) error { <-ctx.Done(); return context.Cause(ctx) })
		deaf := drainFunc(func(ctx context.Context, q *Queue) error { <-release; return nil })
		dead := drainFunc(func(ctx context.Context, q *Queue) error { return errors.New("broken") })
		var fine recorder
		log := &logBook{}
		r := New(log.logger())
		stay := []*Sink{roomySink("obedient", obedient), roomySink("deaf", deaf), roomySink("dead", dead), roomySink("fine", &fine)}
		apply(t, r, append([]*Sink{roomySink("leaving", deaf)}, stay...), toAll("obedient", "deaf", "dead", "fine", "leaving"))
		p := r.Publisher("backend")
		p.Publish(tick(1))
		p.Publish(tick(2))
		p.Flush()
		apply(t, r, stay, toAll("obedient", "deaf"))
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := r.Shutdown(ctx)
		if want := "sinks that did not deliver everything: dead, deaf, leaving, obedient"; err == nil || err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		if took := time.Since(start); took != 2*time.Second+lastChance {
			t.Errorf("Shutdown took %v", took)
		}
		if got := fine.of("backend"); !slices.Equal(got, numbers(2)) {
			t.Errorf("the sink beside them got %v", got)
		}
		for _, s := range stay[:3] {
			if o := s.origin("backend"); o.Dropped.Load() != 2 {
				t.Errorf("%s: %d dropped, want 2", s.Name(), o.Dropped.Load())
			}
		}
		if err := stay[0].err; err != errTimeOver {
			t.Errorf("the log has %v, of which nobody knows what it is about", err)
		}
		if n := log.count("a sink is stuck"); n != 2 {
			t.Errorf("logged %d stuck sinks, want 2: %s", n, &log.text)
		}
	})
}

// TestDeadSink: what comes for a sink whose drain failed is counted, and nobody else notices.
func TestDeadSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var other recorder
		log := &logBook{}
		dead := NewSink(SinkOptions{
			Name: "dead", Bytes: 1 << 20, Policy: DropNewest, Logger: log.logger(),
			Drain: drainFunc(func(ctx context.Context, q *Queue) error {
				c, err := q.Take(ctx)
				if err == nil {
					q.Release(c)
				}
				return errors.New("no space left on device")
			}),
		})
		r := New(nil)
		apply(t, r, []*Sink{dead, roomySink("other", &other)}, toAll("dead", "other"))
		p := r.Publisher("backend")
		for seq := range uint64(10) {
			p.Publish(tick(seq + 1))
			p.Flush()
			synctest.Wait()
		}
		rows := r.Stats()
		want := []SinkStats{
			{Name: "dead", Err: dead.err, Tried: untried, Connections: []ConnectionStats{{"backend", 1, 9}}},
			{Name: "other", Tried: untried, Connections: []ConnectionStats{{"backend", 10, 0}}},
		}
		if !reflect.DeepEqual(rows, want) {
			t.Errorf("Stats: %+v, want %+v", rows, want)
		}
		if n := log.count("level=ERROR"); n != 1 || log.count("no space left on device") != 1 {
			t.Errorf("%d errors logged, want 1: %s", n, &log.text)
		}
		r.Forget("backend")
		for _, row := range r.Stats() {
			if row.Connections != nil {
				t.Errorf("after Forget: %+v", row)
			}
		}
		if err := r.Shutdown(t.Context()); err == nil || !strings.Contains(err.Error(), "dead") {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// TestSinkTakenAwayHoldsNoProgress: what a sink has not delivered, because it stands still or is dead, holds the progress of its connection
// until the sink is taken away and has had its grace. Then it is lost, and announced; the signals of then count for the sinks of then.
func TestSinkTakenAwayHoldsNoProgress(t *testing.T) {
	dies := drainFunc(func(ctx context.Context, q *Queue) error {
		c, err := q.Take(ctx)
		if err == nil {
			q.ReleaseFirst(c, 0)
		}
		return errors.New("no space left on device")
	})
	for name, drain := range map[string]drainFunc{"stands still": stuckDrain, "dead": dies} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var other recorder
				log := &logBook{}
				r := New(nil)
				sink, kept := tellingSink("sink", "", 100, drain, log), roomySink("other", &other)
				apply(t, r, []*Sink{sink, kept}, toAll("sink", "other"))
				progress, p := NewProgress(), r.Publisher("backend")
				p.Follow(progress)
				expect := func(want uint64, when string) {
					t.Helper()
					synctest.Wait()
					if got := progress.Done(); got != want {
						t.Errorf("%s: done up to %d, want %d", when, got, want)
					}
				}
				publish(p, 1, 3)
				expect(0, "while the sink is there")
				again := tellingSink("sink", "", 100, drainFunc(stuckDrain), log)
				apply(t, r, []*Sink{again, kept}, toAll("sink", "other"))
				publish(p, 4, 5)
				time.Sleep(r.Grace + lastChance)
				expect(3, "after its replacement")
				if log.count("signals were lost") == 0 {
					t.Errorf("the loss was not logged: %s", log)
				}
				apply(t, r, []*Sink{kept}, toAll("other"))
				time.Sleep(r.Grace + lastChance)
				expect(5, "without it")
				publish(p, 6, 6)
				expect(6, "later")
				shutdown(t, r)
				if got := other.of("backend"); !slices.Equal(got, numbers(6)) {
					t.Errorf("the other sink has %v", got)
				}
			})
		})
	}
}

// TestShutdownHoldsProgress: what a sink has not delivered when the router is shut down comes again.
func TestShutdownHoldsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(nil)
		apply(t, r, []*Sink{roomySink("sink", drainFunc(stuckDrain))}, toAll("sink"))
		progress, p := NewProgress(), r.Publisher("backend")
		p.Follow(progress)
		publish(p, 1, 3)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Shutdown(ctx); err == nil {
			t.Error("everything was delivered")
		}
		if done := progress.Done(); done != 0 {
			t.Errorf("done up to %d", done)
		}
	})
}

// TestTableInUseIsNotOver: whoever has acquired a table may put what it says, because the sinks it
// leads to still listen.
func TestTableInUseIsNotOver(t *testing.T) {
	r := New(nil)
	var users sync.WaitGroup
	ended := make(chan struct{})
	for range 4 {
		users.Go(func() {
			for stillOn(ended) {
				table := r.acquire()
				for range 3 {
					if table.over.Load() {
						t.Error("a table in use is over")
					}
					runtime.Gosched()
				}
				table.release()
			}
		})
	}
	for range 20_000 {
		next, err := newTable(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-r.swap(next).idle // waits for all who use it
	}
	close(ended)
	users.Wait()
}

// TestTableWaitsForOlderOnes: a sink may be in several tables, and the oldest may be in use
// longest.
func TestTableWaitsForOlderOnes(t *testing.T) {
	r := New(nil)
	first := r.acquire()
	var tables []*table
	for range 3 {
		next, err := newTable(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, r.swap(next))
	}
	second := r.acquire()
	for i, table := range tables {
		if table.over.Load() {
			t.Errorf("table %d is over while the first one is in use", i)
		}
	}
	first.release()
	for i, table := range tables {
		if !table.over.Load() {
			t.Errorf("table %d is not over", i)
		}
	}
	if second.release(); second.over.Load() {
		t.Error("the router's table is over")
	}
}

// untried is what a drain says that counts no attempts.
var untried = Tried{Attempts: map[string]uint64{}}

// TestStatsTellWhatWaits: a signal waits until it is delivered or lost, also while the drain works
// on it, and announcements are none of those that wait.
func TestStatsTellWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := make(chan func(q *Queue, held *[]*Chunk))
		drain := drainFunc(func(ctx context.Context, q *Queue) error {
			var held []*Chunk
			for step := range steps {
				step(q, &held)
			}
			for _, c := range held {
				q.ReleaseFirst(c, 0)
			}
			return nil
		})
		r := New(nil)
		s := NewSink(SinkOptions{Name: "out", Kind: "test", Format: signal.FormatSignal, Records: 4, Bytes: 1 << 20, Policy: DropOldest, Drain: drain})
		apply(t, r, []*Sink{s}, toAll("out"))
		p := r.Publisher("backend")
		size := int64(len(lineOf(signal.FormatSignal, "backend", tick(1))))
		var seq uint64
		put := func(n int) {
			for range n {
				seq++
				p.Publish(tick(seq))
			}
			p.Flush()
		}
		failed := untried
		check := func(when string, want SinkStats) {
			t.Helper()
			synctest.Wait()
			want.Name, want.Kind, want.Tried = "out", "test", failed
			got := r.Stats()[0]
			if got.Oldest < want.Oldest || got.Oldest >= want.Oldest+stampEvery {
				t.Errorf("%s: the oldest has waited for %v, want %v or a little more", when, got.Oldest, want.Oldest)
			}
			got.Oldest = want.Oldest
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
		of := func(delivered, dropped uint64) []ConnectionStats {
			return []ConnectionStats{{"backend", delivered, dropped}}
		}
		put(2)
		check("two wait", SinkStats{Waiting: 2, WaitingBytes: 2 * size, Connections: of(0, 0)})
		time.Sleep(3 * time.Second)
		put(1)
		check("one more, later", SinkStats{Waiting: 3, WaitingBytes: 3 * size, Oldest: 3 * time.Second, Connections: of(0, 0)})
		steps <- func(q *Queue, held *[]*Chunk) {
			c, _ := q.TakeSome(t.Context(), 2)
			*held = append(*held, c)
		}
		check("two are taken", SinkStats{Waiting: 3, WaitingBytes: 3 * size, Oldest: 3 * time.Second, Connections: of(0, 0)})
		time.Sleep(time.Second)
		steps <- func(q *Queue, held *[]*Chunk) { q.Advance((*held)[0], 1) }
		check("one is delivered", SinkStats{Waiting: 2, WaitingBytes: 2 * size, Oldest: 4 * time.Second, Connections: of(1, 0)})
		steps <- func(q *Queue, held *[]*Chunk) {
			q.attempted("500", errors.New("the answer was 500"))
			q.GiveBack((*held)[0], 0, 0)
			*held = nil
		}
		failed = Tried{Attempts: map[string]uint64{"500": 1}, LastError: "the answer was 500", LastErrorAt: time.Now(), Failing: true}
		check("the other one waits again",
			SinkStats{Waiting: 2, WaitingBytes: 2 * size, Oldest: 4 * time.Second, Connections: of(1, 0)})
		time.Sleep(time.Second)
		put(3)
		check("the oldest was lost",
			SinkStats{Waiting: 4, WaitingBytes: 4 * size, Oldest: 2 * time.Second, Connections: of(1, 1)})
		steps <- func(q *Queue, _ *[]*Chunk) {
			c, _ := q.Take(t.Context())
			q.Release(c)
		}
		synctest.Wait()
		if got := r.Stats()[0]; got.Failing || got.LastError == "" {
			t.Errorf("after a delivery: %+v, want a last error, and no failure", got)
		}
		close(steps)
		shutdown(t, r)
		if rows := r.Stats(); len(rows) != 0 {
			t.Errorf("after Shutdown: %+v", rows)
		}
	})
}

// TestCountersGoOn when a sink is replaced by another one of its name, while the first still
// delivers and afterwards.
func TestCountersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(nil)
		p := r.Publisher("backend")
		var seq uint64
		put := func() {
			seq++
			p.Publish(tick(seq))
			p.Flush()
			synctest.Wait()
		}
		check := func(when string, delivered, dropped uint64) {
			t.Helper()
			want := []ConnectionStats{{"backend", delivered, dropped}}
			if rows := r.Stats(); len(rows) != 1 || !slices.Equal(rows[0].Connections, want) {
				t.Errorf("%s: %+v, want %+v", when, rows, want)
			}
		}
		// The first one delivers two signals and is stuck with the third.
		stuck := drainFunc(func(ctx context.Context, q *Queue) error {
			for range 2 {
				c, err := q.Take(ctx)
				if err != nil {
					return err
				}
				q.Release(c)
			}
			<-ctx.Done()
			return ctx.Err()
		})
		apply(t, r, []*Sink{roomySink("out", stuck)}, toAll("out"))
		put()
		put()
		put()
		apply(t, r, []*Sink{roomySink("out", Discard())}, toAll("out"))
		check("while the first one is leaving", 2, 0)
		time.Sleep(r.Grace)
		put()
		check("when it is gone", 3, 1)
		r.Forget("backend")
		if rows := r.Stats(); len(rows) != 1 || rows[0].Connections != nil {
			t.Errorf("after Forget: %+v", rows)
		}
		shutdown(t, r)
	})
}

// TestApplyUnderLoad: while connections put numbered signals, sinks, routes and subscriptions
// change. What each one gets is compared whole.
func TestApplyUnderLoad(t *testing.T) {
	const perConnection = 4000
	connections := []string{"c0", "c1", "c2", "c3"}
	r := New(nil)
	var kept recorder
	keptSink := roomySink("kept", &kept)
	var rotated []*recorder // one after the other, each for a while
	var last *Sink
	rotate := func() {
		out := &recorder{}
		rotated = append(rotated, out)
		last = roomySink("rotated", out)
		// The routes differ, too, and lead to the same.
		routes := toAll("kept", "rotated")
		if len(rotated)%2 == 0 {
			everything := mustCompile(t, "phoenix.**")
			routes = []Route{{To: []string{"rotated"}}, {Filter: Filter{Match: &everything}, To: []string{"kept"}}, {To: []string{"kept"}}}
		}
		apply(t, r, []*Sink{keptSink, last}, routes)
	}
	rotate()

	beat := make(chan struct{}) // the publishers wait for the next change now and then, so that there are many
	var publishers sync.WaitGroup
	for i, connection := range connections {
		publishers.Go(func() {
			p := r.Publisher(connection)
			defer p.Flush()
			for seq := range uint64(perConnection) {
				p.Publish(messageOf("room:"+strconv.FormatUint(seq%7, 10), "tick", seq+1))
				if seq%uint64(3+20*i) == 0 {
					p.Flush()
				}
				if seq%100 == 99 {
					beat <- struct{}{}
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { publishers.Wait(); close(ended) }()

	var subscribers sync.WaitGroup
	for range 2 {
		subscribers.Go(func() {
			for stillOn(ended) {
				checkSubscriber(t, r)
			}
		})
	}
	for stillOn(ended) {
		select {
		case <-beat:
			rotate()
			r.Stats()
		case <-ended:
		}
	}
	subscribers.Wait()
	shutdown(t, r)

	for _, connection := range connections {
		if got := kept.of(connection); !slices.Equal(got, numbers(perConnection)) {
			t.Errorf("the sink that stayed got %s", gaps(got))
		}
		var got []uint64
		for _, out := range rotated {
			got = append(got, out.of(connection)...)
		}
		if !slices.Equal(got, numbers(perConnection)) {
			t.Errorf("the sinks one after the other got %s", gaps(got))
		}
	}
}

func stillOn(ended <-chan struct{}) bool {
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// checkSubscriber subscribes for a while: what comes from a connection has no gaps.
func checkSubscriber(t *testing.T, r *Router) {
	s := r.Subscribe(Filter{}, signal.FormatSignal, 1<<30)
	defer s.Close()
	var got recorder
	for range 20 {
		takeWaiting(s, &got)
		runtime.Gosched()
	}
	for connection, seqs := range got.seqs {
		for i, seq := range seqs {
			if seq != seqs[0]+uint64(i) {
				t.Errorf("a subscriber got from %s %s", connection, gaps(seqs))
				return
			}
		}
	}
}

// gaps describes numbers by the places where they do not go on.
func gaps(seqs []uint64) string {
	text := fmt.Sprintf("%d numbers", len(seqs))
	for i := 1; i < len(seqs); i++ {
		if seqs[i] != seqs[i-1]+1 {
			text += fmt.Sprintf(", %d after %d", seqs[i], seqs[i-1])
		}
		if len(text) > 500 {
			break
		}
	}
	return text
}
