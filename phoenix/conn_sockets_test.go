package phoenix_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// numbered are n topics, in their order.
func numbered(n int) []phoenix.Channel {
	channels := make([]phoenix.Channel, n)
	for i := range channels {
		channels[i].Topic = fmt.Sprintf("room:%03d", i)
	}
	return channels
}

// statusOf is that of a connection that answers.
func statusOf(t *testing.T, conn *phoenix.Conn) phoenix.Status {
	t.Helper()
	s, err := conn.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tellSockets says what each socket does, and how many channels it has.
func tellSockets(s phoenix.Status) string {
	var sockets []string
	for _, socket := range s.Sockets {
		sockets = append(sockets, fmt.Sprintf("%d %s session %d: %d", socket.Number, socket.Link, socket.Session, socket.Channels))
	}
	return string(s.Link) + "; " + strings.Join(sockets, ", ")
}

func wantSockets(t *testing.T, conn *phoenix.Conn, want string) {
	t.Helper()
	synctest.Wait()
	if got := tellSockets(statusOf(t, conn)); got != want {
		t.Errorf("sockets: %s\nwant:    %s", got, want)
	}
}

// wantAllJoined checks the status of n topics, and their order.
func wantAllJoined(t *testing.T, conn *phoenix.Conn, n int) {
	t.Helper()
	synctest.Wait()
	for i, c := range statusOf(t, conn).Channels {
		if want := fmt.Sprintf("room:%03d", i); c.Topic != want || c.State != "joined" {
			t.Errorf("channel %d is %q, %s; want %q, joined", i, c.Topic, c.State, want)
		}
	}
	if got := len(statusOf(t, conn).Channels); got != n {
		t.Errorf("%d channels, want %d", got, n)
	}
}

// echoRooms has room for a number of channels on a socket; they echo.
func echoRooms(room int) phoenixtest.App {
	echo := phoenixtest.ChannelFuncs{OnIn: func(_ *phoenixtest.Socket, _ string, p phoenixtest.Payload) phoenixtest.Result {
		return phoenixtest.Reply("ok", p)
	}}
	return socket(phoenixtest.UserSocket{MaxChannels: room, Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", echo)}})
}

// A server takes a hundred channels on one socket: further ones go to further sockets, and what happens to one socket happens to its
// channels alone.
func TestManyChannels(t *testing.T) {
	bubble(t, echoRooms(0), func(t *testing.T, srv *phoenixtest.Server) {
		channels := numbered(250)
		const extra = 150 // is on the second socket
		channels[extra].OnJoin = func(context.Context) ([]phoenix.Push, error) { return []phoenix.Push{{Name: "hello"}}, nil }
		channels[extra].Resume = func(context.Context) (json.RawMessage, error) { return json.RawMessage(`{"since":7}`), nil }
		conn, events := start(t, srv, phoenix.Options{Channels: channels, MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Second)})
		log := record(t, events)
		wantSockets(t, conn, "connected; 1 connected session 1: 100, 2 connected session 2: 100, 3 connected session 3: 50")
		wantAllJoined(t, conn, 250)
		if s := srv.Stats(); s.Connects != 3 || s.Joins != 250 {
			t.Errorf("%d connects and %d joins, want 3 and 250", s.Connects, s.Joins)
		}

		r, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:249", Name: "echo", Payload: phoenix.JSON(`{"a":1}`)})
		if err != nil || string(r.Payload.Data) != `{"a":1}` {
			t.Errorf("reply %+v, error %v", r, err)
		}
		for _, c := range channels {
			srv.Broadcast(c.Topic, "news", nil)
		}
		all := log.all()
		heard := map[string]int{}
		for i, e := range all {
			if e.Seq != uint64(i+1) {
				t.Fatalf("event %d has the number %d", i+1, e.Seq)
			}
			if _, isMessage := e.Detail.(*phoenix.Message); isMessage {
				heard[e.Topic]++
			} else if e.Socket == 0 {
				t.Errorf("a %T without its socket", e.Detail)
			}
		}
		for _, c := range channels {
			if heard[c.Topic] != 1 {
				t.Errorf("%q was told %d times", c.Topic, heard[c.Topic])
			}
		}

		log.forget()
		srv.Conns()[1].Drop()
		wantSockets(t, conn, "connecting; 1 connected session 1: 100, 2 connecting session 2: 100, 3 connected session 3: 50")
		settle(2 * time.Second)
		wantSockets(t, conn, "connected; 1 connected session 1: 100, 2 connected session 4: 100, 3 connected session 3: 50")
		wantAllJoined(t, conn, 250)
		rejoined := map[string]bool{}
		for _, e := range log.all() {
			switch d := e.Detail.(type) {
			case *phoenix.Joined:
				rejoined[e.Topic] = d.Rejoin
				if e.Topic == channels[extra].Topic && (string(d.Resumed) != `{"since":7}` || d.OnJoin != 1) {
					t.Errorf("rejoined %+v", d)
				}
			case *phoenix.PushReply:
			default:
				if e.Socket != 2 {
					t.Errorf("a %T of socket %d", e.Detail, e.Socket)
				}
			}
		}
		topics := slices.Sorted(maps.Keys(rejoined))
		if len(topics) != 100 || topics[0] != "room:100" || topics[99] != "room:199" || !rejoined["room:150"] {
			t.Errorf("%d topics were joined again: %v", len(topics), topics)
		}

		settle(time.Hour) // each socket has its heartbeats: the server would have closed it
		if s := srv.Stats(); s.Connects != 4 || s.Open != 3 {
			t.Errorf("%d connects, %d sockets open: want 4, 3", s.Connects, s.Open)
		}
	})
}

// A connection whose channels fit on one socket has one, and nothing says so.
func TestHundredChannels(t *testing.T) {
	bubble(t, echoRooms(0), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{Channels: numbered(100)})
		log := record(t, events)
		wantSockets(t, conn, "connected; ")
		wantAllJoined(t, conn, 100)
		for _, e := range log.all() {
			if e.Socket != 0 {
				t.Errorf("a %T of socket %d", e.Detail, e.Socket)
			}
		}
		join(t, conn, "room:100")
		wantSockets(t, conn, "connected; 1 connected session 1: 100, 2 connected session 2: 1")
	})
}

// A server with room for fewer channels says so by refusing one too many. That is no failure of its topic, and it is not asked again.
func TestServerHasRoomForFewer(t *testing.T) {
	bubble(t, echoRooms(30), func(t *testing.T, srv *phoenixtest.Server) {
		var refused atomic.Int64
		conn, events := start(t, srv, phoenix.Options{
			Channels: numbered(100), MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Second), FailFast: true,
			Trace: func(f phoenix.TraceFrame) {
				if !f.Out && strings.Contains(string(f.Data), "too many channels joined") {
					refused.Add(1)
				}
			},
		})
		log := record(t, events)
		wantSockets(t, conn, "connected; 1 connected session 1: 30, 2 connected session 2: 30, 3 connected session 3: 30, 4 connected session 4: 10")
		wantAllJoined(t, conn, 100)
		if n := len(details[*phoenix.JoinError](log)); n > 0 {
			t.Errorf("%d topics could not be joined", n)
		}
		taught := refused.Load()
		if taught == 0 || taught > 8 { // as many as there are joins on the wire at once
			t.Errorf("%d joins were refused", taught)
		}
		srv.DropConns()
		settle(time.Minute)
		for i := 100; i < 130; i++ {
			join(t, conn, fmt.Sprintf("room:%03d", i))
		}
		wantAllJoined(t, conn, 130)
		if n := refused.Load(); n != taught {
			t.Errorf("%d more joins were refused, but the server has said for how many it has room", n-taught)
		}
	})
}

// What a server has taught is known to the next run, too; not when the connection is replaced, which may be one to another server.
func TestLearntLimitSurvivesRun(t *testing.T) {
	bubble(t, echoRooms(30), func(t *testing.T, srv *phoenixtest.Server) {
		var refused atomic.Int64
		s := phoenix.NewSupervisor(phoenix.SupervisorOptions{})
		spec := phoenix.Spec{Name: "a", Options: phoenix.Options{
			URL: srv.URL, NetDial: srv.DialContext, Channels: numbered(70), MaxRetries: -1,
			Skip: func(_, event []byte) bool {
				if string(event) == "panic" {
					panic("as asked for")
				}
				return false
			},
			Trace: func(f phoenix.TraceFrame) {
				if !f.Out && strings.Contains(string(f.Data), "too many channels joined") {
					refused.Add(1)
				}
			},
		}}
		if err := s.Add(spec); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name    string
			begin   func() error
			refuses bool
		}{
			{"the first run", func() error { return s.Start("a") }, true},
			{"a restart", func() error { return s.Restart(t.Context(), "a") }, false},
			{"a panic", func() error { srv.Broadcast("room:050", "panic", nil); return nil }, false},
			{"another spec", func() error { return s.Replace(t.Context(), spec) }, true},
		} {
			refused.Store(0)
			if err := test.begin(); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			settle(time.Minute)
			status, err := s.Status(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			if got, want := tellChannels(status.Sockets), "30 30 10"; got != want || (refused.Load() > 0) != test.refuses {
				t.Errorf("%s: sockets with %s channels, want %s; %d joins were refused", test.name, got, want, refused.Load())
			}
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func tellChannels(sockets []phoenix.SocketStatus) string {
	var channels []string
	for _, s := range sockets {
		channels = append(channels, fmt.Sprint(s.Channels))
	}
	return strings.Join(channels, " ")
}

// A server that takes no channel at all is not asked on one socket after the other.
func TestServerHasNoRoom(t *testing.T) {
	none := phoenixtest.ChannelFuncs{OnJoin: func(*phoenixtest.Socket, phoenixtest.Payload) (any, error) {
		return nil, phoenixtest.RefuseJoin(phoenixtest.Map{"reason": "too many channels joined"})
	}}
	bubble(t, rooms(none), func(t *testing.T, srv *phoenixtest.Server) {
		conn, _ := start(t, srv, phoenix.Options{})
		_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"})
		var failed *phoenix.JoinError
		if !errors.As(err, &failed) || failed.Reason != phoenix.JoinTooManyChannels {
			t.Errorf("error %v", err)
		}
		if n := srv.Stats().Connects; n != 1 {
			t.Errorf("%d connects", n)
		}
	})
}

// While nobody takes the events, no socket is read; then all that was sent comes, and each channel's in its order.
func TestPausedReadsOfManySockets(t *testing.T) {
	bubble(t, echoRooms(0), func(t *testing.T, srv *phoenixtest.Server) {
		const messages = 200
		channels := numbered(250)
		conn, events := start(t, srv, phoenix.Options{Channels: channels})
		settle(0)
		wantAllJoined(t, conn, 250)
		go func() {
			for i := range messages {
				for _, c := range channels {
					srv.Broadcast(c.Topic, "n", phoenixtest.Map{"i": i})
				}
			}
		}()
		settle(20 * time.Second) // several sockets wait to be read
		seq, next, got := uint64(0), map[string]int{}, 0
		for got < messages*len(channels) {
			e, err := events.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if seq++; e.Seq != seq {
				t.Fatalf("event %d has the number %d", seq, e.Seq)
			}
			if _, isMessage := e.Detail.(*phoenix.Message); !isMessage {
				continue
			}
			var payload struct{ I int }
			if err := e.Decode(&payload); err != nil || payload.I != next[e.Topic] {
				t.Fatalf("%q: message %d, want %d (%v)", e.Topic, payload.I, next[e.Topic], err)
			}
			next[e.Topic]++
			got++
		}
		if n := srv.Stats().Connects; n != 3 {
			t.Errorf("%d connects, want 3", n)
		}
	})
}

// When one socket ends for good, the connection does, and for its reason.
func TestSocketsEndTogether(t *testing.T) {
	var connects atomic.Int64
	app := socket(phoenixtest.UserSocket{
		Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{})},
		Connect: func(*phoenixtest.ConnectInfo) error {
			if connects.Add(1) == 3 {
				return errors.New("one user has two sockets")
			}
			return nil
		},
	})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{Channels: numbered(500)})
		log := record(t, events)
		settle(time.Minute)
		var failed *phoenix.LinkError
		if !errors.As(conn.Err(), &failed) || failed.HTTPStatus != 403 {
			t.Errorf("error %v, want that of the third socket", conn.Err())
		}
		if n := connects.Load(); n != 3 { // and not five at once
			t.Errorf("%d dials, want 3: the next after the one before was up", n)
		}
		ends := map[int]phoenix.Reason{}
		for _, e := range log.all() {
			if d, ok := e.Detail.(*phoenix.Disconnected); ok {
				ends[e.Socket] = d.Reason
			}
		}
		want := map[int]phoenix.Reason{1: phoenix.ReasonClosedByUs, 2: phoenix.ReasonClosedByUs, 3: phoenix.ReasonRefused}
		if !maps.Equal(ends, want) {
			t.Errorf("ends %v, want %v", ends, want)
		}
		if n := srv.Stats().Open; n != 0 {
			t.Errorf("%d sockets are open", n)
		}
	})
}

// A further socket is closed when nothing has been joined on it for a while; topics that come soon keep it open.
func TestEmptySocketCloses(t *testing.T) {
	bubble(t, echoRooms(0), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{Channels: numbered(101)})
		log := record(t, events)
		synctest.Wait()
		leave := func(topic string) {
			if err := conn.Leave(t.Context(), topic); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			leave("room:100")
			settle(29 * time.Second)
			join(t, conn, "room:100")
		}
		wantSockets(t, conn, "connected; 1 connected session 1: 100, 2 connected session 2: 1")
		leave("room:100")
		settle(31 * time.Second)
		wantSockets(t, conn, "connected; ")
		if n := srv.Stats().Open; n != 1 {
			t.Errorf("%d sockets are open", n)
		}
		last := log.all()[len(log.all())-1]
		if d, ok := last.Detail.(*phoenix.Disconnected); !ok || last.Socket != 2 || d.Reason != phoenix.ReasonClosedByUs {
			t.Errorf("the last event is %s of socket %d", tell(&last), last.Socket)
		}
		join(t, conn, "room:101")
		wantSockets(t, conn, "connected; 1 connected session 1: 100, 3 connected session 3: 1")
	})
}

// A panic on a further socket ends the connection, and leaves nothing running.
func TestPanicOnFurtherSocket(t *testing.T) {
	bubble(t, echoRooms(0), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			Channels: numbered(150), Skip: func(_, event []byte) bool { panic(string(event)) },
		})
		log := record(t, events)
		synctest.Wait()
		srv.Broadcast("room:120", "odd", nil)
		<-conn.Done()
		var panicked *phoenix.PanicError
		if !errors.As(conn.Err(), &panicked) || panicked.Value != "odd" {
			t.Errorf("error %v", conn.Err())
		}
		if n := len(details[*phoenix.Disconnected](log)); n != 2 {
			t.Errorf("%d ends of sockets, want 2", n)
		}
	})
}

// A supervised connection is connected when all its sockets are; a stop leaves all topics and ends all sockets, and another run counts on.
func TestSupervisedSockets(t *testing.T) {
	bubble(t, echoRooms(0), func(t *testing.T, srv *phoenixtest.Server) {
		s := phoenix.NewSupervisor(phoenix.SupervisorOptions{})
		options := phoenix.Options{URL: srv.URL, NetDial: srv.DialContext, Channels: numbered(150)}
		if err := s.Add(phoenix.Spec{Name: "a", Options: options}); err != nil {
			t.Fatal(err)
		}
		for run, session := range []int{2, 5} { // the first has three in the meantime
			if err := s.Start("a"); err != nil {
				t.Fatal(err)
			}
			got, err := s.Await(t.Context(), "a", func(s phoenix.ConnectionStatus) bool { return s.Link == phoenix.StatusConnected })
			synctest.Wait()
			if err != nil || srv.Stats().Open != 2 || got.Session != session {
				t.Errorf("%d sockets open, session %d, error %v: want 2, %d", srv.Stats().Open, got.Session, err, session)
			}
			settle(time.Second)
			options.Channels = numbered(250)
			if err := s.Update(t.Context(), phoenix.Spec{Name: "a", Options: options}); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			options.Channels = numbered(150)
			if err := s.Update(t.Context(), phoenix.Spec{Name: "a", Options: options}); err != nil {
				t.Fatal(err)
			}
			settle(time.Minute)
			if n := srv.Stats().Open; n != 2 {
				t.Errorf("%d sockets are open, want 2", n)
			}
			if run == 1 {
				break
			}
			if err := s.Stop(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := srv.Stats().Open; n != 0 {
				t.Errorf("%d sockets are open after a stop", n)
			}
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// Who is present in a channel is known whichever socket that is on, and the loss of a socket is one for its channels alone: who came and went
// meanwhile is told after the rejoin.
func TestPresenceOfManySockets(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		other, _ := start(t, srv, phoenix.Options{MaxRetries: -1})
		as := func(topic, user string) phoenix.Channel {
			return phoenix.Channel{Topic: topic, Params: func(context.Context) (phoenix.Payload, error) { return phoenix.JSON(`{"user":"` + user + `"}`), nil }}
		}
		come := func(topic, user string) {
			t.Helper()
			if _, err := other.Join(t.Context(), as(topic, user)); err != nil {
				t.Fatal(err)
			}
		}
		leave := func(topic string) {
			t.Helper()
			if err := other.Leave(t.Context(), topic); err != nil {
				t.Fatal(err)
			}
		}
		come("presence:2", "early")
		conn, events := start(t, srv, phoenix.Options{
			Presence: true, MaxChannelsPerSocket: 1, MaxRetries: -1, ReconnectAfter: phoenix.Steps(time.Minute), RejoinAfter: phoenix.Steps(0),
			Channels: []phoenix.Channel{as("presence:1", "me"), as("presence:2", "me")},
		})
		log := record(t, events)
		come("presence:1", "guest")
		wantSockets(t, conn, "connected; 1 connected session 1: 1, 2 connected session 2: 1")
		told := func() string {
			var told []string
			for _, e := range log.all() {
				switch d := e.Detail.(type) {
				case *phoenix.PresenceJoin:
					told = append(told, e.Topic+" +"+d.Key)
				case *phoenix.PresenceLeave:
					told = append(told, e.Topic+" -"+d.Key)
				}
			}
			log.forget()
			slices.Sort(told) // two sockets are read at once
			return strings.Join(told, ", ")
		}
		want := func(want string) {
			t.Helper()
			if got := told(); got != want {
				t.Errorf("told: %s\nwant: %s", got, want)
			}
		}
		want("presence:1 +guest, presence:1 +me, presence:2 +early, presence:2 +me")
		srv.Conns()[2].Drop()
		settle(time.Second)
		leave("presence:2")
		come("presence:2", "late")
		leave("presence:1")
		want("presence:1 -guest")
		settle(2 * time.Minute)
		want("presence:2 +late, presence:2 +me, presence:2 -early, presence:2 -me") // our own entry is another one
	})
}

// A message on a topic that nobody joined is one on whichever socket it comes, and one warning tells of it.
func TestAnyTopicOfManySockets(t *testing.T) {
	for _, anyTopic := range []bool{true, false} {
		t.Run(fmt.Sprint(anyTopic), func(t *testing.T) {
			bubble(t, echoRooms(0), func(t *testing.T, srv *phoenixtest.Server) {
				var logged bytes.Buffer
				conn, events := start(t, srv, phoenix.Options{
					Channels: numbered(3), MaxChannelsPerSocket: 1, AnyTopic: anyTopic, Logger: warnings(&logged),
				})
				log := record(t, events)
				wantAllJoined(t, conn, 3)
				log.forget()
				for i, c := range srv.Conns() {
					c.SendText(fmt.Sprintf(`[null,null,"doc:1","data",{"n":%d}]`, i))
					synctest.Wait()
				}
				if anyTopic {
					log.want(`0s doc:1 data {"n":0}`, `0s doc:1 data {"n":1}`, `0s doc:1 data {"n":2}`)
				} else {
					log.want()
				}
				// A topic that was left on one socket is no surprise on another.
				if err := conn.Leave(t.Context(), "room:002"); err != nil {
					t.Fatal(err)
				}
				log.forget()
				srv.Conns()[0].SendText(`[null,null,"room:002","late",{}]`)
				synctest.Wait()
				_ = conn.Close(t.Context())
				want := 1
				if anyTopic {
					want = 0
				}
				if got := strings.Count(logged.String(), "nobody joined"); got != want {
					t.Errorf("%d warnings, want %d:\n%s", got, want, &logged)
				}
			})
		})
	}
}

// An outage of one socket that lasts too long is the end of the connection, and its last retry comes when it has lasted that long. One that
// ends in time is none.
func TestMaxOutageOfManySockets(t *testing.T) {
	bubble(t, echoRooms(0), func(t *testing.T, srv *phoenixtest.Server) {
		var dials atomic.Int64
		var down atomic.Bool
		conn, events := start(t, srv, phoenix.Options{
			Channels: numbered(3), MaxChannelsPerSocket: 1, MaxRetries: -1, MaxOutage: time.Minute, ReconnectAfter: phoenix.Steps(7 * time.Second),
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if dials.Add(1); down.Load() {
					return nil, syscall.ECONNREFUSED
				}
				return srv.DialContext(ctx, network, addr)
			},
		})
		log := record(t, events)
		wantAllJoined(t, conn, 3)
		drop := func(n int) {
			down.Store(true)
			srv.Conns()[n].Drop()
			settle(50 * time.Second)
		}
		drop(2)
		down.Store(false)
		settle(time.Minute)
		wantSockets(t, conn, "connected; 1 connected session 1: 1, 2 connected session 2: 1, 3 connected session 4: 1")
		log.forget()
		drop(1)
		drop(0)
		var ends []string
		for _, e := range log.all() {
			switch d := e.Detail.(type) {
			case *phoenix.ReconnectExhausted:
				ends = append(ends, fmt.Sprintf("%d exhausted after %v", e.Socket, e.Time.Sub(log.begun)))
			case *phoenix.Disconnected:
				if !d.WillReconnect {
					ends = append(ends, fmt.Sprintf("%d %s", e.Socket, d.Reason))
				}
			}
		}
		// Socket 1 is away for ten seconds then, and its own outage could have lasted.
		want := "2 connect_refused, 2 exhausted after 2m50s, 1 closed_by_us, 3 closed_by_us"
		if got := strings.Join(ends, ", "); got != want {
			t.Errorf("ends: %s\nwant: %s", got, want)
		}
	})
}
