package phoenixtest_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

// The transcripts test most of the peer application; here is what they do not reach.

func TestPeerHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(peer.App())
		defer srv.Close()
		c := dial(t, srv)
		c.join("room:1")
		transport := &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return srv.DialContext(ctx, network, addr)
			},
			DisableKeepAlives: true,
		}
		for _, test := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{"GET", "/health", "", 200, "ok"},
			{"GET", "/subscribers?topic=room:1", "", 200, `{"subscribers":1}`},
			{"POST", "/broadcast", `{"topic":"room:1","event":"e","n":2}`, 200, `{"ok":true,"subscribers":1}`},
			{"POST", "/broadcast", `nonsense`, 400, ""},
			{"POST", "/disconnect", `nonsense`, 400, ""},
			{"GET", "/nowhere", "", 404, "not found"},
		} {
			req, err := http.NewRequestWithContext(t.Context(), test.method, "http://phoenix.test"+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != test.status || test.want != "" && string(body) != test.want {
				t.Errorf("%s %s: %d %s, %v", test.method, test.path, res.StatusCode, body, err)
			}
		}
		c.want(`[null,null,"room:1","e",{}]`, `[null,null,"room:1","e",{}]`)
	})
}

func TestPeerEvents(t *testing.T) {
	const crash = `["1","1","room:1","phx_error",{"reason":"channel_crash"}]`
	for name, test := range map[string]struct {
		event, payload string
		answers        []string
	}{
		"broadcast without a reply": {"new_msg_noreply", `{"a":1}`, []string{`[null,null,"room:1","new_msg",{"a":1}]`}},
		"binary by default":         {"binary_push", `{}`, []string{"\x00\x01\x06\x031room:1bin\x00\x01\x02\xff", reply("ok", "{}")}},
		"binary expected":           {"binary_echo", `{}`, []string{crash}},
		"kick without an id":        {"kick", `{}`, []string{reply("ok", `{"id":null}`)}},
		"field of a list":           {"slow", `[]`, []string{crash}},
		"field of another type":     {"slow", `{"ms":"x"}`, []string{reply("ok", `{"ms":"x"}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := phoenixtest.NewPipeServer(peer.App())
				defer srv.Close()
				c := dial(t, srv)
				c.join("room:1")
				c.ask(`["1","2","room:1","`+test.event+`",`+test.payload+`]`, test.answers...)
			})
		})
	}
}

func TestPeerJoinByToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(peer.App())
		defer srv.Close()
		c := dial(t, srv)
		c.ask(`["1","1","room:token","phx_join",{}]`,
			`["1","1","room:token","phx_reply",{"response":{"reason":"bad token"},"status":"error"}]`)
		c.ask(`["1","1","room:token","phx_join",{"token":"good"}]`,
			`["1","1","room:token","phx_reply",{"response":{},"status":"ok"}]`)
	})
}

func TestPeerSlowConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(peer.App())
		defer srv.Close()
		start := time.Now()
		dialURL(t, srv, srv.URL+"/websocket?vsn=2.0.0&slow_ms=1500", nil)
		if took := time.Since(start); took != 1500*time.Millisecond {
			t.Errorf("connect took %v", took)
		}
		for _, query := range []string{"slow_ms=x", "token=flaky:key:x"} {
			if res := dialRefused(t, srv, srv.URL+"/websocket?"+query, nil); res.StatusCode != http.StatusInternalServerError {
				t.Errorf("%s: status %d", query, res.StatusCode)
			}
		}
	})
}
