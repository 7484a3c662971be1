package phoenix_test

import (
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// A session by long poll is one like any other. At its end its channels are left, because nothing else tells the server.
func TestLongPoll(t *testing.T) {
	for _, vsn := range []string{"1.0.0", "2.0.0"} {
		t.Run(vsn, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				conn, events := start(t, srv, phoenix.Options{Transport: phoenix.TransportLongPoll, VSN: vsn})
				log := record(t, events)
				join(t, conn, "room:lobby")
				r, err := conn.Push(t.Context(), phoenix.Push{Topic: "room:lobby", Name: "echo", Payload: phoenix.JSON("{\"a\":\n1.0,\"b\":\"é\\\"\\u0001\"}")})
				if err != nil || r.Status != "ok" || string(r.Payload.Data) != `{"a": 1.0,"b":"é\"\u0001"}` {
					t.Fatalf("reply %+v, error %v", r, err)
				}
				settle(2500 * time.Millisecond)
				if got := srv.Subscribers("room:lobby"); got != 1 {
					t.Errorf("%d subscribers", got)
				}
				if rtt, err := conn.Heartbeat(t.Context()); err != nil || rtt != 0 {
					t.Errorf("heartbeat %v, %v", rtt, err)
				}
				if err := conn.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				settle(0)
				if got := srv.Subscribers("room:lobby"); got != 0 {
					t.Errorf("%d subscribers behind the close", got)
				}
				if got := details[*phoenix.Connected](log)[0].Transport; got != phoenix.TransportLongPoll {
					t.Errorf("transport %q", got)
				}
				log.want(
					"0s connecting 1",
					"0s connected",
					"0s room:lobby joining 1",
					"0s room:lobby joined {}",
					`0s push 0 ok {"a": 1.0,"b":"é\"\u0001"}`,
					`1s room:lobby tick {"n":1}`,
					`2s room:lobby tick {"n":2}`,
					"2.5s disconnected closed_by_us",
					"2.5s room:lobby errored disconnected",
				)
			})
		})
	}
}
