package phoenix_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// Credentials are read at every dial, params at every join, so that tokens can rotate (rule 16).
func TestCredentialsAndParamsRotate(t *testing.T) {
	var seen []string
	app := socket(phoenixtest.UserSocket{
		AuthToken: true,
		Connect: func(info *phoenixtest.ConnectInfo) error {
			seen = append(seen, fmt.Sprint("dial ", info.Params["user"], info.Headers["x-key"], *info.AuthToken))
			return nil
		},
		Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
			OnJoin: func(_ *phoenixtest.Socket, params phoenixtest.Payload) (any, error) {
				seen = append(seen, "join "+string(params.Bytes()))
				return nil, nil
			},
			OnIn: func(*phoenixtest.Socket, string, phoenixtest.Payload) phoenixtest.Result {
				return phoenixtest.Stop("normal")
			},
		})},
	})
	bubble(t, app, func(t *testing.T, srv *phoenixtest.Server) {
		dials, joins := 0, 0
		o := patient()
		o.Credentials = func(context.Context) (phoenix.Credentials, error) {
			dials++
			n := fmt.Sprint(dials)
			return phoenix.Credentials{
				Params: url.Values{"user": {"u" + n}}, Header: http.Header{"X-Key": {"k" + n}}, AuthToken: "t" + n, HasAuthToken: true,
			}, nil
		}
		o.Channels = []phoenix.Channel{{Topic: "room:1", Params: func(context.Context) (phoenix.Payload, error) {
			joins++
			return phoenix.JSON(fmt.Sprintf(`{"token":%d}`, joins)), nil
		}}}
		conn, events := start(t, srv, o)
		record(t, events)
		settle(time.Second)
		send(t, conn, phoenix.Push{Topic: "room:1", Name: "close"})
		settle(5 * time.Second)
		srv.DropConns()
		settle(5 * time.Second)
	})
	want := `[dial u1k1t1 join {"token":1} join {"token":2} dial u2k2t2 join {"token":3}]`
	if got := fmt.Sprint(seen); got != want {
		t.Errorf("the server saw %s\nwant           %s", got, want)
	}
}

// A socket without auth_token answers without a subprotocol: not an error (rule 24).
func TestAuthTokenIsIgnored(t *testing.T) {
	bubble(t, rooms(phoenixtest.ChannelFuncs{}), func(t *testing.T, srv *phoenixtest.Server) {
		conn := newConn(t, srv, phoenix.Options{Credentials: func(context.Context) (phoenix.Credentials, error) {
			return phoenix.Credentials{AuthToken: "tök", HasAuthToken: true}, nil
		}})
		if err := conn.Start(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Credentials that cannot be read fail the dial, which is retried: a file may be there again the next time.
func TestCredentialsFail(t *testing.T) {
	broken := errors.New("no such file")
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		var calls atomic.Int32
		conn, events := start(t, srv, phoenix.Options{
			MaxRetries: 1, ReconnectAfter: phoenix.Steps(time.Second),
			Credentials: func(context.Context) (phoenix.Credentials, error) {
				calls.Add(1)
				return phoenix.Credentials{}, broken
			},
		})
		log := record(t, events)
		<-conn.Done()
		if !errors.Is(conn.Err(), broken) || calls.Load() != 2 {
			t.Errorf("error %v after %d calls", conn.Err(), calls.Load())
		}
		for _, d := range details[*phoenix.Disconnected](log) {
			if d.Text != broken.Error() {
				t.Errorf("the event says %q", d.Text)
			}
		}
		if srv.Stats().Attempts != 0 {
			t.Error("dialed without credentials")
		}
	})
}

// Params that cannot be read fail the join, and nothing hangs; nor do those that no server takes (rule 12).
func TestParamsFail(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{ReplyTimeout: 5 * time.Second})
		record(t, events)
		read := func(p phoenix.Payload, err error) func(context.Context) (phoenix.Payload, error) {
			return func(context.Context) (phoenix.Payload, error) { return p, err }
		}
		for name, params := range map[string]func(context.Context) (phoenix.Payload, error){
			"an error": read(phoenix.Payload{}, errors.New("no such file")),
			"null":     read(phoenix.JSON(`null`), nil),
			"a list":   read(phoenix.JSON(`[]`), nil),
			"no JSON":  read(phoenix.JSON(`{`), nil),
			"a wait": func(ctx context.Context) (phoenix.Payload, error) {
				<-ctx.Done()
				return phoenix.Payload{}, ctx.Err()
			},
		} {
			_, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:1", Params: params})
			var failed *phoenix.JoinError
			if !errors.As(err, &failed) || failed.Reason != phoenix.JoinRefused || failed.Err == nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := srv.Stats().Joins; n != 0 {
			t.Errorf("%d joins on the wire, want none", n)
		}
		for name, params := range map[string]func(context.Context) (phoenix.Payload, error){
			"nothing":     read(phoenix.Payload{}, nil),
			"white space": read(phoenix.JSON("\n {\"a\":1}"), nil),
			"bytes":       read(phoenix.Binary([]byte{0}), nil),
		} {
			if _, err := conn.Join(t.Context(), phoenix.Channel{Topic: "room:" + name, Params: params}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Params that are still being read when the channel is left, or the link lost, are of no use any more.
func TestParamsTooLate(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		conn, events := start(t, srv, phoenix.Options{})
		log := record(t, events)
		go func() {
			_, _ = conn.Join(t.Context(), phoenix.Channel{Topic: "room:1", Params: func(context.Context) (phoenix.Payload, error) {
				time.Sleep(2 * time.Second)
				return phoenix.Payload{}, nil
			}})
		}()
		settle(time.Second)
		log.forget()
		if err := conn.Leave(t.Context(), "room:1"); err != nil {
			t.Error(err)
		}
		settle(5 * time.Second)
		log.want("1s room:1 left")
		if n := srv.Stats().Joins; n != 0 {
			t.Errorf("%d joins on the wire, want none", n)
		}
	})
}
