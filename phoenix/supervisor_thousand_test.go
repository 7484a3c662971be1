package phoenix_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// A thousand connections to one server are joined within seconds, come back after its restart without a herd, and are shut
// down cleanly within the time that a service manager gives.
func TestThousandConnections(t *testing.T) {
	const crowd = 1000
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		s := phoenix.NewSupervisor(phoenix.SupervisorOptions{Ended: func(name string, err error) { t.Errorf("%s ended: %v", name, err) }})
		var left, closed atomic.Int32
		consume := func(events *phoenix.Stream) {
			for e := range events.All(context.Background()) {
				switch d := e.Detail.(type) {
				case *phoenix.Left:
					left.Add(1)
				case *phoenix.Disconnected:
					if d.Reason == phoenix.ReasonClosedByUs && d.Code == 1000 {
						closed.Add(1)
					}
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i := range crowd {
			name := fmt.Sprint("c", i)
			must(t, s.Add(phoenix.Spec{Name: name, Options: to(srv, patient("room:1")), Consume: consume}), s.Start(name))
		}
		allJoined := func(session int) {
			t.Helper()
			for _, name := range s.Names() {
				st, err := s.Await(ctx, name, func(st phoenix.ConnectionStatus) bool { return joined(st) && st.Session == session })
				if err != nil {
					t.Fatalf("%s: %+v, error %v", name, st, err)
				}
			}
		}
		allJoined(1)
		srv.Stop()
		settle(10 * time.Second)
		must(t, srv.Start())
		allJoined(2)
		if n := srv.Stats(); n.Open != crowd || srv.Subscribers("room:1") != crowd {
			t.Errorf("%+v, %d joined", n, srv.Subscribers("room:1"))
		}

		ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		must(t, s.Shutdown(ctx))
		if left.Load() != crowd || closed.Load() != crowd {
			t.Errorf("of %d connections %d left their channel and %d were closed", crowd, left.Load(), closed.Load())
		}
		settle(0)
		if n := srv.Stats(); n.Open != 0 {
			t.Errorf("%d sockets are open", n.Open)
		}
	})
}
