package resume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A memory is a bucket in memory, for one connection.
type memory struct {
	mu     sync.Mutex
	values []string   // by revision, from 1 on
	chaos  *rand.Rand // says what goes wrong with the next call; nil: nothing
}

type failure int

const (
	works failure = iota
	isAway
	answerIsLost
	isOld // a reading only
)

var errAway = errors.New("it is away")

// next is called with mu held.
func (m *memory) next() failure {
	if m.chaos == nil || m.chaos.IntN(4) != 0 {
		return works
	}
	return failure(1 + m.chaos.IntN(3))
}

func (m *memory) Value(context.Context, string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := len(m.values)
	switch m.next() {
	case isAway, answerIsLost:
		return nil, 0, errAway
	case isOld:
		last = max(last-1, 0)
	}
	if last == 0 {
		return nil, 0, nil
	}
	return []byte(m.values[last-1]), uint64(last), nil
}

func (m *memory) SetValue(_ context.Context, _ string, value []byte, revision uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fails := m.next()
	if fails == isAway {
		return 0, errAway
	}
	if revision != uint64(len(m.values)) {
		return 0, errors.New("it has another revision")
	}
	m.values = append(m.values, string(value))
	if fails == answerIsLost {
		return 0, errAway
	}
	return uint64(len(m.values)), nil
}

// kept returns the value and the epoch that the bucket has.
func (m *memory) kept(t *testing.T) (n int, epoch uint64) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.values) == 0 {
		return 0, 0
	}
	c, err := parseHeld([]byte(m.values[len(m.values)-1]))
	if err != nil {
		t.Fatal(err)
	}
	if value := c.Topics["a"]["since"]; value != nil {
		if err := json.Unmarshal(value, &n); err != nil {
			t.Fatal(err)
		}
	}
	return n, c.Epoch
}

// An owner is one who has, or had, the lease of a connection.
type owner struct {
	*Cursors
	follower *Follower
	epoch    uint64
	seq      atomic.Uint64
	got      int // the last message
}

var since = []Param{{"since", valueN}}

// takeOver makes the next owner, which begins at the value that the bucket has.
func takeOver(t *testing.T, m *memory, epoch uint64) (*owner, error) {
	o := &owner{epoch: epoch}
	c, err := Take(t.Context(), m, "backend", "", func() uint64 { return epoch }, o.seq.Load, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	o.Cursors = c
	o.follower = c.Follower("backend", func(Param, error) {})
	if text := c.Of("a", since); text != nil {
		if _, err := fmt.Sscanf(string(text), `{"since":%d}`, &o.got); err != nil {
			t.Fatal(err)
		}
	}
	return o, nil
}

// get is that the owner gets, and has delivered, the next messages.
func (o *owner) get(t *testing.T, n int) {
	for range n {
		o.got++
		seq := o.seq.Add(1)
		o.follower.Note(t.Context(), message(seq, "a", fmt.Sprintf(`{"n":%d}`, o.got)), since)
	}
}

// TestTake: takeovers with everything that goes wrong: answers are lost, readings are old, the bucket is away, and the one who had the lease
// goes on as if nothing had happened. Nobody begins behind a value that was saved before the takeover, nor before one; and what the one
// before saves after the takeover changes nothing.
func TestTake(t *testing.T) {
	takeovers, fenced := 0, 0
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			m := &memory{chaos: rand.New(rand.NewPCG(seed, 4))}
			var owners []*owner
			epoch := uint64(0)
			for range 40 {
				switch current := len(owners) - 1; {
				case current < 0 || rng.IntN(4) == 0:
					before, was := m.kept(t)
					if was > 1 && rng.IntN(8) == 0 { // one whose lease is over already
						if _, err := takeOver(t, m, was-1); err == nil {
							t.Fatalf("seed %d: epoch %d takes over from %d", seed, was-1, was)
						}
						continue
					}
					epoch += uint64(1 + rng.IntN(5))
					o, err := takeOver(t, m, epoch)
					if err != nil {
						continue // it would be tried again
					}
					takeovers++
					if o.got != before {
						t.Fatalf("seed %d: epoch %d begins at %d, and the bucket had %d", seed, epoch, o.got, before)
					}
					owners = append(owners, o)
				default:
					o := owners[rng.IntN(len(owners))]
					o.get(t, 1+rng.IntN(3))
					synctest.Wait()
					kept, was := m.kept(t)
					_ = o.Save()
					if now, is := m.kept(t); is < was || o != owners[current] && (now != kept || is != was) {
						t.Fatalf("seed %d: epoch %d saves, and the bucket has %d of %d, and had %d of %d", seed, o.epoch, now, is, kept, was)
					}
				}
				if rng.IntN(4) == 0 {
					time.Sleep(3 * time.Second)
				}
				synctest.Wait()
			}
			m.mu.Lock()
			m.chaos = nil
			m.mu.Unlock()
			for i, o := range owners {
				if err := o.Close(); err != nil && i == len(owners)-1 {
					t.Errorf("seed %d: %v", seed, err)
				}
				if o.place.(*held).fenced {
					fenced++
				}
			}
			last := owners[len(owners)-1]
			if n, is := m.kept(t); is == last.epoch && n != last.got { // else there was a takeover of which nobody learned
				t.Errorf("seed %d: at the end the bucket has %d of %d, and the last owner got %d with epoch %d", seed, n, is, last.got, last.epoch)
			}
		})
	}
	if takeovers < 500 || fenced < 100 {
		t.Errorf("%d takeovers, %d were fenced", takeovers, fenced)
	}
}

// TestTakeFromFile: without a value in the bucket, that of the file from a time without leases counts; what is damaged is said, and not used.
func TestTakeFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursors.json")
	take := func(m *memory, text string) (string, string) {
		t.Helper()
		var book strings.Builder
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Take(t.Context(), m, "backend", path, func() uint64 { return 7 }, func() uint64 { return 0 }, slog.New(slog.NewTextHandler(&book, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Drop()
		return string(c.Of("a", since)), book.String()
	}
	const good = `{"format":"phx-resume-1","connections":{"backend":{"a":{"since":3}},"other":{"a":{"since":4}}}}`
	m := &memory{}
	if got, log := take(m, good); got != `{"since":3}` || log != "" {
		t.Errorf("from the file: %s\n%s", got, log)
	}
	if got, _ := take(m, strings.Replace(good, "3", "5", 1)); got != `{"since":3}` {
		t.Errorf("with a value in the bucket: %s", got)
	}
	if got, log := take(&memory{}, good[:40]); got != "" || !strings.Contains(log, "is damaged") {
		t.Errorf("a damaged file: %s\n%s", got, log)
	}
	m.values = append(m.values, `{"format":"phx-resume-2"}`)
	if got, log := take(m, good); got != "" || !strings.Contains(log, `its format is \"phx-resume-2\"`) {
		t.Errorf("a value of another phx: %s\n%s", got, log)
	}
}

// FuzzHeld: whatever is in a bucket, it is taken as a whole or refused; what is taken is saved as the same.
func FuzzHeld(f *testing.F) {
	for _, text := range []string{
		"", "{}", "null", `{"format":"phx-resume-1"}`, `{"format":"phx-resume-1","epoch":3,"topics":{"a":{"since":1.0},"b":null}}`,
		`{"format":"phx-resume-1","epoch":-1}`, `{"format":"phx-resume-1","topics":{}} {}`, `{"format":"phx-resume-1","topics":{"a":{"since":`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in, err := parseHeld([]byte(text))
		if err != nil {
			return
		}
		h := &held{epoch: func() uint64 { return in.Epoch }}
		out, err := parseHeld(h.text(in.Topics))
		if err != nil || out.Epoch != in.Epoch || len(out.Topics) != len(in.Topics) {
			t.Fatalf("%q: saved as %+v: %v", text, out, err)
		}
	})
}
