package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/signal"
)

// stuckDrain takes one chunk, and nothing else until its ctx ends.
func stuckDrain(ctx context.Context, q *Queue) error {
	c, err := q.Take(ctx)
	if err == nil {
		<-ctx.Done()
		q.ReleaseFirst(c, 0)
	}
	return context.Cause(ctx)
}

// tellingSink returns a sink for so many records whose losses are told to another one.
func tellingSink(name, onLoss string, records int, d Drain, log *logBook) *Sink {
	return NewSink(SinkOptions{
		Name: name, Format: signal.FormatSignal, Records: records, Bytes: 1 << 30, Policy: DropOldest, OnLoss: onLoss, Drain: d, Logger: log.logger(),
	})
}

// told returns the announcements in an output as "sink connection count first-last|", and how many
// signals they announce.
func told(t *testing.T, out string) (text string, sum uint64) {
	t.Helper()
	for line := range strings.Lines(out) {
		var s struct {
			Type string
			Data struct {
				Sink       string
				Connection string `json:"connection_name"`
				Count      uint64
				First      uint64 `json:"first_seq"`
				Last       uint64 `json:"last_seq"`
			}
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if s.Type == "phoenix.signal.dropped" {
			d := s.Data
			text += fmt.Sprintf("%s %s %d %d-%d|", d.Sink, d.Connection, d.Count, d.First, d.Last)
			sum += d.Count
		}
	}
	return text, sum
}

// publish publishes the signals from first to last of a connection.
func publish(p *Publisher, first, last uint64) {
	for seq := first; seq <= last; seq++ {
		p.Publish(tick(seq))
		p.Flush()
	}
}

// TestOnLoss: while a sink stands still, the other one is told of what it loses, now and then, and
// at the end of the rest, which only then is lost.
func TestOnLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var audit logBook
		log := &logBook{}
		r := New(nil)
		apply(t, r, []*Sink{
			tellingSink("hook", "audit", 5, drainFunc(stuckDrain), log), roomySink("audit", WriterDrain(&audit)),
		}, toAll("hook"))
		p := r.Publisher("backend")
		want := func(want string) {
			t.Helper()
			synctest.Wait()
			if got, _ := told(t, audit.String()); got != want {
				t.Errorf("told %s\nwant %s", got, want)
			}
		}
		publish(p, 1, 1)
		synctest.Wait() // it is in hand
		publish(p, 2, 6)
		want("hook backend 1 2-2|")
		publish(p, 7, 20)
		want("hook backend 1 2-2|")
		time.Sleep(lossReportInterval)
		want("hook backend 1 2-2|hook backend 14 3-16|")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := r.Shutdown(ctx); err == nil || !strings.HasSuffix(err.Error(), ": hook") {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(start); took > time.Second+lastChance {
			t.Errorf("Shutdown took %v", took)
		}
		text, sum := told(t, audit.String())
		if sum != 20 || strings.Count(text, "|") != 3 {
			t.Errorf("in the end told %s", text)
		}
	})
}

// TestOnLossDisplacesNothing: the sink that is told loses no data for it. It is told when it has room,
// once, of all.
func TestOnLossDisplacesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var audit logBook
		log := &logBook{}
		release := make(chan struct{})
		slow := drainFunc(func(ctx context.Context, q *Queue) error {
			<-release
			return WriterDrain(&audit).Run(ctx, q)
		})
		r := New(nil)
		to := tellingSink("audit", "", 3, slow, log)
		apply(t, r, []*Sink{tellingSink("hook", "audit", 1, drainFunc(stuckDrain), log), to}, []Route{
			{Filter: Filter{Subscribe: patternOf(t, "jido.protocol.phoenix.backend")}, To: []string{"hook"}},
			{Filter: Filter{Subscribe: patternOf(t, "jido.protocol.phoenix.kept")}, To: []string{"audit"}},
		})
		kept, p := r.Publisher("kept"), r.Publisher("backend")
		publish(kept, 1, 3) // audit is full
		publish(p, 1, 9)
		for range 5 {
			time.Sleep(lossReportInterval)
		}
		if o := to.origin("kept"); o.Dropped.Load() != 0 {
			t.Errorf("%d signals had to go for announcements", o.Dropped.Load())
		}
		close(release)
		synctest.Wait()
		time.Sleep(lossReportInterval)
		synctest.Wait()
		text, sum := told(t, audit.String())
		if strings.Count(text, "|") != 1 || sum < 7 || strings.Count(audit.String(), "phoenix.kept.") != 3 {
			t.Errorf("told %s in\n%s", text, audit.String())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = r.Shutdown(ctx)
	})
}

// TestOnLossOfADeadSink: what comes for a sink that has given up is told, too, and logged no more.
func TestOnLossOfADeadSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var audit logBook
		log := &logBook{}
		dead := drainFunc(func(ctx context.Context, q *Queue) error {
			_, _ = q.Take(ctx)
			return errors.New("410 Gone")
		})
		r := New(nil)
		apply(t, r, []*Sink{tellingSink("hook", "audit", 5, dead, log), roomySink("audit", WriterDrain(&audit))}, toAll("hook"))
		p := r.Publisher("backend")
		publish(p, 1, 1)
		synctest.Wait()
		publish(p, 2, 4)
		time.Sleep(lossReportInterval)
		publish(p, 5, 6)
		time.Sleep(2 * lossReportInterval)
		synctest.Wait()
		if text, sum := told(t, audit.String()); sum != 5 {
			t.Errorf("told %s", text)
		}
		if n := log.count("signals were lost"); n != 0 {
			t.Errorf("logged %d losses of a sink whose end was logged", n)
		}
		_ = r.Shutdown(t.Context())
	})
}

// TestOnLossAfterAReload: losses are told to the sink that has the name now.
func TestOnLossAfterAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, second logBook
		log := &logBook{}
		r := New(nil)
		hook := tellingSink("hook", "audit", 1, drainFunc(stuckDrain), log)
		apply(t, r, []*Sink{hook, roomySink("audit", WriterDrain(&first))}, toAll("hook"))
		p := r.Publisher("backend")
		publish(p, 1, 1)
		synctest.Wait()
		publish(p, 2, 3)
		synctest.Wait()
		apply(t, r, []*Sink{hook, roomySink("audit", WriterDrain(&second))}, toAll("hook"))
		publish(p, 4, 9)
		time.Sleep(lossReportInterval)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = r.Shutdown(ctx)
		early, before := told(t, first.String())
		late, after := told(t, second.String())
		if before == 0 || before+after != 9 {
			t.Errorf("told %s and %s, of 9", early, late)
		}
	})
}

// TestOnLossChain: the losses of announcements are logged, and announced nowhere.
func TestOnLossChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last logBook
		log := &logBook{}
		r := New(nil)
		apply(t, r, []*Sink{
			tellingSink("a", "b", 1, drainFunc(stuckDrain), log), tellingSink("b", "c", 1, drainFunc(stuckDrain), log), roomySink("c", WriterDrain(&last)),
		}, toAll("a"))
		p := r.Publisher("backend")
		for seq := uint64(1); seq < 40; seq++ {
			publish(p, seq, seq)
			time.Sleep(time.Second)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = r.Shutdown(ctx)
		if text, _ := told(t, last.String()); text != "" {
			t.Errorf("announcements were announced: %s", text)
		}
		if log.count("announcements of what other sinks have lost were lost") == 0 {
			t.Errorf("it was not logged: %s", &log.text)
		}
	})
}

func TestOnLossErrors(t *testing.T) {
	sink := func(name, onLoss string) *Sink { return tellingSink(name, onLoss, 1, Discard(), &logBook{}) }
	for want, sinks := range map[string][]*Sink{
		`the losses of sink "a" are for "b", and there is no sink of that name`: {sink("a", "b")},
		`the losses of sink "a" lead back to it`:                                {sink("a", "a")},
		`the losses of sink "b" lead back to it`:                                {sink("c", "b"), sink("b", "d"), sink("d", "b")},
	} {
		if err := New(nil).Apply(sinks, nil); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func patternOf(t *testing.T, text string) *Pattern {
	p := mustCompile(t, text)
	return &p
}
