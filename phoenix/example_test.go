package phoenix_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// Join a topic, push a message and print the reply.
func Example() {
	server := phoenixtest.NewServer(phoenixtest.Demo())
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	conn, err := phoenix.New(phoenix.Options{URL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()

	if _, err := conn.Join(ctx, phoenix.Channel{Topic: "room:1"}); err != nil {
		log.Fatal(err)
	}
	reply, err := conn.Push(ctx, phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON(`{"body":"hi"}`)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %s\n", reply.Status, reply.Payload.Data)
	// Output: ok {"body":"hi"}
}

// A refused join has the server's response.
func ExampleConn_Join_refused() {
	server := phoenixtest.NewServer(phoenixtest.Demo())
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	conn, err := phoenix.New(phoenix.Options{URL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()

	_, err = conn.Join(ctx, phoenix.Channel{Topic: "room:private"})
	var refused *phoenix.JoinError
	if errors.As(err, &refused) {
		fmt.Printf("%s: %s\n", refused.Reason, refused.Response.Data)
	}
	// Output: error: {"reason":"unauthorized"}
}

// Listen to everything that happens. Events has to be called before Start, and then be read on.
func ExampleConn_Events() {
	server := phoenixtest.NewServer(phoenixtest.Demo())
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	conn, err := phoenix.New(phoenix.Options{URL: server.URL, Channels: []phoenix.Channel{{Topic: "room:1"}}})
	if err != nil {
		log.Fatal(err)
	}
	events := conn.Events()
	go func() { _ = conn.Serve(ctx) }()

	for event, err := range events.All(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		switch detail := event.Detail.(type) {
		case *phoenix.Joined:
			fmt.Println("joined", event.Topic)
			// The consumer does not wait for a reply: it comes as an event.
			if err := conn.Send(ctx, phoenix.Push{Topic: "room:1", Name: "broadcast", Payload: phoenix.JSON(`{"n":1}`)}); err != nil {
				log.Fatal(err)
			}
		case *phoenix.Message:
			fmt.Printf("%s %s %s\n", event.Topic, event.Name, event.Payload.Data)
		case *phoenix.PushReply:
			fmt.Println("reply", detail.Status)
			go func() { _ = conn.Close(ctx) }()
		case *phoenix.Disconnected:
			fmt.Println("disconnected", detail.Reason)
		}
	}
	// Output:
	// joined room:1
	// room:1 broadcast {"n":1}
	// reply ok
	// disconnected closed_by_us
}

// Reconnect for ever, with a token that is read again each time.
func ExampleOptions_reconnect() {
	server := phoenixtest.NewServer(phoenixtest.Demo())
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	dials := 0
	conn, err := phoenix.New(phoenix.Options{
		URL:      server.URL,
		Channels: []phoenix.Channel{{Topic: "room:1"}},
		Credentials: func(context.Context) (phoenix.Credentials, error) {
			dials++
			return phoenix.Credentials{Params: url.Values{"token": {fmt.Sprint("token-", dials)}}}, nil
		},
		MaxRetries:     -1,
		ReconnectAfter: phoenix.Jittered(phoenix.Steps(10*time.Millisecond, time.Second)),
		RejoinAfter:    phoenix.Jittered(phoenix.Exponential(10*time.Millisecond, 10*time.Second)),
	})
	if err != nil {
		log.Fatal(err)
	}
	events := conn.Events()
	go func() { _ = conn.Serve(ctx) }()

	for event := range events.All(ctx) {
		switch detail := event.Detail.(type) {
		case *phoenix.Joined:
			fmt.Println("joined, again:", detail.Rejoin)
			if detail.Rejoin {
				go func() { _ = conn.Close(ctx) }()
				continue
			}
			server.CloseConns(1012) // the server restarts
		case *phoenix.Disconnected:
			fmt.Printf("%s, will reconnect: %v\n", detail.Reason, detail.WillReconnect)
		}
	}
	fmt.Println("dials:", dials)
	// Output:
	// joined, again: false
	// closed_by_remote, will reconnect: true
	// joined, again: true
	// closed_by_us, will reconnect: false
	// dials: 2
}

// Keep two connections to one server up, each with a token of its own, and stop them well.
func ExampleSupervisor() {
	server := phoenixtest.NewServer(phoenixtest.Demo())
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	s := phoenix.NewSupervisor(phoenix.SupervisorOptions{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Ended:  func(name string, err error) { log.Printf("%s has given up: %v", name, err) },
	})
	for _, name := range []string{"alice", "bob"} {
		spec := phoenix.Spec{
			Name: name,
			Options: phoenix.Options{
				URL:        server.URL,
				Channels:   []phoenix.Channel{{Topic: "room:1"}},
				MaxRetries: 10,
				Credentials: func(context.Context) (phoenix.Credentials, error) {
					return phoenix.Credentials{Params: url.Values{"token": {"token of " + name}}}, nil
				},
			},
			Consume: func(events *phoenix.Stream) {
				for event := range events.All(ctx) {
					if _, ok := event.Detail.(*phoenix.Message); ok {
						log.Printf("%s got %s", name, event.Name)
					}
				}
			},
		}
		if err := s.Add(spec); err != nil {
			log.Fatal(err)
		}
		if err := s.Start(name); err != nil {
			log.Fatal(err)
		}
	}

	for _, name := range s.Names() {
		status, err := s.Await(ctx, name, func(st phoenix.ConnectionStatus) bool {
			return st.Link == phoenix.StatusConnected &&
				!slices.ContainsFunc(st.Channels, func(c phoenix.ChannelStatus) bool { return c.State != "joined" })
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(status.Name, status.Link, status.Channels[0].Topic, status.Channels[0].State)
	}
	conn, err := s.Conn("alice")
	if err != nil {
		log.Fatal(err)
	}
	reply, err := conn.Push(ctx, phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON(`{"body":"hi"}`)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("alice pushed:", reply.Status)
	if err := s.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// alice connected room:1 joined
	// bob connected room:1 joined
	// alice pushed: ok
}

// Push a struct, and decode the reply into one.
func ExampleMarshal() {
	conn, end := newDemo(phoenix.Options{Channels: []phoenix.Channel{{Topic: "room:1"}}})
	defer end()
	ctx := context.Background()
	go func() { _ = conn.Serve(ctx) }()
	if err := conn.WaitJoined(ctx, "room:1"); err != nil {
		log.Fatal(err)
	}

	type note struct {
		Body string `json:"body"`
	}
	payload, err := phoenix.Marshal(note{Body: "hi"})
	if err != nil {
		log.Fatal(err)
	}
	reply, err := conn.Push(ctx, phoenix.Push{Topic: "room:1", Name: "echo", Payload: payload})
	if err != nil {
		log.Fatal(err)
	}
	var answer note
	if err := reply.Decode(&answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(reply.Status, answer.Body)
	// Output: ok hi
}

// Wait for a topic of Options.Channels, after a loss of the link as at the start.
func ExampleConn_WaitJoined() {
	conn, end := newDemo(phoenix.Options{Channels: []phoenix.Channel{{Topic: "room:1"}}})
	defer end()
	ctx := context.Background()
	go func() { _ = conn.Serve(ctx) }()

	fmt.Println(conn.WaitJoined(ctx, "room:1"))
	fmt.Println(conn.WaitJoined(ctx, "room:2"))
	// Output:
	// <nil>
	// the topic is not joined
}

// Receive one event of one topic, in a goroutine of its own, whatever else the connection does.
func ExampleConn_TopicEvents() {
	conn, end := newDemo(phoenix.Options{Channels: []phoenix.Channel{{Topic: "room:lobby"}}})
	defer end()
	ctx := context.Background()

	ticks := conn.TopicEvents("room:lobby", "tick")
	defer ticks.Close()
	go func() { _ = conn.Serve(ctx) }()
	for event, err := range ticks.All(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		var tick struct{ N int }
		if err := event.Decode(&tick); err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Topic, event.Name, tick.N)
		if tick.N == 2 {
			break
		}
	}
	// Output:
	// room:lobby tick 1
	// room:lobby tick 2
}

// Tell apart how a push went wrong.
func ExampleConn_Push_errors() {
	conn, end := newDemo(phoenix.Options{Channels: []phoenix.Channel{{Topic: "room:1"}}})
	defer end()
	ctx := context.Background()
	go func() { _ = conn.Serve(ctx) }()
	if err := conn.WaitJoined(ctx, "room:1"); err != nil {
		log.Fatal(err)
	}

	for _, push := range []phoenix.Push{
		{Topic: "room:1", Name: "fail"},
		{Topic: "room:1", Name: "silent", Timeout: 10 * time.Millisecond},
		{Topic: "room:2", Name: "echo"},
		{Topic: "room:1", Name: "crash"},
	} {
		reply, err := conn.Push(ctx, push)
		var lost *phoenix.PushError
		switch {
		case err == nil: // the server has answered, but maybe not "ok"
			fmt.Printf("%s: %s %s\n", push.Name, reply.Status, reply.Payload.Data)
		case errors.Is(err, context.DeadlineExceeded):
			fmt.Printf("%s: no reply in time\n", push.Name)
		case errors.Is(err, phoenix.ErrNotJoined):
			fmt.Printf("%s: join %s first\n", push.Name, push.Topic)
		case errors.As(err, &lost):
			fmt.Printf("%s: %s, delivered: %s\n", push.Name, lost.Reason, lost.Delivered)
		default:
			log.Fatal(err)
		}
	}
	// Output:
	// fail: error {"reason":"failed"}
	// silent: no reply in time
	// echo: join room:2 first
	// crash: channel_crashed, delivered: unknown
}

// See who comes and who is there.
func ExampleOptions_presence() {
	alice := phoenix.JSON(`{"user":"alice"}`)
	conn, end := newDemo(phoenix.Options{
		Presence: true,
		Channels: []phoenix.Channel{{
			Topic:  "presence:1",
			Params: func(context.Context) (phoenix.Payload, error) { return alice, nil },
		}},
	})
	defer end()

	events := conn.TopicEvents("presence:1")
	go func() { _ = conn.Serve(context.Background()) }()
	for event, err := range events.All(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		switch detail := event.Detail.(type) {
		case *phoenix.PresenceJoin:
			fmt.Println("came:", detail.Key)
		case *phoenix.PresenceSync:
			for key, metas := range detail.State.All() {
				fmt.Println("there:", key, len(metas))
			}
			return
		}
	}
	// Output:
	// came: alice
	// there: alice 1
}

// newDemo returns a connection to a server of its own, for the examples that are about something else. Serve starts it.
func newDemo(o phoenix.Options) (conn *phoenix.Conn, end func()) {
	server := phoenixtest.NewServer(phoenixtest.Demo())
	o.URL = server.URL
	conn, err := phoenix.New(o)
	if err != nil {
		log.Fatal(err)
	}
	return conn, func() {
		_ = conn.Close(context.Background())
		server.Close()
	}
}
