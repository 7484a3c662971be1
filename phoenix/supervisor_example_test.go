package phoenix_test

import (
	"context"
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
					if _, ok := event.Detail.(phoenix.Message); ok {
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
