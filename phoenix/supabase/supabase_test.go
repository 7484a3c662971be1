package supabase

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix"
)

const topic = "realtime:room1"

func TestJoinParams(t *testing.T) {
	for _, tt := range []struct {
		name, params, want string
		presence           bool
	}{
		{"nothing", `{}`, `{"config":{"broadcast":{"ack":true}}}`, false},
		{"null", `{"config":null}`, `{"config":{"broadcast":{"ack":true}}}`, false},
		{"presence", `{"a":1.0}`, `{"a":1.0,"config":{"broadcast":{"ack":true},"presence":{"enabled":true}}}`, true},
		{"what is given stays", `{"config":{"private":true,"broadcast":{"ack":false,"self":true,"replay":{"since":1,"limit":2}},"presence":{"enabled":false,"key":"k"}}}`,
			`{"config":{"broadcast":{"ack":false,"replay":{"since":1,"limit":2},"self":true},"presence":{"enabled":false,"key":"k"},"private":true}}`, true},
	} {
		got, err := New(Options{Presence: tt.presence}).JoinParams(topic, []byte(tt.params))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
	for params, want := range map[string]string{
		`[]`:                                 "the join params: ",
		`{"config":[]}`:                      "config of the join params: ",
		`{"config":{"private":"yes"}}`:       "config of the join params: ",
		`{"config":{"broadcast":true}}`:      "config",
		`{"config":{"presence":"on"}}`:       "config.presence",
		`{"config":{"postgres_changes":{}}}`: "config of the join params: ",
	} {
		if _, err := New(Options{Presence: true}).JoinParams(topic, []byte(params)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", params, err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for reason, want := range map[string]phoenix.Refusal{
		"Unauthorized: You do not have permissions to read from this Channel topic: x": phoenix.RefusalFinal,
		"PrivateOnly: This project only allows private channels":                       phoenix.RefusalFinal,
		"MalformedJWT: The token provided is not a valid JWT":                          phoenix.RefusalFinal,
		"JwtSignatureError: Failed to validate JWT signature":                          phoenix.RefusalFinal,
		"JwtSignerError: x": phoenix.RefusalFinal, "TopicNameRequired: x": phoenix.RefusalFinal, "TenantNotFound: x": phoenix.RefusalFinal,
		"RealtimeDisabledForTenant: x": phoenix.RefusalFinal, "UnableToReplayMessages: x": phoenix.RefusalFinal, "ChannelRateLimitReached: Too many channels": phoenix.RefusalFinal,
		"InvalidJWTToken: Fields `role` and `exp` are required in JWT": phoenix.RefusalFinal,
		"InvalidJWTToken: Token has expired 12 seconds ago":            phoenix.RefusalOutdated,
		"InitializingProjectConnection: x":                             phoenix.RefusalPassing, "RealtimeRestarting: x": phoenix.RefusalPassing, "ClientJoinRateLimitReached: x": phoenix.RefusalPassing,
		"ConnectionRateLimitReached: x": phoenix.RefusalPassing, "DatabaseLackOfConnections: x": phoenix.RefusalPassing,
		"DatabaseConnectionRateLimitReached: x": phoenix.RefusalPassing, "IncreaseConnectionPool: x": phoenix.RefusalPassing,
		"UnableToConnectToProject: x": phoenix.RefusalPassing, "QueryCanceled: x": phoenix.RefusalPassing, "MissingPartition: x": phoenix.RefusalPassing,
		"TimeoutOnRpcCall: x": phoenix.RefusalPassing, "ErrorOnRpcCall: x": phoenix.RefusalPassing, "MusterJoinError: x": phoenix.RefusalPassing,
		"UnknownErrorOnChannel: x":                               phoenix.RefusalPassing,
		"Realtime was unable to connect to the project database": phoenix.RefusalPassing,
		"Unknown Error on Channel":                               phoenix.RefusalPassing,
		"SomethingNew: x":                                        phoenix.RefusalPassing,
	} {
		text, err := json.Marshal(map[string]string{"reason": reason})
		if err != nil {
			t.Fatal(err)
		}
		if got := New(Options{}).Refused(topic, phoenix.JSON(string(text))); got != want {
			t.Errorf("%s: %d, want %d", reason, got, want)
		}
	}
	if got := New(Options{}).Refused(topic, phoenix.JSON(`"no"`)); got != phoenix.RefusalPassing {
		t.Errorf("another response: %d", got)
	}
}

// A story is what happens to a channel, each with what follows.
type story struct {
	t  *testing.T
	d  phoenix.Dialect
	at time.Time
}

func newStory(t *testing.T, o Options) *story {
	return &story{t, New(o), time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}
}

// joins joins, a second after what happened last, and returns the params of the join.
func (s *story) joins(params, response string, want phoenix.Reaction) string {
	s.t.Helper()
	sent, err := s.d.JoinParams(topic, []byte(params))
	if err != nil {
		s.t.Fatal(err)
	}
	s.happens(phoenix.Event{Detail: &phoenix.Joined{}, Payload: phoenix.JSON(response)}, want)
	return string(sent)
}

// message brings a message, a second after what happened last.
func (s *story) message(event, payload string, want phoenix.Reaction) {
	s.t.Helper()
	if !s.d.Observes([]byte(topic), []byte(event)) {
		s.t.Errorf("%s is not observed", event)
	}
	s.happens(phoenix.Event{Detail: &phoenix.Message{}, Name: event, Payload: phoenix.JSON(payload)}, want)
}

func (s *story) happens(e phoenix.Event, want phoenix.Reaction) {
	s.t.Helper()
	s.at = s.at.Add(time.Second)
	e.Time, e.Topic = s.at, topic
	if diff := cmp.Diff(want, s.d.Observe(&e)); diff != "" {
		s.t.Errorf("%s at %v (-want +got):\n%s", e.Name, s.at, diff)
	}
}

func system(extension, status, message string) string {
	return fmt.Sprintf(`{"channel":"room1","extension":%q,"message":%q,"status":%q}`, extension, message, status)
}

// Changes of the database flow from the system message on, and may have been missed before each further one.
func TestChanges(t *testing.T) {
	const params = `{"config":{"postgres_changes":[{"event":"*","schema":"public","table":"todos"}]}}`
	const response = `{"postgres_changes":[{"id":1,"event":"*","schema":"public","table":"todos"}]}`
	subscribed := system("postgres_changes", "ok", "Subscribed to PostgreSQL")
	s := newStory(t, Options{})
	s.joins(params, response, phoenix.Reaction{Hold: true})
	s.message("system", system("postgres_changes", "error", "Unable to subscribe"), phoenix.Reaction{
		Note: "the server reports an error", Level: slog.LevelWarn, Args: []any{"extension", "postgres_changes", "message", "Unable to subscribe"}})
	s.message("system", subscribed, phoenix.Reaction{Live: true, Gap: phoenix.GapResubscribed})
	s.message("postgres_changes", `{}`, phoenix.Reaction{})
	lastChange := s.at
	s.message("system", system("system", "ok", "Server requested disconnect"), phoenix.Reaction{Note: "the server is about to restart", Level: slog.LevelInfo})
	s.message("system", subscribed, phoenix.Reaction{Gap: phoenix.GapResubscribed, Since: lastChange})
	again := s.at
	s.message("system", subscribed, phoenix.Reaction{Gap: phoenix.GapResubscribed, Since: again})
	// A rejoin: since when is the connection's to know.
	s.joins(params, response, phoenix.Reaction{Hold: true})
	s.message("system", subscribed, phoenix.Reaction{Live: true, Gap: phoenix.GapResubscribed})
}

func TestChangesOtherThanAsked(t *testing.T) {
	for name, response := range map[string]string{
		"none":          `{}`,
		"fewer":         `{"postgres_changes":[]}`,
		"another table": `{"postgres_changes":[{"id":1,"event":"*","schema":"public","table":"users"}]}`,
		"a filter":      `{"postgres_changes":[{"id":1,"event":"*","schema":"public","table":"todos","filter":"id=eq.1"}]}`,
	} {
		s := newStory(t, Options{})
		t.Log(name)
		s.joins(`{"config":{"postgres_changes":[{"event":"*","schema":"public","table":"todos"}]}}`, response, phoenix.Reaction{Hold: true, Level: slog.LevelError,
			Note: "the server has not taken postgres_changes as the join asked for them: check event, schema, table and filter of each"})
	}
}

// What waits for two things is live with the second.
func TestReplicationReady(t *testing.T) {
	const params = `{"config":{"broadcast":{"replication_ready":true},"postgres_changes":[{"event":"*"}]}}`
	const response = `{"postgres_changes":[{"id":1,"event":"*"}]}`
	subscribed, ready := system("postgres_changes", "ok", "Subscribed to PostgreSQL"), system("system", "ok", "Replication connection established")
	s := newStory(t, Options{})
	s.joins(params, response, phoenix.Reaction{Hold: true})
	s.message("system", subscribed, phoenix.Reaction{Gap: phoenix.GapResubscribed})
	s.message("system", ready, phoenix.Reaction{Live: true})
	s.joins(params, response, phoenix.Reaction{Hold: true})
	s.message("system", ready, phoenix.Reaction{})
	s.message("system", subscribed, phoenix.Reaction{Live: true, Gap: phoenix.GapResubscribed})
	s.message("system", ready, phoenix.Reaction{})
}

func TestSystemMessages(t *testing.T) {
	s := newStory(t, Options{})
	s.joins(`{}`, `{}`, phoenix.Reaction{})
	s.message("system", system("system", "error", "Too many messages per second"), phoenix.Reaction{
		Note: "the server reports an error, which may be due to other clients of the project", Level: slog.LevelWarn,
		Args: []any{"extension", "system", "message", "Too many messages per second"}})
	s.message("system", system("system", "error", "Token has expired 3 seconds ago"), phoenix.Reaction{
		Note: "the server reports an error", Level: slog.LevelWarn, Args: []any{"extension", "system", "message", "Token has expired 3 seconds ago"}})
	s.message("system", system("x", "ok", "something new"), phoenix.Reaction{})
	s.message("system", `[]`, phoenix.Reaction{})
}

// stored is the payload of a broadcast that the server has stored.
func storedBroadcast(id string, replayed bool) string {
	meta := fmt.Sprintf(`{"id":%q}`, id)
	if replayed {
		meta = fmt.Sprintf(`{"id":%q,"replayed":true}`, id)
	}
	return `{"type":"broadcast","event":"e","payload":{"meta":{"id":"not this"}},"meta":` + meta + `}`
}

const private = `{"config":{"private":true}}`

// A rejoin of a private channel asks for what was missed, and what comes twice is dropped.
func TestReplay(t *testing.T) {
	s := newStory(t, Options{})
	if sent := s.joins(private, `{}`, phoenix.Reaction{}); strings.Contains(sent, "replay") {
		t.Errorf("the first join has %s", sent)
	}
	s.message("broadcast", storedBroadcast("a", false), phoenix.Reaction{})
	s.message("broadcast", storedBroadcast("b", false), phoenix.Reaction{})
	since := s.at.Add(-time.Minute).UnixMilli()
	s.message("broadcast", `{"type":"broadcast","event":"e","payload":{}}`, phoenix.Reaction{}) // is not stored
	want := fmt.Sprintf(`{"config":{"broadcast":{"ack":true,"replay":{"since":%d,"limit":25}},"private":true}}`, since)
	if sent := s.joins(private, `{}`, phoenix.Reaction{}); sent != want {
		t.Errorf("the rejoin has %s, want %s", sent, want)
	}
	s.message("broadcast", storedBroadcast("b", true), phoenix.Reaction{Drop: true})
	s.message("broadcast", storedBroadcast("c", true), phoenix.Reaction{})
	s.happens(phoenix.Event{Detail: &phoenix.Message{}, Name: "broadcast", Payload: phoenix.Binary(nil),
		Broadcast: &phoenix.Broadcast{Event: "raw", Meta: json.RawMessage(`{"id":"a","replayed":true}`)}}, phoenix.Reaction{Drop: true})
	s.message("broadcast", storedBroadcast("d", false), phoenix.Reaction{})
}

// A replay that does not reach back to what is known leaves a gap, of which one hears once.
func TestReplayTooShort(t *testing.T) {
	s := newStory(t, Options{})
	s.joins(private, `{}`, phoenix.Reaction{})
	s.message("broadcast", storedBroadcast("a", false), phoenix.Reaction{})
	s.joins(private, `{}`, phoenix.Reaction{})
	for i := range replayLimit - 1 {
		s.message("broadcast", storedBroadcast(fmt.Sprint("r", i), true), phoenix.Reaction{})
	}
	s.message("broadcast", storedBroadcast("last", true), phoenix.Reaction{Gap: phoenix.GapReplay})
	s.message("broadcast", storedBroadcast("live", false), phoenix.Reaction{})

	// Fewer than the limit, and none that is known: the server's clock is far from ours.
	s.joins(private, `{}`, phoenix.Reaction{})
	s.message("broadcast", storedBroadcast("new", true), phoenix.Reaction{})
	s.message("broadcast", storedBroadcast("live 2", false), phoenix.Reaction{Gap: phoenix.GapReplay})

	// More than three days are gone with the server's.
	s.at = s.at.Add(73 * time.Hour)
	s.joins(private, `{}`, phoenix.Reaction{Gap: phoenix.GapReplay})
	s.message("broadcast", storedBroadcast("live 3", false), phoenix.Reaction{})
}

// What is remembered of broadcasts is bounded.
func TestKnownIsBounded(t *testing.T) {
	s := newStory(t, Options{})
	s.joins(private, `{}`, phoenix.Reaction{})
	for i := range 3 * maxKnown {
		s.message("broadcast", storedBroadcast(fmt.Sprint(i), false), phoenix.Reaction{})
	}
	if n := len(s.d.(*dialect).channels[topic].known); n != maxKnown {
		t.Errorf("%d ids are remembered, want %d", n, maxKnown)
	}
}

func TestSocketURL(t *testing.T) {
	for raw, want := range map[string]string{
		"https://abc.supabase.co":              "https://abc.supabase.co/realtime/v1",
		"wss://abc.supabase.co/?apikey=k":      "wss://abc.supabase.co/realtime/v1?apikey=k",
		"ws://localhost:4000/socket/websocket": "ws://localhost:4000/socket/websocket",
		"https://abc.supabase.co/realtime/v1":  "https://abc.supabase.co/realtime/v1",
		"::no URL":                             "::no URL",
		"abc.supabase.co":                      "abc.supabase.co",
	} {
		if got := SocketURL(raw); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

func TestCheckPush(t *testing.T) {
	for event, allowed := range map[string]bool{"broadcast": true, "presence": true, "new_msg": false, "access_token": false, "": false} {
		if err := CheckPush(&phoenix.Push{Topic: topic, Name: event}); (err == nil) != allowed {
			t.Errorf("%q: %v", event, err)
		}
	}
}
