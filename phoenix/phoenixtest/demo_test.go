package phoenixtest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix/phoenixtest"
)

func TestDemoTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		time.Sleep(10 * time.Second) // no ticks before the first joins
		first := dial(t, srv)
		first.join("room:lobby")
		first.want(`[null,null,"room:lobby","tick",{"n":1}]`, `[null,null,"room:lobby","tick",{"n":2}]`)
		second := dial(t, srv)
		second.join("room:lobby")
		second.want(`[null,null,"room:lobby","tick",{"n":3}]`)
		first.want(`[null,null,"room:lobby","tick",{"n":3}]`)
	})
}

func TestDemoEvents(t *testing.T) {
	for name, test := range map[string]struct {
		event, payload string
		answers        []string
	}{
		"echo":      {"echo", `{"b":1.0, "a":"<\u0041"}`, []string{reply("ok", `{"b":1.0, "a":"<\u0041"}`)}},
		"broadcast": {"broadcast", `[1]`, []string{`[null,null,"room:1","broadcast",[1]]`, reply("ok", "{}")}},
		"fail":      {"fail", `{}`, []string{reply("error", `{"reason":"failed"}`)}},
		"crash":     {"crash", `{}`, []string{`["1","1","room:1","phx_error",{"reason":"channel_crash"}]`}},
		"unknown":   {"unknown", `{}`, []string{`["1","1","room:1","phx_error",{"reason":"channel_crash"}]`}},
		"close":     {"close", `{}`, []string{`["1","1","room:1","phx_close",{}]`}},
		"silent":    {"silent", `{}`, nil},
		"slow":      {"slow", `{"ms":300}`, []string{reply("ok", `{"ms":300}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
				defer srv.Close()
				c := dial(t, srv)
				c.join("room:1")
				c.ask(`["1","2","room:1","`+test.event+`",`+test.payload+`]`, test.answers...)
				c.ask(heartbeat, heartbeatReply)
			})
		})
	}
}

func reply(status, response string) string {
	return `["1","2","room:1","phx_reply",{"response":` + response + `,"status":"` + status + `"}]`
}

func TestDemoPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		c := dial(t, srv)
		c.ask(`["1","1","presence:x","phx_join",{"user":"ann"}]`,
			`["1","1","presence:x","phx_reply",{"response":{},"status":"ok"}]`,
			`[null,null,"presence:x","presence_diff",{"joins":{"ann":{"metas":[{"phx_ref":"AAAAAAAAAAAAAAAB","status":"online"}]}},"leaves":{}}]`,
			`["1",null,"presence:x","presence_state",{"ann":{"metas":[{"phx_ref":"AAAAAAAAAAAAAAAB","status":"online"}]}}]`)
		c.ask(`["1","2","presence:x","echo",{}]`, `["1","2","presence:x","phx_reply",{"response":{},"status":"ok"}]`)
	})
}

func TestDemoRefusesTheTokenBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		token := func(base64 string) http.Header {
			return http.Header{"Sec-Websocket-Protocol": {"phoenix, base64url.bearer.phx." + base64}}
		}
		for name, refused := range map[string]struct {
			query  string
			header http.Header
		}{
			"parameter":  {"&token=bad", nil},
			"auth token": {"", token("YmFk")},
		} {
			res := dialRefused(t, srv, srv.URL+"/websocket?vsn=2.0.0"+refused.query, refused.header)
			if res.StatusCode != http.StatusForbidden {
				t.Errorf("%s: status %d", name, res.StatusCode)
			}
		}
		dialURL(t, srv, srv.URL+"/websocket?vsn=2.0.0&token=good", token("Z29vZA"))
	})
}
