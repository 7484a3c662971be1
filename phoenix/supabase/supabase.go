// Package supabase is what Supabase Realtime adds to Phoenix's protocol, as a [phoenix.Dialect], and what a client of it has to know. Facts
// are from the published sources of Realtime 2.129 and of its JavaScript client: SUPABASE.md, whose sections the comments cite, is the
// project's copy of them.
//
// A topic is "realtime:" and a name. Its join params are {"config": {"broadcast", "presence", "postgres_changes", "private"}}. A broadcast
// is a message of event "broadcast" with the payload {"type": "broadcast", "event": NAME, "payload": ...}; a change of the database one of
// event "postgres_changes".
package supabase

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"phx/phoenix"
	"phx/phoenix/rawjson"
)

// HeartbeatInterval is that of realtime-js. The server closes a socket on which it has read nothing for 60 s.
const HeartbeatInterval = 25 * time.Second

// JoinInterval paces joins: the server takes 100 a second of all clients of a project together, and disconnects a client beyond that.
const JoinInterval = 20 * time.Millisecond

// SocketURL completes the address of a project, such as https://PROJECT.supabase.co, by the path of its socket. One that has a path, or
// cannot be parsed, is returned as it is.
func SocketURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return raw
	}
	u.Path = "/realtime/v1"
	return u.String()
}

// CheckPush says what is wrong with a push that the server would drop: it reads two events, and answers a broadcast only because the join
// asks for acknowledgements (SUPABASE.md, 4).
func CheckPush(p *phoenix.Push) error {
	switch p.Name {
	case eventBroadcast, eventPresence:
		return nil
	}
	return fmt.Errorf("the event %q is dropped by Supabase Realtime without an answer: it takes broadcast and presence", p.Name)
}

// eventPresence is the event of track and untrack.
const eventPresence = "presence"

// Options say what is wanted of all channels.
type Options struct {
	// Presence has the server send who is present, which it does only when asked to.
	Presence bool
}

// New returns the dialect of a connection.
func New(o Options) phoenix.Dialect { return &dialect{options: o, channels: map[string]*channel{}} }

type dialect struct {
	options  Options
	channels map[string]*channel
}

// A channel is what is known of a topic, over its joins.
type channel struct {
	// asked is what the params of the latest join say.
	asked config
	// changes and replication say what is waited for since the latest join.
	changes, replication bool
	// subscribed is when changes of the database were last known to come.
	subscribed time.Time
	// last is when the last stored broadcast came, and known are the ids of the latest; replay follows what a rejoin brings of them.
	last   time.Time
	known  []string
	replay replay
}

// A config is that of the join params, as far as it matters here.
type config struct {
	Private   bool
	Broadcast struct {
		ReplicationReady bool `json:"replication_ready"`
	}
	PostgresChanges []change `json:"postgres_changes"`
}

// A change is a subscription to changes of the database.
type change struct{ Event, Schema, Table, Filter string }

// A replay is the stored broadcasts that the server sends again behind a rejoin.
type replay struct {
	expected bool
	count    int
}

// The limits of a replay (SUPABASE.md, 8).
const (
	replayLimit = 25
	replayKept  = 72 * time.Hour
	// replayMargin is how long before the last broadcast a replay begins: the server's clock may be behind ours. It ends with what is
	// known already, which shows that nothing is missing.
	replayMargin = time.Minute
	// maxKnown is how many ids are remembered.
	maxKnown = 4 * replayLimit
)

func (d *dialect) channel(topic string) *channel {
	c := d.channels[topic]
	if c == nil {
		c = &channel{}
		d.channels[topic] = c
	}
	return c
}

// JoinParams asks for acknowledgements and presence, unless the params say something of them, and for what was missed of a private channel.
func (d *dialect) JoinParams(topic string, params []byte) ([]byte, error) {
	members, err := membersOf(params)
	if err != nil {
		return nil, fmt.Errorf("the join params: %w", err)
	}
	c := d.channel(topic)
	c.asked, c.replay = config{}, replay{}
	settings, err := membersOf(members["config"])
	if err == nil && len(settings) > 0 {
		// The server takes what it does not understand for the default, without a word (SUPABASE.md, 5).
		err = json.Unmarshal(members["config"], &c.asked)
	}
	if err != nil {
		return nil, fmt.Errorf("config of the join params: %w", err)
	}
	broadcast, err := membersOf(settings["broadcast"])
	if err != nil {
		return nil, fmt.Errorf("config.broadcast of the join params: %w", err)
	}
	if broadcast["ack"] == nil {
		broadcast["ack"] = json.RawMessage("true")
	}
	if c.asked.Private && !c.last.IsZero() {
		since := c.last.Add(-replayMargin).UnixMilli()
		broadcast["replay"] = fmt.Appendf(nil, `{"since":%d,"limit":%d}`, since, replayLimit)
		c.replay.expected = true
	}
	if d.options.Presence {
		presence, err := membersOf(settings["presence"])
		if err != nil {
			return nil, fmt.Errorf("config.presence of the join params: %w", err)
		}
		if presence["enabled"] == nil {
			presence["enabled"] = json.RawMessage("true")
		}
		settings["presence"] = join(presence)
	}
	settings["broadcast"] = join(broadcast)
	members["config"] = join(settings)
	return join(members), nil
}

// membersOf returns the members of a JSON object, none for no text and for null.
func membersOf(text json.RawMessage) (map[string]json.RawMessage, error) {
	members := map[string]json.RawMessage{}
	if text == nil {
		return members, nil
	}
	err := json.Unmarshal(text, &members)
	if members == nil {
		members = map[string]json.RawMessage{}
	}
	return members, err
}

// join is the reverse of membersOf.
func join(members map[string]json.RawMessage) json.RawMessage {
	p, err := phoenix.Marshal(members)
	if err != nil { // each is the text of a value that was parsed, or is written here
		panic("supabase: " + err.Error())
	}
	return p.Data
}

// Refused maps the codes with which the server begins the reason of a refused join (SUPABASE.md, 10). What is not known passes.
func (*dialect) Refused(_ string, response phoenix.Payload) phoenix.Refusal {
	var said struct{ Reason string }
	if response.Decode(&said) != nil {
		return phoenix.RefusalPassing
	}
	code, text, _ := strings.Cut(said.Reason, ":")
	switch {
	case code == "InvalidJWTToken" && strings.Contains(text, "expired"):
		return phoenix.RefusalOutdated
	case slices.Contains(finalRefusals, code):
		return phoenix.RefusalFinal
	}
	return phoenix.RefusalPassing
}

// finalRefusals are the codes of joins that are refused again as long as nobody changes them, or the project.
var finalRefusals = []string{
	"TopicNameRequired", "MalformedJWT", "JwtSignatureError", "JwtSignerError", "InvalidJWTToken", "Unauthorized", "PrivateOnly", "TenantNotFound",
	"RealtimeDisabledForTenant", "UnableToReplayMessages", "ChannelRateLimitReached",
}

// The events that Observe looks at.
const (
	eventSystem  = "system"
	eventChanges = "postgres_changes"
)

// Observes reports whether an event is one of those.
func (*dialect) Observes(_, event []byte) bool {
	switch string(event) {
	case eventSystem, eventChanges, eventBroadcast:
		return true
	}
	return false
}

// Observe follows the joins, and what comes of what they asked for.
func (d *dialect) Observe(e *phoenix.Event) phoenix.Reaction {
	c := d.channel(e.Topic)
	if _, joined := e.Detail.(*phoenix.Joined); joined {
		return c.joined(e)
	}
	switch e.Name {
	case eventSystem:
		return c.system(e)
	case eventChanges:
		c.subscribed = e.Time
	case eventBroadcast:
		if c.asked.Private {
			return c.broadcast(e)
		}
	}
	return phoenix.Reaction{}
}

// Forget forgets a topic: who joins it anew begins anew.
func (d *dialect) Forget(topic string) { delete(d.channels, topic) }

// joined holds a join until what it asked for comes.
func (c *channel) joined(e *phoenix.Event) phoenix.Reaction {
	c.changes, c.replication = len(c.asked.PostgresChanges) > 0, c.asked.Broadcast.ReplicationReady
	r := phoenix.Reaction{Hold: c.changes || c.replication}
	var answer struct {
		PostgresChanges []change `json:"postgres_changes"`
	}
	if c.changes && (e.Decode(&answer) != nil || !slices.Equal(answer.PostgresChanges, c.asked.PostgresChanges)) {
		r.Note, r.Level = "the server has not taken postgres_changes as the join asked for them: check event, schema, table and filter of each", slog.LevelError
	}
	if c.replay.expected && e.Time.Sub(c.last) > replayKept {
		c.replay.expected = false
		r.Gap = phoenix.GapReplay
	}
	return r
}

// The texts of system messages: there are no codes (SUPABASE.md, 6, 7 and 11).
const (
	textSubscribed  = "Subscribed to PostgreSQL"
	textReplication = "Replication connection established"
	textDraining    = "Server requested disconnect"
	textTooMany     = "Too many messages per second"
)

// system takes a message of the server about the channel.
func (c *channel) system(e *phoenix.Event) phoenix.Reaction {
	var said struct{ Message, Status, Extension string }
	if e.Decode(&said) != nil {
		return phoenix.Reaction{}
	}
	switch {
	case said.Status == "ok" && strings.HasPrefix(said.Message, textSubscribed):
		r := phoenix.Reaction{Gap: phoenix.GapResubscribed}
		if c.changes { // the first since the join: what was missed was missed since the loss before that
			c.changes = false
			r.Live = !c.replication
		} else {
			r.Since = c.subscribed
		}
		c.subscribed = e.Time
		return r
	case said.Status == "ok" && strings.HasPrefix(said.Message, textReplication):
		waited := c.replication
		c.replication = false
		return phoenix.Reaction{Live: waited && !c.changes}
	case said.Status == "ok" && strings.HasPrefix(said.Message, textDraining):
		return phoenix.Reaction{Note: "the server is about to restart", Level: slog.LevelInfo}
	case said.Status != "error":
		return phoenix.Reaction{}
	}
	note := "the server reports an error"
	if strings.HasPrefix(said.Message, textTooMany) {
		note = "the server reports an error, which may be due to other clients of the project"
	}
	return phoenix.Reaction{Note: note, Level: slog.LevelWarn, Args: []any{"extension", said.Extension, "message", said.Message}}
}

// broadcast drops what a replay repeats, and says when it does not reach back to what had come before.
func (c *channel) broadcast(e *phoenix.Event) phoenix.Reaction {
	id, replayed := stored(e)
	if id == "" {
		return phoenix.Reaction{}
	}
	var r phoenix.Reaction
	known := slices.Contains(c.known, id)
	switch {
	case !c.replay.expected:
	case known:
		c.replay.expected = false // nothing is missing between this one and the next
	case replayed:
		if c.replay.count++; c.replay.count == replayLimit {
			c.replay.expected, r.Gap = false, phoenix.GapReplay
		}
	default:
		c.replay.expected, r.Gap = false, phoenix.GapReplay
	}
	if known {
		r.Drop = replayed
		return r
	}
	if len(c.known) == maxKnown {
		c.known = slices.Delete(c.known, 0, 1)
	}
	c.known, c.last = append(c.known, id), e.Time
	return r
}

// stored returns the id of a broadcast that the server has stored, empty for another one, and whether it was sent again.
func stored(e *phoenix.Event) (id string, replayed bool) {
	var meta []byte
	switch {
	case e.Broadcast != nil:
		meta = e.Broadcast.Meta
	case !e.Payload.Binary:
		// Its members are enough: the payload within may be large.
		text := bytes.TrimLeft(e.Payload.Data, " \t\r\n")
		_, _ = rawjson.ReadObject(text, 0, func(key, value []byte) {
			if string(key) == "meta" {
				meta = value
			}
		})
	}
	var read struct {
		ID       string
		Replayed bool
	}
	if meta == nil || json.Unmarshal(meta, &read) != nil {
		return "", false
	}
	return read.ID, read.Replayed
}
