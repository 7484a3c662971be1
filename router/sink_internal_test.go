package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/signal"
)

// newTestSink returns a sink for five records, and its log.
func newTestSink(t *testing.T, p Policy, d Drain) (*Sink, *logBook) {
	t.Helper()
	logged := &logBook{}
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	log := slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{ReplaceAttr: noTime}))
	return NewSink(SinkOptions{Name: "audit", Format: signal.FormatSignal, Records: 5, Bytes: 1 << 20, Policy: p, Drain: d, Logger: log}), logged
}

// take returns what was logged since the last call.
func (b *logBook) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.text.Reset()
	return b.text.String()
}

// putNumbered puts count records, numbered from first on.
func putNumbered(t *testing.T, s *Sink, connection string, first, count uint64) {
	t.Helper()
	c := s.queue.ChunkOf(s.origin(connection))
	for seq := first; seq < first+count; seq++ {
		c.Commit(fmt.Appendf(c.Buffer(), "%s %d\n", connection, seq), seq)
	}
	if err := s.queue.Put(t.Context(), c); err != nil {
		t.Errorf("Put: %v", err)
	}
}

func TestSinkPolicies(t *testing.T) {
	for _, p := range []Policy{Block, Fail} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.Contains(text, "not "+p.String()) {
					t.Errorf("a sink with %s: %s", p, text)
				}
			}()
			NewSink(SinkOptions{Policy: p})
		}()
	}
}

// A sink announces what it lost to its own output, for each connection, and logs it.
func TestSinkAnnouncesLosses(t *testing.T) {
	for _, test := range []struct {
		policy Policy
		want   string // the types of the announcements in place
	}{
		{DropOldest, "(a 3 1-3) b 7|b 8|a 9|a 10|a 11|"},
		{DropNewest, "a 1|a 2|a 3|b 7|b 8|(a 3 9-11) "},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out strings.Builder
			s, logged := newTestSink(t, test.policy, WriterDrain(&out))
			putNumbered(t, s, "a", 1, 3)
			putNumbered(t, s, "b", 7, 2)
			putNumbered(t, s, "a", 9, 3)
			s.start(t.Context())
			s.end()
			<-s.done
			if s.err != nil {
				t.Errorf("the drain ended: %v", s.err)
			}
			if got := readable(t, out.String()); got != test.want {
				t.Errorf("the output has %s, want %s", got, test.want)
			}
			wantLine := `level=WARN msg="signals were lost" sink=audit connection=a count=`
			if text := logged.take(); !strings.Contains(text, wantLine) {
				t.Errorf("the log lacks %s:\n%s", wantLine, text)
			}
			for _, o := range s.counters() {
				if o.Connection == "a" && o.Delivered.Load()+o.Dropped.Load() != 6 {
					t.Errorf("%d delivered and %d dropped, of 6", o.Delivered.Load(), o.Dropped.Load())
				}
			}
		})
	}
}

// A sink has not ended while its last losses are still being logged: a process that waits for its
// end may exit then.
func TestSinkEndsAfterItsLossesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logging, proceed := make(chan struct{}), make(chan struct{})
		s, logged := newTestSink(t, DropOldest, Discard())
		s.losses.log = slog.New(slowHandler{s.losses.log.Handler(), logging, proceed})
		putNumbered(t, s, "a", 1, 6)
		<-logging // on a goroutine that the sink does not know
		s.start(t.Context())
		s.end()
		synctest.Wait()
		if s.hasEnded() {
			t.Error("the sink has ended, and its loss is not logged")
		}
		close(proceed)
		<-s.done
		if text := logged.take(); strings.Count(text, "signals were lost") != 1 {
			t.Errorf("the log has, instead of one line about the loss:\n%s", text)
		}
	})
}

// A slowHandler says that it logs, and waits before it does.
type slowHandler struct {
	slog.Handler
	logging chan<- struct{}
	proceed <-chan struct{}
}

func (h slowHandler) Handle(ctx context.Context, r slog.Record) error {
	h.logging <- struct{}{}
	<-h.proceed
	return h.Handler.Handle(ctx, r)
}

// A drain that stands still takes no announcement. What is lost meanwhile is logged all the same,
// at once and then now and again.
func TestSinkLogsLossesOfAStandingDrain(t *testing.T) {
	for _, p := range []Policy{DropOldest, DropNewest} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			s, logged := newTestSink(t, p, drainFunc(func(ctx context.Context, q *Queue) error {
				c, err := q.Take(ctx)
				if err == nil {
					<-ctx.Done()
					q.ReleaseFirst(c, 0)
				}
				return ctx.Err()
			}))
			s.start(ctx)
			putNumbered(t, s, "a", 1, 1) // which the drain has in hand
			synctest.Wait()
			want := func(count, first, last int) {
				t.Helper()
				synctest.Wait()
				line := fmt.Sprintf("sink=audit connection=a count=%d policy=%s first_seq=%d last_seq=%d\n", count, p, first, last)
				if text := logged.take(); strings.Count(text, "signals were lost") != 1 || !strings.Contains(text, line) {
					t.Errorf("%s: the log has, instead of one line with %s:\n%s", p, line, text)
				}
			}
			// What comes is lost behind the four that wait, or they are, the oldest first.
			newest := p == DropNewest
			putNumbered(t, s, "a", 2, 7)
			want(3, either(newest, 6, 2), either(newest, 8, 4))
			putNumbered(t, s, "a", 9, 2)
			putNumbered(t, s, "a", 11, 1)
			synctest.Wait()
			if text := logged.take(); text != "" {
				t.Errorf("%s: logged at once again: %s", p, text)
			}
			time.Sleep(lossReportInterval)
			want(3, either(newest, 9, 5), either(newest, 11, 7))
			putNumbered(t, s, "a", 12, 1)
			cancel()
			<-s.done
			want(6, 1, 12) // with what it had in hand, and what waited
		})
	}
}

func either(first bool, a, b int) int {
	if first {
		return a
	}
	return b
}

// readable shortens the announcements in an output and its line breaks.
func readable(t *testing.T, text string) string {
	t.Helper()
	var short strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "{") {
			short.WriteString(strings.TrimSuffix(line, "\n") + "|")
			continue
		}
		var d struct {
			Type string
			Data struct {
				Connection string `json:"connection_name"`
				Count      int
				First      int `json:"first_seq"`
				Last       int `json:"last_seq"`
			}
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil || d.Type != "phoenix.signal.dropped" {
			t.Errorf("%v: %s", err, line)
		}
		fmt.Fprintf(&short, "(%s %d %d-%d) ", d.Data.Connection, d.Data.Count, d.Data.First, d.Data.Last)
	}
	return short.String()
}

// A sink that loses all the time logs that now and then: what was lost since the last line, of
// each connection.
func TestSinkLogsLossesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, logged := newTestSink(t, DropOldest, nil)
		lines := func() string {
			synctest.Wait()
			return strings.ReplaceAll(logged.take(), `level=WARN msg="signals were lost" sink=audit `, "")
		}
		putNumbered(t, s, "a", 1, 6)
		if got, want := lines(), "connection=a count=1 policy=drop-oldest first_seq=1 last_seq=1\n"; got != want {
			t.Errorf("logged %s, want %s", got, want)
		}
		for seq := uint64(7); seq < 13; seq += 2 { // one gap, which grows while it is weighed
			putNumbered(t, s, "a", seq, 2)
		}
		putNumbered(t, s, "b", 1, 7)
		if got := lines(); got != "" {
			t.Errorf("logged at once %s", got)
		}
		time.Sleep(lossReportInterval)
		want := "connection=a count=11 policy=drop-oldest first_seq=2 last_seq=12\n" +
			"connection=b count=2 policy=drop-oldest first_seq=1 last_seq=2\n"
		if got := lines(); got != want {
			t.Errorf("logged %s, want %s", got, want)
		}
		time.Sleep(2 * lossReportInterval)
		if got := lines(); got != "" {
			t.Errorf("logged without a loss %s", got)
		}
		s.forget("a")
		s.forget("b")
		if n := len(s.counters()); n != 0 {
			t.Errorf("%d connections are known", n)
		}
	})
}

// What a drain that gave up has not delivered is counted, and nobody waits for it.
func TestSinkDies(t *testing.T) {
	for name, run := range map[string]drainFunc{
		"error": func(context.Context, *Queue) error { return io.ErrClosedPipe },
		"panic": func(context.Context, *Queue) error { panic("a bug in a drain") },
	} {
		t.Run(name, func(t *testing.T) {
			s, logged := newTestSink(t, DropOldest, run)
			putNumbered(t, s, "a", 1, 3)
			s.start(t.Context())
			<-s.done
			if n := s.origin("a").Dropped.Load(); n != 3 || s.err == nil {
				t.Errorf("%d records count as dropped after %v", n, s.err)
			}
			if err := s.queue.Put(t.Context(), record(s.queue, s.origin("a"))); !errors.Is(err, s.err) {
				t.Errorf("Put to a dead sink: %v", err)
			}
			if text := logged.take(); !strings.Contains(text, "the sink has ended") {
				t.Errorf("logged %s", text)
			}
		})
	}
}

func record(q *Queue, o *Origin) *Chunk {
	c := q.ChunkOf(o)
	c.Commit(append(c.Buffer(), "x\n"...), 1)
	return c
}

// Only drains that can do it are told to reopen.
func TestSinkReopens(t *testing.T) {
	s, _ := newTestSink(t, DropNewest, Discard())
	s.reopen()
	d := &reopening{}
	s, _ = newTestSink(t, DropNewest, d)
	s.reopen()
	if !d.reopened {
		t.Error("the drain was not told")
	}
	if s.Name() != "audit" || s.Format() != signal.FormatSignal || s.input() != s.queue {
		t.Errorf("the sink is %s, %s", s.Name(), s.Format())
	}
}

type reopening struct {
	discard
	reopened bool
}

func (r *reopening) Reopen() { r.reopened = true }

// A loss is announced in the name of its connection, and that of nobody is not.
func TestSinkAnnouncesOfConnections(t *testing.T) {
	s := NewSink(SinkOptions{Policy: DropOldest, Bytes: 1000})
	for i := range 3 {
		name := fmt.Sprint("c", i)
		got := string(s.announce(nil, Loss{Origin: NewOrigin(name), Count: 1}))
		if !strings.Contains(got, `"source":"/jidoka/phoenix/`+name+`"`) || !strings.HasSuffix(got, "\n") {
			t.Errorf("announced %s of %s", got, name)
		}
	}
	if got := s.announce(nil, Loss{Count: 1}); got != nil {
		t.Errorf("announced %s of nobody", got)
	}
}
