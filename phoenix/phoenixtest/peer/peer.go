// Package peer is the application that the transcripts were recorded from, in Go: the
// same sockets, channels and HTTP routes, for [phoenixtest.Server]. The replay of the
// transcripts runs it, and tests use it for whatever it can do already.
//
// Sockets: /socket takes an auth token; /plain is the same without; /v2only and /v1only
// speak one vsn. A parameter token refuses: "bad" with 403, "unauthorized" with 401,
// "unavailable" with 503 and Retry-After, "flaky:KEY:N" the first N times with 503. The
// parameter user_id gives the socket the id user:USER_ID; slow_ms delays the connect.
//
// Topics: room:* and presence:*, see the methods Join and HandleIn of room and present. Not recorded, and there for tests only, are
// __absinthe__:control (absinthe.go) and log:* (log.go).
//
// HTTP: /health, /broadcast, /disconnect, /subscribers, /redirect/websocket.
package peer

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"phx/phoenix/phoenixtest"
)

// Config holds what the recorded application took from its environment.
type Config struct {
	IdleTimeout  time.Duration // of sockets; 0: Phoenix's default
	MaxFrameSize int           // of a client's frame; 0: Phoenix's default
	MaxChannels  int           // of a socket; 0: Phoenix's default
	Compress     bool
	CheckOrigin  bool          // only localhost and 127.0.0.1 then
	PollWindow   time.Duration // 0: the server's
}

// App is the recorded application with its defaults.
func App() phoenixtest.App { return Config{}.App() }

// App is the recorded application, configured.
func (cfg Config) App() phoenixtest.App {
	return func(s *phoenixtest.Server) {
		state := &counters{n: map[string]int{}}
		subscriptions, numbered := &documents{}, &logs{}
		user := phoenixtest.UserSocket{
			Connect: state.connect,
			ID:      socketID,
			Channels: []phoenixtest.Route{
				{Topic: "room:*", New: func() phoenixtest.Channel { return &room{state: state} }},
				{Topic: "presence:*", New: func() phoenixtest.Channel { return &present{} }},
				{Topic: "__absinthe__:*", New: func() phoenixtest.Channel { return &absinthe{documents: subscriptions} }},
				{Topic: "log:*", New: func() phoenixtest.Channel { return &logReader{logs: numbered} }},
			},
			IdleTimeout:  cfg.IdleTimeout,
			MaxFrameSize: cfg.MaxFrameSize,
			MaxChannels:  cfg.MaxChannels,
			Compress:     cfg.Compress,
			PollWindow:   cfg.PollWindow,
		}
		if cfg.CheckOrigin {
			user.CheckOrigin = []string{"localhost", "127.0.0.1"}
		}
		withToken, v1, v2 := user, user, user
		withToken.AuthToken = true
		v1.Versions, v2.Versions = []string{"1.0.0"}, []string{"2.0.0"}
		s.Mount("/socket", withToken)
		s.Mount("/plain", user)
		s.Mount("/v1only", v1)
		s.Mount("/v2only", v2)
		routes(s)
	}
}

// counters count attempts, for what fails a few times and then works.
type counters struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counters) bump(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[key]++
	return c.n[key]
}

func (c *counters) connect(info *phoenixtest.ConnectInfo) error {
	if text, ok := info.Params["slow_ms"].(string); ok {
		ms, err := strconv.Atoi(text)
		if err != nil {
			return &phoenixtest.Refusal{Status: http.StatusInternalServerError}
		}
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-info.Context.Done():
		}
	}
	token, _ := info.Params["token"].(string)
	unavailable := &phoenixtest.Refusal{
		Status: http.StatusServiceUnavailable,
		Header: http.Header{"Retry-After": {"1"}},
		Body:   "unavailable",
	}
	switch {
	case token == "bad":
		return &phoenixtest.Refusal{Status: http.StatusForbidden}
	case token == "unauthorized":
		return &phoenixtest.Refusal{
			Status: http.StatusUnauthorized,
			Header: http.Header{"Content-Type": {jsonType}},
			Body:   `{"error":"unauthorized"}`,
		}
	case token == "unavailable":
		return unavailable
	}
	if rest, ok := strings.CutPrefix(token, "flaky:"); ok {
		key, times, _ := strings.Cut(rest, ":")
		n, err := strconv.Atoi(times)
		if err != nil {
			return &phoenixtest.Refusal{Status: http.StatusInternalServerError}
		}
		if c.bump("connect:"+key) <= n {
			return unavailable
		}
	}
	return nil
}

func socketID(info *phoenixtest.ConnectInfo) string {
	if id, ok := info.Params["user_id"].(string); ok {
		return "user:" + id
	}
	return ""
}

const jsonType = "application/json; charset=utf-8"

// routes are the recorded application's plain HTTP routes.
func routes(s *phoenixtest.Server) {
	s.Handle("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = w.Write([]byte("ok")) // it fails when the client is gone already
	})
	s.Handle("POST /broadcast", func(w http.ResponseWriter, r *http.Request) { broadcast(s, w, r) })
	s.Handle("POST /disconnect", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ ID string }
		if !decode(w, r, &body) {
			return
		}
		s.Disconnect(body.ID)
		answer(w, phoenixtest.Map{"ok": true})
	})
	s.Handle("GET /subscribers", func(w http.ResponseWriter, r *http.Request) {
		answer(w, phoenixtest.Map{"subscribers": s.Subscribers(r.URL.Query().Get("topic"))})
	})
	s.Handle("GET /redirect/websocket", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		w.Header().Set("Location", "/socket/websocket?"+r.URL.RawQuery)
		w.WriteHeader(http.StatusFound)
	})
}

// broadcast sends {"topic","event","payload"} n times; {"__base64__":"..."} as payload is
// a binary one.
func broadcast(s *phoenixtest.Server, w http.ResponseWriter, r *http.Request) {
	body := struct {
		Topic, Event string
		Payload      json.RawMessage
		N            int
	}{Payload: json.RawMessage("{}"), N: 1}
	if !decode(w, r, &body) {
		return
	}
	payload := phoenixtest.RawJSON(string(body.Payload))
	var binary struct {
		Data *[]byte `json:"__base64__"`
	}
	if json.Unmarshal(body.Payload, &binary) == nil && binary.Data != nil {
		payload = phoenixtest.Binary(*binary.Data)
	}
	for range body.N {
		s.Broadcast(body.Topic, body.Event, payload)
	}
	answer(w, phoenixtest.Map{"ok": true, "subscribers": s.Subscribers(body.Topic)})
}

func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(phoenixtest.JSON(v).Bytes()) // it fails when the client is gone already
}

// streams are events that the server sends without being asked each time.
var streams = map[string]handler{
	"flood":           startFlood(false),
	"flood_broadcast": startFlood(true),
	"tick": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Send(tick{i: 1, n: phoenixtest.Field(p, "n", 5), every: millis(phoenixtest.Field(p, "ms", 100))})
		return phoenixtest.OK(nil)
	},
	"push_event": func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		payload := phoenixtest.Field(p, "payload", rawPayload("{}"))
		s.Push(phoenixtest.Field(p, "event", "pushed"), phoenixtest.RawJSON(string(payload)))
		return phoenixtest.OK(nil)
	},
}

// rawPayload is JSON that is kept as it is.
type rawPayload string

// UnmarshalJSON implements [json.Unmarshaler].
func (r *rawPayload) UnmarshalJSON(data []byte) error {
	*r = rawPayload(data)
	return nil
}

// flood is many pushes or broadcasts in a row, as fast as the client reads them; or, raw,
// as fast as they can be made.
type flood struct {
	n, size   int
	raw       bool
	broadcast bool
}

func startFlood(broadcast bool) handler {
	return func(s *phoenixtest.Socket, p phoenixtest.Payload) phoenixtest.Result {
		s.Send(flood{
			n:         phoenixtest.Field(p, "n", 1000),
			size:      phoenixtest.Field(p, "size", 100),
			raw:       phoenixtest.Field(p, "raw", false),
			broadcast: broadcast,
		})
		return phoenixtest.OK(nil)
	}
}

func (f flood) run(s *phoenixtest.Socket) {
	const backlog, checkEvery = 150, 50
	send := s.Push
	if f.broadcast {
		send = s.Broadcast
	}
	data := strings.Repeat("x", f.size)
	for seq := 1; seq <= f.n; seq++ {
		send("flood_msg", phoenixtest.Map{"seq": seq, "data": data})
		if !f.raw && seq%checkEvery == 0 {
			s.Pace(backlog)
		}
	}
	send("flood_done", phoenixtest.Map{"n": f.n})
}

// tick is n pushes at an interval.
type tick struct {
	i, n  int
	every time.Duration
}

func (t tick) run(s *phoenixtest.Socket) {
	if t.i > t.n {
		return
	}
	s.Push("tick", phoenixtest.Map{"i": t.i, "n": t.n})
	// An Erlang timer fires in the millisecond after the one it is set for: the
	// recordings show 501 for 500. Idle timeouts that tie with a tick depend on it.
	s.SendAfter(t.every+time.Millisecond, tick{t.i + 1, t.n, t.every})
}
