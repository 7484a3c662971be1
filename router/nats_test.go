package router_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/router"
	"phx/signal"
)

// A fakeStream is JetStream as far as a NATSDrain can tell: it leaves out messages whose id it has. plan says
// what happens at each call of Publish: how many messages are acknowledged, how many more are stored without
// that, and the failure; past its end everything is acknowledged.
type fakeStream struct {
	plan    []attempt
	calls   int
	windows []int // the number of messages of each call
	stored  []router.NATSMessage
	ids     map[string]bool
	ready   int // calls of Ready
	max     int // max_payload; 0: none
}

type attempt struct {
	acked, stored int
	failure       router.NATSFailureKind
}

func (f *fakeStream) Publish(_ context.Context, messages []router.NATSMessage, acked func()) error {
	f.windows = append(f.windows, len(messages))
	a := attempt{acked: len(messages)}
	if f.calls < len(f.plan) {
		a = f.plan[f.calls]
	}
	f.calls++
	for i, m := range messages {
		switch {
		case f.max > 0 && len(m.Data) > f.max:
			return &router.NATSFailure{Kind: router.NATSTooLarge, Err: errors.New("it is too large")}
		case i >= a.acked+a.stored:
		case !f.ids[m.ID]:
			if f.ids == nil {
				f.ids = map[string]bool{}
			}
			f.ids[m.ID] = true
			m.Data = slices.Clone(m.Data)
			f.stored = append(f.stored, m)
		}
		if i < a.acked {
			acked()
		}
	}
	if a.acked >= len(messages) {
		return nil
	}
	return &router.NATSFailure{Kind: a.failure, Err: errors.New("the attempt failed")}
}

func (f *fakeStream) Ready(context.Context) error {
	f.ready++
	return nil
}

// signals are the lines of messages with numbers from..to on a topic.
func signals(format signal.Format, topic string, from, to uint64) (lines []string) {
	e := signal.NewEncoder(format, "backend")
	for seq := from; seq <= to; seq++ {
		lines = append(lines, string(e.Append(nil, &phoenix.Event{
			Seq: seq, Time: time.Unix(1000, 0).Add(time.Duration(seq) * time.Millisecond), Session: 1, Topic: topic, Name: "new_msg",
			Detail: &phoenix.Message{}, Payload: phoenix.Payload{Data: fmt.Appendf(nil, `{"n":%d}`, seq)},
		})))
	}
	return lines
}

// publishAll puts lines to a NATSDrain and runs it to its end.
func publishAll(t *testing.T, o router.NATSOptions, lines ...string) (s source, logged string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log, book := newLog()
		o.Logger = log
		if o.Window == 0 {
			o.Window = 256
		}
		s = source{router.NewQueue(1<<30, router.DropOldest, nil), router.NewOrigin("backend")}
		for i, line := range lines {
			s.put(t, uint64(i+1), strings.TrimSuffix(line, "\n"))
		}
		s.CloseInput(nil)
		if err := router.NewNATSDrain(o).Run(t.Context(), s.Queue); err != nil {
			t.Errorf("Run: %v", err)
		}
		logged = book.String()
	})
	return s, logged
}

func dataOf(messages []router.NATSMessage) (list []string) {
	for _, m := range messages {
		list = append(list, string(m.Data))
	}
	return list
}

// TestNATSMessages: what a message is made of, in each format and mode.
func TestNATSMessages(t *testing.T) {
	long := strings.Repeat("x", 5000)
	id := func(line string) string { return line[strings.Index(line, `"id":"`)+6:][:36] }
	tests := []struct {
		name    string
		o       router.NATSOptions
		line    string
		subject string
		header  [][2]string
	}{
		{"bus", router.NATSOptions{}, signals(signal.FormatSignal, "room:lobby", 1, 1)[0], "jido.protocol.phoenix.backend.room_lobby", nil},
		{"type", router.NATSOptions{ByType: true}, signals(signal.FormatSignal, "room:lobby", 1, 1)[0], "phoenix.backend.room_lobby.new_msg", nil},
		{"no topic", router.NATSOptions{}, signals(signal.FormatSignal, "", 1, 1)[0], "jido.protocol.phoenix.backend", nil},
		{"jido", router.NATSOptions{}, signals(signal.FormatJido, "a.b", 1, 1)[0], "jido.protocol.phoenix.backend.a_b", nil},
		{"CloudEvents", router.NATSOptions{CloudEvents: true}, signals(signal.FormatCloudEvents, "room:é", 1, 1)[0], "jido.protocol.phoenix.backend.room__",
			[][2]string{{"content-type", "application/cloudevents+json"}}},
		{"CloudEvents with an encoded topic", router.NATSOptions{CloudEvents: true}, signals(signal.FormatCloudEvents, "a\x01%b", 1, 1)[0],
			"jido.protocol.phoenix.backend.a__b", [][2]string{{"content-type", "application/cloudevents+json"}}},
		{"CloudEvents with a percent sign", router.NATSOptions{CloudEvents: true}, signals(signal.FormatCloudEvents, "%41", 1, 1)[0],
			"jido.protocol.phoenix.backend._41", [][2]string{{"content-type", "application/cloudevents+json"}}},
		// The hash is that of sha256sum.
		{"too long", router.NATSOptions{}, signals(signal.FormatSignal, long, 1, 1)[0], "jido.protocol.phoenix.backend." + long[:208] + "_4e040f20ae782809", nil},
	}
	for _, test := range tests {
		f := &fakeStream{}
		test.o.Publisher = f
		publishAll(t, test.o, test.line)
		if len(f.stored) != 1 {
			t.Errorf("%s: %d messages", test.name, len(f.stored))
			continue
		}
		m := f.stored[0]
		if m.Subject != test.subject {
			t.Errorf("%s: subject %s, want %s", test.name, m.Subject, test.subject)
		}
		if m.ID != id(test.line) || string(m.Data) != strings.TrimSuffix(test.line, "\n") || !slices.Equal(m.Header, test.header) {
			t.Errorf("%s: id %s, header %q, data %s of %s", test.name, m.ID, m.Header, m.Data, test.line)
		}
	}
}

// TestNATSLongSubjects: subjects that are cut stay different, and legal.
func TestNATSLongSubjects(t *testing.T) {
	f := &fakeStream{}
	long := strings.Repeat("x", 400)
	lines := append(signals(signal.FormatSignal, long+"a", 1, 1), signals(signal.FormatSignal, long+"b", 2, 2)...)
	publishAll(t, router.NATSOptions{Publisher: f, ByType: true}, lines...)
	a, b := f.stored[0].Subject, f.stored[1].Subject
	if a == b || len(a) > 255 || len(b) > 255 || strings.Contains(a, "..") || strings.HasSuffix(a, ".") {
		t.Errorf("subjects %q, %q", a, b)
	}
}

// TestNATSBinary: the attributes are headers, percent-encoded as the binding says, and the data is the message.
func TestNATSBinary(t *testing.T) {
	f := &fakeStream{}
	line := signals(signal.FormatCloudEvents, "room:é x", 7, 7)[0]
	publishAll(t, router.NATSOptions{Publisher: f, CloudEvents: true, Binary: true}, line)
	m := f.stored[0]
	if want := `{"payload":{"n":7}}`; string(m.Data) != want {
		t.Errorf("data %s, want %s", m.Data, want)
	}
	header := map[string]string{}
	for _, h := range m.Header {
		header[h[0]] = h[1]
	}
	for name, want := range map[string]string{
		"ce-specversion": "1.0", "ce-type": "phoenix.backend.room___x.new_msg", "ce-subject": "room:%C3%A9%20x", "ce-datacontenttype": "application/json",
		"ce-sequence": "0000000007", "ce-phxsession": "1", "ce-id": m.ID,
	} {
		if header[name] != want {
			t.Errorf("%s: %q, want %q", name, header[name], want)
		}
	}
	if _, there := header["content-type"]; there || header["ce-data"] != "" {
		t.Errorf("header %v", header)
	}
}

// TestNATSOfAnotherFormat: what a spool has from a time when the sink had another format is published as the CloudEvent that it would be now.
func TestNATSOfAnotherFormat(t *testing.T) {
	for _, topic := range []string{"room:a", "", "room:é x"} {
		for _, binary := range []bool{false, true} {
			wanted := &fakeStream{}
			publishAll(t, router.NATSOptions{Publisher: wanted, CloudEvents: true, Binary: binary}, signals(signal.FormatCloudEvents, topic, 7, 7)...)
			for _, format := range []signal.Format{signal.FormatSignal, signal.FormatJido} {
				f := &fakeStream{}
				s, logged := publishAll(t, router.NATSOptions{Publisher: f, CloudEvents: true, Binary: binary}, signals(format, topic, 7, 7)...)
				s.wantCounted(t, 1, 0)
				if got, want := fmt.Sprintf("%+v", f.stored), fmt.Sprintf("%+v", wanted.stored); got != want {
					t.Errorf("binary %v, from %v: published\n%s, want\n%s\n%s", binary, format, got, want, logged)
				}
			}
		}
	}
}

// TestNATSKeepsOrder: whatever fails, every record is in the stream once, in order, and is counted as delivered; in messages of lines,
// too. Acknowledgements get lost: what is published again has the same ids.
func TestNATSKeepsOrder(t *testing.T) {
	kinds := []router.NATSFailureKind{router.NATSUnreachable, router.NATSNoStream, router.NATSFull, router.NATSLate, router.NATSRefused}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := &fakeStream{}
		for range r.IntN(12) {
			f.plan = append(f.plan, attempt{acked: r.IntN(8), stored: r.IntN(8), failure: kinds[r.IntN(len(kinds))]})
		}
		o := router.NATSOptions{Publisher: f, Window: 1 + r.IntN(12), Lines: seed%2 == 1}
		n := 1 + r.IntN(3000)
		if !o.Lines {
			n = 1 + r.IntN(100)
		}
		lines := signals(signal.FormatSignal, "room:lobby", 1, uint64(n))
		s, _ := publishAll(t, o, lines...)
		got, want := strings.Join(dataOf(f.stored), "\n")+"\n", strings.Join(lines, "")
		if o.Lines {
			got = strings.Join(dataOf(f.stored), "")
		}
		if got != want {
			t.Fatalf("seed %d: the stream has %d bytes, want %d:\n%s", seed, len(got), len(want), got)
		}
		s.wantCounted(t, uint64(n), 0)
		if most := slices.Max(f.windows); most > o.Window {
			t.Errorf("seed %d: %d messages at once, and the window is %d", seed, most, o.Window)
		}
	}
}

// TestNATSLines: a message has the lines of one connection up to 64 KiB, and a longer line is one of its own.
func TestNATSLines(t *testing.T) {
	f := &fakeStream{}
	long := `{"id":"0","source":"/jidoka/phoenix/backend","type":"phoenix.backend.a.b","data":"` + strings.Repeat("x", 70<<10) + "\"}\n"
	lines := append(append(signals(signal.FormatSignal, "a", 1, 300), long), signals(signal.FormatSignal, "b:c", 301, 310)...)
	publishAll(t, router.NATSOptions{Publisher: f, Lines: true}, lines...)
	if got, want := strings.Join(dataOf(f.stored), ""), strings.Join(lines, ""); got != want {
		t.Errorf("the stream has %d bytes, want %d", len(got), len(want))
	}
	for i, m := range f.stored {
		n := strings.Count(string(m.Data), "\n")
		if len(m.Data) > 64<<10 && n > 1 {
			t.Errorf("message %d has %d lines of %d bytes", i, n, len(m.Data))
		}
		if m.Subject != "jido.protocol.phoenix.backend" || !strings.HasSuffix(m.ID, fmt.Sprintf("+%d", n)) || !slices.Contains(m.Header, [2]string{"content-type", "application/x-ndjson"}) {
			t.Errorf("message %d of %d lines: %s, %s, %v", i, n, m.Subject, m.ID, m.Header)
		}
	}
	if len(f.stored) > 5 {
		t.Errorf("%d messages", len(f.stored))
	}
}

// TestNATSTooLarge: a record that no server takes is lost, and the rest goes on. A message of lines is made smaller.
func TestNATSTooLarge(t *testing.T) {
	lines := signals(signal.FormatSignal, "a", 1, 40)
	lines[7] = `{"id":"8","source":"/jidoka/phoenix/backend","type":"phoenix.backend.a.b","data":"` + strings.Repeat("x", 5000) + "\"}\n"
	for _, o := range []router.NATSOptions{{}, {Lines: true}} {
		f := &fakeStream{max: 4000}
		o.Publisher = f
		s, logged := publishAll(t, o, lines...)
		want := strings.Join(slices.Concat(lines[:7], lines[8:]), "")
		got := strings.Join(dataOf(f.stored), "\n") + "\n"
		if o.Lines {
			got = strings.Join(dataOf(f.stored), "")
		}
		if got != want {
			t.Errorf("lines %v: the stream has\n%s", o.Lines, got)
		}
		s.wantCounted(t, 39, 1)
		if !strings.Contains(logged, "a signal is lost: NATS does not take it") {
			t.Errorf("the log does not say so:\n%s", logged)
		}
	}
}

// TestNATSOutage: an outage is logged once, with what to do, and its end; nothing is tried while there is no connection.
func TestNATSOutage(t *testing.T) {
	f := &fakeStream{plan: slices.Repeat([]attempt{{failure: router.NATSUnreachable}}, 3)}
	_, logged := publishAll(t, router.NATSOptions{Publisher: f}, signals(signal.FormatSignal, "a", 1, 2)...)
	if f.ready != 3 {
		t.Errorf("it waited %d times for a connection, want 3", f.ready)
	}
	if n := strings.Count(logged, "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, logged)
	}
	if !strings.Contains(logged, "messages are acknowledged again") {
		t.Errorf("the log does not tell of the end:\n%s", logged)
	}
}

// TestNATSOnLoss: what a sink of on_loss is told has no origin; the subject has the connection that the signal names.
func TestNATSOnLoss(t *testing.T) {
	for _, lines := range []bool{false, true} {
		f := &fakeStream{}
		q := router.NewQueue(1<<30, router.DropOldest, nil)
		c := q.Chunk()
		for i, connection := range []string{"a", "b"} {
			e := signal.NewEncoder(signal.FormatSignal, connection)
			c.Commit(e.AppendDropped(c.Buffer(), signal.Dropped{Count: 1, Policy: "drop-oldest", FirstSeq: 7, LastSeq: 7, Sink: "hook"}, time.Unix(1000, 0)), uint64(i))
		}
		if err := q.Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		q.CloseInput(nil)
		if err := router.NewNATSDrain(router.NATSOptions{Publisher: f, Window: 4, Lines: lines}).Run(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		var subjects []string
		for _, m := range f.stored {
			subjects = append(subjects, m.Subject)
		}
		if want := []string{"jido.protocol.phoenix.a", "jido.protocol.phoenix.b"}; !slices.Equal(subjects, want) {
			t.Errorf("lines %v: subjects %q, want %q", lines, subjects, want)
		}
	}
}
