// Package peer is the application that the transcripts were recorded from, in Go: the
// same sockets, channels and HTTP routes, for [phoenixtest.Server]. The replay of the
// transcripts runs it, and tests use it for whatever it can do already.
//
// Sockets: /socket takes an auth token; /plain is the same without; /v2only and /v1only
// speak one vsn. A parameter token refuses: "bad" with 403, "unauthorized" with 401,
// "unavailable" with 503 and Retry-After, "flaky:KEY:N" the first N times with 503. The
// parameter user_id gives the socket the id user:USER_ID; slow_ms delays the connect.
//
// Topics: room:* and presence:*, see the methods Join and HandleIn of room and present.
//
// HTTP: /health, /broadcast, /disconnect, /subscribers, /redirect/websocket.
package peer

import (
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
	CheckOrigin  bool // only localhost and 127.0.0.1 then
}

// App is the recorded application with its defaults.
func App() phoenixtest.App { return Config{}.App() }

// App is the recorded application, configured.
func (cfg Config) App() phoenixtest.App {
	return func(s *phoenixtest.Server) {
		state := &counters{n: map[string]int{}}
		user := phoenixtest.UserSocket{
			Connect: state.connect,
			ID:      socketID,
			Channels: []phoenixtest.Route{
				{Topic: "room:*", New: func() phoenixtest.Channel { return &room{state: state} }},
				{Topic: "presence:*", New: func() phoenixtest.Channel { return &present{} }},
			},
			IdleTimeout:  cfg.IdleTimeout,
			MaxFrameSize: cfg.MaxFrameSize,
			MaxChannels:  cfg.MaxChannels,
			Compress:     cfg.Compress,
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
