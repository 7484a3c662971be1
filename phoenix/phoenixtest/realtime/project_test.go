package realtime_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/realtime"
)

// A scene is a project with a server, in a bubble.
type scene struct {
	t       *testing.T
	project *realtime.Project
	srv     *phoenixtest.Server
}

// inScene runs f in a bubble.
func inScene(t *testing.T, cfg realtime.Config, f func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		project := realtime.New(cfg)
		s := &scene{t, project, phoenixtest.NewPipeServer(project.App(), phoenixtest.WithFlavor(phoenixtest.Cowboy))}
		defer s.srv.Close()
		f(s)
	})
}

// A client is a WebSocket client. Its joins have join_ref and ref "1".
type client struct {
	t  *testing.T
	ws *websocket.Conn
}

// token is one of a role that is good for a day.
func token(role string) string { return realtime.NewToken(role, time.Now().Add(24*time.Hour)) }

func (s *scene) dial(vsn string) *client {
	s.t.Helper()
	dialer := websocket.Dialer{NetDialContext: s.srv.DialContext}
	ws, _, err := dialer.Dial(s.srv.URL+"/websocket?vsn="+vsn+"&apikey="+token("anon"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { ws.Close() })
	return &client{s.t, ws}
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) sendBinary(hexed string) {
	c.t.Helper()
	data, err := hex.DecodeString(hexed)
	if err == nil {
		err = c.ws.WriteMessage(websocket.BinaryMessage, data)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// want reads one message for each of texts; a binary one is compared as text in hexadecimal.
func (c *client) want(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		if got := c.read(); got != text {
			c.t.Fatalf("got  %s\nwant %s", got, text)
		}
	}
}

func (c *client) read() string {
	c.t.Helper()
	kind, data, err := c.ws.ReadMessage()
	if err != nil {
		c.t.Fatal(err)
	}
	if kind == websocket.BinaryMessage {
		return hex.EncodeToString(data)
	}
	return string(data)
}

// wantNothing sees that no message comes within d. No other can be read after it.
func (c *client) wantNothing(d time.Duration) {
	c.t.Helper()
	_ = c.ws.SetReadDeadline(time.Now().Add(d)) // cannot fail
	kind, data, err := c.ws.ReadMessage()
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
		c.t.Fatalf("got %d %q, %v", kind, data, err)
	}
}

// wantEnd wants the end with a close code.
func (c *client) wantEnd(code int) {
	c.t.Helper()
	if _, data, err := c.ws.ReadMessage(); !websocket.IsCloseError(err, code) {
		c.t.Fatalf("got %q, %v, want close code %d", data, err, code)
	}
}

// join joins with a config.
func (c *client) join(topic, config string) {
	c.t.Helper()
	c.send(`["1","1","realtime:` + topic + `","phx_join",{"config":` + config + `}]`)
	c.want(`["1","1","realtime:` + topic + `","phx_reply",{"response":{"postgres_changes":[]},"status":"ok"}]`)
}

// alive sees that nothing but the answer to a heartbeat comes.
func (c *client) alive() {
	c.t.Helper()
	c.send(`[null,"h","phoenix","heartbeat",{}]`)
	c.want(`[null,"h","phoenix","phx_reply",{"response":{},"status":"ok"}]`)
}

// message is a text message of a channel to its client; event, payload.
func message(topic, event, payload string) string {
	return fmt.Sprintf(`["1",null,"realtime:%s","%s",%s]`, topic, event, payload)
}

func systemMessage(topic, extension, status, text string) string {
	return message(topic, "system", fmt.Sprintf(`{"channel":%q,"extension":%q,"message":%q,"status":%q}`, topic, extension, text, status))
}

func refused(topic, reason string) string {
	return fmt.Sprintf(`["1","1","realtime:%s","phx_reply",{"response":{"reason":%q},"status":"error"}]`, topic, reason)
}

const (
	push    = "0301010e07000131327265616c74696d653a726f6f6d316e65775f6d73677b22626f6479223a226869227d" // new_msg {"body":"hi"} to room1
	pushed  = "040e0700017265616c74696d653a726f6f6d316e65775f6d73677b22626f6479223a226869227d"
	raw     = "0301010e03000031337265616c74696d653a726f6f6d3172617700ff100a" // raw 00ff100a to room1
	rawSent = "040e0300007265616c74696d653a726f6f6d3172617700ff100a"
	ack     = `["1","2","realtime:room1","phx_reply",{"response":{},"status":"ok"}]`
	closed  = `["1","1","realtime:room1","phx_close",{}]`
)

func TestHandshake(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		get := func(query string, header http.Header) string {
			start := time.Now()
			dialer := websocket.Dialer{NetDialContext: s.srv.DialContext}
			ws, res, err := dialer.Dial(s.srv.SocketURL("/socket")+"/websocket?vsn=2.0.0"+query, header)
			if err == nil {
				ws.Close()
				return "connected"
			}
			body := make([]byte, res.ContentLength)
			_, _ = res.Body.Read(body)
			return fmt.Sprint(res.StatusCode, " ", string(body), " after ", time.Since(start))
		}
		good, other := token("anon"), realtime.SignToken("another secret", phoenixtest.Map{"role": "anon", "exp": time.Now().Unix() + 100})
		for _, test := range []struct {
			query  string
			header http.Header
			want   string
		}{
			{"&apikey=" + good, nil, "connected"},
			{"&apikey=sb_publishable_1", nil, "connected"},
			{"", http.Header{"X-Api-Key": {good}}, "connected"},
			{"&apikey=" + good, http.Header{"X-Api-Key": {"x"}}, `401 {"error":"The token provided is not a valid JWT"} after 2s`},
			{"", nil, `401 {"error":"API key is missing"} after 2s`},
			{"&apikey=x", nil, `401 {"error":"The token provided is not a valid JWT"} after 2s`},
			{"&apikey=" + other, nil, `401 {"error":"Failed to validate JWT signature"} after 2s`},
			{"&apikey=" + realtime.NewToken("anon", time.Now()), nil, `401 {"error":"Token has expired"} after 2s`},
			{"&apikey=" + realtime.SignToken(realtime.Secret, phoenixtest.Map{"exp": time.Now().Unix() + 100}), nil,
				"401 {\"error\":\"Fields `role` and `exp` are required in JWT\"} after 2s"},
		} {
			if got := get(test.query, test.header); got != test.want {
				t.Errorf("%s %v\ngot  %s\nwant %s", test.query, test.header, got, test.want)
			}
		}
		for message, status := range realtime.ConnectErrors {
			s.project.RefuseConnects(status, message)
			if got, want := get("&apikey="+good, nil), fmt.Sprintf(`%d {"error":%q} after 2s`, status, message); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		s.project.RefuseConnects(0, "")
		if got := get("&apikey="+good, nil); got != "connected" {
			t.Error(got)
		}
	})
}

func TestBroadcasts(t *testing.T) {
	const text = `{"type":"broadcast","event":"new_msg","payload":{"body":"hi"}}`
	for name, test := range map[string]struct {
		config, frame string // of the sender
		sender        []string
		v2, v1        []string // the others
	}{
		"json":               {`{}`, push, nil, []string{pushed}, []string{`{"event":"new_msg","payload":{"body":"hi"},"type":"broadcast"}`}},
		"with an ack":        {`{"broadcast":{"ack":true}}`, push, []string{ack}, []string{pushed}, []string{`{"event":"new_msg","payload":{"body":"hi"},"type":"broadcast"}`}},
		"to oneself":         {`{"broadcast":{"self":true,"ack":"TRUE"}}`, push, []string{pushed, ack}, []string{pushed}, []string{`{"event":"new_msg","payload":{"body":"hi"},"type":"broadcast"}`}},
		"binary":             {`{}`, raw, nil, []string{rawSent}, nil},
		"text":               {`{"broadcast":{"ack":true}}`, `["1","2","realtime:room1","broadcast",` + text + `]`, []string{ack}, []string{`[null,null,"realtime:room1","broadcast",` + text + `]`}, []string{text}},
		"kind 0":             {`{}`, "00" + "01010e09" + hexed("12realtime:room1broadcast!"), nil, []string{"020e09" + hexed("realtime:room1broadcast!")}, nil},
		"malformed":          {`{}`, "0301010e", nil, nil, nil},
		"malformed text":     {`{}`, `["1","2","realtime:room1"]`, nil, nil, nil},
		"another event":      {`{"broadcast":{"ack":true}}`, `["1","2","realtime:room1","new_msg",{}]`, nil, nil, nil},
		"postgres_changes":   {`{"broadcast":{"ack":true}}`, `["1","2","realtime:room1","postgres_changes",{}]`, nil, nil, nil},
		"not joined":         {`{}`, `["1","2","realtime:room2","broadcast",{}]`, []string{`[null,"2","realtime:room2","phx_reply",{"response":{"reason":"unmatched topic"},"status":"error"}]`}, nil, nil},
		"a stale join_ref":   {`{"broadcast":{"ack":true}}`, `["9","2","realtime:room1","broadcast",{}]`, nil, nil, nil},
		"wrong config":       {`{"broadcast":{"ack":1,"self":[]},"presence":7,"private":"x"}`, push, nil, []string{pushed}, []string{`{"event":"new_msg","payload":{"body":"hi"},"type":"broadcast"}`}},
		"no map, two others": {`{}`, `["1","2","realtime:room1","broadcast",7]`, []string{`["1","1","realtime:room1","phx_error",{"reason":"channel_crash"}]`}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, realtime.Config{}, func(s *scene) {
				sender, v2, v1, elsewhere := s.dial("2.0.0"), s.dial("2.0.0"), s.dial("1.0.0"), s.dial("2.0.0")
				sender.join("room1", test.config)
				v2.join("room1", `{}`)
				if name != "kind 0" { // with whom its sender crashes
					v1.send(`{"topic":"realtime:room1","event":"phx_join","payload":{"config":{}},"ref":"1"}`)
					v1.want(`{"event":"phx_reply","payload":{"response":{"postgres_changes":[]},"status":"ok"},"ref":"1","topic":"realtime:room1"}`)
				}
				elsewhere.join("room1", `{"private":true}`)
				if test.frame[0] == '[' {
					sender.send(test.frame)
				} else {
					sender.sendBinary(test.frame)
				}
				synctest.Wait()
				sender.want(test.sender...)
				v2.want(test.v2...)
				for _, payload := range test.v1 {
					v1.want(`{"event":"broadcast","payload":` + payload + `,"ref":null,"topic":"realtime:room1"}`)
				}
				sender.alive()
				v2.alive()
				elsewhere.alive()
				v1.wantNothing(time.Second)
			})
		})
	}
}

func hexed(s string) string { return hex.EncodeToString([]byte(s)) }

func TestBroadcastTooLarge(t *testing.T) {
	inScene(t, realtime.Config{MaxPayload: 12}, func(s *scene) {
		c := s.dial("2.0.0")
		c.join("room1", `{"broadcast":{"ack":true,"self":true}}`)
		c.sendBinary(push)
		c.want(`["1","2","realtime:room1","phx_reply",{"response":"payload_size_exceeded","status":"error"}]`)
		c.sendBinary(raw)
		c.want(rawSent, `["1","3","realtime:room1","phx_reply",{"response":{},"status":"ok"}]`)
	})
}

func TestLongPoll(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		http := &http.Client{Transport: &http.Transport{DialContext: s.srv.DialContext, DisableKeepAlives: true}}
		url := strings.Replace(s.srv.SocketURL("/socket"), "ws:", "http:", 1) + "/longpoll?vsn=2.0.0&apikey=" + token("anon")
		res, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1000)
		n, _ := res.Body.Read(answer)
		res.Body.Close()
		found := regexp.MustCompile(`"token":"([^"]+)"`).FindStringSubmatch(string(answer[:n]))
		if found == nil {
			t.Fatalf("%s", answer[:n])
		}
		post := func(contentType, body string) {
			t.Helper()
			res, err := http.Post(url+"&token="+found[1], contentType, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if n, _ := res.Body.Read(answer); string(answer[:n]) != `{"status":200}` {
				t.Errorf("%s: %s", body, answer[:n])
			}
		}
		post("application/json", `["1","1","realtime:room1","phx_join",{"config":{"broadcast":{"self":true,"ack":true}}}]`)
		// What is malformed is dropped, and kind 3 is: Phoenix's own serializer does not have it.
		post("application/json", `nonsense`)
		data, err := hex.DecodeString(push)
		if err != nil {
			t.Fatal(err)
		}
		post("application/x-ndjson", base64.StdEncoding.EncodeToString(data))
		if n := s.project.Joined("room1"); n != 1 {
			t.Errorf("%d channels: the sender has crashed", n)
		}
		// A listener with vsn 2.0.0 crashes whoever sends.
		c := s.dial("2.0.0")
		c.join("room1", `{"broadcast":{"ack":true}}`)
		c.sendBinary(push)
		c.want(`["1","1","realtime:room1","phx_error",{"reason":"channel_crash"}]`)
		s.srv.DropConns()
	})
}

func TestRefusedJoinHoldsUpTheSocket(t *testing.T) {
	for code, message := range realtime.Refusals {
		t.Run(code, func(t *testing.T) {
			inScene(t, realtime.Config{}, func(s *scene) {
				s.project.RefuseJoins("room1", code, 1)
				c, start := s.dial("2.0.0"), time.Now()
				c.send(`["1","1","realtime:room1","phx_join",{}]`)
				ends := code == "TenantNotFound" || code == "ClientJoinRateLimitReached"
				if !ends {
					c.send(`[null,"h","phoenix","heartbeat",{}]`)
				}
				reason := code + ": " + message
				if strings.HasPrefix(code, "None") {
					reason = message
				}
				c.want(refused("room1", reason))
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("refused after %v", took)
				}
				if ends {
					c.wantEnd(1001)
					return
				}
				c.want(`[null,"h","phoenix","phx_reply",{"response":{},"status":"ok"}]`)
				c.join("room1", `{}`) // it was refused once
				c.send(`["2","3","realtime:refuse-` + code + `","phx_join",{}]`)
				if got := c.read(); !strings.Contains(got, reason) {
					t.Error(got)
				}
			})
		})
	}
}

func TestJoinsThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct{ topic, params, reason string }{
		"no topic":       {"", `{}`, "TopicNameRequired: You must provide a topic name"},
		"expired":        {"room1", `{"access_token":"EXPIRED"}`, "InvalidJWTToken: Token has expired 7 seconds ago"},
		"expired user":   {"room1", `{"user_token":"EXPIRED","config":{}}`, "InvalidJWTToken: Token has expired 7 seconds ago"},
		"malformed":      {"room1", `{"access_token":"a.b"}`, "MalformedJWT: The token provided is not a valid JWT"},
		"may not read":   {"room1", `{"access_token":"NOBODY","config":{"private":true}}`, "Unauthorized: You do not have permissions to read from this Channel topic: room1"},
		"public replay":  {"room1", `{"config":{"broadcast":{"replay":{"since":1}}}}`, "UnableToReplayMessages: Replay is not allowed for public channels"},
		"wrong replay":   {"room1", `{"config":{"private":true,"broadcast":{"replay":{"since":"1"}}}}`, "UnableToReplayMessages: Replay params are not valid"},
		"config no map":  {"room1", `{"config":7}`, "UnknownErrorOnChannel: no function clause matching in RealtimeWeb.RealtimeChannel.join/3"},
		"changes no map": {"room1", `{"config":{"postgres_changes":[7]}}`, "UnknownErrorOnChannel: no function clause matching in RealtimeWeb.RealtimeChannel.join/3"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, realtime.Config{}, func(s *scene) {
				c := s.dial("2.0.0")
				tokens := strings.NewReplacer("EXPIRED", realtime.NewToken("anon", time.Now().Add(-7*time.Second)), "NOBODY", token("nobody"))
				c.send(`["1","1","realtime:` + test.topic + `","phx_join",` + tokens.Replace(test.params) + `]`)
				c.want(refused(test.topic, test.reason))
			})
		})
	}
}

func TestLimitsOfJoins(t *testing.T) {
	inScene(t, realtime.Config{MaxJoins: 3, MaxTopics: 2, MaxClients: 1, JoinBackoff: -1}, func(s *scene) {
		c := s.dial("2.0.0")
		c.join("a", `{}`)
		c.join("b", `{}`)
		c.send(`["1","1","realtime:c","phx_join",{}]`)
		c.want(refused("c", "ChannelRateLimitReached: Too many channels"))
		other := s.dial("2.0.0")
		other.send(`["1","1","realtime:c","phx_join",{}]`)
		other.want(refused("c", "ConnectionRateLimitReached: Too many connected users"))
		c.send(`["1","9","realtime:b","phx_leave",{}]`)
		c.want(`["1","9","realtime:b","phx_reply",{"response":{},"status":"ok"}]`, `["1","1","realtime:b","phx_close",{}]`)
		synctest.Wait()
		c.join("c", `{}`)
		c.send(`["1","1","realtime:d","phx_join",{}]`)
		c.want(refused("d", "ClientJoinRateLimitReached: Too many joins per second"))
		c.wantEnd(1001)
	})
}

func TestPostgresChanges(t *testing.T) {
	const asked = `{"event":"*","schema":"public","table":"todos","filter":"id=in.(1,2),text=not.like.x%"}`
	inScene(t, realtime.Config{}, func(s *scene) {
		c := s.dial("2.0.0")
		c.send(`["1","1","realtime:room1","phx_join",{"config":{"postgres_changes":[` + asked + `,null,{"table":"todos","event":"delete"}]}}]`)
		ids := regexp.MustCompile(`"id":(\d+)`).FindAllStringSubmatch(c.read(), -1)
		if len(ids) != 2 {
			t.Fatal(ids)
		}
		s.project.Change(realtime.Change{Type: "INSERT", Schema: "public", Table: "todos", Record: phoenixtest.Map{"id": 1}}) // it is not live
		start := time.Now()
		subscribed := systemMessage("room1", "postgres_changes", "ok", "Subscribed to PostgreSQL")
		c.want(subscribed)
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("subscribed after %v", took)
		}
		at := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
		for _, change := range []realtime.Change{
			{Type: "INSERT", Schema: "public", Table: "todos", Record: phoenixtest.Map{"id": 3, "text": "a"}},
			{Type: "INSERT", Schema: "public", Table: "todos", Record: phoenixtest.Map{"id": 1, "text": "xa"}},
			{Type: "INSERT", Schema: "public", Table: "others", Record: phoenixtest.Map{"id": 1}},
			{Type: "INSERT", Schema: "public", Table: "todos", Record: phoenixtest.Map{"id": 2, "text": "a"}},
			{Type: "DELETE", Schema: "public", Table: "todos", Old: phoenixtest.Map{"id": 2}},
		} {
			s.project.Change(change)
		}
		c.want(`[null,null,"realtime:room1","postgres_changes",{"data":{"columns":[{"name":"id","type":"int8"},{"name":"text","type":"text"}],"commit_timestamp":"`+at+
			`","errors":null,"record":{"id":2,"text":"a"},"schema":"public","table":"todos","type":"INSERT"},"ids":[`+ids[0][1]+`]}]`,
			`[null,null,"realtime:room1","postgres_changes",{"data":{"columns":[{"name":"id","type":"int8"}],"commit_timestamp":"`+at+
				`","errors":null,"old_record":{"id":2},"schema":"public","table":"todos","type":"DELETE"},"ids":[`+ids[1][1]+`,`+ids[0][1]+`]}]`)
		// A restart: what comes meanwhile is lost.
		start = time.Now()
		s.project.RestartPostgres()
		s.project.Change(realtime.Change{Type: "DELETE", Schema: "public", Table: "todos", Old: phoenixtest.Map{"id": 2}})
		c.want(subscribed)
		if took := time.Since(start); took != time.Second {
			t.Errorf("subscribed again after %v", took)
		}
		// Another token: nothing is lost, and it is told again.
		another := token("authenticated")
		c.send(`["1","2","realtime:room1","access_token",{"access_token":"` + another + `"}]`)
		synctest.Wait()
		s.project.Change(realtime.Change{Type: "DELETE", Schema: "public", Table: "todos", Old: phoenixtest.Map{"id": 7}})
		if got := c.read(); !strings.Contains(got, `"old_record":{"id":7}`) {
			t.Error(got)
		}
		c.want(subscribed)
		// No other token: nothing.
		for _, token := range []string{`null`, `"sb_publishable_1"`, `"` + another + `"`} {
			c.send(`["1","2","realtime:room1","access_token",{"access_token":` + token + `}]`)
		}
		c.send(`["1","2","realtime:room1","access_token",{}]`)
		time.Sleep(10 * time.Second)
		c.alive()
	})
}

// A token that comes before the first subscription does not make it void, and one that comes before another try does.
func TestPostgresSubscriptionsAndTokens(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		c, start := s.dial("2.0.0"), time.Now()
		take := func(role string) {
			c.send(`["1","2","realtime:room1","access_token",{"access_token":"` + token(role) + `"}]`)
		}
		wantAt := func(text string, at time.Duration) {
			t.Helper()
			c.want(text)
			if took := time.Since(start); took != at {
				t.Errorf("%s after %v, want %v", text, took, at)
			}
		}
		subscribed := systemMessage("room1", "postgres_changes", "ok", "Subscribed to PostgreSQL")
		c.send(`["1","1","realtime:room1","phx_join",{"config":{"postgres_changes":[{"schema":"public"}]}}]`)
		take("authenticated")
		c.read()
		wantAt(subscribed, 100*time.Millisecond)
		s.project.FailSubscriptions("connection refused", false, 1)
		wantAt(systemMessage("room1", "postgres_changes", "error", "connection refused"), time.Second)
		take("service_role")
		wantAt(subscribed, 2*time.Second)
		c.wantNothing(30 * time.Second)
	})
}

func TestPostgresSubscriptionsThatFail(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		s.project.FailSubscriptions("connection refused", false, 2)
		c, start := s.dial("2.0.0"), time.Now()
		c.send(`["1","1","realtime:room1","phx_join",{"config":{"postgres_changes":[{"schema":"public"}]}}]`)
		c.read()
		failed := systemMessage("room1", "postgres_changes", "error", "connection refused")
		c.want(failed, failed, systemMessage("room1", "postgres_changes", "ok", "Subscribed to PostgreSQL"))
		if took := time.Since(start); took != 10100*time.Millisecond {
			t.Errorf("subscribed after %v", took)
		}
	})
	for asked, message := range map[string]string{
		`{"event":"*"}`:                                              `No subscription params provided. Please provide at least a ` + "`schema` or `table`" + ` to subscribe to: {"event":"*"}`,
		`{"schema":"public","filter":"id=eq.1"}`:                     `No subscription params provided. Please provide at least a ` + "`schema` or `table`" + ` to subscribe to: {"filter":"id=eq.1","schema":"public"}`,
		`{"schema":"public","table":"t","filter":"subject=foo.hey"}`: "Error parsing `filter` params: [\"foo\", \"hey\"]",
		`{"schema":"public","table":"t","filter":"undefined"}`:       "Error parsing `filter` params: [\"undefined\"]",
		`{"schema":"public","table":"t","filter":"id=in.1"}`:         "Error parsing `filter` params: `in` filter value must be wrapped by parentheses",
	} {
		inScene(t, realtime.Config{}, func(s *scene) {
			c := s.dial("2.0.0")
			c.send(`["1","1","realtime:room1","phx_join",{"config":{"postgres_changes":[` + asked + `]}}]`)
			c.read()
			c.want(systemMessage("room1", "postgres_changes", "error", message))
			c.wantNothing(30 * time.Second) // no point in retrying
		})
	}
}

func TestPostgresTopicWithoutConfig(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		c := s.dial("2.0.0")
		c.send(`["1","1","realtime:public:todos","phx_join",{}]`)
		if got := c.read(); !regexp.MustCompile(`{"postgres_changes":\[{"id":\d+,"schema":"public","table":"todos"}\]}`).MatchString(got) {
			t.Error(got)
		}
		c.want(systemMessage("public:todos", "postgres_changes", "ok", "Subscribed to PostgreSQL"))
		s.project.Change(realtime.Change{Type: "INSERT", Schema: "public", Table: "todos", Record: phoenixtest.Map{"id": 1}})
		if got := c.read(); !strings.HasPrefix(got, `[null,null,"realtime:public:todos","INSERT",{"columns":`) {
			t.Error(got)
		}
	})
}

func TestMisreportedSubscriptions(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		s.project.MisreportSubscriptions(true)
		c := s.dial("2.0.0")
		c.send(`["1","1","realtime:room1","phx_join",{"config":{"postgres_changes":[{"schema":"public"}]}}]`)
		c.want(`["1","1","realtime:room1","phx_reply",{"response":{"postgres_changes":[]},"status":"ok"}]`)
	})
}

func TestPresence(t *testing.T) {
	track := func(meta string) string {
		return `["1","2","realtime:room1","presence",{"type":"presence","event":"TRACK","payload":` + meta + `}]`
	}
	const untrack = `["1","2","realtime:room1","presence",{"type":"presence","event":"untrack"}]`
	diff := func(joins, leaves string) string {
		return `[null,null,"realtime:room1","presence_diff",{"joins":{` + joins + `},"leaves":{` + leaves + `}}]`
	}
	for name, private := range map[string]bool{"public": false, "private": true} {
		t.Run(name, func(t *testing.T) {
			inScene(t, realtime.Config{}, func(s *scene) {
				with := func(config string) string { return fmt.Sprintf(`{"private":%v,%s}`, private, config) }
				a, b, quiet := s.dial("2.0.0"), s.dial("2.0.0"), s.dial("2.0.0")
				a.join("room1", with(`"presence":{"enabled":true,"key":"ann"}`))
				a.want(message("room1", "presence_state", `{}`))
				quiet.join("room1", with(`"presence":{}`))
				a.send(track(`{"n":1}`))
				joined := diff(`"ann":{"metas":[{"phx_ref":"phx-1","n":1}]}`, "")
				a.want(ack, joined)
				if !private {
					quiet.want(joined) // whatever it has asked for
				}
				b.join("room1", with(`"presence":{"enabled":true}`))
				b.want(message("room1", "presence_state", `{"ann":{"metas":[{"phx_ref":"phx-1","n":1}]}}`))
				a.send(track(`{"n":1}`)) // no change
				a.want(ack)
				a.send(track(`{}`))
				a.want(ack, diff(`"ann":{"metas":[{"phx_ref":"phx-2","phx_ref_prev":"phx-1"}]}`, `"ann":{"metas":[{"phx_ref":"phx-1","n":1}]}`))
				a.send(track(`7`))
				a.want(`["1","2","realtime:room1","phx_reply",{"response":{"reason":"Presence track payload must be a map"},"status":"error"}]`)
				a.send(untrack)
				a.want(ack, diff("", `"ann":{"metas":[{"phx_ref":"phx-2","phx_ref_prev":"phx-1"}]}`))
				// The sixth within thirty seconds.
				a.send(untrack)
				a.want(systemMessage("room1", "system", "error", "Client presence rate limit exceeded"), closed)
				b.want(diff(`"ann":{"metas":[{"phx_ref":"phx-2","phx_ref_prev":"phx-1"}]}`, `"ann":{"metas":[{"phx_ref":"phx-1","n":1}]}`))
				b.send(track(`{"b":true}`)) // it leaves by hanging up
				b.read()                    // of the untrack
				b.want(ack)
				b.read()
				b.ws.Close()
				synctest.Wait()
				if private {
					quiet.alive()
					quiet.send(track(`{}`)) // now it may read
					quiet.want(ack)
					if got := quiet.read(); !strings.Contains(got, `"joins":{"00000000-0000-1000-8000-`) {
						t.Error(got)
					}
				}
			})
		})
	}
}

func TestPresenceRateLimit(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		c := s.dial("2.0.0")
		c.join("room1", `{}`)
		const untrack = `["1","2","realtime:room1","presence",{"event":"untrack"}]`
		for range 2 {
			for range 5 {
				c.send(untrack)
				c.want(ack)
			}
			time.Sleep(30*time.Second + time.Millisecond)
		}
		for range 5 {
			c.send(untrack)
			c.want(ack)
		}
		c.send(untrack)
		c.want(systemMessage("room1", "system", "error", "Client presence rate limit exceeded"), closed)
	})
}

func TestRowLevelSecurity(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		c, other := s.dial("2.0.0"), s.dial("2.0.0")
		other.join("room1", `{"private":true}`)
		c.send(`["1","1","realtime:room1","phx_join",{"access_token":"` + token("readonly") + `","config":{"private":true,"broadcast":{"ack":true}}}]`)
		c.read()
		c.sendBinary(push) // no reply, ack or not
		c.send(`["1","2","realtime:room1","presence",{"event":"track","payload":{}}]`)
		c.want(`["1","2","realtime:room1","phx_reply",{"response":{},"status":"error"}]`)
		other.alive()
		c.send(`["1","2","realtime:room1","access_token",{"access_token":"` + token("nobody") + `"}]`)
		c.want(systemMessage("room1", "system", "error", "You do not have permissions to read from this Channel topic: room1"), closed)
	})
}

func TestTokens(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		c := s.dial("2.0.0")
		first := realtime.NewToken("authenticated", time.Now().Add(time.Hour))
		c.send(`["1","1","realtime:room1","phx_join",{"access_token":"` + first + `","config":{}}]`)
		c.read()
		take := func(token string) { c.send(`["1","2","realtime:room1","access_token",{"access_token":` + token + `}]`) }
		for _, ignored := range []string{`null`, `"sb_publishable_1"`, `"` + first + `"`} {
			take(ignored)
		}
		c.alive()
		second := realtime.NewToken("authenticated", time.Now().Add(90*time.Minute))
		for range 59 {
			time.Sleep(time.Minute / 2)
			c.alive()
			time.Sleep(time.Minute / 2)
			c.alive()
		}
		take(`"` + second + `"`)
		short := s.dial("2.0.0")
		short.send(`["1","1","realtime:room1","phx_join",{"access_token":"` + realtime.NewToken("anon", time.Now().Add(50*time.Second)) + `"}]`)
		short.read()
		short.read() // it names a schema by its topic
		short.want(systemMessage("room1", "system", "error", "Token has expired 0 seconds ago"), closed)
		short.ws.Close()
		time.Sleep(10 * time.Second)
		c.alive()
		for range 58 {
			time.Sleep(time.Minute / 4)
			c.alive()
			time.Sleep(time.Minute / 4)
			c.alive()
		}
		start := time.Now()
		time.Sleep(30 * time.Second)
		c.alive()
		c.want(systemMessage("room1", "system", "error", "Token has expired 0 seconds ago"))
		if took := time.Since(start); took != time.Minute {
			t.Errorf("ended after %v", took)
		}
		c.want(closed)
	})
	for name, test := range map[string]struct{ token, message string }{
		"expired":   {"EXPIRED", "Token has expired 7 seconds ago"},
		"malformed": {"x", "The token provided is not a valid JWT"},
		"signature": {realtime.SignToken("x", phoenixtest.Map{}), ":signature_error"},
		"claims":    {realtime.SignToken(realtime.Secret, phoenixtest.Map{"role": "anon"}), "Fields `role` and `exp` are required in JWT"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, realtime.Config{}, func(s *scene) {
				c := s.dial("2.0.0")
				c.join("room1", `{}`)
				token := strings.ReplaceAll(test.token, "EXPIRED", realtime.NewToken("anon", time.Now().Add(-7*time.Second)))
				c.send(`["1","2","realtime:room1","access_token",{"access_token":"` + token + `"}]`)
				c.want(systemMessage("room1", "system", "error", test.message), closed)
			})
		})
	}
}

func TestReplay(t *testing.T) {
	inScene(t, realtime.Config{ReplicationDelay: time.Second}, func(s *scene) {
		sendAt := func(n int) {
			s.project.Send("room1", "e", phoenixtest.JSON(n), true)
			time.Sleep(time.Minute)
		}
		for n := 1; n <= 30; n++ {
			sendAt(n)
		}
		s.project.Send("room1", "e", phoenixtest.JSON(0), false) // another topic
		since := time.Now().Add(-3 * time.Minute).UnixMilli()
		s.project.Send("room1", "raw", phoenixtest.Binary([]byte{1, 2, 3}), true)
		id := func(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }
		text := func(n int) string {
			return message("room1", "broadcast", fmt.Sprintf(`{"event":"e","meta":{"id":"%s","replayed":true},"payload":%d,"type":"broadcast"}`, id(n), n))
		}
		binary := func(meta string) string {
			return "040e03" + fmt.Sprintf("%02x", len(meta)) + "00" + hexed("realtime:room1raw"+meta) + "010203"
		}
		c := s.dial("2.0.0")
		c.join("room1", fmt.Sprintf(`{"private":true,"broadcast":{"replay":{"since":%d}}}`, since))
		c.want(text(28), text(29), text(30), binary(`{"id":"`+id(32)+`","replayed":true}`))
		other := s.dial("2.0.0")
		other.join("room1", `{"private":true}`)
		other.want(binary(`{"id":"` + id(32) + `"}`)) // live, as it was not replayed
		last := s.dial("1.0.0")
		last.send(`{"topic":"realtime:room1","event":"phx_join","ref":"1","payload":{"config":{"private":true,"broadcast":{"replay":{"since":0,"limit":2}}}}}`)
		last.read()
		if got := last.read(); !strings.Contains(got, `"payload":30,`) {
			t.Error(got)
		}
		last.wantNothing(time.Second) // no bytes
		all := s.dial("2.0.0")
		all.join("room1", `{"private":true,"broadcast":{"replay":{"since":0,"limit":1000}}}`)
		for n := 7; n <= 30; n++ { // and one that is binary: 25
			all.want(text(n))
		}
		all.read()
		synctest.Wait()
		c.alive()
		all.alive()
	})
	inScene(t, realtime.Config{}, func(s *scene) {
		s.project.Send("room1", "e", phoenixtest.JSON(1), true)
		time.Sleep(72*time.Hour + time.Second)
		c := s.dial("2.0.0")
		c.join("room1", `{"private":true,"broadcast":{"replay":{"since":0}}}`)
		c.alive() // it is not kept for so long
	})
}

func TestReplicationReady(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		s.project.SetReplication(false)
		a, b := s.dial("2.0.0"), s.dial("2.0.0")
		a.join("room1", `{"broadcast":{"replication_ready":true}}`)
		time.Sleep(1200 * time.Millisecond)
		s.project.SetReplication(true)
		a.want(systemMessage("room1", "system", "ok", "Replication connection established"))
		s.project.SetReplication(false)
		start := time.Now()
		b.join("room1", `{"broadcast":{"replication_ready":"false"}}`) // any value but false and null
		time.Sleep(30 * time.Second)
		b.alive()
		b.want(systemMessage("room1", "system", "error", "Replication connection was not established in time"))
		if took := time.Since(start); took != time.Minute {
			t.Errorf("after %v", took)
		}
	})
}

func TestSystemShutdownAndDrain(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		c, other := s.dial("2.0.0"), s.dial("2.0.0")
		c.join("room1", `{}`)
		other.join("room2", `{}`)
		s.project.System("room1", "postgres_changes", "error", "boom")
		c.want(systemMessage("room1", "postgres_changes", "error", "boom"))
		s.project.Shutdown("room1", "Too many messages per second")
		c.want(systemMessage("room1", "system", "error", "Too many messages per second"), closed)
		synctest.Wait()
		if n := s.project.Joined(""); n != 1 {
			t.Errorf("%d are joined", n)
		}
		s.project.Drain()
		other.want(`[null,null,"realtime:room2","system",{"extension":"system","message":"Server requested disconnect","status":"ok"}]`)
		other.wantEnd(1012)
		c.wantEnd(1012)
		s.dial("2.0.0").join("room1", `{}`)
	})
}

func TestIdleTimeoutAndFrameSize(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		c, start := s.dial("2.0.0"), time.Now()
		c.wantEnd(1000) // Cowboy's
		if took := time.Since(start); took < time.Minute || took > 66*time.Second {
			t.Errorf("closed after %v", took)
		}
		big := s.dial("2.0.0")
		go func() { _ = big.ws.WriteMessage(websocket.TextMessage, make([]byte, 5_000_001)) }()
		big.wantEnd(1009)
	})
}

func TestREST(t *testing.T) {
	inScene(t, realtime.Config{}, func(s *scene) {
		web := &http.Client{Transport: &http.Transport{DialContext: s.srv.DialContext, DisableKeepAlives: true}}
		request := func(method, path, key, contentType, body string) int {
			r, err := http.NewRequest(method, "http://"+s.srv.Addr()+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", contentType)
			if key != "" {
				r.Header.Set("Authorization", "Bearer "+key)
			}
			res, err := web.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			return res.StatusCode
		}
		anon := token("anon")
		c, private := s.dial("2.0.0"), s.dial("2.0.0")
		c.send(`["1","1","realtime:room1","phx_join",{"config":{"postgres_changes":[{"schema":"public","table":"todos"}]}}]`)
		c.read()
		c.read() // it is live
		private.join("room1", `{"private":true}`)
		const batch = `{"messages":[{"topic":"room1","event":"new_msg","payload":{"body":"hi"}},{"topic":"room1","event":"e","payload":{},"private":true}]}`
		for _, test := range []struct {
			method, path, key, contentType, body string
			status                               int
			c, private                           string
		}{
			{"POST", "/api/broadcast", "", "application/json", batch, 401, "", ""},
			{"POST", "/api/broadcast", anon, "application/json", `{"messages":[]}`, 422, "", ""},
			{"POST", "/api/broadcast", anon, "application/json", `{"messages":[{"topic":"room1"}]}`, 422, "", ""},
			{"POST", "/realtime/v1/api/broadcast", anon, "application/json", batch, 202,
				`[null,null,"realtime:room1","broadcast",{"event":"new_msg","payload":{"body":"hi"},"type":"broadcast"}]`,
				`[null,null,"realtime:room1","broadcast",{"event":"e","payload":{},"type":"broadcast"}]`},
			{"POST", "/api/broadcast/room1/events/new_msg", anon, "application/json", `{"body":"hi"}`, 202, pushed, ""},
			{"POST", "/api/broadcast/room1/events/raw", anon, "application/octet-stream", "\x00\xff\x10\n", 202, rawSent, ""},
			{"POST", "/api/broadcast/room1/events/raw?private=true", anon, "application/octet-stream", "\x00\xff\x10\n", 202, "", rawSent},
			{"POST", "/api/broadcast/room1/events/raw?private=true", token("readonly"), "application/octet-stream", "x", 202, "", ""},
			{"POST", "/api/broadcast/room1/events/raw", anon, "text/plain", "x", 415, "", ""},
			{"POST", "/api/broadcast/room1/events/raw", anon, "application/json", "x", 400, "", ""},
			{"POST", "/rest/v1/rpc/send", anon, "application/json", `{"topic":"room1","event":"n","payload":{}}`, 204, "",
				"040e012d01" + hexed(`realtime:room1n{"id":"00000000-0000-4000-8000-000000000001"}{}`)},
			{"POST", "/rest/v1/rpc/send", anon, "application/json", `{}`, 400, "", ""},
			{"POST", "/rest/v1/todos", anon, "application/json", `{"id":12345678901234567890}`, 201, `"record":{"id":12345678901234567890}`, ""},
			{"PATCH", "/rest/v1/todos?id=eq.1&text=eq.a", anon, "application/json", `{"text":"b"}`, 204, `"old_record":{"id":1,"text":"a"},"record":{"id":1,"text":"b"}`, ""},
			{"DELETE", "/rest/v1/todos?id=eq.1", anon, "application/json", ``, 204, `"old_record":{"id":1}`, ""},
			{"POST", "/rest/v1/todos", anon, "application/json", `{`, 400, "", ""},
			{"POST", "/rest/v1/others", anon, "application/json", `{"id":1}`, 201, "", ""},
		} {
			if got := request(test.method, test.path, test.key, test.contentType, test.body); got != test.status {
				t.Errorf("%s %s %s: %d", test.method, test.path, test.body, got)
			}
			synctest.Wait()
			for of, want := range map[*client]string{c: test.c, private: test.private} {
				if want == "" {
					of.alive()
				} else if got := of.read(); !strings.Contains(got, want) {
					t.Errorf("%s %s %s\ngot  %s\nwant %s", test.method, test.path, test.body, got, want)
				}
			}
		}
	})
}

func TestWatch(t *testing.T) {
	var seen []string
	watch := func(a phoenixtest.DemoActivity) {
		seen = append(seen, fmt.Sprintf("%s %s %v %s", a.Topic, a.Event, a.Refused, a.Payload.Bytes()))
	}
	inScene(t, realtime.Config{Watch: watch}, func(s *scene) {
		c := s.dial("2.0.0")
		c.join("room1", `{}`)
		c.sendBinary(push)
		synctest.Wait() // another channel is another goroutine
		c.send(`["1","1","realtime:","phx_join",7]`)
		c.read()
	})
	want := `realtime:room1  false {"config":{}}` + "\n" + `realtime:room1 broadcast false {"body":"hi"}` + "\n" + `realtime:  true 7`
	if got := strings.Join(seen, "\n"); got != want {
		t.Errorf("got %s", got)
	}
}
