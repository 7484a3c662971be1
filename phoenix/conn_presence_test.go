package phoenix_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

// tellPresence tells of metas by their refs, and of what else the tests put into them.
func tellPresence(d phoenix.Detail) string {
	switch d := d.(type) {
	case *phoenix.PresenceJoin:
		return fmt.Sprintf("join %s %s", d.Key, d.Metas)
	case *phoenix.PresenceLeave:
		return fmt.Sprintf("leave %s %s", d.Key, d.Metas)
	case *phoenix.PresenceSync:
		return "sync " + string(d.State.AppendJSON(nil))
	}
	return ""
}

var phxRef = regexp.MustCompile(`"phx_ref(_prev)?":"([^"]*)"`)

// presenceLines are the lines of the recorder about presence:1, with the refs numbered in the order in which they came.
func (r *recorder) presenceLines() (lines []string) {
	refs := map[string]int{}
	for _, line := range r.take() {
		_, line, found := strings.Cut(line, " presence:1 ")
		if !found {
			continue
		}
		lines = append(lines, phxRef.ReplaceAllStringFunc(line, func(member string) string {
			match := phxRef.FindStringSubmatch(member)
			if refs[match[2]] == 0 {
				refs[match[2]] = len(refs) + 1
			}
			return fmt.Sprintf("ref%s:%d", match[1], refs[match[2]])
		}))
	}
	return lines
}

// present is a channel that is joined as user.
func present(user string) phoenix.Channel {
	params := phoenix.JSON(fmt.Sprintf(`{"user":%q}`, user))
	return phoenix.Channel{Topic: "presence:1", Params: func(context.Context) (phoenix.Payload, error) { return params, nil }}
}

// onlyPresence drops all messages.
func onlyPresence(_, _ []byte) bool { return true }

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// Two users, one of them twice, an update and a leave, as one of them sees it.
func TestPresenceOfTwoUsers(t *testing.T) {
	bubble(t, peer.App(), func(t *testing.T, srv *phoenixtest.Server) {
		o := phoenix.Options{Channels: []phoenix.Channel{present("alice")}, Presence: true, Skip: onlyPresence}
		_, events := start(t, srv, o)
		alice := record(t, events)
		settle(time.Second)
		bob := newConn(t, srv, phoenix.Options{Channels: []phoenix.Channel{present("bob")}})
		second := newConn(t, srv, phoenix.Options{Channels: []phoenix.Channel{present("alice")}})
		for _, conn := range []*phoenix.Conn{bob, second} {
			if err := conn.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
		}
		send(t, bob, phoenix.Push{Topic: "presence:1", Name: "update_meta", Payload: phoenix.JSON(`{"n":1.0}`)})
		settle(time.Second)
		for _, conn := range []*phoenix.Conn{second, bob} {
			if err := conn.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
		}
		wantLines(t, alice.presenceLines(),
			"joining 1",
			"joined {}",
			`join alice [{ref:1,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"}]}}`,
			`join bob [{ref:2,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"}]},"bob":{"metas":[{ref:2,"status":"online"}]}}`,
			`join alice [{ref:3,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"},{ref:3,"status":"online"}]},"bob":{"metas":[{ref:2,"status":"online"}]}}`,
			`join bob [{"n":1.0,ref:4,ref_prev:2,"status":"online"}]`,
			`leave bob [{ref:2,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"},{ref:3,"status":"online"}]},"bob":{"metas":[{"n":1.0,ref:4,ref_prev:2,"status":"online"}]}}`,
			`leave alice [{ref:3,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"}]},"bob":{"metas":[{"n":1.0,ref:4,ref_prev:2,"status":"online"}]}}`,
			`leave bob [{"n":1.0,ref:4,ref_prev:2,"status":"online"}]`,
			`sync {"alice":{"metas":[{ref:1,"status":"online"}]}}`,
		)
	})
}

// presenceServer joins presence:1 with a client that tracks presence, on a server that sends what send says.
func presenceServer(t *testing.T, o phoenix.Options, test func(srv *phoenixtest.Server, log *recorder, send func(frames ...string))) {
	bubble(t, socket(phoenixtest.UserSocket{Channels: []phoenixtest.Route{
		phoenixtest.RouteFuncs("presence:*", phoenixtest.ChannelFuncs{}),
	}}), func(t *testing.T, srv *phoenixtest.Server) {
		o.Channels, o.Presence, o.MaxRetries = topics("presence:1"), true, -1
		o.ReconnectAfter, o.RejoinAfter = phoenix.Steps(time.Second), phoenix.Steps(time.Second)
		_, events := start(t, srv, o)
		log := record(t, events)
		settle(time.Second)
		log.forget()
		test(srv, log, func(frames ...string) {
			for _, text := range frames {
				srv.Conns()[len(srv.Conns())-1].SendText(text)
			}
			settle(time.Second)
		})
	})
}

// Signals come directly behind their message, numbered like all, with its refs; in what is filtered they still come.
func TestPresenceOrderAndNumbers(t *testing.T) {
	skip := func(_, event []byte) bool { return string(event) == "presence_diff" }
	presenceServer(t, phoenix.Options{Skip: skip}, func(_ *phoenixtest.Server, log *recorder, send func(...string)) {
		send(
			`["1",null,"presence:1","presence_state",{"b":{"metas":[{"phx_ref":"2"}]},"a":{"metas":[{"phx_ref":"1"}]}}]`,
			`[null,null,"presence:1","between",{}]`,
			`[null,null,"presence:1","presence_diff",{"joins":{"c":{"metas":[{"phx_ref":"3"}]}},"leaves":{"a":{"metas":[{"phx_ref":"1"}]}}}]`,
			`[null,null,"presence:1","presence_diff",{"joins":{},"leaves":{}}]`,
			`[null,null,"presence:1","after",{}]`,
		)
		var got []string
		for _, e := range log.all() {
			got = append(got, fmt.Sprintf("%d %s|%s %s", e.Seq, e.JoinRef, e.Ref, tell(&e)))
		}
		wantLines(t, got,
			`5 1| presence:1 presence_state {"b":{"metas":[{"phx_ref":"2"}]},"a":{"metas":[{"phx_ref":"1"}]}}`,
			`6 1| presence:1 join a [{"phx_ref":"1"}]`,
			`7 1| presence:1 join b [{"phx_ref":"2"}]`,
			`8 1| presence:1 sync {"a":{"metas":[{"phx_ref":"1"}]},"b":{"metas":[{"phx_ref":"2"}]}}`,
			`9 | presence:1 between {}`, // 10 is the diff
			`11 | presence:1 join c [{"phx_ref":"3"}]`,
			`12 | presence:1 leave a [{"phx_ref":"1"}]`,
			`13 | presence:1 sync {"b":{"metas":[{"phx_ref":"2"}]},"c":{"metas":[{"phx_ref":"3"}]}}`,
			`15 | presence:1 after {}`,
		)
	})
}

// After a loss of the link the next state tells who came and went meanwhile; diffs of the lost session do not count.
func TestPresenceOverReconnect(t *testing.T) {
	presenceServer(t, phoenix.Options{Skip: onlyPresence}, func(srv *phoenixtest.Server, log *recorder, send func(...string)) {
		send(
			`["1",null,"presence:1","presence_state",{"a":{"metas":[{"phx_ref":"1"}]},"b":{"metas":[{"phx_ref":"2"}]}}]`,
		)
		srv.DropConns()
		settle(3 * time.Second)
		log.forget()
		send(
			`[null,null,"presence:1","presence_diff",{"joins":{"d":{"metas":[{"phx_ref":"4"}]}},"leaves":{}}]`,
			`["1",null,"presence:1","presence_state",{}]`, // of the first join: stale
		)
		wantLines(t, log.presenceLines())
		send(`["2",null,"presence:1","presence_state",{"b":{"metas":[{"phx_ref":"2"}]},"c":{"metas":[{"phx_ref":"3"}]}}]`)
		wantLines(t, log.presenceLines(),
			"join c [{ref:1}]",
			"join d [{ref:2}]",
			"leave a [{ref:3}]",
			`sync {"b":{"metas":[{ref:4}]},"c":{"metas":[{ref:1}]},"d":{"metas":[{ref:2}]}}`,
		)
	})
}

// What is no presence payload is reported and never fatal; it is still the message that it is.
func TestPresenceMalformedIsReported(t *testing.T) {
	var logged strings.Builder
	presenceServer(t, phoenix.Options{Logger: warnings(&logged)}, func(srv *phoenixtest.Server, log *recorder, send func(...string)) {
		send(
			`["1",null,"presence:1","presence_state",[]]`,
			`["1",null,"presence:1","presence_state",{"a":{"metas":[{"phx_ref":"1"}]}}]`,
			`[null,null,"presence:1","presence_diff",{"joins":{"b":{"metas":[{"phx_ref":"2"}]}},"leaves":{"a":[]}}]`,
			`[null,null,"presence:1","presence_diff",{"joins":{},"leaves":{"a":{"metas":[{"phx_ref":"1"}]}}}]`,
		)
		srv.Conns()[0].SendBinary([]byte("\x02\x0a\x0dpresence:1presence_diff\x00"))
		settle(time.Second)
		wantLines(t, log.presenceLines(),
			`presence_state []`,
			`presence_state {"a":{"metas":[{ref:1}]}}`,
			`join a [{ref:1}]`,
			`sync {"a":{"metas":[{ref:1}]}}`,
			`presence_diff {"joins":{"b":{"metas":[{ref:2}]}},"leaves":{"a":[]}}`,
			`presence_diff {"joins":{},"leaves":{"a":{"metas":[{ref:1}]}}}`,
			`leave a [{ref:1}]`,
			`sync {}`,
			"presence_diff \x00",
		)
		if got := strings.Count(logged.String(), "a presence message was not taken"); got != 3 {
			t.Errorf("%d reports, want 3:\n%s", got, &logged)
		}
	})
}

// Without the option, presence messages are messages and no more.
func TestPresenceIsOptIn(t *testing.T) {
	bubble(t, phoenixtest.Demo(), func(t *testing.T, srv *phoenixtest.Server) {
		_, events := start(t, srv, phoenix.Options{Channels: []phoenix.Channel{present("ada")}})
		log := record(t, events)
		settle(time.Second)
		for _, e := range log.all() {
			if _, isJoining := e.Detail.(*phoenix.PresenceJoin); isJoining || e.Seq > 6 {
				t.Errorf("event %d: %s", e.Seq, tell(&e))
			}
		}
	})
}

// What an event holds of a presence stays valid when the buffers of its message are used again.
func TestPresenceStaysValid(t *testing.T) {
	presenceServer(t, phoenix.Options{}, func(_ *phoenixtest.Server, log *recorder, send func(...string)) {
		const members = 200
		send(`["1",null,"presence:1","presence_state",{}]`)
		for i := range members {
			send(fmt.Sprintf(`[null,null,"presence:1","presence_diff",{"joins":{"user %d":{"metas":[{"phx_ref":"%[1]d"}]}},"leaves":{}}]`, i))
		}
		joins, syncs := details[*phoenix.PresenceJoin](log), details[*phoenix.PresenceSync](log)
		if len(joins) != members || len(syncs) != members+1 {
			t.Fatalf("%d joins, %d syncs", len(joins), len(syncs))
		}
		for i, join := range joins {
			if want := fmt.Sprintf(`{"phx_ref":"%d"}`, i); join.Key != fmt.Sprintf("user %d", i) || string(join.Metas[0]) != want {
				t.Errorf("join %d: %s", i, tellPresence(join))
			}
			var state map[string]json.RawMessage
			if err := json.Unmarshal(syncs[i+1].State.AppendJSON(nil), &state); err != nil || len(state) != i+1 {
				t.Errorf("sync %d has %d keys, error %v", i+1, len(state), err)
			}
		}
	})
}

// A message that is filtered is checked like any other when presence is tracked: what comes of it fits on a line.
func TestPresenceOfFilteredMessages(t *testing.T) {
	var logged strings.Builder
	o := phoenix.Options{Skip: onlyPresence, Logger: warnings(&logged)}
	presenceServer(t, o, func(_ *phoenixtest.Server, log *recorder, send func(...string)) {
		send(
			"[\"1\",null,\"presence:1\",\"presence_state\",{\"a\":\n{\"metas\":[{\"phx_ref\":\n\"1\"}]}}]",
			`[null,null,"presence:1","presence_diff",{"joins":{"b":{"metas":[{"phx_ref":"2"}]}},"leaves":{}} cut]`,
		)
		wantLines(t, log.presenceLines(),
			`join a [{ref:1}]`,
			`sync {"a":{"metas":[{ref:1}]}}`,
		)
		if !strings.Contains(logged.String(), "could not be read") {
			t.Errorf("logged: %s", &logged)
		}
	})
}
