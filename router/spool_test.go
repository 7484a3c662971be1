package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/signal"
)

// A keeper is a drain that takes records one by one, as its receiver says: nil delivers, errRefused loses, another error keeps it and
// waits for a second.
type keeper struct {
	mu      sync.Mutex
	receive func(line string) error
	got     []string
}

var errRefused = errors.New("refused")

func (k *keeper) Run(ctx context.Context, q *Queue) error {
	for {
		c, err := q.TakeSome(ctx, 16)
		if err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		for c.Len() > 0 {
			line, _ := c.Record(0)
			k.mu.Lock()
			err := k.receive(strings.TrimSpace(string(line)))
			if err == nil {
				k.got = append(k.got, strings.TrimSpace(string(line)))
			}
			k.mu.Unlock()
			if err == nil {
				q.attempted("ok", nil)
				q.Advance(c, 1)
				continue
			}
			q.attempted("failed", err)
			lost := 0
			if errors.Is(err, errRefused) {
				lost = 1
			}
			q.GiveBack(c, 0, lost)
			c = nil
			if lost == 0 {
				if err := pause(ctx, time.Second); err != nil {
					return err
				}
			}
			break
		}
		if c != nil {
			q.Release(c)
		}
	}
}

// set changes what the receiver does.
func (k *keeper) set(receive func(line string) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.receive = receive
}

func (k *keeper) lines() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.got...)
}

// testBehind is how much the drain behind a spool has in hand in these tests, in bytes: less than what is in the file.
const testBehind = 12_000

func up(string) error   { return nil }
func down(string) error { return errors.New("down") }

// A spooled is a router with a sink that has a spool.
type spooled struct {
	*Router
	t    *testing.T
	k    *keeper
	d    *SpoolDrain
	book *logBook
}

func startSpooled(t *testing.T, path string, receive func(string) error, change func(*SpoolOptions, *SinkOptions)) *spooled {
	t.Helper()
	s := &spooled{t: t, k: &keeper{receive: receive}}
	s.book = &logBook{}
	log := s.book.logger()
	o := SpoolOptions{Path: path, Behind: s.k, Sync: SyncNever, Logger: log}
	so := SinkOptions{Name: "hook", Kind: "webhook", Format: signal.FormatSignal, Bytes: 64 << 20, Policy: DropOldest, Logger: log}
	if change != nil {
		change(&o, &so)
	}
	s.d = NewSpoolDrain(o)
	s.d.out.limit = min(s.d.out.limit, testBehind)
	so.Drain = s.d
	if err := s.d.Open(); err != nil {
		t.Fatal(err)
	}
	s.Router = New(log)
	if err := s.Apply([]*Sink{NewSink(so)}, []Route{{To: []string{"hook"}}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// publish publishes messages of a connection with these numbers.
func (s *spooled) publish(connection string, from, to int) {
	p := s.Publisher(connection)
	for i := from; i <= to; i++ {
		p.Publish(numberedEvent(i))
	}
	p.Flush()
}

func numberedEvent(i int) *phoenix.Event {
	return &phoenix.Event{
		Topic: "room:a", Name: "tick", Payload: phoenix.JSON(fmt.Sprintf(`{"n":%d}`, i)), Detail: &phoenix.Message{}, Seq: uint64(i), Time: time.Unix(1, 0),
	}
}

// short returns what of a line tells which it is.
func short(line string) string {
	field := func(name string) string {
		_, rest, _ := strings.Cut(line, `"`+name+`":`)
		end := strings.IndexAny(rest, ",}")
		if end < 0 {
			return ""
		}
		return strings.Trim(rest[:end], `"`)
	}
	if strings.Contains(line, "phoenix.signal.dropped") {
		return fmt.Sprintf("%s lost %s: %s-%s", field("connection_name"), field("count"), field("first_seq"), field("last_seq"))
	}
	return field("connection_name") + field("n")
}

func shorts(lines []string) string {
	var list []string
	for _, line := range lines {
		list = append(list, short(line))
	}
	return strings.Join(list, " ")
}

func numbered(connection string, from, to int) string {
	var list []string
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("%s%d", connection, i))
	}
	return strings.Join(list, " ")
}

func (s *spooled) wantGot(want string) {
	s.t.Helper()
	if got := shorts(s.k.lines()); got != want {
		s.t.Errorf("the receiver got\n%s, want\n%s\nthe log has\n%s", got, want, s.book.String())
	}
}

func (s *spooled) stop() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		s.t.Errorf("Shutdown: %v\n%s", err, s.book.String())
	}
}

// TestSpoolRestart: what a receiver that was away did not take goes out after the next start, before what is new, in its order, also that of a
// connection that is not there any more.
func TestSpoolRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "hook.spool")
	synctest.Test(t, func(t *testing.T) {
		s := startSpooled(t, path, down, nil)
		s.publish("a", 1, 3)
		s.publish("b", 1, 2)
		s.publish("a", 4, 4)
		synctest.Wait()
		if got := s.Stats()[0]; got.Spool.Records != 6 || got.Waiting != 6 || got.Spool.Bytes == 0 {
			t.Errorf("%+v, %+v", got, got.Spool)
		}
		time.Sleep(time.Minute)
		if got := s.Stats()[0]; got.Oldest < time.Minute || got.Oldest > 2*time.Minute || !got.Failing {
			t.Errorf("oldest %v, failing %v", got.Oldest, got.Failing)
		}
		before := time.Now()
		s.stop()
		if waited := time.Since(before); waited > time.Second {
			t.Errorf("the end took %v", waited)
		}
		wantContainsLog(t, s.book, "signals stay in the spool", "signals=6")

		s = startSpooled(t, path, up, nil)
		s.publish("a", 1, 2)
		time.Sleep(time.Second)
		s.wantGot(numbered("a", 1, 3) + " " + numbered("b", 1, 2) + " a4 a1 a2")
		time.Sleep(2 * time.Second)
		got := s.Stats()[0]
		if d, lost := got.Sum(); d != 8 || lost != 0 || got.Spool.Records != 0 || got.Waiting != 0 || got.Oldest != 0 || got.Failing {
			t.Errorf("%+v, %+v", got, got.Spool)
		}
		s.stop()

		s = startSpooled(t, path, up, nil)
		s.stop()
		s.wantGot("")
	})
}

func wantContainsLog(t *testing.T, book *logBook, want ...string) {
	t.Helper()
	logged := book.String()
	for _, w := range want {
		if !strings.Contains(logged, w) {
			t.Errorf("the log lacks %q:\n%s", w, logged)
		}
	}
}

// TestSpoolIsBounded: the oldest records go, counted, announced in their place, also after a restart, and told to on_loss' reporter.
func TestSpoolIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.spool")
	synctest.Test(t, func(t *testing.T) {
		small := func(o *SpoolOptions, _ *SinkOptions) { o.MaxBytes = 20_000 }
		s := startSpooled(t, path, down, small)
		for i := range 200 {
			s.publish("a", i+1, i+1)
			synctest.Wait()
		}
		got := s.Stats()[0]
		_, lost := got.Sum()
		if got.Spool.Bytes > 20_000 || got.Spool.Bytes < 15_000 || lost == 0 || uint64(got.Spool.Records)+lost != 200 {
			t.Errorf("%+v: %d lost", got.Spool, lost)
		}
		s.stop()
		wantContainsLog(t, s.book, "signals were lost")
		s = startSpooled(t, path, up, small)
		time.Sleep(time.Second)
		lines := strings.Split(shorts(s.k.lines()), " a lost ")
		if len(lines) != 2 {
			t.Fatalf("got %q", lines)
		}
		var count, first, last int
		rest := lines[1]
		if _, err := fmt.Sscanf(rest, "%d: %d-%d", &count, &first, &last); err != nil || count != int(lost) || last-first+1 != count {
			t.Errorf("announced %q, lost %d", rest, lost)
		}
		if want := numbered("a", 1, first-1); lines[0] != want {
			t.Errorf("before the gap came %q, want %q", lines[0], want)
		}
		if want := numbered("a", last+1, 200); !strings.HasSuffix(rest, " "+want) || last == 200 {
			t.Errorf("behind the gap came %q, want %q", rest, want)
		}
		s.stop()
		// What was announced is not announced again.
		s = startSpooled(t, path, up, small)
		s.stop()
		s.wantGot("")
	})
}

// TestSpoolBurst: what is written at once, such as after the disk was full, keeps the bound, too, however much it is.
func TestSpoolBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, n = 1 << 20, 20_000
		s := startSpooled(t, filepath.Join(t.TempDir(), "hook.spool"), down, func(o *SpoolOptions, _ *SinkOptions) { o.MaxBytes = most })
		synctest.Wait()
		disk := &badDisk{}
		disk.under(t, s.d.file.db)
		disk.before.Store(1) // so that all of it waits, to be written at once
		s.publish("a", 1, n)
		time.Sleep(3 * time.Second)
		got := s.Stats()[0]
		_, lost := got.Sum()
		if got.Spool.Fault != nil || got.Spool.Bytes > most || got.Spool.Bytes < most*3/4 || lost == 0 || uint64(got.Spool.Records+got.Spool.InMemory)+lost != n {
			t.Errorf("%+v: %d lost", got.Spool, lost)
		}
		s.k.set(up)
		time.Sleep(time.Minute)
		delivered, lost := ptr(s.Stats()[0]).Sum()
		if lines := s.k.lines(); short(lines[len(lines)-1]) != fmt.Sprint("a", n) || delivered+lost != n {
			t.Errorf("%d delivered, %d lost, the last one is %s", delivered, lost, short(lines[len(lines)-1]))
		}
		s.stop()
	})
}

// TestSpoolRefused: what the receiver refuses is lost and announced, and does not come again.
func TestSpoolRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.spool")
	synctest.Test(t, func(t *testing.T) {
		s := startSpooled(t, path, func(line string) error {
			if short(line) == "a2" {
				return errRefused
			}
			return nil
		}, nil)
		s.publish("a", 1, 4)
		time.Sleep(time.Second)
		s.wantGot("a1 a lost 1: 2-2 a3 a4")
		if d, lost := ptr(s.Stats()[0]).Sum(); d != 3 || lost != 1 {
			t.Errorf("%d delivered, %d lost", d, lost)
		}
		s.stop()
		wantContainsLog(t, s.book, "signals were lost", "connection=a count=1")
		s = startSpooled(t, path, up, nil)
		s.stop()
		s.wantGot("")
	})
}

func ptr[T any](v T) *T { return &v }

// TestSpoolOver: a receiver that wants nothing more gets nothing more, and what comes is kept until a reload.
func TestSpoolOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.spool")
	synctest.Test(t, func(t *testing.T) {
		s := startSpooled(t, path, up, func(o *SpoolOptions, _ *SinkOptions) {
			o.Behind = drainFunc(func(context.Context, *Queue) error { return errRefused })
		})
		s.publish("a", 1, 4)
		time.Sleep(time.Minute)
		if got := s.Stats()[0]; got.Spool.Records != 4 || !errors.Is(got.Err, errRefused) {
			t.Errorf("%+v", got)
		}
		s.stop()
		s = startSpooled(t, path, up, nil)
		s.stop()
		s.wantGot("a1 a2 a3 a4")
	})
}

// TestSpoolProgress: an event is done with once it is in the file.
func TestSpoolProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSpooled(t, filepath.Join(t.TempDir(), "hook.spool"), down, nil)
		p := s.Publisher("a")
		progress := NewProgress()
		p.Follow(progress)
		p.Publish(&phoenix.Event{Topic: "room:a", Name: "tick", Payload: phoenix.JSON("{}"), Detail: &phoenix.Message{}, Seq: 7, Time: time.Unix(1, 0)})
		p.Flush()
		synctest.Wait()
		if done := progress.Done(); done != 7 {
			t.Errorf("done up to %d, want 7", done)
		}
		s.stop()
	})
}

// TestSpoolBusy: a second one is refused, and says why.
func TestSpoolBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.spool")
	s := startSpooled(t, path, up, nil)
	err := NewSpoolDrain(SpoolOptions{Path: path, Behind: &keeper{}}).Open()
	if !errors.Is(err, errSpoolBusy) || !strings.Contains(err.Error(), path) {
		t.Errorf("opened twice: %v", err)
	}
	s.stop()
	d := NewSpoolDrain(SpoolOptions{Path: path, Behind: &keeper{}})
	if err := d.Open(); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestSpoolHour: a receiver that is away for an hour loses nothing, and other sinks do not notice.
func TestSpoolHour(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.spool")
	synctest.Test(t, func(t *testing.T) {
		s := startSpooled(t, path, down, nil)
		other := &keeper{receive: up}
		sink := NewSink(SinkOptions{Name: "other", Format: signal.FormatSignal, Bytes: 1 << 20, Policy: DropOldest, Drain: other})
		if err := s.Apply([]*Sink{s.table.Load().sinks[0], sink}, []Route{{To: []string{"hook", "other"}}}); err != nil {
			t.Fatal(err)
		}
		const each = 20
		for minute := range 60 {
			s.publish("a", minute*each+1, (minute+1)*each)
			time.Sleep(time.Minute)
			if n := len(other.lines()); n != (minute+1)*each {
				t.Fatalf("after %d minutes the other sink has %d", minute+1, n)
			}
		}
		s.k.set(up)
		time.Sleep(5 * time.Second)
		s.wantGot(numbered("a", 1, 60*each))
		s.stop()
	})
}

// TestSpoolFormat: a file that another phx has written is opened, or it says what to do.
func TestSpoolFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.spool")
	if err := os.WriteFile(path, []byte(strings.Repeat("no spool ", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openSpoolFile(path, SyncNever, discardLog())
	if err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("another file was opened: %v", err)
	}
	path += "2"
	f, err := openSpoolFile(path, SyncNever, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	setSpoolFormat(t, f, "2")
	_, err = openSpoolFile(path, SyncNever, discardLog())
	if err == nil || !strings.Contains(err.Error(), `its format is "2"`) || !strings.Contains(err.Error(), "let the phx that wrote it deliver") {
		t.Errorf("a later format was opened: %v", err)
	}
}

// TestSpoolForget: a connection that comes back under its name after it was forgotten is counted anew.
func TestSpoolForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSpooled(t, filepath.Join(t.TempDir(), "hook.spool"), up, nil)
		for range 2 {
			s.publish("a", 1, 3)
			synctest.Wait()
			stats := s.Stats()[0]
			if delivered, _ := stats.Sum(); delivered != 3 {
				t.Errorf("%d are delivered, want 3", delivered)
			}
			s.Forget("a")
		}
		s.stop()
	})
}

// TestSpoolRemoved: a file that is removed keeps nothing: what comes stays in memory, which is said, until the file is back. What is in it goes
// out all the same.
func TestSpoolRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.spool")
	synctest.Test(t, func(t *testing.T) {
		s := startSpooled(t, path, down, nil)
		s.publish("a", 1, 100)
		synctest.Wait()
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		s.publish("a", 101, 110)
		synctest.Wait()
		if got := s.d.Spooled(); got.Records != 100 || !errors.Is(got.Fault, errSpoolRemoved) {
			t.Errorf("without the file: %+v", got)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got := s.d.Spooled(); got.Records != 110 || got.Fault != nil {
			t.Errorf("with the file again: %+v", got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		s.publish("a", 111, 120)
		s.k.set(up)
		time.Sleep(time.Minute)
		s.wantGot(numbered("a", 1, 120))
		s.k.set(down)
		s.publish("a", 121, 130)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		wantContainsLog(t, s.book, "the file was removed or replaced", "the spool can be written again", "connection=a count=10")
	})
}

// TestSpoolUnreadable: a fault of reading is over with the first reading that succeeds.
func TestSpoolUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.spool")
	makeSpool(t, path, 3, 0)
	var book logBook
	d := NewSpoolDrain(SpoolOptions{Path: path, Sync: SyncNever, Logger: book.logger()})
	if err := d.Open(); err != nil {
		t.Fatal(err)
	}
	if err := d.file.close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if d.feedFromFile() || d.Spooled().Fault == nil || d.untilNext(time.Now()) > time.Second {
			t.Errorf("fault %v, next after %v", d.Spooled().Fault, d.untilNext(time.Now()))
		}
	}
	if err := d.openFile(); err != nil {
		t.Fatal(err)
	}
	defer d.file.close()
	if !d.feedFromFile() || d.Spooled().Fault != nil {
		t.Errorf("fault %v", d.Spooled().Fault)
	}
	if n, _ := d.out.Len(); n != 3 {
		t.Errorf("%d records went out, want 3", n)
	}
	wantContainsLog(t, &book, "the spool cannot be read;", "the spool can be read again")
	if n := strings.Count(book.String(), "cannot be read"); n != 1 {
		t.Errorf("%d lines say so, want 1", n)
	}
}

// TestSpoolUnreadableAtTheEnd: a shutdown does not wait for what cannot be read, but for what is on its way.
func TestSpoolUnreadableAtTheEnd(t *testing.T) {
	for _, receive := range []func(string) error{up, down} {
		path := filepath.Join(t.TempDir(), "hook.spool")
		synctest.Test(t, func(t *testing.T) {
			s := startSpooled(t, path, down, nil)
			s.publish("a", 1, 100) // of which not all are in hand
			synctest.Wait()
			if err := s.d.file.close(); err != nil {
				t.Fatal(err)
			}
			s.k.set(func(line string) error { // the first one makes it want to delete something, which fails
				if short(line) == "a1" {
					return nil
				}
				return receive(line)
			})
			time.Sleep(10 * time.Second)
			before := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_ = s.Shutdown(ctx)
			if took := time.Since(before); took > 2*time.Second {
				t.Errorf("the end took %v", took)
			}
		})
		s := startSpooled(t, path, up, nil)
		s.stop()
		if got := shorts(s.k.lines()); !strings.HasSuffix(got, "a99 a100") {
			t.Errorf("later came %q", got)
		}
	}
}
