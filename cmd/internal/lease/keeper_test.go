package lease

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A memory is a store in memory. Sessions end by their time, by the clock of the bubble.
type memory struct {
	mu       sync.Mutex
	ttl      time.Duration
	view     Snapshot
	gone     map[string]time.Time
	watchers []func()
	// away fails everything.
	away bool
	// held holds up renewals until it is closed, whatever their contexts say; nil: nothing does.
	held chan struct{}
}

func newMemory(ttl time.Duration) *memory {
	return &memory{ttl: ttl, view: Snapshot{Sessions: map[string]SessionEntry{}, Runs: map[string]RunEntry{}}, gone: map[string]time.Time{}}
}

// write changes the store, and tells the watchers.
func (m *memory) write(do func(e Entry) error) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return 0, errors.New("it is away")
	}
	m.expire()
	e := Entry{Revision: m.view.Revision + 1, Created: time.Now().UnixMilli()}
	if err := do(e); err != nil {
		return 0, err
	}
	m.view.Revision = e.Revision
	for _, changed := range m.watchers {
		go changed()
	}
	return e.Revision, nil
}

func (m *memory) expire() {
	for id, at := range m.gone {
		if !time.Now().Before(at) {
			delete(m.gone, id)
			delete(m.view.Sessions, id)
		}
	}
}

func (m *memory) Begin(ctx context.Context, s Session) (uint64, error) {
	return m.Renew(ctx, s, 0, false)
}

func (m *memory) Renew(_ context.Context, s Session, revision uint64, over bool) (uint64, error) {
	m.mu.Lock()
	held := m.held
	m.mu.Unlock()
	if held != nil {
		<-held
	}
	return m.write(func(e Entry) error {
		if m.view.Sessions[s.ID].Revision != revision {
			return ErrConflict
		}
		m.view.Sessions[s.ID], m.gone[s.ID] = SessionEntry{s, e}, time.Now().Add(m.ttl)
		if over {
			delete(m.view.Sessions, s.ID)
		}
		return nil
	})
}

func (m *memory) Claim(_ context.Context, name string, r Run, revision uint64) (uint64, error) {
	return m.write(func(e Entry) error {
		if m.view.Runs[name].Revision != revision {
			return ErrConflict
		}
		m.view.Runs[name] = RunEntry{r, e}
		return nil
	})
}

func (m *memory) Watch(_ context.Context, changed func()) (Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return Snapshot{}, errors.New("it is away")
	}
	m.expire()
	m.watchers = append(m.watchers, changed)
	return Snapshot{Revision: m.view.Revision, Sessions: maps.Clone(m.view.Sessions), Runs: maps.Clone(m.view.Runs)}, nil
}

func (m *memory) setAway(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
}

// A process is what a keeper's connections run in.
type process struct {
	*Keeper
	mu   sync.Mutex
	runs map[string]*Grant
	lost int
	log  bytes.Buffer
}

const testTTL = 15 * time.Second

func startProcess(t *testing.T, m *memory, name string, names ...string) *process {
	t.Helper()
	begun := time.Now()
	p := &process{runs: map[string]*Grant{}}
	p.Keeper = NewKeeper(Options{
		Store: m, Instance: name, TTL: testTTL, Logger: slog.New(slog.NewTextHandler(&p.log, nil)), clock: func() time.Duration { return time.Since(begun) + time.Hour },
		Granted: func(g *Grant) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.runs[g.Name] = g
		},
		Revoked: func(g *Grant, lost bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.runs, g.Name)
			if lost {
				p.lost++
			}
			go p.Stopped(g.Name, Outage{Never: true})
		},
		Down: func() map[string]Outage { return nil },
	})
	p.Configure(names, "config")
	return p
}

func (p *process) names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.runs))
}

// One that ends well gives back at once; the other has all then, with a higher epoch.
func TestKeeperEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(testTTL)
		names := []string{"x1", "x2", "x3", "x4", "x5", "x6"}
		a, b := startProcess(t, m, "a", names...), startProcess(t, m, "b", names...)
		time.Sleep(testTTL)
		synctest.Wait()
		of, others := a.names(), b.names()
		if len(of) == 0 || len(others) == 0 || len(of)+len(others) != len(names) {
			t.Fatalf("a has %q, b %q", of, others)
		}
		if v := b.View(); !v.Settled || len(v.Sessions) != 2 || v.Runs[of[0]].Instance != "a" {
			t.Errorf("b knows %+v", v)
		}
		before := a.runs[of[0]].Epoch()
		a.Close(t.Context())
		time.Sleep(time.Second)
		synctest.Wait()
		if got := b.names(); !slices.Equal(got, names) {
			t.Errorf("b has %q", got)
		}
		g := b.runs[of[0]]
		if g.Epoch() <= before || !g.Before || !g.Holds() {
			t.Errorf("epoch %d after %d, before %v, missed %v", g.Epoch(), before, g.Before, g.Missed)
		}
		b.Close(t.Context())
		synctest.Wait()
		if len(m.view.Sessions) != 0 {
			t.Errorf("sessions are left: %v", m.view.Sessions)
		}
	})
}

// While the store is away a lease holds for 0.9 of its time from its last renewal, there is time to say that it is over, and then there
// is none.
func TestKeeperAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(testTTL)
		a := startProcess(t, m, "a", "x")
		time.Sleep(testTTL)
		synctest.Wait()
		g := a.runs["x"]
		m.setAway(true)
		away := time.Now()
		for g.Holds() {
			time.Sleep(100 * time.Millisecond)
		}
		if held := time.Since(away); held < testTTL*9/10-testTTL/3-time.Second || held > testTTL*9/10 {
			t.Errorf("it held for %v", held)
		}
		if !g.MayEnd() {
			t.Error("there is no time to say that it is over")
		}
		time.Sleep(testTTL / 10)
		synctest.Wait()
		if g.MayEnd() || a.lost != 1 || len(a.names()) != 0 {
			t.Errorf("may end %v, lost %d, has %q", g.MayEnd(), a.lost, a.names())
		}
		if s := a.Stats(); s.Session || s.Connections != 0 || s.Lost != 1 || s.Taken != 0 || s.FailedRenewals < 2 || s.Age < testTTL*9/10 || s.Age > 2*testTTL {
			t.Errorf("the stats are %+v", s)
		}
		m.setAway(false)
		time.Sleep(testTTL)
		synctest.Wait()
		if again := a.runs["x"]; again == nil || again == g || again.Epoch() <= g.Epoch() || g.Holds() {
			t.Errorf("it has %+v again", again)
		}
		if s := a.Stats(); !s.Session || s.Connections != 1 || s.Lost != 1 || s.Taken != 1 || !s.Renewed || s.Age > testTTL/3+time.Second {
			t.Errorf("the stats are %+v", s)
		}
		a.Close(t.Context())
	})
}

// Two processes with one name are told so, each once. One that is started again before the session of its last life is gone is alone.
func TestKeeperTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const said = "another process has the same instance name"
		m := newMemory(testTTL)
		a, other := startProcess(t, m, "a", "x", "y"), startProcess(t, m, "b", "x", "y")
		time.Sleep(2 * testTTL)
		a.stop() // as if it were killed
		again := startProcess(t, m, "a", "x", "y")
		time.Sleep(3 * testTTL)
		synctest.Wait()
		for _, p := range []*process{a, other, again} {
			if strings.Contains(p.log.String(), said) {
				t.Errorf("one that is alone is told:\n%s", &p.log)
			}
		}
		twin := startProcess(t, m, "a", "x", "y")
		time.Sleep(3 * testTTL)
		synctest.Wait()
		for _, p := range []*process{again, twin} {
			if n := strings.Count(p.log.String(), said); n != 1 {
				t.Errorf("one of two is told %d times:\n%s", n, &p.log)
			}
		}
		for _, p := range []*process{other, again, twin} {
			p.Close(t.Context())
		}
	})
}

// A store whose calls do not return, whatever their contexts say, holds up the end for no longer than its context.
func TestKeeperEndsBesideStuckStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(testTTL)
		a := startProcess(t, m, "a", "x")
		time.Sleep(testTTL)
		synctest.Wait()
		held := make(chan struct{})
		defer close(held)
		m.mu.Lock()
		m.held = held
		m.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		a.Close(ctx)
		if took := time.Since(begun); took != time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}

// A lease that was found to be over does not come back with the answer of a renewal: what was dropped meanwhile is missing, and another
// epoch says so.
func TestKeeperAnsweredLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(testTTL)
		var ahead atomic.Int64 // of the clock of the lease
		a := startProcess(t, m, "a", "x")
		time.Sleep(testTTL)
		synctest.Wait()
		g := a.runs["x"]
		g.clock = func() time.Duration { return a.o.clock() + time.Duration(ahead.Load()) }
		epoch := g.Epoch()
		if !g.Holds() {
			t.Fatal("it is not ours")
		}
		ahead.Store(int64(testTTL)) // it is looked at when the time is over, and before the keeper notices
		if g.Holds() {
			t.Error("it holds when its time is over")
		}
		ahead.Store(0)
		time.Sleep(testTTL)
		synctest.Wait()
		if again := a.runs["x"]; g.Holds() || a.lost != 1 || again == nil || again.Epoch() <= epoch || !again.Holds() {
			t.Errorf("the old one holds: %v; %d were lost; the new one is %+v, after epoch %d", g.Holds(), a.lost, again, epoch)
		}
		a.Close(t.Context())
	})
}
