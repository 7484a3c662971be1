package phoenix_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

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
		if _, ok := e.Detail.(phoenix.Message); !ok {
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
		received := len(details[phoenix.Message](log))
		others := wantItems(t, log, received)
		if received < 4000 || received > 10_000 {
			t.Errorf("%d messages were received", received)
		}
		lost := 0
		for i, e := range log.all() {
			if _, ok := e.Detail.(*phoenix.Disconnected); ok {
				lost = i
			}
			if _, ok := e.Detail.(phoenix.Message); ok && lost > 0 {
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
		others := wantItems(t, log, len(details[phoenix.Message](log)))
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
