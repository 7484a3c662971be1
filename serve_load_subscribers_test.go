package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"phx/phoenix/phoenixtest"
)

const (
	// crowdSize is how many subscribers come and go, crowdAtOnce how many are there at a time.
	crowdSize   = 1000
	crowdAtOnce = 50
	// crowdReads is how many signals a subscriber reads at most before it goes.
	crowdReads = 8
	// crowdHeap is how much more memory may be in use afterwards: garbage, mostly. What is left of a subscriber may not have
	// a size worth mentioning: the crowd would need more than this with 16 KiB each.
	crowdHeap = 16 << 20
	// ahead is how many messages the server is ahead of a subscriber that keeps up: much less than what makes it lose any.
	ahead = 100
)

// numberText makes the messages so large that somebody who does not read soon has no room for them.
var numberText = strings.Repeat("x", 1000)

// A numbers is the application of a server that sends numbered messages to the one client that joins.
type numbers struct {
	// joined gets the client's channel.
	joined chan *phoenixtest.Socket
	// wanted has one for each message that somebody waits for; underway one for each that the client has not seen.
	wanted, underway chan struct{}
	// sent is how many there were, once done is closed.
	sent int64
	done chan struct{}
}

func newNumbers() *numbers {
	return &numbers{
		joined: make(chan *phoenixtest.Socket, 1), underway: make(chan struct{}, ahead),
		wanted: make(chan struct{}, crowdSize*(crowdReads+1)), done: make(chan struct{}),
	}
}

func (n *numbers) app(s *phoenixtest.Server) {
	s.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
		OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
			s.Send(nil)
			return nil, nil
		},
		OnInfo: func(s *phoenixtest.Socket, _ any) phoenixtest.Result {
			n.joined <- s
			return phoenixtest.NoReply()
		},
		OnIn: func(_ *phoenixtest.Socket, _ string, p phoenixtest.Payload) phoenixtest.Result {
			return phoenixtest.OK(p)
		},
	})}})
}

// send sends what is wanted, and says at the end that it was the end.
func (n *numbers) send(to *phoenixtest.Socket) {
	defer close(n.done)
	for range n.wanted {
		n.underway <- struct{}{}
		n.sent++
		to.Push(eventNumber, phoenixtest.RawJSON(fmt.Sprintf(`{"n":%d,"text":%q}`, n.sent, numberText)))
	}
	to.Push(eventLast, phoenixtest.RawJSON(fmt.Sprintf(`{"n":%d}`, n.sent+1)))
}

// A subscriber is somebody at /v1/signals.
type subscriber struct {
	conn  net.Conn
	lines *bufio.Reader
}

// subscribe asks for signals. With the header of the answer it is certain that those from now on come.
func subscribe(socket, query string) (*subscriber, error) {
	conn, err := ask(socket, query)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New("the answer is " + resp.Status)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &subscriber{conn, bufio.NewReader(resp.Body)}, nil
}

// ask sends the request alone.
func ask(socket, query string) (net.Conn, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "GET /v1/signals?%s HTTP/1.1\r\nHost: phx\r\n\r\n", query); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// next reads a signal.
func (s *subscriber) next() (*soakSignal, error) {
	line, err := s.lines.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var signal soakSignal
	return &signal, json.Unmarshal(line, &signal)
}

// read reads a number of messages, which follow each other.
func (s *subscriber) read(count int) error {
	var last int64
	for range count {
		signal, err := s.next()
		if err != nil {
			return err
		}
		n := signal.Data.Payload.N
		if n == 0 || last != 0 && n != last+1 {
			return fmt.Errorf("after message %d came %+v", last, signal)
		}
		last = n
	}
	return nil
}

// wantNumbers is the query for what a numbers sends.
const wantNumbers = "event=" + eventNumber + "&event=" + eventLast

// visit is what the i-th of the crowd does.
func (n *numbers) visit(socket string, i int) error {
	if i%5 == 0 { // it has gone before it is answered
		conn, err := ask(socket, wantNumbers)
		if err == nil {
			conn.Close()
		}
		return err
	}
	query := wantNumbers
	if i%20 == 1 {
		query += "&where=.data.payload.n+%3E+0"
	}
	s, err := subscribe(socket, query)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	count := 1 + i%crowdReads
	for range count + 1 {
		n.wanted <- struct{}{}
	}
	if err := s.read(count); err != nil {
		return err
	}
	if i%2 == 0 { // it goes within a line
		_, err = io.ReadFull(s.lines, make([]byte, 100))
	}
	return err
}

// TestServeSubscribers lets a crowd come to /v1/signals, and go again in all kinds of ways, beside one that does not read and one
// that gets everything. Nothing is left of them.
func TestServeSubscribers(t *testing.T) {
	n := newNumbers()
	server := phoenixtest.NewServer(n.app)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "all.ndjson")
	s := startServe(t, fmt.Sprintf(`
connections: {a: {uri: %s, auto_join_channels: [room:numbers]}}
sinks: {all: {file: {path: %s}, queue: 64MiB}}
routes: [{event: [%s, %s], to: [all]}]
`, server.URL, file, eventNumber, eventLast), nil)
	s.awaitReady(t)
	before := s.atRest(t)

	steady, err := subscribe(s.socket, wantNumbers)
	if err != nil {
		t.Fatal(err)
	}
	defer steady.conn.Close()
	idle, err := subscribe(s.socket, wantNumbers)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.conn.Close()
	go n.send(<-n.joined)

	var visits, reads sync.WaitGroup
	reads.Go(func() { n.readAll(t, steady) })
	for first := range crowdAtOnce {
		visits.Go(func() {
			for i := first; i < crowdSize; i += crowdAtOnce {
				if err := n.visit(s.socket, i); err != nil {
					t.Errorf("subscriber %d: %v", i, err)
				}
			}
		})
	}
	visits.Wait()
	close(n.wanted)
	<-n.done
	reads.Wait()
	during := s.usage(t)
	if got := s.ctl(t, "push", "a", "room:numbers", "echo", `{"n":1.0}`, "-o", "payload"); got != "{\"n\":1.0}\n" {
		t.Errorf("beside somebody who does not read, the answer of a push is %q", got)
	}
	lost := readOn(t, idle, n.sent)
	steady.conn.Close()
	idle.conn.Close()

	after := s.awaitBack(t, "the subscribers have gone", before, crowdHeap)
	if got := server.Stats().Connects; got != 1 {
		t.Errorf("the connection connected %d times, want once", got)
	}
	if cut := s.stop(t); cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
	checkFile(t, file, n.sent)
	t.Logf("%d messages to each, the one who did not read lost %d; before: %+v, with him: %+v, after: %+v", n.sent, lost, before, during, after)
}

// readAll reads every message until the last one, in order.
func (n *numbers) readAll(t *testing.T, s *subscriber) {
	for want := int64(1); ; want++ {
		signal, err := s.next()
		if err != nil || signal.Data.Payload.N != want {
			t.Errorf("the steady subscriber got %+v, error %v, want message %d", signal, err, want)
			for { // so that the others get theirs
				select {
				case <-n.underway:
				case <-n.done:
					return
				}
			}
		}
		if signal.Metadata.Event == eventLast {
			return
		}
		<-n.underway
	}
}

// readOn reads what somebody gets who has not read until now: some of it, then how much was lost. It returns how much. phx serve
// may have cut him off by now, where everything takes long.
func readOn(t *testing.T, s *subscriber, sent int64) (lost uint64) {
	t.Helper()
	var got, last int64
	for {
		signal, err := s.next()
		if err != nil {
			t.Logf("the one who did not read was cut off after %d messages: %v", got, err)
			return lost
		}
		if signal.Type == "phoenix.signal.dropped" {
			lost += signal.Data.Count
			continue
		}
		if signal.Data.Payload.N <= last {
			t.Errorf("the one who did not read got message %d after %d", signal.Data.Payload.N, last)
		}
		got, last = got+1, signal.Data.Payload.N
		if signal.Metadata.Event == eventLast {
			break
		}
	}
	if lost == 0 || uint64(got)+lost != uint64(sent)+1 {
		t.Errorf("of %d messages the one who did not read got %d and was told to have lost %d", sent+1, got, lost)
	}
	return lost
}

// checkFile checks that a sink has got every message once and in order.
func checkFile(t *testing.T, path string, sent int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &subscriber{lines: bufio.NewReader(f)}
	for want := range sent + 1 {
		if signal, err := s.next(); err != nil || signal.Data.Payload.N != want+1 {
			t.Fatalf("the file has %+v, error %v, want message %d", signal, err, want+1)
		}
	}
	if signal, err := s.next(); err != io.EOF {
		t.Errorf("the file has more: %+v, error %v", signal, err)
	}
}
