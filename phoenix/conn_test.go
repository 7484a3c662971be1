package phoenix_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// start runs a connection to srv in the bubble and returns it with its stream; it is closed at the end of the test.
func start(t *testing.T, srv *phoenixtest.Server, o phoenix.Options) (*phoenix.Conn, *phoenix.Stream) {
	t.Helper()
	conn := newConn(t, srv, o)
	events := conn.Events()
	go func() { _ = conn.Serve(context.Background()) }()
	return conn, events
}

// newConn makes a connection to srv that logs to the test's output. It is closed at the end of the test.
func newConn(t *testing.T, srv *phoenixtest.Server, o phoenix.Options) *phoenix.Conn {
	t.Helper()
	if o.URL == "" {
		o.URL = srv.URL
	}
	if o.NetDial == nil {
		o.NetDial = srv.DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	conn, err := phoenix.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// bubble runs a test in a synctest bubble against a server, which is closed at its end. That nothing is left running then
// is what synctest checks.
func bubble(t *testing.T, app phoenixtest.App, test func(t *testing.T, srv *phoenixtest.Server), opts ...phoenixtest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(app, opts...)
		t.Cleanup(srv.Close)
		test(t, srv)
	})
}

// socket is an application with one socket.
func socket(s phoenixtest.UserSocket) phoenixtest.App {
	return func(srv *phoenixtest.Server) { srv.Mount("/socket", s) }
}

// rooms is an application whose channels room:* are made of funcs.
func rooms(funcs phoenixtest.ChannelFuncs) phoenixtest.App {
	return socket(phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", funcs)}})
}

// topics are channels without params.
func topics(names ...string) []phoenix.Channel {
	var cs []phoenix.Channel
	for _, name := range names {
		cs = append(cs, phoenix.Channel{Topic: name})
	}
	return cs
}

// join joins or ends the test.
func join(t *testing.T, conn *phoenix.Conn, topic string) {
	t.Helper()
	if _, err := conn.Join(t.Context(), phoenix.Channel{Topic: topic}); err != nil {
		t.Fatal(err)
	}
}

// send sends or ends the test.
func send(t *testing.T, conn *phoenix.Conn, p phoenix.Push) {
	t.Helper()
	if err := conn.Send(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// warnings is a logger of what is worth a warning.
func warnings(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// settle waits for everything in the bubble that does not wait for time, after d.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestJoinAndPush(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		join(t, conn, "room:lobby")
		r, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:lobby", Name: "echo", Payload: phoenix.JSON(`{"a":1.0}`)})
		if err != nil || r.Status != "ok" || string(r.Payload.Data) != `{"a":1.0}` {
			t.Fatalf("reply %+v, error %v", r, err)
		}
		settle(2500 * time.Millisecond)
		if err := conn.Leave(t.Context(), "room:lobby"); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		log.want(
			"0s connecting 1",
			"0s connected",
			"0s room:lobby joining 1",
			"0s room:lobby joined {}",
			`0s push 0 ok {"a":1.0}`,
			`1s room:lobby tick {"n":1}`,
			`2s room:lobby tick {"n":2}`,
			"2.5s room:lobby left",
			"2.5s disconnected closed_by_us 1000",
		)
	})
}

// A recorder consumes a stream and keeps its events, also as lines that a test can compare: the time since the
// recorder was made, and what happened.
type recorder struct {
	t     *testing.T
	begun time.Time

	mu     sync.Mutex
	events []phoenix.Event
	lines  []string
}

// record consumes the stream to its end.
func record(t *testing.T, s *phoenix.Stream) *recorder {
	r := &recorder{t: t, begun: time.Now()}
	go func() {
		for e := range s.All(context.Background()) {
			r.mu.Lock()
			r.events = append(r.events, e.Clone())
			r.lines = append(r.lines, e.Time.Sub(r.begun).String()+" "+tell(e))
			r.mu.Unlock()
		}
	}()
	return r
}

// want compares the events since the last call of want or forget with lines.
func (r *recorder) want(lines ...string) {
	r.t.Helper()
	if got := r.take(); !slices.Equal(got, lines) {
		r.t.Errorf("got events\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(lines, "\n\t"))
	}
}

// forget drops the events so far.
func (r *recorder) forget() { r.take() }

func (r *recorder) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines, r.events = nil, nil
	return lines
}

// all returns the events since the last call of want or forget.
func (r *recorder) all() []phoenix.Event {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// details returns those of the recorder's events that are of type D.
func details[D phoenix.Detail](r *recorder) []D {
	var ds []D
	for _, e := range r.all() {
		if d, ok := e.Detail.(D); ok {
			ds = append(ds, d)
		}
	}
	return ds
}

// tell describes an event in a few words.
func tell(e *phoenix.Event) string {
	var text string
	switch d := e.Detail.(type) {
	case *phoenix.Connecting, *phoenix.Connected, *phoenix.Disconnected, *phoenix.Reconnecting, *phoenix.ReconnectExhausted,
		*phoenix.Heartbeat, *phoenix.HeartbeatTimeout:
		return tellLink(d)
	case *phoenix.PushReply:
		return fmt.Sprintf("push %d %s %s", d.Index, d.Status, e.Payload.Data)
	case *phoenix.PushTimeout:
		return fmt.Sprintf("push %d timeout", d.Index)
	case *phoenix.PushError:
		return fmt.Sprintf("push %d lost: %s, delivered: %s", d.Index, d.Reason, d.Delivered)
	case *phoenix.PresenceJoin, *phoenix.PresenceLeave, *phoenix.PresenceSync:
		text = tellPresence(d)
	case *phoenix.Message:
		text = e.Name + " " + string(e.Payload.Data)
	default:
		text = tellChannel(e)
	}
	return e.Topic + " " + text
}

func tellLink(d phoenix.Detail) string {
	switch d := d.(type) {
	case *phoenix.Connecting:
		return fmt.Sprint("connecting ", d.Attempt)
	case *phoenix.Connected:
		if d.Reconnect {
			return fmt.Sprint("reconnected after ", d.Outage)
		}
		return "connected"
	case *phoenix.Disconnected:
		text := "disconnected " + string(d.Reason)
		if d.Code != 0 {
			text += fmt.Sprint(" ", d.Code)
		}
		if d.HTTPStatus != 0 {
			text += fmt.Sprint(" ", d.HTTPStatus)
		}
		return text
	case *phoenix.Reconnecting:
		return fmt.Sprintf("retry %d in %v", d.Attempt, d.Delay)
	case *phoenix.ReconnectExhausted:
		return fmt.Sprintf("exhausted after %d of %d", d.Attempts, d.MaxAttempts)
	case *phoenix.Heartbeat:
		return "heartbeat"
	}
	return "heartbeat_timeout"
}

func tellChannel(e *phoenix.Event) string {
	switch d := e.Detail.(type) {
	case *phoenix.Joining:
		return fmt.Sprint("joining ", d.Attempt)
	case *phoenix.Joined:
		if d.Rejoin {
			return fmt.Sprint("rejoined after ", d.Gap)
		}
		return "joined " + string(e.Payload.Data)
	case *phoenix.JoinError:
		return fmt.Sprintf("join_error %d %s%s", d.Attempt, d.Reason, tellRetry(d.Retry))
	case *phoenix.Left:
		return "left"
	case *phoenix.Closed:
		return "closed" + tellRetry(d.Retry)
	case *phoenix.Errored:
		return "errored " + string(d.Reason) + tellRetry(d.Retry)
	}
	return fmt.Sprintf("%T", e.Detail)
}

func tellRetry(r phoenix.Retry) string {
	switch {
	case !r.Will:
		return ""
	case r.In == 0:
		return ", retry"
	}
	return fmt.Sprintf(", retry in %v", r.In)
}

// The end of Serve's context closes as Close does.
func TestServeEndsWithItsContext(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, patient("room:1"))
		log := record(t, conn.Events())
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- conn.Serve(ctx) }()
		settle(time.Second)
		log.forget()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		log.want(
			"1s disconnected closed_by_us 1000",
			"1s room:1 errored disconnected",
		)
	})
}

func TestStart(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{})
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st, err := conn.Status(t.Context()); err != nil || st.Link != phoenix.StatusConnected {
			t.Errorf("status %+v, error %v", st, err)
		}
		if err := conn.Start(t.Context()); err == nil {
			t.Error("started twice")
		}
	})
}

func TestStartFails(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Refuse(&phoenixtest.Refusal{Status: 403})
		var link *phoenix.LinkError
		if err := newConn(t, srv, phoenix.Options{}).Start(t.Context()); !errors.As(err, &link) || link.HTTPStatus != 403 {
			t.Errorf("error %v", err)
		}
	})
}

// When Start's context has ended or ends, the connection is closed.
func TestStartWithEndedContext(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		for _, after := range []time.Duration{0, time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			conn := newConn(t, srv, phoenix.Options{NetDial: silentDial(t)})
			if err := conn.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
			<-conn.Done()
			cancel()
		}
		synctest.Wait()
	})
}

// Status tells what the link and each channel are doing.
func TestStatus(t *testing.T) {
	bubble(t, slowJoins(2*time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Stop()
		conn := newConn(t, srv, patient("room:1"))
		status := func(link phoenix.LinkStatus, session, retries int, channel string) {
			t.Helper()
			st, err := conn.Status(t.Context())
			if err != nil || st.Link != link || st.Session != session || st.Retries != retries {
				t.Errorf("status %+v, error %v; want %s, session %d, %d retries", st, err, link, session, retries)
			}
			if got := st.Channels; channel == "" && len(got) != 0 || channel != "" && (len(got) != 1 || got[0].State != channel) {
				t.Errorf("channels %+v, want one that is %q", got, channel)
			}
		}
		status(phoenix.StatusDisconnected, 0, 0, "")
		record(t, conn.Events())
		go func() { _ = conn.Serve(context.Background()) }()
		settle(500 * time.Millisecond)
		status(phoenix.StatusConnecting, 0, 1, "waiting")
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		status(phoenix.StatusConnected, 1, 1, "joining")
		settle(2 * time.Second)
		status(phoenix.StatusConnected, 1, 1, "joined")
		settle(10 * time.Second)
		status(phoenix.StatusConnected, 1, 0, "joined")
		srv.BlackHole()
		go func() { _ = conn.Leave(t.Context(), "room:1") }()
		settle(0)
		status(phoenix.StatusConnected, 1, 0, "leaving")
		go func() { _ = conn.Close(t.Context()) }()
		settle(0)
		status(phoenix.StatusDisconnecting, 1, 0, "leaving")
		<-conn.Done()
		status(phoenix.StatusDisconnected, 0, 0, "")
	})
}

// Close sends 1000, waits for the server's answer, and fails the pushes that still wait.
func TestClose(t *testing.T) {
	const opClose = 8
	var closes []string
	tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
		if f.FromClient && f.Opcode == opClose {
			closes = append(closes, string(f.Data))
		}
	})
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient("room:1"))
		log := record(t, events)
		settle(time.Second)
		log.forget()
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "silent"})
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		log.want(
			"1s disconnected closed_by_us 1000",
			"1s push 0 lost: cancelled, delivered: unknown",
			"1s room:1 errored disconnected",
		)
		if conn.Err() != nil {
			t.Errorf("error %v", conn.Err())
		}
		settle(0)
		if n := srv.Stats().Open; n != 0 {
			t.Errorf("%d sockets are open", n)
		}
	}, tap)
	if len(closes) != 1 || closes[0] != "\x03\xe8" {
		t.Errorf("close frames %q, want one with code 1000", closes)
	}
}

// What was sent before a Close is written before the close frame. The frames are counted on the wire: a channel dies with
// its socket, and what it had not yet handled with it.
func TestCloseSendsWhatWasQueued(t *testing.T) {
	const pushes = 100
	var got atomic.Int32
	tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
		if f.FromClient && bytes.Contains(f.Data, []byte(`"silent"`)) {
			got.Add(1)
		}
	})
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{})
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		join(t, conn, "room:1")
		for range pushes {
			send(t, conn, phoenix.Push{Topic: "room:1", Name: "silent"})
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		settle(0)
		if n := got.Load(); n != pushes {
			t.Errorf("%d of %d pushes came", n, pushes)
		}
	}, tap)
}

// A server that does not answer the close frame is waited for, but not for long.
func TestCloseOfHalfOpenLink(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient())
		log := record(t, events)
		settle(time.Second)
		log.forget()
		srv.BlackHole()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := conn.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closed within a second: %v", err)
		}
		<-conn.Done()
		log.want("3s disconnected closed_by_us")
	})
}

func TestCloseWhileDialing(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		log := record(t, events)
		settle(time.Second)
		begun := time.Now()
		if err := conn.Close(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Errorf("closed after %v: %v", time.Since(begun), err)
		}
		log.want(
			"0s connecting 1",
			"1s disconnected closed_by_us",
		)
	})
}

// A server that accepts and says nothing holds up a dial in the midst of its upgrade.
func TestCloseWhileUpgrading(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{NetDial: silentDial(t)})
		record(t, events)
		settle(time.Second)
		begun := time.Now()
		if err := conn.Close(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Errorf("closed after %v: %v", time.Since(begun), err)
		}
	})
}

// silentDial dials a server that reads and never answers.
func silentDial(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		t.Cleanup(func() { _ = server.Close() })
		go func() { _, _ = io.Copy(io.Discard, server) }()
		return client, nil
	}
}

func TestCloseWhileWaitingForRetry(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Stop()
		conn, events := start(t, srv, phoenix.Options{MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Hour)})
		log := record(t, events)
		joined := make(chan error, 1)
		go func() {
			_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"})
			joined <- err
		}()
		settle(time.Second)
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-joined; !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("the join ended with %v", err)
		}
		log.want(
			"0s connecting 1",
			"0s disconnected connect_refused",
			"0s retry 1 in 1h0m0s",
			"1s disconnected closed_by_us",
		)
	})
}

func TestCloseBeforeStart(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{})
		events := conn.Events()
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := events.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("the stream says %v, want its end", err)
		}
		if err := conn.Start(t.Context()); !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("started after its close: %v", err)
		}
		if err := conn.Serve(t.Context()); !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("served after its close: %v", err)
		}
		if _, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"}); !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("joined after its close: %v", err)
		}
	})
}

func TestCloseFromManyGoroutines(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient("room:1"))
		log := record(t, events)
		settle(time.Second)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := conn.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := conn.Close(t.Context()); err != nil {
			t.Errorf("closed again: %v", err)
		}
		if lost := details[*phoenix.Disconnected](log); len(lost) != 1 || lost[0].Reason != phoenix.ReasonClosedByUs {
			t.Errorf("%d ends of the session, want one by us", len(lost))
		}
	})
}

// After the end every method says so at once.
func TestMethodsAfterClose(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient("room:1"))
		record(t, events)
		settle(time.Second)
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		ctx := t.Context()
		push := phoenix.Push{Topic: "room:1", Name: "echo"}
		_, joined := conn.Join(ctx, phoenix.Channel{Topic: "room:1"})
		_, pushed := conn.Push(ctx, push)
		_, beat := conn.Heartbeat(ctx)
		for name, err := range map[string]error{
			"Join": joined, "Push": pushed, "Heartbeat": beat, "Send": conn.Send(ctx, push), "Start": conn.Start(ctx),
			"Leave": conn.Leave(ctx, "room:1"), "Serve": conn.Serve(ctx),
		} {
			if !errors.Is(err, phoenix.ErrClosed) {
				t.Errorf("%s: %v, want that the connection is closed", name, err)
			}
		}
	})
}

// The package's documentation names tests as the proof of its promises; they have to be there.
func TestDocumentedTestsExist(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, text...)
	}
	names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(doc), -1)
	if len(names) == 0 {
		t.Error("no promise names a test")
	}
	for _, name := range names {
		if !bytes.Contains(tests, []byte("\nfunc "+name+"(")) {
			t.Errorf("doc.go names %s, which is not there", name)
		}
	}
}

// The calls that return their answer as an event return the one that the stream has, and it stays what it is.
func TestEventsOfCalls(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, stream := start(t, srv, phoenix.Options{})
		log := record(t, stream)
		ctx := t.Context()
		var got []phoenix.Event
		keep := func(e phoenix.Event, err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
			got = append(got, e)
		}
		keep(conn.JoinEvent(ctx, phoenix.Channel{Topic: "room:1"}))
		keep(conn.JoinEvent(ctx, phoenix.Channel{Topic: "room:private"}))
		for i, name := range []string{"echo", "silent", "crash"} {
			keep(conn.PushEvent(ctx, phoenix.Push{
				Topic: "room:1", Name: name, Payload: phoenix.JSON(`{"a":1.0}`), Index: i, Timeout: time.Second,
			}))
			if name == "silent" {
				keep(conn.LeaveEvent(ctx, "room:1"))
				join(t, conn, "room:1")
			}
		}
		join(t, conn, "room:2")
		for range 100 { // what would overwrite a payload that is not a clone
			over := phoenix.Push{Topic: "room:2", Name: "echo", Payload: phoenix.JSON(strings.Repeat(" ", 100) + `{"overwritten":true}`)}
			if _, err := conn.Push(ctx, over); err != nil {
				t.Fatal(err)
			}
		}
		bySeq := map[uint64]phoenix.Event{}
		for _, e := range log.all() {
			bySeq[e.Seq] = e
		}
		var told []string
		for _, e := range got {
			told = append(told, tell(&e))
			if streamed := bySeq[e.Seq]; tell(&streamed) != tell(&e) || streamed.Ref != e.Ref || streamed.JoinRef != e.JoinRef {
				t.Errorf("event %+v, but the stream has %+v", e, streamed)
			}
		}
		want := "[room:1 joined {} room:private join_error 1 error push 0 ok {\"a\":1.0} push 1 timeout room:1 left " +
			"push 2 lost: channel_crashed, delivered: unknown]"
		if fmt.Sprint(told) != want {
			t.Errorf("events %s\nwant   %s", told, want)
		}
	})
}

// The response in a JoinError lies in a buffer of the connection; a clone has its own.
func TestEventsAreClones(t *testing.T) {
	response := []byte(`{"reason":"no"}`)
	e := phoenix.Event{
		Payload: phoenix.Payload{Data: response},
		Detail:  &phoenix.JoinError{Topic: "room:1", Response: phoenix.Payload{Data: response}},
	}
	c := e.Clone()
	copy(response, "overwritten....")
	if d := c.Detail.(*phoenix.JoinError); string(c.Payload.Data) != `{"reason":"no"}` || string(d.Response.Data) != `{"reason":"no"}` {
		t.Errorf("payload %s, response %s", c.Payload.Data, d.Response.Data)
	}
}

// JoinEvent returns the first answer, Join the last; the topic stays wanted.
func TestJoinEventIsTheFirstAnswer(t *testing.T) {
	bubble(t, slowJoins(4*time.Second), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			ReplyTimeout: 3 * time.Second, MaxRetries: 1, RejoinAfter: phoenix.Steps(5 * time.Second),
		})
		record(t, events)
		begun := time.Now()
		e, err := conn.JoinEvent(t.Context(), phoenix.Channel{Topic: "room:1"})
		if err != nil || tell(&e) != "room:1 join_error 1 timeout, retry in 5s" || time.Since(begun) != 3*time.Second {
			t.Errorf("event %s after %v, error %v", tell(&e), time.Since(begun), err)
		}
		if _, err := conn.JoinEvent(t.Context(), phoenix.Channel{Topic: "room:1"}); !errors.Is(err, phoenix.ErrJoined) {
			t.Errorf("joined again: %v", err)
		}
		if _, err := conn.JoinEvent(t.Context(), phoenix.Channel{}); err == nil {
			t.Error("joined a topic without a name")
		}
	})
}

// Without an event there is an error.
func TestCallsWithoutEvent(t *testing.T) {
	bubble(t, slowJoins(time.Minute), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{ReplyTimeout: time.Hour})
		record(t, events)
		if _, err := conn.LeaveEvent(t.Context(), "room:1"); !errors.Is(err, phoenix.ErrNotJoined) {
			t.Errorf("left what was not joined: %v", err)
		}
		if _, err := conn.PushEvent(t.Context(), phoenix.Push{}); err == nil {
			t.Error("pushed nothing")
		}
		joined := make(chan error, 2)
		for _, topic := range []string{"room:1", "room:2"} {
			go func() {
				_, err := conn.JoinEvent(context.Background(), phoenix.Channel{Topic: topic})
				joined <- err
			}()
			synctest.Wait()
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := conn.LeaveEvent(short, "room:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("left within a second: %v", err)
		}
		if err := <-joined; !errors.Is(err, phoenix.ErrNotJoined) {
			t.Errorf("the join of what is left ended with %v", err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-joined; !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("the join of a closed connection ended with %v", err)
		}
	})
}

// SendRef returns the ref of the frame when it is written, and what became of the push if it never was.
func TestSendRef(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		slow := func(d time.Duration) func(context.Context) (phoenix.Payload, error) {
			return func(context.Context) (phoenix.Payload, error) { time.Sleep(d); return phoenix.Payload{}, nil }
		}
		conn, events := start(t, srv, phoenix.Options{Channels: []phoenix.Channel{
			{Topic: "room:1", Params: slow(2 * time.Second)}, {Topic: "room:2", Params: slow(9 * time.Second)},
		}})
		log := record(t, events)
		settle(time.Second)
		begun := time.Now()
		echo := phoenix.Push{Topic: "room:1", Name: "echo", Index: 3}
		ref, err := conn.SendRef(t.Context(), echo)
		if err != nil || ref == "" || time.Since(begun) != time.Second {
			t.Errorf("ref %q after %v, error %v", ref, time.Since(begun), err)
		}
		settle(time.Second / 2)
		var ended []string
		for _, e := range log.all() {
			if _, ok := e.Detail.(*phoenix.PushReply); ok {
				ended = append(ended, e.Ref)
			}
		}
		if fmt.Sprint(ended) != fmt.Sprint([]string{ref}) {
			t.Errorf("the stream has replies to %v, want one to %s", ended, ref)
		}

		var lost *phoenix.PushError
		if _, err := conn.SendRef(t.Context(), phoenix.Push{Topic: "room:3", Name: "echo"}); !errors.As(err, &lost) || lost.Reason != phoenix.PushNotJoined {
			t.Errorf("sent to a topic that is not joined: %v", err)
		}
		var late *phoenix.PushTimeout
		waits := phoenix.Push{Topic: "room:2", Name: "echo", Timeout: time.Second}
		if _, err := conn.SendRef(t.Context(), waits); !errors.As(err, &late) {
			t.Errorf("sent before the topic was joined: %v", err)
		}
		if _, err := conn.SendRef(t.Context(), phoenix.Push{}); err == nil {
			t.Error("sent nothing")
		}
	})
}

// flooder is an application that answers a push of n with n numbered messages, as fast as the client takes them.
func flooder() phoenixtest.App {
	onIn := func(s *phoenixtest.Socket, event string, p phoenixtest.Payload) phoenixtest.Result {
		switch event {
		case "flood":
			for i := range phoenixtest.Field(p, "n", 0) {
				s.Pace(16)
				s.Push("item", phoenixtest.Map{"i": i, "filler": strings.Repeat("x", 64)})
			}
			return phoenixtest.OK(nil)
		case "big":
			s.Push("big", strings.Repeat("x", phoenixtest.Field(p, "bytes", 0)))
		}
		return phoenixtest.NoReply()
	}
	return socket(phoenixtest.UserSocket{
		IdleTimeout: -1,
		Channels:    []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{OnIn: onIn})},
	})
}

func flood(n int) phoenix.Push {
	return phoenix.Push{Topic: "room:1", Name: "flood", Payload: phoenix.JSON(fmt.Sprintf(`{"n":%d}`, n))}
}

// wantItems checks that the recorder's messages are the items 0 to n-1, in order and each once, and returns the other
// events, told.
func wantItems(t *testing.T, log *recorder, n int) (others []string) {
	t.Helper()
	next, seq := 0, uint64(0)
	for _, e := range log.all() {
		if seq++; e.Seq != seq {
			t.Fatalf("event %d has number %d", seq, e.Seq)
		}
		if _, ok := e.Detail.(*phoenix.Message); !ok {
			others = append(others, tell(&e))
			continue
		}
		if !strings.HasSuffix(string(e.Payload.Data), fmt.Sprintf(`"i":%d}`, next)) {
			t.Fatalf("message %d is %s", next, e.Payload.Data)
		}
		next++
	}
	if next != n {
		t.Errorf("%d messages, want %d", next, n)
	}
	return others
}

// Events come in wire order (rule 7).
func TestOrderOfManyMessages(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		join(t, conn, "room:1")
		if _, err := conn.Push(t.Context(), flood(20_000)); err != nil {
			t.Error(err)
		}
		others := wantItems(t, log, 20_000)
		if last := others[len(others)-1]; last != "push 0 ok {}" { // sent behind the last message
			t.Errorf("the last event is %q", last)
		}
	})
}

// While the consumer is away, reads pause: what waits is bounded, heartbeats go on being written, their answers and those
// to pushes are not missed, and nothing is lost (rule 21).
func TestSlowConsumer(t *testing.T) {
	var sent atomic.Int64
	tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
		if !f.FromClient {
			sent.Add(int64(len(f.Data)))
		}
	})
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			HeartbeatInterval: 5 * time.Second, HeartbeatTimeout: 2 * time.Second, ReplyTimeout: 3 * time.Second,
		})
		join(t, conn, "room:1")
		send(t, conn, flood(10_000))
		settle(29 * time.Second)
		const onTheWay = 256 << 10 // what fits between the two sides
		if n := sent.Load(); n < onTheWay || n > 3*onTheWay {
			t.Errorf("the server could send %d bytes to a consumer that was away", n)
		}
		log := record(t, events)
		settle(time.Second / 2)
		others := wantItems(t, log, 10_000)
		want := "[connecting 1 connected room:1 joining 1 room:1 joined {} push 0 ok {}]"
		if got := fmt.Sprint(others); got != want {
			t.Errorf("events %s, want %s", got, want)
		}
		settle(time.Second)
		if n := srv.Stats().Heartbeats; n != 6 {
			t.Errorf("%d heartbeats in 30 seconds, want 6", n)
		}
	}, tap)
}

// A windowedConn is found empty each time that a window has been read, as a socket is for which the server has more than its system
// has room for.
type windowedConn struct {
	net.Conn
	left int
}

// window is no multiple of what is read at once, so that the last read of one is short.
const window = 32<<10 + 1

func (c *windowedConn) Buffered() int { return c.Conn.(interface{ Buffered() int }).Buffered() }

func (c *windowedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		c.left = window
	}
	return n, err
}

// A channel that crashed behind a backlog was gone for as long as that was not read: an empty socket says nothing of what the server
// had to wait with. Once a heartbeat has been answered, it does again (rule 20).
func TestGapBehindBacklog(t *testing.T) {
	app := rooms(phoenixtest.ChannelFuncs{OnIn: func(s *phoenixtest.Socket, event string, _ phoenixtest.Payload) phoenixtest.Result {
		if event == "crash" {
			panic("as asked for")
		}
		for i := range 20_000 { // which waits in the server
			s.Push("item", phoenixtest.Map{"i": i, "filler": strings.Repeat("x", 64)})
		}
		return phoenixtest.NoReply()
	}})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		o := patient("room:1")
		o.NetDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := srv.DialContext(ctx, network, addr)
			return &windowedConn{Conn: conn, left: window}, err
		}
		conn, events := start(t, srv, o)
		settle(time.Second)
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "flood"})
		settle(time.Second)
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "crash", Index: 1})
		settle(20 * time.Second)
		log := record(t, events)
		settle(5 * time.Second)
		joined := details[*phoenix.Joined](log)
		if len(joined) != 2 || joined[1].Gap < 20*time.Second || joined[1].Gap > 25*time.Second {
			t.Fatalf("%d joins, want a second one after 20s: %+v", len(joined), joined[len(joined)-1])
		}
		settle(55 * time.Second) // a heartbeat is answered, the last one long ago
		srv.Broadcast("room:1", "quiet", nil)
		settle(2 * time.Second)
		srv.Broadcast("room:1", "quiet", nil)
		settle(time.Second)
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "crash", Index: 2})
		settle(5 * time.Second)
		joined = details[*phoenix.Joined](log)
		if len(joined) != 3 || joined[2].Gap > 5*time.Second {
			t.Errorf("%d joins, want a third one within 5s: %+v", len(joined), joined[len(joined)-1])
		}
	})
}

// When the server cuts the link because nobody reads, that is announced behind everything that was received (rules 21
// and 22).
func TestConsumerTooSlowForServer(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, patient())
		join(t, conn, "room:1")
		send(t, conn, flood(10_000))
		settle(time.Minute)
		log := record(t, events)
		settle(5 * time.Second)
		received := len(details[*phoenix.Message](log))
		others := wantItems(t, log, received)
		// How much waits until reads pause depends on how full the batches were, which the order of goroutines decides.
		if received < 1000 || received > 10_000 {
			t.Errorf("%d messages were received", received)
		}
		lost := 0
		for i, e := range log.all() {
			if _, ok := e.Detail.(*phoenix.Disconnected); ok {
				lost = i
			}
			if _, ok := e.Detail.(*phoenix.Message); ok && lost > 0 {
				t.Fatal("a message came behind the end of its session")
			}
		}
		want := "push 0 lost: disconnected, delivered: unknown"
		if !strings.Contains(fmt.Sprint(others), want) || lost == 0 {
			t.Errorf("events %s, want %q among them", others, want)
		}
	})
}

// Frames received before the end of a session are delivered before it is announced (rule 22).
func TestFramesBeforeTheEnd(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		join(t, conn, "room:1")
		send(t, conn, flood(1000))
		settle(0)
		srv.CloseConns(1012)
		<-conn.Done()
		log := record(t, events)
		others := wantItems(t, log, 1000)
		want := "[connecting 1 connected room:1 joining 1 room:1 joined {} push 0 ok {} " +
			"disconnected closed_by_remote 1012 room:1 errored disconnected]"
		if got := fmt.Sprint(others); got != want {
			t.Errorf("events %s, want %s", got, want)
		}
	})
}

// The time of answers stands still while reads are paused, and goes on when the consumer is back.
func TestTimeoutsAfterPause(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{HeartbeatInterval: time.Hour})
		join(t, conn, "room:1")
		begun := time.Now()
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "silent", Timeout: 5 * time.Second})
		settle(time.Second)
		send(t, conn, phoenix.Push{
			Topic: "room:1", Name: "big", Payload: phoenix.JSON(`{"bytes":300000}`), Index: 1, Timeout: time.Minute,
		})
		settle(time.Minute)
		if _, err := events.Next(t.Context()); err != nil { // the consumer has taken what waited, and is busy with it
			t.Fatal(err)
		}
		settle(10 * time.Minute)
		log := record(t, events)
		settle(0)
		var timeouts []time.Duration
		for _, e := range log.all() {
			if _, ok := e.Detail.(*phoenix.PushTimeout); ok {
				timeouts = append(timeouts, e.Time.Sub(begun))
			}
		}
		if got, want := fmt.Sprint(timeouts), "[1m5s 2m1s]"; got != want {
			t.Errorf("timeouts after %s, want %s: the time away does not count", got, want)
		}
	})
}

// A call whose answer is behind events that its caller has not taken ends by the wall clock, and what it began goes on.
func TestCallsBehindUnreadEvents(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{HeartbeatInterval: time.Hour, ReplyTimeout: 7 * time.Second})
		join(t, conn, "room:1")
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "big", Payload: phoenix.JSON(`{"bytes":300000}`), Timeout: time.Hour})
		settle(time.Second)
		ctx := t.Context()
		for _, c := range []struct {
			name    string
			timeout time.Duration
			call    func() error
		}{
			{"Push", 3 * time.Second, func() error {
				_, err := conn.Push(ctx, phoenix.Push{Topic: "room:1", Name: "big", Timeout: 3 * time.Second})
				return err
			}},
			{"PushEvent", 7 * time.Second, func() error {
				_, err := conn.PushEvent(ctx, phoenix.Push{Topic: "room:1", Name: "big"})
				return err
			}},
			{"Heartbeat", 10 * time.Second, func() error { _, err := conn.Heartbeat(ctx); return err }},
			{"Join", 7 * time.Second, func() error { _, err := conn.Join(ctx, phoenix.Channel{Topic: "room:2"}); return err }},
			{"WaitJoined", 7 * time.Second, func() error { return conn.WaitJoined(ctx, "room:2") }},
			{"SendRef", 7 * time.Second, func() error {
				_, err := conn.SendRef(ctx, phoenix.Push{Topic: "room:2", Name: "big"})
				return err
			}},
			{"Leave", 7 * time.Second, func() error { return conn.Leave(ctx, "room:1") }},
		} {
			begun := time.Now()
			err := c.call()
			var unread *phoenix.UnreadError
			if !errors.As(err, &unread) || unread.Timeout != c.timeout || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", c.name, err)
			}
			if took := time.Since(begun); took != c.timeout {
				t.Errorf("%s took %v, want %v", c.name, took, c.timeout)
			}
		}
		log := record(t, events)
		settle(time.Minute)
		if joined, left := len(details[*phoenix.Joined](log)), len(details[*phoenix.Left](log)); joined != 2 || left != 1 {
			t.Errorf("%d topics joined and %d left, want 2 and 1: what the calls began goes on", joined, left)
		}
	})
}

// As long as the consumer takes events, a call waits: its answer comes nearer.
func TestCallBehindSlowConsumer(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{HeartbeatInterval: time.Hour, ReplyTimeout: 5 * time.Second})
		join(t, conn, "room:1")
		for range 3 {
			send(t, conn, phoenix.Push{Topic: "room:1", Name: "big", Payload: phoenix.JSON(`{"bytes":300000}`), Timeout: time.Hour})
		}
		settle(time.Second)
		result := make(chan error, 1)
		go func() {
			_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:2"})
			result <- err
		}()
		for {
			settle(4 * time.Second)
			select {
			case err := <-result:
				if err != nil {
					t.Fatal(err)
				}
				return
			default:
			}
			if _, err := events.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWaitJoined(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{Channels: []phoenix.Channel{{Topic: "room:1"}, {Topic: "room:private"}}})
		record(t, events)
		if err := conn.WaitJoined(t.Context(), "room:1"); err != nil {
			t.Error(err)
		}
		if err := conn.WaitJoined(t.Context(), "room:1"); err != nil {
			t.Errorf("the second time: %v", err)
		}
		if err := conn.WaitJoined(t.Context(), "room:2"); !errors.Is(err, phoenix.ErrNotJoined) {
			t.Errorf("a topic that is not wanted: %v", err)
		}
		settle(time.Second)
		if err := conn.WaitJoined(t.Context(), "room:private"); !errors.Is(err, phoenix.ErrNotJoined) {
			t.Errorf("a topic that was refused: %v", err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := conn.WaitJoined(t.Context(), "room:1"); !errors.Is(err, phoenix.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A wait for a join ends with the join.
func TestWaitJoinedRefused(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{Channels: []phoenix.Channel{{Topic: "room:private"}}})
		result := make(chan error, 1)
		go func() { result <- conn.WaitJoined(t.Context(), "room:private") }()
		settle(time.Second)
		go func() { _ = conn.Serve(context.Background()) }()
		var refused *phoenix.JoinError
		if err := <-result; !errors.As(err, &refused) && !errors.Is(err, phoenix.ErrNotJoined) {
			t.Errorf("%v", err)
		}
	})
}

// What a stream of a topic has, in the order of the wire, and that it does not take it away from the other one.
func TestTopicEvents(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		all := record(t, events)
		join(t, conn, "room:1")
		join(t, conn, "room:2")
		topic, name := record(t, conn.TopicEvents("room:1")), record(t, conn.TopicEvents("room:1", "b"))
		closed := conn.TopicEvents("room:1")
		for i, event := range []string{"a", "b", "broadcast", "b"} {
			for _, room := range []string{"room:1", "room:2"} {
				push := phoenix.Push{Topic: room, Name: event, Payload: phoenix.JSON(`{"n":1}`), Index: i, Timeout: time.Second}
				if _, err := conn.PushEvent(t.Context(), push); err != nil {
					t.Fatal(err)
				}
			}
			closed.Close()
		}
		if _, err := closed.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("a stream that was closed: %v", err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		settle(0)
		var want, wantNamed []uint64
		for _, e := range all.all() {
			if _, ok := e.Detail.(*phoenix.Joined); e.Topic != "room:1" || ok && e.Topic == "room:1" {
				continue
			}
			if _, ok := e.Detail.(*phoenix.Joining); ok {
				continue
			}
			want = append(want, e.Seq)
			if e.Name == "b" {
				wantNamed = append(wantNamed, e.Seq)
			}
		}
		if got := seqs(topic.all()); !slices.Equal(got, want) || len(got) < 5 {
			t.Errorf("the stream of the topic has %v, want %v", got, want)
		}
		if got := seqs(name.all()); !slices.Equal(got, wantNamed) || len(got) != 2 {
			t.Errorf("the stream of the name has %v, want %v", got, wantNamed)
		}
		if _, err := conn.TopicEvents("room:1").Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("a stream after the end: %v", err)
		}
	})
}

func seqs(events []phoenix.Event) []uint64 {
	all := make([]uint64, len(events))
	for i := range events {
		all[i] = events[i].Seq
	}
	return all
}

// A stream of a topic that nobody reads pauses reads like the other one, until it is closed.
func TestTopicEventsUnread(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{HeartbeatInterval: time.Hour, ReplyTimeout: 5 * time.Second})
		record(t, events)
		join(t, conn, "room:1")
		topic := conn.TopicEvents("room:1")
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "big", Payload: phoenix.JSON(`{"bytes":300000}`), Timeout: time.Hour})
		settle(time.Second)
		var unread *phoenix.UnreadError
		if _, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:2"}); !errors.As(err, &unread) {
			t.Fatalf("a join behind events that nobody takes: %v", err)
		}
		topic.Close()
		if err := conn.WaitJoined(t.Context(), "room:2"); err != nil {
			t.Error(err)
		}
	})
}

// Without heartbeats there is none but those that are asked for.
func TestNoHeartbeat(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		beats := 0
		conn, events := start(t, srv, phoenix.Options{
			HeartbeatInterval: phoenix.NoHeartbeat, OnHeartbeat: func(time.Duration) { beats++ },
		})
		record(t, events)
		join(t, conn, "room:1")
		settle(50 * time.Second)
		if beats != 0 {
			t.Errorf("%d heartbeats", beats)
		}
		if _, err := conn.Heartbeat(t.Context()); err != nil {
			t.Error(err)
		}
		settle(time.Second)
		if beats != 1 {
			t.Errorf("%d heartbeats, want the one asked for", beats)
		}
	})
}

// A link that died while the consumer was away is found when it is back.
func TestHalfOpenLinkAfterPause(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		o := patient()
		o.HeartbeatInterval, o.HeartbeatTimeout = 5*time.Second, 2*time.Second
		conn, events := start(t, srv, o)
		join(t, conn, "room:1")
		send(t, conn, phoenix.Push{
			Topic: "room:1", Name: "big", Payload: phoenix.JSON(`{"bytes":300000}`), Timeout: time.Hour,
		})
		settle(time.Second)
		srv.BlackHole()
		settle(20*time.Second - time.Second)
		log := record(t, events)
		settle(2 * time.Second)
		timeouts := details[*phoenix.HeartbeatTimeout](log)
		if len(timeouts) != 1 || len(details[*phoenix.Joined](log)) != 1 {
			t.Errorf("%d heartbeat timeouts, want one", len(timeouts))
		}
		settle(time.Second)
		if n := len(details[*phoenix.Joined](log)); n != 2 {
			t.Errorf("%d joins, want that and one in a new session", n)
		}
	})
}

// Close does not wait for the consumer, and the consumer gets what there was.
func TestCloseWithoutConsumer(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		join(t, conn, "room:1")
		send(t, conn, flood(10_000))
		settle(time.Second)
		begun := time.Now()
		if err := conn.Close(t.Context()); err != nil || time.Since(begun) > 3*time.Second {
			t.Errorf("closed after %v: %v", time.Since(begun), err)
		}
		log := record(t, events)
		settle(0)
		others := wantItems(t, log, len(details[*phoenix.Message](log)))
		if got := fmt.Sprint(others); !strings.Contains(got, "disconnected closed_by_us") {
			t.Errorf("events %s", got)
		}
	})
}

// Without a stream nothing waits and nothing pauses.
func TestNoConsumer(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{})
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		join(t, conn, "room:1")
		if _, err := conn.Push(t.Context(), flood(10_000)); err != nil {
			t.Error(err)
		}
	})
}

// Messages that come one by one fill large buffers only in part: what they hold while the consumer is away is bounded
// all the same.
func TestMemoryOfSlowConsumer(t *testing.T) {
	bubble(t, flooder(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, _ := start(t, srv, phoenix.Options{ReadBuffer: 64 << 10})
		join(t, conn, "room:1")
		before := heap()
		server := srv.Conns()[0]
		for range 1000 {
			server.SendText(`[null,null,"room:1","drop",{}]`)
			settle(time.Millisecond)
		}
		if grown := heap() - before; grown > 4<<20 {
			t.Errorf("1000 small messages hold %d KiB", grown>>10)
		}
	})
}

// heap is the size of what is reachable.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
