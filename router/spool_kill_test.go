//go:build unix

package router

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	ossignal "os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"phx/phoenix"
	"phx/signal"
)

// victimVariable makes TestSpoolVictim be what TestSpoolKilled kills: it says which run it is, and where to post.
const victimVariable = "PHX_SPOOL_VICTIM"

// victimSignals is how many signals each connection publishes, if it gets so far: so the receiver, which is away half of the time, can keep up.
const victimSignals = 200

// TestSpoolVictim publishes as fast as it can to a webhook behind a spool, and says on stdout up to which number all is in the file.
func TestSpoolVictim(t *testing.T) {
	said := os.Getenv(victimVariable)
	if said == "" {
		t.Skip("it is started by TestSpoolKilled")
	}
	parts := strings.SplitN(said, " ", 4) // run, sync, file, URL
	policy, err := ParseSyncPolicy(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	d := NewSpoolDrain(SpoolOptions{Path: parts[2], Sync: policy, Behind: NewWebhookDrain(WebhookOptions{URL: parts[3], Batch: 20})})
	if err := d.Open(); err != nil {
		t.Fatal(err)
	}
	r := New(nil)
	sink := NewSink(SinkOptions{Name: "hook", Format: signal.FormatCloudEvents, Bytes: 8 << 20, Policy: DropOldest, Drain: d})
	if err := r.Apply([]*Sink{sink}, []Route{{To: []string{"hook"}}}); err != nil {
		t.Fatal(err)
	}
	for _, connection := range []string{"a", "b"} {
		go func() {
			p := r.Publisher(connection)
			progress := NewProgress()
			p.Follow(progress)
			told := uint64(0)
			for seq := uint64(1); seq <= victimSignals; seq++ {
				p.Publish(&phoenix.Event{
					Topic: "room:a", Name: "r" + parts[0], Payload: phoenix.JSON(`{"x":"` + strings.Repeat("x", 200) + `"}`), Detail: &phoenix.Message{}, Seq: seq, Time: time.Unix(int64(seq), 0),
				})
				if seq%4 == 0 {
					p.Flush()
					for progress.Done()+64 < seq { // what waits for the file is bounded, so that nothing is lost for another reason
						runtime.Gosched()
					}
					if done := progress.Done(); done > told {
						told = done
						fmt.Printf("%s %d\n", connection, done)
					}
				}
			}
			for progress.Done() < victimSignals {
				runtime.Gosched()
			}
			fmt.Printf("%s %d\n", connection, victimSignals)
		}()
	}
	select {}
}

// A landing is a receiver of batches that is down half of the time. It remembers what it got, by connection and run.
type landing struct {
	*httptest.Server
	down atomic.Bool
	mu   sync.Mutex
	got  map[string][]uint64 // the numbers, in the order in which they came
}

func newLanding() *landing {
	l := &landing{got: map[string][]uint64{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for event := range bytes.SplitSeq(body, []byte(`"specversion"`)) {
			text := string(event)
			if seq, err := strconv.ParseUint(between(text, `"sequence":"`), 10, 64); err == nil {
				key := between(text, `"phxconnection":"`) + " " + between(text, `"phxevent":"`)
				l.got[key] = append(l.got[key], seq)
			}
		}
	}))
	return l
}

func between(text, before string) string {
	_, rest, _ := strings.Cut(text, before)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// TestSpoolKilled kills a process with a spool at random points, with a receiver that is down half of the time, and starts it again. Every
// signal arrives whose commit was acknowledged, at least once, those of a connection in their order; what comes twice has the same number.
func TestSpoolKilled(t *testing.T) {
	points := 200
	if testing.Short() {
		points = 6
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	l := newLanding()
	defer l.Close()
	path := filepath.Join(t.TempDir(), "hook.spool")
	committed := map[string]uint64{}
	for run := range points {
		l.down.Store(random.IntN(2) == 0)
		policy := []string{"batch", "never"}[run%2]
		c := exec.Command(os.Args[0], "-test.run=^TestSpoolVictim$", "-test.v=false")
		c.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %s %s", victimVariable, run, policy, path, l.URL))
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := 1 + random.IntN(40) // the point: after so many commits, or at the end
		scanner := bufio.NewScanner(out)
		for n := 0; n < lines && scanner.Scan(); n++ {
			connection, done, ok := strings.Cut(scanner.Text(), " ")
			seq, err := strconv.ParseUint(done, 10, 64)
			if !ok || err != nil {
				t.Fatalf("run %d says %q", run, scanner.Text())
			}
			committed[fmt.Sprintf("%s r%d", connection, run)] = seq
			if seq == victimSignals {
				break
			}
			if n == lines/2 && random.IntN(2) == 0 {
				l.down.Store(!l.down.Load())
			}
		}
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	l.down.Store(false)
	// The last one delivers the rest.
	d := NewSpoolDrain(SpoolOptions{Path: path, Sync: SyncNever, Behind: NewWebhookDrain(WebhookOptions{URL: l.URL, Batch: 100})})
	q := NewQueue(1<<20, DropOldest, nil)
	q.CloseInput(nil)
	if err := d.Run(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if n := d.Spooled().Records; n != 0 {
		t.Errorf("%d records are left", n)
	}
	total, twice := 0, 0
	for key, last := range committed {
		seen := map[uint64]bool{}
		highest := uint64(0)
		for _, seq := range l.got[key] {
			if seen[seq] {
				twice++
				continue
			}
			seen[seq] = true
			if seq != highest+1 {
				t.Fatalf("%s: %d came for the first time behind %d", key, seq, highest)
			}
			highest = seq
		}
		if highest < last {
			t.Errorf("%s: %d was committed, and the last one that arrived is %d", key, last, highest)
		}
		total += len(seen)
	}
	t.Logf("%d signals arrived, %d of them once more", total, twice)
}

// TestSpoolFullDisk: while the file cannot grow, signals wait in memory and go out from there, and it is said; then the spool is used again.
func TestSpoolFullDisk(t *testing.T) {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Skip(err)
	}
	ossignal.Ignore(syscall.SIGXFSZ) // so that a write fails
	defer ossignal.Reset(syscall.SIGXFSZ)
	path := filepath.Join(t.TempDir(), "hook.spool")
	s := startSpooled(t, path, down, nil)
	limit := before
	limit.Cur = 256 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Skip(err)
	}
	restored := false
	restore := func() {
		if !restored {
			restored = true
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
				t.Error(err)
			}
		}
	}
	defer restore()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	wait := func(what string, ok func(SinkStats) bool) {
		t.Helper()
		for !ok(s.Stats()[0]) {
			if ctx.Err() != nil {
				t.Fatalf("%s: %+v, %+v\n%s", what, s.Stats()[0], s.Stats()[0].Spool, s.book.String())
			}
			runtime.Gosched()
		}
	}
	const n = 3000
	s.publish("a", 1, 100)
	wait("it is not full", func(r SinkStats) bool { return r.Spool.Records == 100 })
	for i := 101; i <= n; i += 100 {
		s.publish("a", i, i+99)
	}
	wait("it is full", func(r SinkStats) bool { return r.Spool.Fault != nil && r.Waiting == n })
	if got := s.Stats()[0].Spool; got.Records < 100 || got.Records == n {
		t.Errorf("in the file are %d of %d", got.Records, n)
	}
	s.k.set(up)
	wait("it goes out all the same", func(r SinkStats) bool { d, _ := ptr(r).Sum(); return d == n })
	s.wantGot(numbered("a", 1, n))
	restore()
	wait("it is used again", func(r SinkStats) bool { return r.Spool.Fault == nil })
	s.k.set(down)
	s.publish("a", n+1, n+50)
	wait("it keeps", func(r SinkStats) bool { return r.Spool.Records == 50 })
	s.stop()
	wantContainsLog(t, s.book, "the spool cannot be written; signals stay in memory", "the spool can be written again", "signals=50")
	s = startSpooled(t, path, up, nil)
	s.stop()
	s.wantGot(numbered("a", n+1, n+50))
}
