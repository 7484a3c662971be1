package supabase_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/realtime"
	"phx/phoenix/supabase"
)

// A scene is a project of Supabase and a connection to it, in a bubble.
type scene struct {
	t       *testing.T
	project *realtime.Project
	srv     *phoenixtest.Server
	conn    *phoenix.Conn
	wait    sync.WaitGroup

	mu     sync.Mutex
	events []phoenix.Event
}

// inScene runs test with a connection that has been started.
func inScene(t *testing.T, cfg realtime.Config, change func(o *phoenix.Options), test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		project := realtime.New(cfg)
		s := &scene{t: t, project: project, srv: phoenixtest.NewPipeServer(project.App(), phoenixtest.WithFlavor(phoenixtest.Cowboy))}
		defer s.srv.Close()
		s.conn = s.connect(change)
		events := s.conn.Events()
		s.wait.Go(func() {
			for e := range events.All(context.Background()) {
				s.mu.Lock()
				s.events = append(s.events, e.Clone())
				s.mu.Unlock()
			}
		})
		if err := s.conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		test(s)
		if err := s.conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		s.wait.Wait()
	})
}

// connect returns another connection.
func (s *scene) connect(change func(o *phoenix.Options)) *phoenix.Conn {
	s.t.Helper()
	o := phoenix.Options{
		URL: s.srv.URL + "?apikey=" + fresh(240*time.Hour), NetDial: s.srv.DialContext, MaxRetries: -1, RetryRefusals: true,
		HeartbeatInterval: supabase.HeartbeatInterval, JoinInterval: supabase.JoinInterval, Dialect: supabase.New(supabase.Options{}),
	}
	if change != nil {
		change(&o)
	}
	conn, err := phoenix.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// told returns what has happened since told was called last: the kinds of events, with what messages are called.
func (s *scene) told() []phoenix.Event {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = nil
	return events
}

func kinds(events []phoenix.Event) string {
	var all []string
	for _, e := range events {
		kind := strings.TrimPrefix(fmt.Sprintf("%T", e.Detail), "*phoenix.")
		if kind == "Message" {
			kind = e.Name
		}
		all = append(all, kind)
	}
	return strings.Join(all, " ")
}

// fresh is a token that is good for so long.
func fresh(lasts time.Duration) string {
	return realtime.NewToken("authenticated", time.Now().Add(lasts))
}

func channel(name, config string) phoenix.Channel {
	return phoenix.Channel{Topic: "realtime:" + name, Params: func(context.Context) (phoenix.Payload, error) {
		return phoenix.JSON(`{"config":` + config + `}`), nil
	}}
}

func joins(channels ...phoenix.Channel) func(o *phoenix.Options) {
	return func(o *phoenix.Options) { o.Channels = channels }
}

// In a day the tokens of an hour are renewed each hour, and nothing else happens: no rejoin, no error, no loss.
func TestDayOfTokens(t *testing.T) {
	tokens, joined := 0, 0
	cfg := realtime.Config{Watch: func(a phoenixtest.DemoActivity) {
		switch a.Event {
		case "":
			joined++
		case "access_token":
			tokens++
		}
	}}
	source := func(context.Context) (string, error) { return fresh(time.Hour), nil }
	inScene(t, cfg, joins(supabase.WithToken(channel("room1", `{"private":true}`), source)), func(s *scene) {
		if got := kinds(s.told()); got != "Connecting Connected Joining Joined" {
			s.t.Fatal(got)
		}
		time.Sleep(24 * time.Hour)
		s.project.Send("room1", "still", phoenixtest.JSON(true), true)
		time.Sleep(time.Second)
		if got := kinds(s.told()); got != "broadcast" {
			s.t.Errorf("in the day came %s", got)
		}
		if tokens != 24 || joined != 1 {
			s.t.Errorf("%d tokens, %d joins", tokens, joined)
		}
	})
}

// Without a renewal it is as one would expect: the test above can fail.
func TestDayWithoutRenewal(t *testing.T) {
	first := ""
	source := func(context.Context) (string, error) {
		if first == "" {
			first = fresh(time.Hour)
		}
		return first, nil
	}
	inScene(t, realtime.Config{}, joins(supabase.WithToken(channel("room1", `{"private":true}`), source)), func(s *scene) {
		time.Sleep(2 * time.Hour)
		got := kinds(s.told())
		if !strings.HasPrefix(got, "Connecting Connected Joining Joined system Closed Joining JoinError") {
			s.t.Error(got)
		}
	})
}

// A join that is refused because its token has expired is tried once more with a new one.
func TestExpiredToken(t *testing.T) {
	for name, lasts := range map[string][]time.Duration{"a new one": {-time.Hour, time.Hour}, "the same": {-time.Hour, -time.Hour}} {
		read := 0
		source := func(context.Context) (string, error) {
			read++
			return fresh(lasts[min(read, len(lasts))-1]), nil
		}
		inScene(t, realtime.Config{}, joins(supabase.WithToken(channel("room1", `{"private":true}`), source)), func(s *scene) {
			time.Sleep(time.Minute)
			want := map[string]string{"a new one": "Joining JoinError Joining Joined", "the same": "Joining JoinError Joining JoinError"}[name]
			if got := kinds(s.told()); got != "Connecting Connected "+want {
				s.t.Errorf("%s: %s", name, got)
			}
		})
	}
}

func TestRefusedJoins(t *testing.T) {
	inScene(t, realtime.Config{}, nil, func(s *scene) {
		s.project.RefuseJoins("passing", "InitializingProjectConnection", 2)
		s.project.RefuseJoins("final", "Unauthorized", -1)
		s.told()
		wait := make(chan string, 2)
		for _, name := range []string{"passing", "final"} {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
				defer cancel()
				_, err := s.conn.Join(ctx, channel(name, `{}`))
				wait <- fmt.Sprint(name, " ", err == nil)
			}()
		}
		ended := []string{<-wait, <-wait}
		slices.Sort(ended)
		if got := fmt.Sprint(ended); got != "[final false passing true]" {
			s.t.Error(got)
		}
		refused := map[string]int{}
		for _, e := range s.told() {
			if _, ok := e.Detail.(*phoenix.JoinError); ok {
				refused[e.Topic]++
			}
		}
		if got := fmt.Sprint(refused); got != "map[realtime:final:1 realtime:passing:2]" {
			s.t.Errorf("refused: %s", got)
		}
	})
}

// A refused join is answered after five seconds, and holds up the socket: with many of them before a heartbeat the link is not dead.
func TestRefusalsHoldUpTheSocket(t *testing.T) {
	var all []phoenix.Channel
	for i := range 8 {
		all = append(all, channel(fmt.Sprint("refused", i), `{}`))
	}
	inScene(t, realtime.Config{}, joins(all...), func(s *scene) {
		s.project.RefuseJoins("", "UnableToConnectToProject", 16)
		time.Sleep(5 * time.Minute)
		for _, e := range s.told() {
			switch e.Detail.(type) {
			case *phoenix.Disconnected, *phoenix.HeartbeatTimeout:
				s.t.Fatalf("%T %+v", e.Detail, e.Detail)
			}
		}
		status, err := s.conn.Status(s.t.Context())
		if err != nil || slices.ContainsFunc(status.Channels, func(c phoenix.ChannelStatus) bool { return c.State != "joined" }) {
			s.t.Errorf("%+v, %v", status, err)
		}
	})
}

// Broadcasts of both forms come to listeners of both versions, and bytes to those of 2.0.0.
func TestBroadcasts(t *testing.T) {
	for _, vsn := range []string{"2.0.0", "1.0.0"} {
		inScene(t, realtime.Config{}, func(o *phoenix.Options) {
			o.VSN, o.Channels = vsn, []phoenix.Channel{channel("größe", `{"broadcast":{"self":true}}`)}
		}, func(s *scene) {
			s.told()
			push := func(p phoenix.Push) {
				s.t.Helper()
				reply, err := s.conn.Push(s.t.Context(), p)
				if err != nil || reply.Status != "ok" {
					s.t.Fatalf("%s: %+v, %v", p.Name, reply, err)
				}
			}
			const payload = `{"n":1.0,"id":12345678901234567890}`
			push(supabase.Broadcast("realtime:größe", "é🙂", phoenix.JSON(payload)))
			push(phoenix.Push{Topic: "realtime:größe", Name: "broadcast", Payload: phoenix.JSON(`{"type":"broadcast","event":"` + strings.Repeat("e", 300) + `","payload":1}`)})
			s.project.BroadcastText("größe", "text", phoenixtest.JSON(phoenixtest.Map{"a": "b"}), false)
			s.project.Broadcast("größe", "raw", phoenixtest.Binary([]byte("\x00\xff")), false)
			if vsn == "2.0.0" {
				push(supabase.Broadcast("realtime:größe", "bytes", phoenix.Binary([]byte("\x01"))))
			}
			var got []string
			for _, e := range s.told() {
				if _, ok := e.Detail.(*phoenix.Message); !ok {
					continue
				}
				if e.Broadcast != nil {
					got = append(got, fmt.Sprintf("%s %x", e.Broadcast.Event, e.Payload.Data))
					continue
				}
				var read struct {
					Event   string
					Payload any
				}
				if err := e.Decode(&read); err != nil {
					s.t.Error(err)
				}
				if got = append(got, fmt.Sprint(read.Event[:min(6, len(read.Event))], " ", read.Payload)); len(got) == 1 && !strings.Contains(string(e.Payload.Data), payload) {
					s.t.Errorf("%s: numbers are spelled otherwise: %s", vsn, e.Payload.Data)
				}
			}
			want := "é🙂 map[id:1.2345678901234567e+19 n:1]|eeeeee 1|text map[a:b]"
			if vsn == "2.0.0" {
				want += "|raw 00ff|bytes 01"
			}
			if strings.Join(got, "|") != want {
				s.t.Errorf("%s: got %s, want %s", vsn, strings.Join(got, "|"), want)
			}
		})
	}
}

// Changes of the database flow once the channel is live, and what is missed around another subscription is told, never as less than it was.
func TestChangesFlow(t *testing.T) {
	const config = `{"postgres_changes":[{"event":"*","schema":"public","table":"todos"}]}`
	insert := func(id int) realtime.Change {
		return realtime.Change{Type: "INSERT", Schema: "public", Table: "todos", Record: phoenixtest.Map{"id": id}}
	}
	inScene(t, realtime.Config{}, joins(channel("todos", config)), func(s *scene) {
		s.project.Change(insert(1)) // is missed: not live
		held := func() bool {
			status, err := s.conn.Status(s.t.Context())
			return err == nil && len(status.Channels) == 1 && status.Channels[0].Held
		}
		if got := kinds(s.told()); !held() || got != "Connecting Connected Joining Joined" {
			s.t.Errorf("held %t after %s", held(), got)
		}
		time.Sleep(time.Second)
		if got := kinds(s.told()); held() || got != "system Live" {
			s.t.Errorf("held %t after %s", held(), got)
		}
		time.Sleep(time.Minute)
		s.project.Change(insert(2))
		synctest.Wait()
		lost := time.Now()
		time.Sleep(time.Minute)
		s.project.RestartPostgres()
		s.project.Change(insert(3)) // is missed
		time.Sleep(2 * time.Second)
		s.project.Change(insert(4))
		events := s.told()
		if got := kinds(events); got != "postgres_changes system Gap postgres_changes" {
			s.t.Fatal(got)
		}
		if gap := events[2].Detail.(*phoenix.Gap); gap.Gap < events[2].Time.Sub(lost) || gap.Reason != phoenix.GapResubscribed {
			s.t.Errorf("%+v, and nothing came since %v", gap, lost)
		}
		lost = time.Now()
		s.srv.DropConns()
		s.project.Change(insert(5)) // is missed
		time.Sleep(2 * time.Second)
		events = s.told()
		if got := kinds(events[len(events)-4:]); got != "Joined system Gap Live" {
			s.t.Fatal(kinds(events))
		}
		if gap := events[len(events)-2]; gap.Detail.(*phoenix.Gap).Gap < gap.Time.Sub(lost) {
			s.t.Errorf("%+v, want at least %v", gap.Detail, gap.Time.Sub(lost))
		}
	})
}

// What was sent on a private channel while it was away comes behind the rejoin, each once, as far as the server replays.
func TestReplayClosesTheGap(t *testing.T) {
	for _, missed := range []int{0, 1, 24, 25, 40} {
		inScene(t, realtime.Config{}, joins(supabase.WithToken(channel("room1", `{"private":true}`), func(context.Context) (string, error) { return fresh(time.Hour), nil })), func(s *scene) {
			send := func(from, to int) {
				for i := from; i < to; i++ {
					payload := phoenixtest.JSON(i)
					if i%3 == 0 {
						payload = phoenixtest.Binary([]byte(fmt.Sprint(i)))
					}
					s.project.Send("room1", "numbered", payload, true)
					time.Sleep(time.Millisecond)
				}
			}
			send(0, 5)
			s.told()
			s.srv.DropConns()
			send(5, 5+missed) // faster than the client dials
			time.Sleep(time.Minute)
			send(5+missed, 10+missed)
			time.Sleep(time.Second)
			n, gaps := 0, 0
			for _, e := range s.told() {
				switch e.Detail.(type) {
				case *phoenix.Message:
					n++
				case *phoenix.Gap:
					gaps++
				}
			}
			want, wantGaps := 5+missed, 0
			if missed >= 25 {
				want, wantGaps = 5+25, 1
			}
			if n != want || gaps != wantGaps {
				s.t.Errorf("%d missed: %d came, and %d gaps; want %d and %d", missed, n, gaps, want, wantGaps)
			}
		})
	}
}

// Who leaves and joins again later begins anew: nothing is replayed of the time between.
func TestLeaveAndJoin(t *testing.T) {
	room := supabase.WithToken(channel("room1", `{"private":true}`), func(context.Context) (string, error) { return fresh(time.Hour), nil })
	inScene(t, realtime.Config{}, joins(room), func(s *scene) {
		s.project.Send("room1", "e", phoenixtest.JSON(1), true)
		if err := s.conn.Leave(s.t.Context(), room.Topic); err != nil {
			s.t.Fatal(err)
		}
		s.told()
		s.project.Send("room1", "e", phoenixtest.JSON(2), true)
		if _, err := s.conn.Join(s.t.Context(), room); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := kinds(s.told()); got != "Joining Joined" {
			s.t.Error(got)
		}
	})
}

// Many channels are joined over several sockets, no faster than the project takes them.
func TestManyChannels(t *testing.T) {
	var all []phoenix.Channel
	for i := range 150 {
		all = append(all, channel(fmt.Sprint("room", i), `{}`))
	}
	inScene(t, realtime.Config{MaxClients: 1000}, joins(all...), func(s *scene) {
		time.Sleep(30 * time.Second)
		if n := s.project.Joined(""); n != len(all) {
			s.t.Errorf("%d channels are joined", n)
		}
		for _, e := range s.told() {
			switch e.Detail.(type) {
			case *phoenix.JoinError, *phoenix.Disconnected:
				s.t.Fatalf("%s: %+v", e.Topic, e.Detail)
			}
		}
	})
}

// A presence is told where it is asked for, and only there.
func TestPresence(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		inScene(t, realtime.Config{}, func(o *phoenix.Options) {
			o.Presence, o.Dialect = wanted, supabase.New(supabase.Options{Presence: wanted})
			o.Channels = []phoenix.Channel{channel("room1", `{"presence":{"key":"ann"}}`)}
		}, func(s *scene) {
			reply, err := s.conn.Push(s.t.Context(), phoenix.Push{Topic: "realtime:room1", Name: "presence", Payload: phoenix.JSON(`{"type":"presence","event":"track","payload":{"at":"home"}}`)})
			if err != nil || reply.Status != "ok" {
				s.t.Errorf("%+v, %v", reply, err)
			}
			time.Sleep(time.Second)
			if got := kinds(s.told()); strings.Contains(got, "PresenceJoin") != wanted {
				s.t.Errorf("wanted %t: %s", wanted, got)
			}
		})
	}
}

// A drain is told by the server before it, and is an outage like any other.
func TestDrain(t *testing.T) {
	inScene(t, realtime.Config{}, joins(channel("room1", `{}`)), func(s *scene) {
		s.told()
		s.project.Drain()
		time.Sleep(10 * time.Second)
		events := s.told()
		if got := kinds(events); got != "system Disconnected Errored Reconnecting Connecting Connected Joining Joined" {
			s.t.Error(got)
		}
		if d, ok := events[1].Detail.(*phoenix.Disconnected); !ok || d.Code != 1012 {
			s.t.Errorf("%+v", events[1].Detail)
		}
	})
}
