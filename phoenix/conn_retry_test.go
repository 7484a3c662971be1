package phoenix_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// Three retries against a dead server are three retries, with the delays that were asked for.
func TestRetriesExhausted(t *testing.T) {
	for _, c := range []struct {
		name    string
		backoff phoenix.Backoff
		delays  [3]time.Duration
	}{
		{"steps", phoenix.Steps(time.Second, 3*time.Second), [3]time.Duration{time.Second, 3 * time.Second, 3 * time.Second}},
		{"exponential", phoenix.Exponential(time.Second, 3*time.Second), [3]time.Duration{time.Second, 2 * time.Second, 3 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				srv.Stop()
				conn, events := start(t, srv, phoenix.Options{MaxRetries: 3, ReconnectAfter: c.backoff})
				log := record(t, events)
				begun := time.Now()
				<-conn.Done()
				if took := time.Since(begun); took != c.delays[0]+c.delays[1]+c.delays[2] {
					t.Errorf("gave up after %v", took)
				}
				if n := len(details[*phoenix.Connecting](log)); n != 4 {
					t.Errorf("%d dials, want 1 and 3 retries", n)
				}
				for i, r := range details[*phoenix.Reconnecting](log) {
					if r.Attempt != i+1 || r.Delay != c.delays[i] || r.MaxAttempts != 3 || r.Reason != phoenix.ReasonConnectRefused {
						t.Errorf("retry %d: %+v", i, r)
					}
				}
				exhausted := details[*phoenix.ReconnectExhausted](log)
				if len(exhausted) != 1 || exhausted[0].Attempts != 3 || exhausted[0].MaxAttempts != 3 {
					t.Errorf("exhausted: %+v", exhausted)
				}
				var link *phoenix.LinkError
				if !errors.As(conn.Err(), &link) || link.Reason != phoenix.ReasonConnectRefused {
					t.Errorf("error %v", conn.Err())
				}
			})
		})
	}
}

// Without retries there is nothing to be exhausted.
func TestNoRetries(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		srv.Stop()
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		<-conn.Done()
		log.want(
			"0s connecting 1",
			"0s disconnected connect_refused",
		)
	})
}

// Accept-then-close must not be hammered: the retries are counted on until a session has been stable (rule 14).
func TestAcceptThenClose(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			Channels: topics("room:1"), MaxRetries: 3, StableAfter: 10 * time.Second,
			ReconnectAfter: phoenix.Steps(time.Second, 2*time.Second, 4*time.Second),
		})
		log := record(t, events)
		for range 4 {
			settle(9 * time.Second)
			srv.CloseConns(1000)
			settle(0)
		}
		<-conn.Done()
		if n := srv.Stats().Connects; n != 4 {
			t.Errorf("%d sessions, want 4", n)
		}
		if len(details[*phoenix.ReconnectExhausted](log)) != 1 {
			t.Error("the retries were counted anew although no session was stable")
		}
	})
}

// A session that was up for StableAfter with every channel joined starts the count anew.
func TestStableSessionStartsAnew(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			Channels: topics("room:1"), MaxRetries: 1, StableAfter: 10 * time.Second, ReconnectAfter: phoenix.Steps(time.Second),
		})
		log := record(t, events)
		for range 5 {
			settle(12 * time.Second)
			srv.CloseConns(1012)
			settle(0)
		}
		settle(5 * time.Second)
		if st, err := conn.Status(t.Context()); err != nil || st.Link != phoenix.StatusConnected || st.Session != 6 {
			t.Errorf("status %+v, error %v", st, err)
		}
		for _, r := range details[*phoenix.Reconnecting](log) {
			if r.Attempt != 1 {
				t.Errorf("retry %d, want 1", r.Attempt)
			}
		}
	})
}

// One channel that is not joined keeps a link from being stable, however long it is up.
func TestUnjoinedChannelIsNotStable(t *testing.T) {
	app := socket(phoenixtest.UserSocket{Channels: []phoenixtest.Route{
		phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{}),
		phoenixtest.RouteFuncs("private:*", phoenixtest.ChannelFuncs{
			OnJoin: func(*phoenixtest.Socket, phoenixtest.Payload) (any, error) {
				return nil, phoenixtest.RefuseJoin(nil)
			},
		}),
	}})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{
			Channels: topics("room:1", "private:1"), MaxRetries: 2, RetryRefusals: true,
			ReconnectAfter: phoenix.Steps(time.Second), RejoinAfter: phoenix.Steps(20 * time.Second),
		})
		record(t, events)
		for range 3 {
			settle(15 * time.Second)
			srv.CloseConns(1012)
			settle(0)
		}
		select {
		case <-conn.Done():
		default:
			t.Error("the retries were counted anew although a channel was not joined")
		}
	})
}

// FailFast retries nothing before everything has been joined once, and then as told.
func TestFailFast(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		options := phoenix.Options{
			Channels: topics("room:1"), FailFast: true, MaxRetries: 3, ReconnectAfter: phoenix.Steps(time.Second),
		}
		srv.Stop()
		conn, events := start(t, srv, options)
		log := record(t, events)
		<-conn.Done()
		log.want(
			"0s connecting 1",
			"0s disconnected connect_refused",
		)
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		_, events = start(t, srv, options)
		log = record(t, events)
		settle(time.Second)
		log.forget()
		srv.DropConns()
		settle(5 * time.Second)
		log.want(
			"1s disconnected eof",
			"1s room:1 errored disconnected, retry",
			"1s retry 1 in 1s",
			"2s connecting 2",
			"2s reconnected after 1s",
			"2s room:1 joining 1",
			"2s room:1 rejoined after 1s",
		)
	})
}

// A join that fails is not retried either, with FailFast.
func TestFailFastJoin(t *testing.T) {
	bubble(t, slowJoins(time.Minute), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{FailFast: true, MaxRetries: 3, ReplyTimeout: 5 * time.Second})
		record(t, events)
		_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1"})
		var failed *phoenix.JoinError
		if !errors.As(err, &failed) || failed.Reason != phoenix.JoinTimeout {
			t.Errorf("error %v", err)
		}
	})
}

// What a refusal is and what only means "later" (rule 16).
func TestRefusedDials(t *testing.T) {
	refused := func(status int, retryAfter string) *phoenixtest.Refusal {
		r := &phoenixtest.Refusal{Status: status, Header: http.Header{}, Body: "go away"}
		if retryAfter != "" {
			r.Header.Set("Retry-After", retryAfter)
		}
		return r
	}
	for _, c := range []struct {
		name          string
		refusal       *phoenixtest.Refusal
		retryRefusals bool
		want          []string
	}{
		{"403", refused(403, ""), false, []string{"0s connecting 1", "0s disconnected refused 403"}},
		{"404", refused(404, ""), false, []string{"0s connecting 1", "0s disconnected refused 404"}},
		{"403, retried", refused(403, ""), true, []string{
			"0s connecting 1", "0s disconnected refused 403", "0s retry 1 in 1s",
			"1s connecting 2", "1s disconnected refused 403", "1s exhausted after 1 of 1",
		}},
		{"503", refused(503, ""), false, []string{
			"0s connecting 1", "0s disconnected refused 503", "0s retry 1 in 1s",
			"1s connecting 2", "1s disconnected refused 503", "1s exhausted after 1 of 1",
		}},
		{"429 with Retry-After", refused(429, "7"), false, []string{
			"0s connecting 1", "0s disconnected refused 429", "0s retry 1 in 7s",
			"7s connecting 2", "7s disconnected refused 429", "7s exhausted after 1 of 1",
		}},
		{"Retry-After below the backoff", refused(503, "0"), false, []string{
			"0s connecting 1", "0s disconnected refused 503", "0s retry 1 in 1s",
			"1s connecting 2", "1s disconnected refused 503", "1s exhausted after 1 of 1",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
				srv.Refuse(c.refusal)
				conn, events := start(t, srv, phoenix.Options{
					MaxRetries: 1, RetryRefusals: c.retryRefusals, ReconnectAfter: phoenix.Steps(time.Second),
				})
				log := record(t, events)
				<-conn.Done()
				log.want(c.want...)
				var link *phoenix.LinkError
				if !errors.As(conn.Err(), &link) || link.Stage != phoenix.StageUpgrade ||
					link.HTTPStatus != c.refusal.Status || link.Body != "go away" {
					t.Errorf("error %+v", conn.Err())
				}
			})
		})
	}
}
