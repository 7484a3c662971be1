package phoenix_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// A panicCase is something that panics once armed is set, and what makes the connection call it then.
type panicCase struct {
	what   string
	option func(o *phoenix.Options, check func())
	act    func(conn *phoenix.Conn, srv *phoenixtest.Server)
}

var panicCases = map[string]panicCase{
	"credentials": {
		what: "Options.Credentials",
		option: func(o *phoenix.Options, check func()) {
			o.Credentials = func(context.Context) (phoenix.Credentials, error) { check(); return phoenix.Credentials{}, nil }
		},
		act: func(_ *phoenix.Conn, srv *phoenixtest.Server) { srv.DropConns() },
	},
	"a dial": {
		what: "the dial",
		option: func(o *phoenix.Options, check func()) {
			dial := o.NetDial
			o.NetDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				check()
				return dial(ctx, network, addr)
			}
		},
		act: func(_ *phoenix.Conn, srv *phoenixtest.Server) { srv.DropConns() },
	},
	"an upgrade": {
		what:   "the dial",
		option: brokenConn,
		act:    func(_ *phoenix.Conn, srv *phoenixtest.Server) { srv.DropConns() },
	},
	"params": {
		what: "Channel.Params",
		option: func(o *phoenix.Options, check func()) {
			o.Channels[0].Params = func(context.Context) (phoenix.Payload, error) { check(); return phoenix.Payload{}, nil }
		},
		act: func(_ *phoenix.Conn, srv *phoenixtest.Server) { srv.DropConns() },
	},
	"a backoff": {
		what: "the connection",
		option: func(o *phoenix.Options, check func()) {
			o.ReconnectAfter = func(int) time.Duration { check(); return 0 }
		},
		act: func(_ *phoenix.Conn, srv *phoenixtest.Server) { srv.DropConns() },
	},
	"a filter": {
		what: "Options.Skip",
		option: func(o *phoenix.Options, check func()) {
			o.Skip = func(_, _ []byte) bool { check(); return false }
		},
		act: func(_ *phoenix.Conn, srv *phoenixtest.Server) {
			srv.Conns()[0].SendText(`[null,null,"room:1","news",{}]`)
		},
	},
	"a trace of what is read": {
		what:   "Options.Trace",
		option: trace(false, "text"),
		act: func(_ *phoenix.Conn, srv *phoenixtest.Server) {
			srv.Conns()[0].SendText(`[null,null,"room:1","news",{}]`)
		},
	},
	"a trace of a ping": {
		what:   "Options.Trace",
		option: trace(false, "ping"),
		act:    func(_ *phoenix.Conn, srv *phoenixtest.Server) { srv.Conns()[0].SendPing("now") },
	},
	"a trace of what is written": {
		what:   "Options.Trace",
		option: trace(true, "text"),
		act:    func(*phoenix.Conn, *phoenixtest.Server) { time.Sleep(time.Minute) },
	},
	"a trace of our close": {
		what:   "Options.Trace",
		option: trace(true, "close"),
		act:    func(conn *phoenix.Conn, _ *phoenixtest.Server) { _ = conn.Close(context.Background()) },
	},
	"a heartbeat": {
		what:   "Options.OnHeartbeat",
		option: func(o *phoenix.Options, check func()) { o.OnHeartbeat = func(time.Duration) { check() } },
		act:    func(*phoenix.Conn, *phoenixtest.Server) { time.Sleep(time.Minute) },
	},
	"a log of the reader": {
		what:   "the reader",
		option: func(o *phoenix.Options, check func()) { o.Logger = slog.New(panickingHandler{check: check}) },
		act:    func(_ *phoenix.Conn, srv *phoenixtest.Server) { srv.Conns()[0].SendText("junk") },
	},
	"a log of the loop": {
		what:   "the connection",
		option: func(o *phoenix.Options, check func()) { o.Logger = slog.New(panickingHandler{check: check}) },
		act: func(_ *phoenix.Conn, srv *phoenixtest.Server) {
			srv.Conns()[0].SendText(`[null,null,"room:nobody","news",{}]`)
		},
	},
	"a write": {
		what:   "the writer",
		option: brokenConn,
		act:    func(*phoenix.Conn, *phoenixtest.Server) { time.Sleep(time.Minute) },
	},
}

// A panic ends its connection, wherever it is, with an error that says so; the socket is closed, the stream ends, every call
// and every push has its end, and nothing is left running, which is what the bubble checks.
func TestPanics(t *testing.T) {
	for name, c := range panicCases {
		t.Run(name, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) { testPanic(t, srv, c) })
		})
	}
}

func testPanic(t *testing.T, srv *phoenixtest.Server, c panicCase) {
	var armed atomic.Bool
	boom := errors.New("boom\n\tand more")
	o := phoenix.Options{
		Channels: topics("room:1"), MaxRetries: -1, NetDial: srv.DialContext, ReconnectAfter: phoenix.Steps(0), ReplyTimeout: time.Hour,
	}
	c.option(&o, func() {
		if armed.Load() {
			panic(boom)
		}
	})
	conn := newConn(t, srv, o)
	log := record(t, conn.Events())
	served, pushed, left := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { served <- conn.Serve(context.Background()) }()
	settle(time.Second)
	send(t, conn, phoenix.Push{Topic: "room:1", Name: "silent", Index: 1, Timeout: time.Hour})
	go func() {
		_, err := conn.Push(context.Background(), phoenix.Push{Topic: "room:1", Name: "silent", Index: 2, Timeout: time.Hour})
		pushed <- err
	}()
	settle(0)
	armed.Store(true)
	c.act(conn, srv)

	err := <-served
	var failed *phoenix.PanicError
	if !errors.As(err, &failed) || failed.Value != boom || !errors.Is(err, boom) {
		t.Fatalf("served with %v, want the panic", err)
	}
	if want := c.what + " panicked: boom and more"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if !strings.Contains(string(failed.Stack), "loop_test.go") {
		t.Errorf("the stack does not show what panicked:\n%s", failed.Stack)
	}
	var lost *phoenix.PushError
	if err := <-pushed; !errors.As(err, &lost) {
		t.Errorf("the push ended with %v", err)
	}
	go func() { left <- conn.Leave(context.Background(), "room:1") }()
	if err := <-left; !errors.As(err, &failed) {
		t.Errorf("left with %v", err)
	}
	wantEndOfPanic(t, log)
	settle(0)
	if n := srv.Stats().Open; n != 0 {
		t.Errorf("%d sockets are open", n)
	}
	if st, err := conn.Status(t.Context()); err != nil || st.Link != phoenix.StatusDisconnected {
		t.Errorf("status %+v, error %v", st, err)
	}
}

// wantEndOfPanic: the stream has ended; it says that the link has, and how both pushes did.
func wantEndOfPanic(t *testing.T, log *recorder) {
	t.Helper()
	var last *phoenix.Disconnected
	var pushes []int
	for i, e := range log.all() {
		if e.Seq != uint64(i+1) {
			t.Fatalf("event %d has number %d", i+1, e.Seq)
		}
		switch d := e.Detail.(type) {
		case *phoenix.Disconnected:
			last = d
		case *phoenix.PushError:
			pushes = append(pushes, d.Index)
		}
	}
	if last == nil || last.WillReconnect || last.Reason != phoenix.ReasonClosedByUs || strings.Contains(last.Text, "boom") {
		t.Errorf("the last end of the link is %+v", last)
	}
	if slices.Sort(pushes); !slices.Equal(pushes, []int{1, 2}) {
		t.Errorf("the pushes %v were ended, want 1 and 2", pushes)
	}
}

// trace panics at one kind of frame.
func trace(out bool, kind string) func(*phoenix.Options, func()) {
	return func(o *phoenix.Options, check func()) {
		o.Trace = func(f phoenix.TraceFrame) {
			if f.Out == out && f.Kind == kind {
				check()
			}
		}
	}
}

// brokenConn makes writes panic.
func brokenConn(o *phoenix.Options, check func()) {
	dial := o.NetDial
	o.NetDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &panickingConn{conn, check}, err
	}
}

type panickingConn struct {
	net.Conn
	check func()
}

func (c *panickingConn) Write(p []byte) (int, error) {
	c.check()
	return c.Conn.Write(p)
}

// A panickingHandler logs nothing.
type panickingHandler struct {
	slog.Handler
	check func()
}

func (panickingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h panickingHandler) Handle(context.Context, slog.Record) error {
	h.check()
	return nil
}

// A call that waits for the loop when it panics has its end, too.
func TestPanicWhileCallsWait(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{
			NetDial: silentDial(t), Credentials: func(context.Context) (phoenix.Credentials, error) {
				time.Sleep(time.Second)
				panic("boom")
			},
		})
		events := conn.Events()
		started, joined := make(chan error, 1), make(chan error, 1)
		go func() { started <- conn.Start(t.Context()) }()
		go func() {
			_, err := conn.JoinEvent(t.Context(), phoenix.Channel{Topic: "room:1"})
			joined <- err
		}()
		var failed *phoenix.PanicError
		if err := <-started; !errors.As(err, &failed) || failed.Value != "boom" {
			t.Errorf("started with %v", err)
		}
		if err := <-joined; !errors.As(err, &failed) {
			t.Errorf("joined with %v", err)
		}
		var kinds []string
		for {
			e, err := events.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			kinds = append(kinds, tell(e))
		}
		if want := []string{"connecting 1", "disconnected closed_by_us"}; !slices.Equal(kinds, want) {
			t.Errorf("events %q, want %q", kinds, want)
		}
	})
}
