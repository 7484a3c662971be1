package phoenix

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix/phoenixtest"
)

// A testDialect has frames of kind 9, which are a topic, a space and a payload, and answers as its fields say.
type testDialect struct {
	refusal   Refusal
	forgotten []string
	react     func(e *Event) Reaction
}

func (*testDialect) DecodeBinary(data []byte) (DialectFrame, error) {
	topic, payload, ok := strings.Cut(string(data[1:]), " ")
	if !ok {
		return DialectFrame{}, errors.New("no space")
	}
	return DialectFrame{Topic: []byte(topic), Event: []byte("nine"), Payload: Binary([]byte(payload)), Broadcast: &Broadcast{Event: "inner"}}, nil
}

func (*testDialect) EncodePush(dst []byte, joinRef, ref string, p *Push) ([]byte, bool, error) {
	switch p.Name {
	case "nine":
		return fmt.Appendf(dst, "\x09%s %s %s %s", joinRef, ref, p.Topic, p.Payload.Data), true, nil
	case "wrong":
		return dst, false, errors.New("there is no frame for it")
	}
	return dst, false, nil
}

func (*testDialect) JoinParams(topic string, params []byte) ([]byte, error) {
	if strings.Contains(string(params), "refuse") {
		return nil, errors.New("such params cannot be")
	}
	return fmt.Appendf(nil, `{"of":%q,"given":%s}`, topic, params), nil
}

func (d *testDialect) Refused(string, Payload) Refusal { return d.refusal }
func (d *testDialect) Forget(topic string)             { d.forgotten = append(d.forgotten, topic) }
func (*testDialect) Observes(_, event []byte) bool     { return string(event) == "observed" }
func (d *testDialect) Observe(e *Event) Reaction {
	if d.react == nil {
		return Reaction{}
	}
	return d.react(e)
}

// dialectMachine returns a machine with an open session whose server speaks d, and the time.
func dialectMachine(d *testDialect, change func(c *machineConfig)) (*machine, time.Time) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := machineConfig{
		codec: dialectCodec{dialect: d}, dialect: d, replyTimeout: 10 * time.Second, heartbeatInterval: 30 * time.Second, heartbeatTimeout: 5 * time.Second,
		stableAfter: 10 * time.Second, maxRetries: -1, reconnectAfter: Steps(time.Second), rejoinAfter: Steps(time.Second),
	}
	if change != nil {
		change(&c)
	}
	m := newMachine(c, new(shared))
	m.start(now)
	m.dialed(now, 0, Timings{}, TransportWebSocket)
	return m, now
}

// prepare answers what was asked for a join.
func (m *machine) prepareAll(now time.Time, params string) {
	asked := m.out.prepares
	m.out.prepares = nil
	for _, p := range asked {
		if !p.renew {
			m.prepared(now, p.id, joinInput{params: JSON(params)}, nil)
		}
	}
}

// reply answers the join of a topic.
func (m *machine) replyToJoin(now time.Time, topic, status, response string) {
	ref := []byte(m.channels[topic].joinRef)
	m.received(now, &frame{at: now, joinRef: ref, ref: ref, topic: []byte(topic), event: []byte(eventReply), status: []byte(status), payload: JSON(response)})
}

func kinds(events []Event) string {
	var all []string
	for _, e := range events {
		all = append(all, strings.TrimPrefix(fmt.Sprintf("%T", e.Detail), "*phoenix."))
	}
	return strings.Join(all, " ")
}

func TestDialectFrames(t *testing.T) {
	d := &testDialect{}
	c := dialectCodec{dialect: d}
	var f frame
	if err := c.scan([]byte("\x09room:1 \xff"), true, &f); err != nil || string(f.topic) != "room:1" || f.broadcast.Event != "inner" {
		t.Errorf("%+v, %v", f, err)
	}
	if err := c.finish(&f); err != nil || string(f.payload.Data) != "\xff" || !f.payload.Binary {
		t.Errorf("%+v, %v", f, err)
	}
	if err := c.scan([]byte("\x09broken"), true, &f); err == nil {
		t.Error("a broken frame was decoded")
	}
	for _, data := range []string{"\x02\x01\x01te{}", `[null,null,"t","e",{"a":1}]`} {
		if err := errors.Join(c.scan([]byte(data), data[0] == kindBroadcast, &f), c.finish(&f)); err != nil || string(f.topic) != "t" || f.broadcast != nil {
			t.Errorf("%q: %+v, %v", data, f, err)
		}
	}
	data, binary, err := c.append(nil, &message{"1", "2", "t", "nine", JSON("{}"), ""})
	if err != nil || !binary || string(data) != "\x091 2 t {}" {
		t.Errorf("%q, %t, %v", data, binary, err)
	}
	if data, binary, err = c.append(nil, &message{"1", "2", "t", "e", JSON("{}"), ""}); err != nil || binary || string(data) != `["1","2","t","e",{}]` {
		t.Errorf("%q, %t, %v", data, binary, err)
	}
	for _, p := range []Push{{Topic: "t", Name: "wrong"}, {Topic: "t", Name: "e", BroadcastEvent: "inner"}} {
		if err := p.check(c); err == nil {
			t.Errorf("%+v can be sent", p)
		}
	}
	if err := (&Push{Topic: "t", Name: "nine", BroadcastEvent: "inner"}).check(codecV2{}); err == nil {
		t.Error("a server without a dialect takes a broadcast event")
	}
}

// A join that is held is complete with Live, and what was lost before is lost until then.
func TestDialectHolds(t *testing.T) {
	d := &testDialect{react: func(e *Event) Reaction {
		switch e.Name {
		case "":
			return Reaction{Hold: true}
		case "observed":
			return Reaction{Live: true, Gap: GapResubscribed}
		}
		return Reaction{}
	}}
	m, now := dialectMachine(d, nil)
	if err := m.join(now, Channel{Topic: "room:1"}); err != nil {
		t.Fatal(err)
	}
	m.link.ready = false
	m.prepareAll(now, `{"a":1}`)
	if got := string(m.out.frames[0].data); got != `["1","1","room:1","phx_join",{"of":"room:1","given":{"a":1}}]` {
		t.Errorf("the join is %s", got)
	}
	m.forgetOutput()
	m.replyToJoin(now, "room:1", "ok", "{}")
	if status := m.status().Channels[0]; m.link.ready || !status.Held || status.Unanswered != 0 {
		t.Errorf("ready %t, %+v", m.link.ready, status)
	}
	message := func(event string) *frame {
		return &frame{at: now, topic: []byte("room:1"), event: []byte(event), payload: JSON("{}")}
	}
	now = now.Add(3 * time.Second)
	m.received(now, message("observed"))
	if got := kinds(m.events); got != "Joined Message Live" || !m.link.ready || m.status().Channels[0].Held {
		t.Errorf("%s; ready %t", got, m.link.ready)
	}
	if took := m.events[2].Detail.(*Live).Took; took != 3*time.Second {
		t.Errorf("live after %v", took)
	}
	m.forgetOutput()

	// Lost and joined again: the gap goes on until it is live. A filter does not hide that.
	lost := now
	m.received(now, &frame{at: now, joinRef: []byte("1"), ref: []byte("1"), topic: []byte("room:1"), event: []byte(eventError), payload: JSON("{}")})
	now = now.Add(5 * time.Second)
	m.wake(now)
	m.prepareAll(now, `{}`)
	m.replyToJoin(now, "room:1", "ok", "{}")
	m.forgetOutput()
	now = now.Add(2 * time.Second)
	f := message("observed")
	f.skipped = true
	before := m.seq
	m.received(now, f)
	if got := kinds(m.events); got != "Gap Live" {
		t.Fatal(got)
	}
	if gap := m.events[0].Detail.(*Gap); gap.Gap < now.Sub(lost) || gap.Reason != GapResubscribed || m.events[0].Topic != "room:1" {
		t.Errorf("%+v", gap)
	}
	if m.seq != before+3 || m.events[0].Seq != before+2 {
		t.Errorf("the message has a number, and so have the events: %d and %d after %d", m.events[0].Seq, m.seq, before)
	}
}

// A message that the dialect drops is as if it had not come, and a gap counts from when it says.
func TestDialectDrops(t *testing.T) {
	var since time.Time
	d := &testDialect{react: func(e *Event) Reaction {
		switch e.Name {
		case "drop":
			return Reaction{Drop: true}
		case "gap":
			return Reaction{Gap: GapReplay, Since: since, Note: "a gap", Level: slog.LevelWarn, Args: []any{"why", "because"}}
		}
		return Reaction{}
	}}
	m, now := dialectMachine(d, nil)
	since = now
	if err := m.join(now, Channel{Topic: "room:1"}); err != nil {
		t.Fatal(err)
	}
	m.prepareAll(now, `{}`)
	m.replyToJoin(now, "room:1", "ok", "{}")
	m.forgetOutput()
	now = now.Add(7 * time.Second)
	before := m.seq
	for _, event := range []string{"drop", "kept", "gap"} {
		m.received(now, &frame{at: now, topic: []byte("room:1"), event: []byte(event), payload: JSON("{}")})
	}
	if got := kinds(m.events); got != "Message Message Gap" || m.events[0].Name != "kept" || m.events[0].Seq != before+1 {
		t.Fatalf("%s, %+v", got, m.events[0])
	}
	if gap := m.events[2].Detail.(*Gap).Gap; gap != 7*time.Second {
		t.Errorf("the gap is %v", gap)
	}
	if len(m.out.notes) != 1 || m.out.notes[0].args[3] != said("because") {
		t.Errorf("%+v", m.out.notes)
	}
}

func TestDialectRefusals(t *testing.T) {
	for _, tt := range []struct {
		name      string
		refusal   Refusal
		change    func(c *machineConfig)
		retries   []bool // after each refusal
		wait      time.Duration
		wasJoined bool
	}{
		{"passing", RefusalPassing, nil, []bool{true, true, true}, time.Second, false},
		{"passing, without retries", RefusalPassing, func(c *machineConfig) { c.maxRetries = 0 }, []bool{false}, 0, false},
		{"final", RefusalFinal, func(c *machineConfig) { c.retryRefusals = true }, []bool{false}, 0, false},
		{"final, of what was joined", RefusalFinal, nil, []bool{false}, 0, true},
		{"outdated", RefusalOutdated, nil, []bool{true, false}, 0, false},
		{"outdated, without retries", RefusalOutdated, func(c *machineConfig) { c.maxRetries, c.failFast = 0, true }, []bool{true, false}, 0, false},
		{"unknown", RefusalUnknown, nil, []bool{false}, 0, false},
	} {
		d := &testDialect{refusal: tt.refusal}
		m, now := dialectMachine(d, tt.change)
		if err := m.join(now, Channel{Topic: "room:1"}); err != nil {
			t.Fatal(err)
		}
		m.prepareAll(now, "{}")
		if tt.wasJoined {
			m.replyToJoin(now, "room:1", "ok", "{}")
			ref := []byte(m.channels["room:1"].joinRef)
			m.received(now, &frame{at: now, joinRef: ref, ref: ref, topic: []byte("room:1"), event: []byte(eventError), payload: JSON("{}")})
			now = now.Add(time.Second)
			m.wake(now)
			m.prepareAll(now, "{}")
		}
		for i, again := range tt.retries {
			m.forgetOutput()
			m.replyToJoin(now, "room:1", "error", `{"reason":"no"}`)
			failed, ok := m.events[0].Detail.(*JoinError)
			if !ok || failed.Will != again || again && failed.In != tt.wait {
				t.Errorf("%s: refusal %d: %+v", tt.name, i+1, m.events[0].Detail)
			}
			now = now.Add(tt.wait)
			m.wake(now)
			m.prepareAll(now, "{}")
		}
		wanted, _ := m.wants("room:1")
		if wanted != tt.retries[len(tt.retries)-1] || wanted == (len(d.forgotten) == 1) {
			t.Errorf("%s: wanted %t, forgotten %v", tt.name, wanted, d.forgotten)
		}
	}
}

// Params of which the dialect can make none are not sent.
func TestDialectRefusesParams(t *testing.T) {
	m, now := dialectMachine(&testDialect{}, nil)
	if err := m.join(now, Channel{Topic: "room:1"}); err != nil {
		t.Fatal(err)
	}
	m.prepareAll(now, `{"refuse":1}`)
	failed, ok := m.events[len(m.events)-1].Detail.(*JoinError)
	if !ok || failed.Err == nil || len(m.out.frames) > 0 {
		t.Errorf("%+v, %d frames", failed, len(m.out.frames))
	}
}

// Joins are paced, over all sockets of a connection.
func TestJoinInterval(t *testing.T) {
	m, now := upMachine(t, "room:0")
	m.joinInterval = time.Second
	other := newMachine(m.machineConfig, m.shared)
	other.start(now)
	other.dialed(now, 0, Timings{}, TransportWebSocket)
	for i := 1; i <= 3; i++ {
		if err := errors.Join(m.join(now, Channel{Topic: fmt.Sprint("a:", i)}), other.join(now, Channel{Topic: fmt.Sprint("b:", i)})); err != nil {
			t.Fatal(err)
		}
	}
	written := func() int { return len(m.out.frames) + len(other.out.frames) }
	for want := 1; want <= 6; want++ {
		if got := written(); got != want {
			t.Errorf("%d joins were written by %v, want %d", got, now, want)
		}
		now = now.Add(time.Second)
		m.wake(now)
		other.wake(now)
	}
}

// What Renew returns is pushed after each join and at the time that it said, with the join_ref of the join.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written []string
		srv := phoenixtest.NewPipeServer(phoenixtest.Demo())
		defer srv.Close()
		calls := 0
		begun := time.Now()
		conn, err := New(Options{URL: srv.URL, NetDial: srv.DialContext, MaxRetries: -1,
			Trace: func(f TraceFrame) {
				if f.Out && strings.Contains(string(f.Data), "renewal") {
					written = append(written, fmt.Sprintf("%v %s", time.Since(begun), f.Data))
				}
			},
			Channels: []Channel{{Topic: "room:quiet", Renew: func(context.Context) (*Push, time.Time, error) {
				switch calls++; calls {
				case 1:
					return nil, time.Now().Add(time.Minute), nil
				case 2:
					return nil, time.Now().Add(time.Second), errors.New("not yet")
				case 3:
					return &Push{Name: "renewal", Payload: JSON(`{"token":"secret-token-1"}`)}, time.Now().Add(time.Hour), nil
				}
				return nil, time.Time{}, nil
			}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		want := regexp.MustCompile(`^1m1s \["1","\d+","room:quiet","renewal",\{"token":"\.\.\."\}\]$`)
		if len(written) != 1 || !want.MatchString(written[0]) || calls != 4 {
			t.Errorf("%d calls, written %q", calls, written)
		}
		if text := conn.Redact("you sent secret-token-1"); strings.Contains(text, "secret-token-1") {
			t.Errorf("what was pushed is no secret: %s", text)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
