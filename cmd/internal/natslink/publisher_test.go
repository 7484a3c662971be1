//go:build unix

package natslink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"phx/cmd/phxtest"
	"phx/phoenix"
	"phx/router"
	"phx/signal"
)

func jetStream(t *testing.T, l *Link) jetstream.JetStream {
	t.Helper()
	if err := l.AwaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func createStream(t *testing.T, js jetstream.JetStream, c jetstream.StreamConfig) {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// read returns what is in the stream, in its order.
func read(t *testing.T, js jetstream.JetStream, stream string) (messages []*nats.Msg) {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(t.Context(), stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer all.Stop()
	for uint64(len(messages)) < info.State.Msgs {
		m, err := all.Next()
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, &nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
	}
	return messages
}

// linesTo puts the signals from..to of a connection into q, and returns their lines.
func linesTo(t *testing.T, q *router.Queue, from, to uint64) []string {
	t.Helper()
	origin := router.NewOrigin("backend")
	e := signal.NewEncoder(signal.FormatSignal, "backend")
	var lines []string
	c := q.ChunkOf(origin)
	for seq := from; seq <= to; seq++ {
		line := e.Append(nil, &phoenix.Event{
			Seq: seq, Time: time.Unix(1000, 0).Add(time.Duration(seq) * time.Millisecond), Session: 1, Topic: fmt.Sprint("room:", seq%3), Name: "new_msg",
			Detail: &phoenix.Message{}, Payload: phoenix.Payload{Data: fmt.Appendf(nil, `{"n":%d,"body":%q}`, seq, strings.Repeat("x", 100))},
		})
		lines = append(lines, string(line))
		c.Commit(append(c.Buffer(), line...), seq)
		if c.Full() || seq == to {
			if err := q.Put(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			c = q.ChunkOf(origin)
		}
	}
	return lines
}

// TestKilledServer: the server is killed, twice, while 60,000 records are published. All of them are in the stream in their order,
// none twice; in messages of lines, too.
func TestKilledServer(t *testing.T) {
	for _, lines := range []bool{false, true} {
		t.Run(fmt.Sprint("lines ", lines), func(t *testing.T) {
			s := startServer(t, "")
			l := openLink(t, Options{URLs: []string{s.URL}})
			js := jetStream(t, l)
			createStream(t, js, jetstream.StreamConfig{Name: "PHX", Subjects: []string{"jido.protocol.phoenix.>"}, Storage: jetstream.FileStorage})
			q := router.NewQueue(1<<30, router.DropOldest, nil)
			const n = 60000
			want := linesTo(t, q, 1, n)
			q.CloseInput(nil)
			p := &interrupted{Publisher: l.NewPublisher(PublisherOptions{Stream: "PHX"}), after: []int{n / 3, 2 * n / 3}}
			if lines {
				p.after = []int{20, 60} // of about 200
			}
			p.interrupt = func() {
				s.Kill()
				if err := s.Start(t.Context()); err != nil {
					t.Error(err)
				}
			}
			var log bytes.Buffer
			d := router.NewNATSDrain(router.NATSOptions{Publisher: p, Window: 256, Lines: lines, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err := d.Run(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			if len(p.after) > 0 {
				t.Errorf("the server was not killed as often as it should")
			}
			var got []string
			for _, m := range read(t, jetStream(t, l), "PHX") {
				if lines {
					got = append(got, slices.Collect(strings.Lines(string(m.Data)))...)
				} else {
					got = append(got, string(m.Data)+"\n")
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("the stream has %d records, want %d; or another order", len(got), len(want))
				for i := range min(len(got), len(want)) {
					if got[i] != want[i] {
						t.Fatalf("record %d is\n%swant\n%s", i, got[i], want[i])
					}
				}
			}
			if !strings.Contains(log.String(), "they are published again") {
				t.Errorf("nothing was interrupted:\n%s", log.String())
			}
		})
	}
}

// TestNothingOvertakes: a message does not go out by another connection than those before it in its window. A dial fails while one is
// published, and one is not published when there was a dial.
func TestNothingOvertakes(t *testing.T) {
	l := New(Options{URLs: []string{"nats://127.0.0.1:1"}})
	p := l.NewPublisher(PublisherOptions{})
	dials := l.dials.Load()
	l.publishing.Add(1)
	if _, err := (dialer{l}).Dial("tcp", "127.0.0.1:1"); !errors.Is(err, errBusy) {
		t.Errorf("a dial while a message is published: %v", err)
	}
	l.publishing.Add(-1)
	if _, err := (dialer{l}).Dial("tcp", "127.0.0.1:1"); err == nil || errors.Is(err, errBusy) {
		t.Errorf("a dial while none is published: %v", err)
	}
	// Without a connection: it must not get so far.
	if err := p.send(nil, &router.NATSMessage{Subject: "a", ID: "1"}, 0, dials); !errors.Is(err, nats.ErrDisconnected) {
		t.Errorf("a message after a dial: %v", err)
	}
}

// TestKilledLeader: of three servers, the one that leads a stream with three replicas is killed while records are published. All of
// them are in the stream, none twice.
func TestKilledLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("needs nats-server, which takes minutes to build")
	}
	servers, err := phxtest.StartNATSCluster(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*phxtest.NATSServer{}
	var urls []string
	for i, s := range servers {
		t.Cleanup(s.Kill)
		byName[fmt.Sprint("server", i+1)] = s
		urls = append(urls, s.URL)
	}
	l := openLink(t, Options{URLs: urls})
	js := jetStream(t, l)
	config := jetstream.StreamConfig{Name: "PHX", Subjects: []string{"jido.protocol.phoenix.>"}, Storage: jetstream.FileStorage, Replicas: 3}
	deadline, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	for { // the servers elect one that may create streams, and meanwhile do not answer
		attempt, cancel := context.WithTimeout(deadline, time.Second)
		_, err := js.CreateStream(attempt, config)
		cancel()
		if err == nil {
			break
		}
		if deadline.Err() != nil {
			t.Fatal(err)
		}
	}
	stream, err := js.Stream(t.Context(), "PHX")
	if err != nil {
		t.Fatal(err)
	}
	q := router.NewQueue(1<<30, router.DropOldest, nil)
	const n = 20000
	want := linesTo(t, q, 1, n)
	q.CloseInput(nil)
	p := &interrupted{Publisher: l.NewPublisher(PublisherOptions{Stream: "PHX"}), after: []int{n / 2}}
	p.interrupt = func() { byName[stream.CachedInfo().Cluster.Leader].Kill() }
	if err := router.NewNATSDrain(router.NATSOptions{Publisher: p, Window: 256}).Run(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if len(p.after) > 0 {
		t.Error("no server was killed")
	}
	var got []string
	for _, m := range read(t, jetStream(t, l), "PHX") {
		got = append(got, string(m.Data)+"\n")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the stream has %d records, want %d; or others", len(got), len(want))
	}
}

// interrupted calls interrupt on another goroutine while messages are published, after so many acknowledgements, once a window.
type interrupted struct {
	*Publisher
	acked     int
	after     []int
	interrupt func()
}

func (p *interrupted) Publish(ctx context.Context, messages []router.NATSMessage, acked func()) error {
	var done chan struct{}
	err := p.Publisher.Publish(ctx, messages, func() {
		acked()
		if p.acked++; done == nil && len(p.after) > 0 && p.acked >= p.after[0] {
			p.after, done = p.after[1:], make(chan struct{})
			go func() {
				defer close(done)
				p.interrupt()
			}()
		}
	})
	if done != nil {
		<-done
	}
	return err
}

// TestPublishFailures: each failure has its kind, and says what to do.
func TestPublishFailures(t *testing.T) {
	s := startServer(t, "max_payload: 100000")
	l := openLink(t, Options{URLs: []string{s.URL}})
	js := jetStream(t, l)
	createStream(t, js, jetstream.StreamConfig{Name: "FULL", Subjects: []string{"full"}, MaxMsgs: 1, Discard: jetstream.DiscardNew})
	createStream(t, js, jetstream.StreamConfig{Name: "SMALL", Subjects: []string{"small"}, MaxMsgSize: 1000})
	conn, err := l.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Subscribe("silent", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		subject string
		size    int // of the data; negative: of a header
		stream  string
		kind    router.NATSFailureKind
		message string
		acked   int
	}{
		{"nowhere", 1, "", router.NATSNoStream, "no stream takes the subject nowhere: `nats stream add PHX --subjects 'jido.>' --defaults`, or `create: true` in the sink", 0},
		{"nowhere", 1, "MINE", router.NATSNoStream, "no stream takes the subject nowhere: `nats stream add MINE --subjects 'jido.>' --defaults`, or `create: true` in the sink", 0},
		{"full", 1, "", router.NATSFull, "JetStream refused a message: maximum messages exceeded \\(code 10077\\)", 1},
		{"small", 1, "OTHER", router.NATSRefused, "another stream than OTHER takes the subject small", 0},
		{"small", 1001, "SMALL", router.NATSTooLarge, "JetStream refused a message: message size exceeds maximum allowed \\(code 10054\\)", 0},
		{"small", 100001, "", router.NATSTooLarge, "a message of 100001 bytes is larger than the server's max_payload", 0},
		{"small", -70000, "", router.NATSTooLarge, "JetStream refused a message: message size exceeds maximum allowed \\(code 10054\\)", 0},
		{"full", -70000, "", router.NATSTooLarge, "JetStream refused a message: header size exceeds maximum allowed of 64k \\(code 10097\\)", 0},
		{"silent", 1, "", router.NATSLate, "no acknowledgement within 50ms", 0},
	}
	for _, test := range tests {
		p := l.NewPublisher(PublisherOptions{Stream: test.stream, Subjects: "jido.>"})
		p.patience = 50 * time.Millisecond
		if test.kind != router.NATSLate {
			p.patience = phxtest.Patience
		}
		acked := 0
		var messages []router.NATSMessage
		for i := range 2 {
			m := router.NATSMessage{Subject: test.subject, ID: fmt.Sprint(test.subject, test.stream, test.size, i), Data: make([]byte, max(test.size, 0))}
			if test.size < 0 {
				m.Header = [][2]string{{"ce-subject", strings.Repeat("x", -test.size)}}
			}
			messages = append(messages, m)
		}
		err := p.Publish(t.Context(), messages, func() { acked++ })
		var failure *router.NATSFailure
		if !errors.As(err, &failure) {
			t.Errorf("%s: %v", test.subject, err)
			continue
		}
		if failure.Kind != test.kind || !regexp.MustCompile("^"+test.message+"$").MatchString(err.Error()) || acked != test.acked {
			t.Errorf("%s: %v, %q after %d acknowledgements; want %v, %q after %d", test.subject, failure.Kind, err, acked, test.kind, test.message, test.acked)
		}
		p.Close()
	}
}

// TestCreate: a stream is created once it is missing, and only then.
func TestCreate(t *testing.T) {
	s := startServer(t, "")
	l := openLink(t, Options{URLs: []string{s.URL}})
	js := jetStream(t, l)
	p := l.NewPublisher(PublisherOptions{Subjects: "jido.protocol.phoenix.>", Create: true})
	acked := 0
	for i := range 2 {
		err := p.Publish(t.Context(), []router.NATSMessage{{Subject: "jido.protocol.phoenix.a", ID: fmt.Sprint(i)}, {Subject: "jido.protocol.phoenix.a.b", ID: fmt.Sprint(i, "b")}}, func() { acked++ })
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, js, "PHX"); len(got) != 4 || acked != 4 {
		t.Errorf("%d messages, %d acknowledged", len(got), acked)
	}
	stream, err := js.Stream(t.Context(), "PHX")
	if err != nil {
		t.Fatal(err)
	}
	if c := stream.CachedInfo().Config; c.Storage != jetstream.FileStorage || !slices.Equal(c.Subjects, []string{"jido.protocol.phoenix.>"}) {
		t.Errorf("%+v", c)
	}
}

// TestUnreachable: without a connection nothing is kept to be sent later, and Ready waits for one.
func TestUnreachable(t *testing.T) {
	s := startServer(t, "")
	l := openLink(t, Options{URLs: []string{s.URL}})
	js := jetStream(t, l)
	createStream(t, js, jetstream.StreamConfig{Name: "PHX", Subjects: []string{"a"}, Storage: jetstream.FileStorage})
	lost := l.lost.wait()
	s.Kill()
	<-lost
	p := l.NewPublisher(PublisherOptions{})
	err := p.Publish(t.Context(), []router.NATSMessage{{Subject: "a", ID: "1"}}, func() { t.Error("acknowledged") })
	var failure *router.NATSFailure
	if !errors.As(err, &failure) || failure.Kind != router.NATSUnreachable {
		t.Errorf("%v", err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, jetStream(t, l), "PHX"); len(got) != 0 {
		t.Errorf("%d messages came late", len(got))
	}
}

// TestLargerThanAStore: a message that no store of JetStream takes, although the server does, is too large, and does not wait for room.
func TestLargerThanAStore(t *testing.T) {
	s := startServer(t, "max_payload: 67108864\nmax_pending: 134217728")
	l := openLink(t, Options{URLs: []string{s.URL}})
	createStream(t, jetStream(t, l), jetstream.StreamConfig{Name: "PHX", Subjects: []string{"a"}, Storage: jetstream.FileStorage})
	p := l.NewPublisher(PublisherOptions{})
	p.patience = phxtest.Patience
	err := p.Publish(t.Context(), []router.NATSMessage{{Subject: "a", ID: "1", Data: make([]byte, 33<<20)}}, func() { t.Error("acknowledged") })
	var failure *router.NATSFailure
	if !errors.As(err, &failure) || failure.Kind != router.NATSTooLarge {
		t.Errorf("%v, %v", failure, err)
	}
}
