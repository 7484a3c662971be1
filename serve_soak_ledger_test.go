package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A ledger is what one sink got, read as it comes.
type ledger struct {
	sink string
	// over is closed when nothing can come any more.
	over <-chan struct{}

	mu       sync.Mutex
	rest     []byte // of a line that is not whole yet
	stories  map[string]*story
	kinds    map[kind]int
	problems []string
	changed  chan struct{} // closed and replaced at every change; nil while nobody waits
}

// A story is what a sink got of one connection.
type story struct {
	entries []entry
	losses  []loss
}

// An entry is a signal that has a number.
type entry struct {
	seq  uint64
	id   string
	kind kind
	// session and n are those of a numbered event.
	session int
	n       int64
}

// A kind is what a signal is about; name is the event of a message, and else the type.
type kind struct{ connection, name, topic string }

// A loss is what a signal phoenix.signal.dropped tells.
type loss struct{ count, first, last uint64 }

func newLedger(sink string, over <-chan struct{}) *ledger {
	return &ledger{sink: sink, over: over, stories: map[string]*story{}, kinds: map[kind]int{}}
}

// Write implements [io.Writer] for the output of the sink.
func (l *ledger) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			break
		}
		l.line(line)
		l.rest = rest
	}
	l.rest = bytes.Clone(l.rest)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return len(p), nil
}

// A soakMeta is the metadata of a signal.
type soakMeta struct {
	Connection string `json:"connection_name"`
	Topic      string `json:"phoenix_topic"`
	Event      string `json:"phoenix_event"`
	Seq        uint64 `json:"seq"`
}

// A soakSignal is a signal in any of the formats.
type soakSignal struct {
	ID       string   `json:"id"`
	Type     string   `json:"type"`
	Metadata soakMeta `json:"metadata"`
	// Of the format jido.
	Extensions struct {
		Metadata soakMeta `json:"metadata"`
	} `json:"extensions"`
	// Of CloudEvents.
	Connection string `json:"phxconnection"`
	Topic      string `json:"phxtopic"`
	Event      string `json:"phxevent"`
	Sequence   string `json:"sequence"`

	Data struct {
		Payload struct {
			Session int   `json:"session"`
			N       int64 `json:"n"`
		} `json:"payload"`
		Count    uint64 `json:"count"`
		FirstSeq uint64 `json:"first_seq"`
		LastSeq  uint64 `json:"last_seq"`
	} `json:"data"`
}

// meta returns the metadata, wherever the format has them.
func (s *soakSignal) meta() (soakMeta, error) {
	switch {
	case s.Connection != "":
		m := soakMeta{Connection: s.Connection, Topic: s.Topic, Event: s.Event}
		if s.Sequence == "" {
			return m, nil
		}
		var err error
		m.Seq, err = strconv.ParseUint(s.Sequence, 10, 64)
		return m, err
	case s.Extensions.Metadata.Connection != "":
		return s.Extensions.Metadata, nil
	}
	return s.Metadata, nil
}

// line enters one line.
func (l *ledger) line(text []byte) {
	if bytes.Contains(text, []byte(soakSecret)) {
		l.problem("a signal that tells a token: %s", text)
	}
	var s soakSignal
	if err := json.Unmarshal(text, &s); err != nil {
		l.problem("a line that is not what a signal is: %v: %q", err, text)
		return
	}
	m, err := s.meta()
	if err != nil || m.Connection == "" || s.ID == "" || s.Type == "" {
		l.problem("a signal that lacks something (%v): %s", err, text)
		return
	}
	of := l.stories[m.Connection]
	if of == nil {
		of = &story{}
		l.stories[m.Connection] = of
	}
	if s.Type == "phoenix.signal.dropped" {
		of.losses = append(of.losses, loss{s.Data.Count, s.Data.FirstSeq, s.Data.LastSeq})
		return
	}
	if last := len(of.entries); last > 0 && of.entries[last-1].seq >= m.Seq {
		l.problem("%s: seq %d comes after %d: %s", m.Connection, m.Seq, of.entries[last-1].seq, text)
	}
	name := s.Type
	if m.Event != "" {
		name = m.Event
	}
	e := entry{seq: m.Seq, id: s.ID, kind: kind{m.Connection, name, m.Topic}, session: s.Data.Payload.Session, n: s.Data.Payload.N}
	of.entries = append(of.entries, e)
	l.kinds[e.kind]++
}

// maxProblems is how many problems of a sink are told; more of them say nothing more.
const maxProblems = 10

func (l *ledger) problem(format string, args ...any) {
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

// count returns how many signals of a kind there are.
func (l *ledger) count(connection, name, topic string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kinds[kind{connection, name, topic}]
}

// total returns how many signals there are of all connections.
func (l *ledger) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, of := range l.stories {
		n += len(of.entries)
	}
	return n
}

// await waits until there are at least n signals of a kind.
func (l *ledger) await(t *testing.T, n int, connection, name, topic string) {
	t.Helper()
	what := fmt.Sprintf("%d of %s %s %s", n, connection, name, topic)
	l.awaitThat(t, what, func() bool { return l.count(connection, name, topic) >= n })
}

// latest tells the last signal of each connection.
func (l *ledger) latest() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var text strings.Builder
	for _, of := range l.stories {
		if n := len(of.entries); n > 0 {
			fmt.Fprintf(&text, "%+v\n", of.entries[n-1])
		}
	}
	return text.String()
}

// soakPatience is how long a ledger waits: longer than others, as there is more to do until then.
const soakPatience = 3 * patience

// awaitThat waits until something is so. It is looked at again when the sink got something.
func (l *ledger) awaitThat(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soakPatience)
	defer cancel()
	for {
		l.mu.Lock()
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		if isSo() {
			return
		}
		select {
		case <-changed:
			continue
		case <-l.over:
			t.Errorf("phx serve has ended")
		case <-ctx.Done():
		}
		t.Fatalf("%s: it did not get %s; of each connection the last signal is\n%s", l.sink, what, l.latest())
	}
}

// A tail reads a file while it grows.
type tail struct {
	stop chan struct{}
	done chan error
}

// lookEvery is how often a tail looks for more.
const lookEvery = 20 * time.Millisecond

// follow copies what a file gets to w, until end is called.
func follow(path string, w io.Writer) (*tail, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f := &tail{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		defer file.Close()
		ticks := time.NewTicker(lookEvery)
		defer ticks.Stop()
		for {
			if _, err := io.Copy(w, file); err != nil {
				f.done <- err
				return
			}
			select {
			case <-ticks.C:
			case <-f.stop:
				_, err := io.Copy(w, file)
				f.done <- err
				return
			}
		}
	}()
	return f, nil
}

// end reads what there still is. Nobody writes any more.
func (f *tail) end() error {
	close(f.stop)
	return <-f.done
}
