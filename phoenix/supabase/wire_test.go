package supabase_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/realtime"
	"phx/phoenix/supabase"
)

// officialWire is what realtime-js puts on the wire, a file a scenario. The tests of phoenixtest, where node runs it, see to it that this is true.
const officialWire = "../../testdata/phoenix_js/wire_realtime"

// A wireMessage is a message to the server. Its refs are not in it: realtime-js takes more of them than it sends.
type wireMessage struct {
	form           string // text, or the encoding of a frame of kind 3
	topic, event   string
	payload        any
	meta, userName string // of kind 3
}

// A wireRow is what a user of our client does to do what the official one does on one connection of a scenario.
type wireRow struct {
	scenario string
	conn     int
	vsn      string
	name     string
	config   string
	presence bool
	renewed  bool // there is a token, which is renewed before the pushes
	pushes   []phoenix.Push
}

const room1 = "realtime:room1"

// track is a push of event presence.
func track(payload string) phoenix.Push {
	return phoenix.Push{Topic: room1, Name: "presence", Payload: phoenix.JSON(payload)}
}

var wireRows = []wireRow{
	{scenario: "broadcast", conn: 0, config: `{}`, pushes: []phoenix.Push{supabase.Broadcast(room1, "new_msg", phoenix.JSON(`{"body":"hi","list":[null,1.5,"é🙂"]}`))}},
	{scenario: "broadcast", conn: 1, config: `{}`, pushes: []phoenix.Push{supabase.Broadcast(room1, "größe", phoenix.JSON(`{}`))}},
	{scenario: "broadcast_self", conn: 0, config: `{"broadcast":{"self":true}}`, pushes: []phoenix.Push{supabase.Broadcast(room1, "new_msg", phoenix.JSON(`{"body":"to all"}`))}},
	{scenario: "broadcast_binary", conn: 0, config: `{}`, pushes: []phoenix.Push{supabase.Broadcast(room1, "raw", phoenix.Binary([]byte{0, 255, 16, 10}))}},
	{scenario: "broadcast_binary", conn: 1, config: `{}`, pushes: []phoenix.Push{supabase.Broadcast(room1, "empty", phoenix.Binary([]byte{}))}},
	{scenario: "broadcast_vsn1", conn: 0, vsn: "1.0.0", config: `{}`, pushes: []phoenix.Push{supabase.Broadcast(room1, "new_msg", phoenix.JSON(`{"body":"text"}`))}},
	{scenario: "broadcast_vsn1", conn: 1, config: `{}`, pushes: []phoenix.Push{
		supabase.Broadcast(room1, "raw", phoenix.Binary([]byte{1})), supabase.Broadcast(room1, "new_msg", phoenix.JSON(`{"body":"json"}`)),
	}},
	{scenario: "presence", conn: 0, config: `{"presence":{"key":"ann"}}`, presence: true, pushes: []phoenix.Push{
		track(`{"type":"presence","event":"track","payload":{"n":1}}`), track(`{"type":"presence","event":"track","payload":{"n":3}}`),
		track(`{"type":"presence","event":"untrack"}`),
	}},
	{scenario: "postgres_changes", conn: 0, name: "todos", config: `{"postgres_changes":[{"event":"*","schema":"public","table":"todos"},` +
		`{"event":"UPDATE","schema":"public","table":"todos","filter":"id=in.(1,2)"}]}`},
	{scenario: "access_token", conn: 0, name: "todos", config: `{"postgres_changes":[{"event":"*","schema":"public"}]}`, renewed: true,
		pushes: []phoenix.Push{supabase.Broadcast("realtime:todos", "done", phoenix.JSON(`{}`))}},
	{scenario: "replay", conn: 0, config: `{"private":true,"broadcast":{"replay":{"since":1000,"limit":3}}}`},
	{scenario: "replication_ready", conn: 0, config: `{"broadcast":{"replication_ready":true}}`},
}

// TestClientWire compares what our client sends with what realtime-js does, message by message. What differs is intended: realtime-js says in its join what
// the server takes for granted, and its own version; ours asks for acknowledgements always.
func TestClientWire(t *testing.T) {
	for _, row := range wireRows {
		t.Run(fmt.Sprint(row.scenario, " ", row.conn), func(t *testing.T) {
			conns := officialMessages(t, row.scenario)
			if diff := cmp.Diff(conns[row.conn], row.play(t), cmp.AllowUnexported(wireMessage{})); diff != "" {
				t.Errorf("realtime-js (-) and ours (+):\n%s", diff)
			}
		})
	}
}

// TestClientWireRows wants a row for each connection of each scenario, but for those in which the client says nothing that is not in another.
func TestClientWireRows(t *testing.T) {
	missing := map[string]bool{}
	files, err := filepath.Glob(officialWire + "/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", officialWire, err)
	}
	for _, file := range files {
		scenario := strings.TrimSuffix(filepath.Base(file), ".txt")
		has := func(row wireRow) bool { return row.scenario == scenario }
		if !slices.ContainsFunc(wireRows, has) {
			missing[scenario] = true
		}
	}
	want := []string{
		"access_token_callback", "access_token_revoked", "broadcast_denied", "broadcast_http", "broadcast_too_large", "drain", "join_refused",
		"join_unauthorized", "postgres_changes_mismatch",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(missing))); diff != "" {
		t.Errorf("scenarios without a row, expected (-) and not (+):\n%s", diff)
	}
}

// officialMessages are those of each connection of a scenario.
func officialMessages(t *testing.T, scenario string) [][]wireMessage {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(officialWire, scenario+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var conns [][]wireMessage
	for paragraph := range strings.SplitSeq(string(text), "\n\n") {
		var conn wireConn
		for line := range strings.Lines(paragraph) {
			kind, data, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			switch kind {
			case "text":
				conn.text(t, data)
			case "binary":
				data, err := strconv.Unquote(data)
				if err != nil {
					t.Fatal(err)
				}
				conn.binary(t, data)
			}
		}
		conns = append(conns, conn.messages)
	}
	return conns
}

// A wireConn reads what is sent on one connection, as the server does. It may be called by the server's goroutines, so that it ends no test.
type wireConn struct {
	messages         []wireMessage
	joinRef, lastRef int
	tokens           []string
}

func (c *wireConn) text(t *testing.T, data string) {
	t.Helper()
	var parts []json.RawMessage
	if strings.HasPrefix(data, "{") { // vsn 1.0.0
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			t.Error(err)
			return
		}
		parts = []json.RawMessage{m["join_ref"], m["ref"], m["topic"], m["event"], m["payload"]}
	} else if err := json.Unmarshal([]byte(data), &parts); err != nil || len(parts) != 5 {
		t.Errorf("%s: %v", data, err)
		return
	}
	var fields [4]string
	var payload any
	for i := range fields {
		_ = json.Unmarshal(parts[i], &fields[i]) // null leaves it empty
	}
	if err := json.Unmarshal(parts[4], &payload); err != nil {
		t.Error(err)
		return
	}
	if fields[3] == "heartbeat" || fields[3] == "phx_leave" {
		return
	}
	c.add(t, wireMessage{form: "text", topic: fields[2], event: fields[3], payload: payload}, fields[0], fields[1])
}

func (c *wireConn) binary(t *testing.T, data string) {
	t.Helper()
	if data[0] != 3 {
		t.Errorf("a frame of kind %d", data[0])
		return
	}
	rest := data[7:]
	var fields [5]string
	for i := range fields {
		n := data[1+i]
		fields[i], rest = rest[:n], rest[n:]
	}
	m := wireMessage{form: fmt.Sprint("kind 3, encoding ", data[6]), topic: fields[2], event: "broadcast", userName: fields[3], meta: fields[4], payload: rest}
	if data[6] != 0 {
		if err := json.Unmarshal([]byte(rest), &m.payload); err != nil {
			t.Error(err)
			return
		}
	}
	c.add(t, m, fields[0], fields[1])
}

func (c *wireConn) add(t *testing.T, m wireMessage, joinRef, ref string) {
	t.Helper()
	of, err := strconv.Atoi(joinRef)
	if err != nil {
		t.Error(err)
	}
	number, err := strconv.Atoi(ref)
	if err != nil {
		t.Error(err)
	}
	if m.event == "phx_join" {
		c.joinRef = number
		m.payload = meant(m.payload)
	}
	if of != c.joinRef || number <= c.lastRef {
		t.Errorf("%s: join_ref %d of the join %d, ref %d behind %d", m.event, of, c.joinRef, number, c.lastRef)
	}
	c.lastRef = number
	if object, ok := m.payload.(map[string]any); ok && object["access_token"] != nil { // one is as good as another, but not as the same
		token := fmt.Sprint(object["access_token"])
		if !slices.Contains(c.tokens, token) {
			c.tokens = append(c.tokens, token)
		}
		object["access_token"] = slices.Index(c.tokens, token)
	}
	c.messages = append(c.messages, m)
}

// meant is what a join asks for, without what the server takes for granted, and with what our client adds.
func meant(payload any) any {
	params, _ := payload.(map[string]any)
	delete(params, "version")
	config, _ := params["config"].(map[string]any)
	for _, section := range []string{"broadcast", "presence"} {
		if config[section] == nil {
			config[section] = map[string]any{}
		}
		maps.DeleteFunc(config[section].(map[string]any), func(_ string, v any) bool { return v == false || v == "" })
	}
	config["broadcast"].(map[string]any)["ack"] = true
	if list, ok := config["postgres_changes"].([]any); ok && len(list) == 0 {
		delete(config, "postgres_changes")
	}
	if config["private"] == false {
		delete(config, "private")
	}
	return params
}

// play lets our client do what the row says, and returns what it has sent.
func (row wireRow) play(t *testing.T) []wireMessage {
	t.Helper()
	var conn wireConn
	synctest.Test(t, func(t *testing.T) {
		project := realtime.New(realtime.Config{})
		tap := func(f phoenixtest.Frame) {
			const text, binary = 1, 2
			switch {
			case !f.FromClient:
			case f.Opcode == text:
				conn.text(t, string(f.Data))
			case f.Opcode == binary:
				conn.binary(t, string(f.Data))
			}
		}
		s := &scene{t: t, project: project, srv: phoenixtest.NewPipeServer(project.App(), phoenixtest.WithFlavor(phoenixtest.Cowboy), phoenixtest.WithTap(tap))}
		defer s.srv.Close()
		name := row.name
		if name == "" {
			name = "room1"
		}
		joined := channel(name, row.config)
		if row.renewed {
			joined = supabase.WithToken(joined, func(context.Context) (string, error) { return fresh(time.Hour), nil })
		}
		ours := s.connect(func(o *phoenix.Options) {
			if row.vsn != "" {
				o.VSN = row.vsn
			}
			o.Presence, o.Dialect = row.presence, supabase.New(supabase.Options{Presence: row.presence})
			o.Channels = []phoenix.Channel{joined}
		})
		if err := ours.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if row.renewed {
			time.Sleep(time.Hour - time.Minute) // until it is renewed
			synctest.Wait()
		}
		for _, p := range row.pushes {
			if reply, err := ours.Push(t.Context(), p); err != nil || reply.Status != "ok" {
				t.Errorf("%+v, %v", reply, err)
			}
		}
		if err := ours.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return conn.messages
}
