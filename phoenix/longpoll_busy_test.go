package phoenix_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// namedSlowJoins are channels of which those called room:slow-SECONDS take so long to join, at each join. The others are joined at once. All
// echo.
var namedSlowJoins = phoenixtest.ChannelFuncs{
	OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
		if seconds, slow := strings.CutPrefix(s.Topic(), "room:slow-"); slow {
			n, err := strconv.ParseFloat(seconds, 64)
			if err != nil {
				return nil, err
			}
			s.Sleep(time.Duration(n * float64(time.Second)))
		}
		return nil, nil
	},
	OnIn: func(_ *phoenixtest.Socket, _ string, p phoenixtest.Payload) phoenixtest.Result {
		return phoenixtest.Reply("ok", p)
	},
}

// A session that joins for longer than two seconds is not found by what is asked of it meanwhile. It is not given up for that: nothing
// is lost, and what was said meanwhile comes behind the join.
func TestLongPollSlowJoin(t *testing.T) {
	for _, test := range []struct {
		name         string
		begin, reply time.Duration
		topic        string
		want         string
	}{
		// A poll has its answer after ten seconds at the latest, and the next one is sent.
		{"the poll is renewed", 8 * time.Second, 10 * time.Second, "room:slow-5", "13s room:slow-5 joined {}"},
		// The server gives the POST of the join up after ten seconds, and the next one is sent.
		{"the next message is posted", time.Second, 20 * time.Second, "room:slow-12.5", "13.5s room:slow-12.5 joined {}"},
		{"the join is given up", 8 * time.Second, 3500 * time.Millisecond, "room:slow-6", "11.5s room:slow-6 join_error 1 timeout, retry in 1h0m0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, rooms(namedSlowJoins), func(t *testing.T, srv *phoenixtest.Server) {
				conn, events := start(t, srv, phoenix.Options{
					Transport: phoenix.TransportLongPoll, Channels: topics("room:1"), ReplyTimeout: test.reply, MaxRetries: -1,
					RejoinAfter: phoenix.Steps(time.Hour),
				})
				log := record(t, events)
				settle(test.begin)
				go func() { _, _ = conn.JoinEvent(t.Context(), phoenix.Channel{Topic: test.topic}) }()
				settle(time.Second)
				want := []string{test.want}
				for i := range 3 {
					srv.Broadcast("room:1", "n", phoenixtest.Map{"i": i})
					send(t, conn, phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON(strconv.Itoa(i)), Index: i, Timeout: time.Minute})
					want = append(want, fmt.Sprintf(`room:1 n {"i":%d}`, i), fmt.Sprintf("push %d ok %d", i, i))
				}
				settle(20 * time.Second)
				got := log.take()
				for _, want := range want {
					if n := count(got, want); n != 1 {
						t.Errorf("%q came %d times", want, n)
					}
				}
				if slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "disconnected") }) || t.Failed() {
					t.Errorf("got\n\t%s", strings.Join(got, "\n\t"))
				}
			})
		})
	}
}

// count counts the lines that end in text.
func count(lines []string, text string) (n int) {
	for _, line := range lines {
		if strings.HasSuffix(line, text) {
			n++
		}
	}
	return n
}

// A session that takes nothing any more is given up when the server must have ended it, three windows after its last poll, and what is
// wanted is joined in another one. How long the window is shows in how long a request waits.
func TestLongPollBusyForEver(t *testing.T) {
	for _, test := range []struct {
		name              string
		window, lost, gap time.Duration
	}{
		// The last poll that the session has is the one that is under way at 9 s, and answered at 10 s.
		{"of ten seconds", 0, 40 * time.Second, 40500 * time.Millisecond},
		// So is this one; three windows later it is 16 s. It was asked at 8 s.
		{"of two seconds", 2 * time.Second, 16 * time.Second, 8500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := socket(phoenixtest.UserSocket{PollWindow: test.window, Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", namedSlowJoins)}})
			bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
				conn, events := start(t, srv, phoenix.Options{
					Transport: phoenix.TransportLongPoll, Channels: topics("room:1"), ReplyTimeout: 4 * time.Second, MaxRetries: -1,
					HeartbeatInterval: phoenix.NoHeartbeat, RejoinAfter: phoenix.Steps(time.Hour), ReconnectAfter: phoenix.Steps(0),
				})
				log := record(t, events)
				settle(9 * time.Second)
				go func() { _, _ = conn.JoinEvent(t.Context(), phoenix.Channel{Topic: "room:slow-3600"}) }()
				settle(5 * time.Second)
				if err := conn.Leave(t.Context(), "room:slow-3600"); err != nil {
					t.Fatal(err)
				}
				settle(time.Minute)
				lost := details[*phoenix.Disconnected](log)
				if len(lost) != 1 || lost[0].Reason != phoenix.ReasonClosedByRemote || lost[0].Uptime.Truncate(time.Second) != test.lost {
					t.Errorf("lost %+v, want once, after %v", lost, test.lost)
				}
				if got := log.take(); count(got, fmt.Sprintf(" room:1 rejoined after %v", test.gap)) != 1 || t.Failed() {
					t.Errorf("got\n\t%s", strings.Join(got, "\n\t"))
				}
			})
		})
	}
}

// A session that has been busy, and has ended since, is known to have ended at once.
func TestLongPollExpiresBehindSlowJoin(t *testing.T) {
	bubble(t, rooms(namedSlowJoins), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			Transport: phoenix.TransportLongPoll, ReplyTimeout: 20 * time.Second, MaxRetries: -1, HeartbeatInterval: phoenix.NoHeartbeat,
			ReconnectAfter: phoenix.Steps(time.Hour),
		})
		log := record(t, events)
		settle(time.Second)
		join(t, conn, "room:slow-12.5") // the answer to its POST is that it was not taken in time
		settle(time.Second)
		log.forget()
		srv.Conns()[0].Expire()
		settle(time.Minute)
		// The poll that waits ends at 23.5 s, the next one, which finds no session, two seconds later.
		if got := log.take(); len(got) == 0 || got[0] != "25.5s disconnected closed_by_remote" {
			t.Errorf("got %q", got)
		}
	})
}

// A session that is not known to the server is not asked for again and again, although a message is on its way to it: that answer comes
// at once.
func TestLongPollUnknownWhileBusy(t *testing.T) {
	srv := phoenixtest.NewServer(rooms(namedSlowJoins))
	defer srv.Close()
	var gone atomic.Bool
	var asked atomic.Int64
	f := newFront(t, srv, func(w http.ResponseWriter, r *http.Request, _ int) bool {
		switch {
		case r.Method == http.MethodGet && gone.Load():
			if asked.Add(1) > 1 {
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, `{"status":410,"token":"another","messages":[]}`)
		case r.Method == http.MethodPost:
			if body, _ := io.ReadAll(r.Body); !strings.Contains(string(body), "held") {
				r.Body = io.NopCloser(strings.NewReader(string(body)))
				return false
			}
			gone.Store(true)
			srv.Broadcast("room:1", "wakes", nil) // the poll that is under way
			<-r.Context().Done()
		default:
			return false
		}
		return true
	})
	conn := dialFront(t, f, phoenix.Options{})
	events := conn.Events()
	join(t, conn, "room:1")
	send(t, conn, phoenix.Push{Topic: "room:1", Name: "held", Payload: phoenix.JSON("{}")})
	for e := range events.All(t.Context()) {
		if _, lost := e.Detail.(*phoenix.Disconnected); lost {
			break
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// Behind a message that was not taken in time one goes alone; once that has been taken, they go together again.
func TestLongPollTogetherAgain(t *testing.T) {
	srv := phoenixtest.NewServer(phoenixtest.Demo())
	defer srv.Close()
	posted := make(chan int, 10)
	f := newFront(t, srv, func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method != http.MethodPost {
			return false
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if n := strings.Count(string(body), "silent"); n > 0 {
			posted <- n
		}
		if !strings.Contains(string(body), "not taken") {
			return false
		}
		_, _ = io.WriteString(w, `{"status":408}`)
		return true
	})
	conn := dialFront(t, f, phoenix.Options{})
	join(t, conn, "room:1")
	silent := func(text string) phoenix.Push {
		return phoenix.Push{Topic: "room:1", Name: "silent", Payload: phoenix.JSON(strconv.Quote(text)), NoReply: true}
	}
	send(t, conn, silent("not taken"))
	if n := <-posted; n != 1 {
		t.Fatalf("%d messages in the first POST", n)
	}
	batch := conn.NewPushBatch()
	for range 50 {
		if err := batch.Add(silent("taken")); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first, second := <-posted, <-posted; first != 1 || second != 49 {
		t.Errorf("%d and %d messages, want 1 and 49", first, second)
	}
}
