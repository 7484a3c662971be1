package realtime

import (
	"encoding/json"
	"strings"

	"phx/phoenix/phoenixtest"
)

// object is a JSON object whose values are looked at one by one: what is wrong about one leaves the others as they are.
type object map[string]json.RawMessage

// objectOf is an empty object for whatever is none.
func objectOf(raw json.RawMessage) object {
	var o object
	_ = json.Unmarshal(raw, &o) // o stays nil
	return o
}

// flag is a boolean, or the text of one in any case; false for anything else (payloads/flexible_boolean.ex).
func (o object) flag(key string) bool {
	var b bool
	var s string
	switch {
	case json.Unmarshal(o[key], &b) == nil:
		return b
	case json.Unmarshal(o[key], &s) == nil:
		return strings.EqualFold(s, "true")
	}
	return false
}

// text is "" for what is no string.
func (o object) text(key string) string {
	var s string
	_ = json.Unmarshal(o[key], &s) // s stays ""
	return s
}

// given tells whether a key has a value that Elixir takes for true: any but null and false.
func (o object) given(key string) bool {
	value, there := o[key]
	return there && string(value) != "null" && string(value) != "false"
}

// whole is an integer; ok is false for anything else.
func (o object) whole(key string) (n int64, ok bool) {
	return n, o[key] != nil && string(o[key]) != "null" && json.Unmarshal(o[key], &n) == nil
}

// joinParams are what a client asks for (lib/realtime_web/channels/payloads). What is not valid is as if it were not there: an invalid join is logged by
// the server, and not refused.
type joinParams struct {
	token            string // "": that of the connection
	private          bool
	ack, self        bool
	replicationReady bool
	presence         bool
	presenceKey      string
	// replay is nil unless it is asked for.
	replay *replayParams
	// newAPI: there is a config. Without one, the topic names a table.
	newAPI  bool
	changes []json.RawMessage
}

type replayParams struct {
	since, limit int64
	valid        bool
}

// parseJoin reads the payload of a phx_join. It fails where the server raises.
func parseJoin(payload phoenixtest.Payload) (joinParams, error) {
	params := objectOf(payload.Bytes())
	raw, newAPI := params["config"]
	config := objectOf(raw)
	if newAPI && config == nil && string(raw) != "null" {
		return joinParams{}, joinError(reasonOf("UnknownErrorOnChannel"))
	}
	broadcast, presence := objectOf(config["broadcast"]), objectOf(config["presence"])
	p := joinParams{
		newAPI:           newAPI,
		private:          config.flag("private"),
		ack:              broadcast.flag("ack"),
		self:             broadcast.flag("self"),
		replicationReady: broadcast.given("replication_ready"),
		presence:         presence.flag("enabled"),
		presenceKey:      presence.text("key"),
	}
	for _, key := range []string{"access_token", "user_token"} { // the last one counts
		if token := params.text(key); token != "" {
			p.token = token
		}
	}
	if raw, asked := broadcast["replay"]; asked {
		p.replay = parseReplay(raw)
	}
	var changes []json.RawMessage
	_ = json.Unmarshal(config["postgres_changes"], &changes) // what is no list asks for nothing
	for _, change := range changes {
		if string(change) == "null" {
			continue
		}
		if objectOf(change) == nil {
			return joinParams{}, joinError(reasonOf("UnknownErrorOnChannel"))
		}
		p.changes = append(p.changes, change)
	}
	return p, nil
}

// maxReplay is how many broadcasts are replayed at most, and if the client does not say how many.
const maxReplay = 25

// parseReplay returns nil for what is no object: on a private channel the server ignores that.
func parseReplay(raw json.RawMessage) *replayParams {
	asked := objectOf(raw)
	if asked == nil {
		return &replayParams{}
	}
	since, dated := asked.whole("since")
	limit, limited := asked.whole("limit")
	if !asked.given("limit") {
		limit, limited = maxReplay, true
	}
	return &replayParams{since: since, limit: max(1, min(limit, maxReplay)), valid: dated && limited}
}
