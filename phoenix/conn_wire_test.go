package phoenix_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// A message over the limit ends the session with 1009, after what came before it, and without reading all of it.
func TestMessageTooBig(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{Channels: topics("room:1"), MaxMessage: 1000})
		log := record(t, events)
		settle(time.Second)
		log.forget()
		server := srv.Conns()[0]
		fits := fmt.Sprintf(`[null,null,"room:1","fits","%s"]`, strings.Repeat("x", 1000-len(`[null,null,"room:1","fits",""]`)))
		server.SendText(fits)
		server.SendText(fits + " ")
		settle(time.Second)
		lines := log.take()
		want := []string{"1s disconnected message_too_big", "1s room:1 errored disconnected"}
		if len(lines) != 3 || !strings.HasPrefix(lines[0], `1s room:1 fits "xxx`) || !slices.Equal(lines[1:], want) {
			t.Errorf("events %.100q", lines)
		}
	})
}

// The close frame that a message over the limit is answered with.
func TestMessageTooBigCloseCode(t *testing.T) {
	const opClose = 8
	var mu sync.Mutex
	var closes []string
	tap := phoenixtest.WithTap(func(f phoenixtest.Frame) {
		mu.Lock()
		defer mu.Unlock()
		if f.FromClient && f.Opcode == opClose {
			closes = append(closes, string(f.Data))
		}
	})
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{MaxMessage: 1000})
		record(t, events)
		settle(time.Second)
		srv.Conns()[0].SendText(strings.Repeat("x", 2000))
		settle(time.Second)
	}, tap)
	if len(closes) != 1 || closes[0] != "\x03\xf1" {
		t.Errorf("close frames %q, want one with code 1009", closes)
	}
}

// A frame that cannot be read is logged, and the session goes on.
func TestUnreadableFrames(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var logged strings.Builder
		_, events := start(t, srv, phoenix.Options{Channels: topics("room:1"), Logger: warnings(&logged)})
		log := record(t, events)
		settle(time.Second)
		log.forget()
		server := srv.Conns()[0]
		junk := []string{``, `x`, `{}`, `[]`, `[null,null,"room:1","cut",{"a":`, `[null,null,"room:1","bytes","` + "\xff" + `"]`}
		for _, text := range junk {
			server.SendText(text)
		}
		for _, data := range []string{"", "\x09", "\x02\x06\xff"} {
			server.SendBinary([]byte(data))
		}
		server.SendBinary([]byte("\x02\x06\x05room:1bytes\x00\xff"))
		server.SendText(`[null,null,"room:1","after",{"a":1}]`)
		settle(time.Second)
		log.want(
			"1s room:1 bytes \x00\xff",
			`1s room:1 after {"a":1}`,
		)
		if got, want := strings.Count(logged.String(), "could not be read"), len(junk)+3; got != want {
			t.Errorf("%d frames were logged, want %d:\n%s", got, want, &logged)
		}
		if n := srv.Stats().Connects; n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}

// What the filter does not want is no event, but it is counted, and its payload is not looked at.
func TestSkip(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{
			Channels: topics("room:1"),
			Skip:     func(topic, event []byte) bool { return string(topic) == "room:1" && string(event) == "noise" },
		})
		log := record(t, events)
		settle(time.Second)
		server := srv.Conns()[0]
		server.SendText(`[null,null,"room:1","one",{}]`)
		server.SendText(`[null,null,"room:1","noise",{}]`)
		server.SendText(`[null,null,"room:1","noise",this is not looked at]`)
		server.SendText(`[null,null,"room:1","two",{}]`)
		settle(time.Second)
		var seqs []uint64
		for _, e := range log.all() {
			seqs = append(seqs, e.Seq)
		}
		if want := []uint64{1, 2, 3, 4, 5, 8}; !slices.Equal(seqs, want) {
			t.Errorf("numbers %v, want %v", seqs, want)
		}
	})
}

// The protocol's own frames are never filtered.
func TestSkipSparesTheProtocol(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{Skip: func(_, _ []byte) bool { return true }})
		record(t, events)
		join(t, conn, "room:1")
		if _, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "broadcast"}); err != nil {
			t.Error(err)
		}
		if err := conn.Leave(t.Context(), "room:1"); err != nil {
			t.Error(err)
		}
	})
}

// vsn 1.0.0 has no join_ref from the server and no binary payloads.
func TestVersion1(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		o := patient("room:1")
		o.VSN = "1.0.0"
		conn, events := start(t, srv, o)
		log := record(t, events)
		settle(time.Second)
		log.forget()
		for i, name := range []string{"echo", "broadcast", "crash"} {
			send(t, conn, phoenix.Push{Topic: "room:1", Name: name, Payload: phoenix.JSON(`{"a":1.0}`), Index: i})
		}
		settle(5 * time.Second)
		log.want(
			`1s push 0 ok {"a":1.0}`,
			`1s room:1 broadcast {"a":1.0}`,
			"1s push 1 ok {}",
			"1s room:1 errored phx_error, retry in 1s",
			"1s push 2 lost: channel_crashed, delivered: unknown",
			"2s room:1 joining 2",
			"2s room:1 rejoined after 1s",
		)
		if err := conn.Send(t.Context(), phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.Binary(nil)}); err == nil {
			t.Error("sent a binary payload in vsn 1.0.0")
		}
		if got := srv.Conns()[0].Serializer(); !strings.Contains(got, "V1") {
			t.Errorf("the server speaks %s", got)
		}
	})
}

// A trace shows every frame in and out.
func TestTrace(t *testing.T) {
	var mu sync.Mutex
	var frames []string
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{Trace: func(f phoenix.TraceFrame) {
			mu.Lock()
			defer mu.Unlock()
			way := "in"
			if f.Out {
				way = "out"
			}
			frames = append(frames, fmt.Sprintf("%s %s %s", way, f.Kind, f.Data))
		}})
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		join(t, conn, "room:1")
		if _, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.Binary([]byte("ab"))}); err != nil {
			t.Error(err)
		}
		srv.Conns()[0].SendPing("now")
		settle(time.Second)
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	want := []string{
		`out text ["1","1","room:1","phx_join",{}]`,
		`in text ["1","1","room:1","phx_reply",{"response":{},"status":"ok"}]`,
		"out binary \x00\x01\x01\x06\x0412room:1echoab",
		"in binary \x01\x01\x01\x06\x0212room:1okab",
		"in ping now",
		"out pong now",
		"out close 1000",
		"in close 1000",
	}
	if !slices.Equal(frames, want) {
		t.Errorf("frames %q\nwant   %q", frames, want)
	}
}

// A link that cannot be written to any more ends, also when reading from it would wait for ever, and its end says why.
func TestWriteFails(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var broken atomic.Bool
		_, events := start(t, srv, phoenix.Options{
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := srv.DialContext(ctx, network, addr)
				return &halfBroken{conn, &broken}, err
			},
		})
		log := record(t, events)
		settle(time.Second)
		broken.Store(true)
		settle(time.Minute)
		log.want(
			"0s connecting 1",
			"0s connected",
			"31s disconnected reset", // the heartbeat at 30 s found it; the server's last words had a second
		)
	})
}

// A halfBroken connection reads, and when broken is set its writes fail.
type halfBroken struct {
	net.Conn
	broken *atomic.Bool
}

func (h *halfBroken) Write(p []byte) (int, error) {
	if h.broken.Load() {
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	}
	return h.Conn.Write(p)
}
