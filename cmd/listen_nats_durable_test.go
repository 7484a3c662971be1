package cmd

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"phx/router"
)

// A natsCopy is one delivery of a message, which notes what is said of it.
type natsCopy struct {
	jetstream.Msg
	number, delivered uint64
	said              *[]string
	failing           *bool
}

func (m *natsCopy) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: m.number}, NumDelivered: m.delivered}, nil
}

func (m *natsCopy) say(word string) error {
	if *m.failing {
		return errors.New("there is no connection")
	}
	*m.said = append(*m.said, fmt.Sprintf("%s %d.%d", word, m.number, m.delivered))
	return nil
}

func (m *natsCopy) Ack() error        { return m.say("ack") }
func (m *natsCopy) Nak() error        { return m.say("nak") }
func (m *natsCopy) InProgress() error { return m.say("more") }

// A handGame is a durableHand, and what it says to the server.
type handGame struct {
	*durableHand
	t       *testing.T
	said    []string
	failing bool
	log     strings.Builder
}

func newHandGame(t *testing.T) *handGame {
	g := &handGame{t: t}
	g.durableHand = &durableHand{written: router.NewProgress(), log: slog.New(slog.NewTextHandler(&g.log, nil))}
	return g
}

// arrives delivers a message for the given time.
func (g *handGame) arrives(number, delivered uint64) (m *natsMessage, fresh bool) {
	m = &natsMessage{Msg: &natsCopy{number: number, delivered: delivered, said: &g.said, failing: &g.failing}}
	return m, g.arrive(m)
}

// writes says that the lines up to a number are written.
func (g *handGame) writes(line uint64) { g.written.Published(line) }

func (g *handGame) want(want ...string) {
	g.t.Helper()
	if !slices.Equal(g.said, want) {
		g.t.Errorf("the server was told %q, want %q", g.said, want)
	}
	g.said = nil
}

// TestDurableHandIsRead: a message is read while copies of it arrive. The race detector judges.
func TestDurableHandIsRead(t *testing.T) {
	g := newHandGame(t)
	m, _ := g.arrives(1, 1)
	arrived := make(chan int)
	go func() {
		fresh := 0
		for delivered := range uint64(100) {
			if _, isNew := g.arrives(1, 2+delivered); isNew {
				fresh++
			}
		}
		arrived <- fresh
	}()
	for range 100 {
		if got := m.number(); got != 1 {
			t.Errorf("number %d", got)
		}
	}
	if fresh := <-arrived; fresh > 0 {
		t.Errorf("%d copies are taken for new messages", fresh)
	}
}

// TestDurableHand: a message is acknowledged once its lines are written, by its latest copy, and a copy is no new message.
func TestDurableHand(t *testing.T) {
	g := newHandGame(t)
	one, fresh := g.arrives(1, 1)
	two, _ := g.arrives(2, 1)
	three, _ := g.arrives(3, 1)
	if !fresh {
		t.Error("the first message is none")
	}
	g.take(one, 0) // without a line that is wanted
	g.acknowledge()
	g.want("ack 1.1")
	g.take(two, 1)
	g.acknowledge()
	g.want()
	if _, fresh := g.arrives(2, 2); fresh {
		t.Error("a copy of what is in hand is taken for a new one")
	}
	if _, fresh := g.arrives(1, 2); fresh {
		t.Error("a copy of what was acknowledged is taken for a new one")
	}
	g.want("ack 1.2")
	g.keep()
	g.want("more 2.2", "more 3.1")
	if _, fresh := g.arrives(9, 4); !fresh {
		t.Error("what somebody else has given back is no new message")
	}
	g.writes(1)
	g.failing = true
	g.acknowledge()
	g.failing = false
	g.want()
	g.acknowledge()
	g.want("ack 2.2")
	g.take(three, 3)
	g.giveBack()
	g.want("nak 3.1", "nak 9.4")
}

// TestDurableHandAtTheEnd: what could not be acknowledged is said.
func TestDurableHandAtTheEnd(t *testing.T) {
	g := newHandGame(t)
	m, _ := g.arrives(1, 1)
	g.writes(2)
	g.take(m, 2)
	g.failing = true
	g.giveBack()
	if !strings.Contains(g.log.String(), "messages that were written could not be acknowledged") || !strings.Contains(g.log.String(), "messages=1") {
		t.Errorf("the log says %q", g.log.String())
	}
}

// TestDurableHandTends: the server is asked for more time before its wait is over, and hears soon of what is written.
func TestDurableHandTends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newHandGame(t)
		m, _ := g.arrives(1, 1)
		ended := make(chan struct{})
		go g.tend(ended, 30*time.Second)
		time.Sleep(29 * time.Second)
		synctest.Wait()
		g.want("more 1.1", "more 1.1")
		g.writes(1)
		g.take(m, 1)
		time.Sleep(time.Second)
		synctest.Wait()
		g.want("ack 1.1")
		close(ended)
	})
}
