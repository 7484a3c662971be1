// Package cloudeventstest has the CloudEvents Go SDK judge what -o cloudevents prints. It is a module of its own, so that nobody who
// builds phx or imports it gets the SDK and what that needs.
package cloudeventstest

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"phx/phoenix"
	"phx/signal"
)

const connection = "backend"

// A printer prints each event in both formats.
type printer struct {
	cloudEvents, signals *signal.Encoder
}

func newPrinter() *printer {
	return &printer{
		cloudEvents: signal.NewEncoder(signal.FormatCloudEvents, connection),
		signals:     signal.NewEncoder(signal.FormatSignal, connection),
	}
}

// check prints ev and judges the lines.
func (p *printer) check(t *testing.T, ev *phoenix.Event) {
	t.Helper()
	checkLines(t, p.cloudEvents.Append(nil, ev), p.signals.Append(nil, ev))
}

// checkLines lets the SDK read and validate the line of a CloudEvent, and makes a signal of it again, which has to be the line
// that the default format prints, but for its id.
func checkLines(t *testing.T, line, want []byte) {
	t.Helper()
	var e event.Event
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatalf("unmarshal: %v\n%s", err, line)
	}
	if err := e.Validate(); err != nil {
		t.Errorf("validate: %v\n%s", err, line)
	}
	for name, value := range e.Extensions() {
		if text, ok := value.(string); ok && !isCloudEventsString(text) {
			t.Errorf("%s is not a CloudEvents String\n%s", name, line)
		}
	}
	if !isCloudEventsString(e.Subject()) {
		t.Errorf("subject is not a CloudEvents String\n%s", line)
	}
	got, err := asSignal(e)
	if err != nil {
		t.Fatalf("as a signal: %v\n%s", err, line)
	}
	if want = withID(t, want, e.ID()); !bytes.Equal(got, want) {
		t.Errorf("came back as\n%swant\n%sfrom\n%s", got, want, line)
	}
}

// isCloudEventsString says what the SDK does not ask: whether s holds what the specification lets a String hold.
func isCloudEventsString(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cs, r) || unicode.Is(unicode.Noncharacter_Code_Point, r)
	})
}

// withID returns the line of a signal with another id.
func withID(t *testing.T, line []byte, id string) []byte {
	t.Helper()
	var own struct{ ID string }
	if err := json.Unmarshal(line, &own); err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	return bytes.Replace(line, []byte(own.ID), []byte(id), 1)
}

// TestEveryDetail goes through every kind of event with every strange string in each of its places.
func TestEveryDetail(t *testing.T) {
	p := newPrinter()
	for _, detail := range details {
		for _, s := range strangeStrings {
			for place := range 4 {
				ev := newEvent(rand.New(rand.NewPCG(1, 1)), detail)
				ev.Topic, ev.Name, ev.Ref, ev.JoinRef = "room:50%", "new_msg", "9", "3"
				*[]*string{&ev.Topic, &ev.Name, &ev.Ref, &ev.JoinRef}[place] = s
				p.check(t, &ev)
			}
		}
	}
}

// TestEveryPayload goes through every payload with every kind of event.
func TestEveryPayload(t *testing.T) {
	p := newPrinter()
	for _, detail := range details {
		for _, payload := range payloads {
			ev := newEvent(rand.New(rand.NewPCG(1, 1)), detail)
			ev.Payload = payload
			p.check(t, &ev)
		}
	}
}

// TestRandomEvents checks events of which everything is random, from one seed.
func TestRandomEvents(t *testing.T) {
	p := newPrinter()
	r := rand.New(rand.NewPCG(20260207, 120006))
	for range 5000 {
		ev := newEvent(r, details[r.IntN(len(details))])
		p.check(t, &ev)
		if t.Failed() {
			t.Fatalf("with %+v, %+v", ev, ev.Detail)
		}
	}
}

// An epoch is an Integer, or a String when it is more than that holds.
func TestEpoch(t *testing.T) {
	for _, epoch := range []uint64{1, 1<<31 - 1, 1 << 31, 1<<64 - 1} {
		p := newPrinter()
		p.cloudEvents.SetEpoch(epoch)
		p.signals.SetEpoch(epoch)
		for _, detail := range details {
			ev := newEvent(rand.New(rand.NewPCG(1, epoch)), detail)
			p.check(t, &ev)
		}
		at := time.Date(2026, 2, 7, 12, 0, 6, 123456789, time.UTC)
		d := signal.Dropped{Count: 5, Policy: "drop-oldest", FirstSeq: 17, LastSeq: 21}
		checkLines(t, p.cloudEvents.AppendDropped(nil, d, at), p.signals.AppendDropped(nil, d, at))
	}
}

func TestDropped(t *testing.T) {
	p := newPrinter()
	at := time.Date(2026, 2, 7, 12, 0, 6, 123456789, time.UTC)
	for _, policy := range []string{"drop-oldest", "drop-newest"} {
		d := signal.Dropped{Count: 5, Policy: policy, FirstSeq: 17, LastSeq: 1<<64 - 1}
		checkLines(t, p.cloudEvents.AppendDropped(nil, d, at), p.signals.AppendDropped(nil, d, at))
	}
}

// FuzzMessage: whatever the server sends.
func FuzzMessage(f *testing.F) {
	f.Add("room:lobby", "new_msg", "", "3", 1, uint64(6), []byte(`{"a":[1.0]}`))
	f.Add("%\n", "", " ", "\uffff", 1<<31, uint64(1)<<63, []byte(`"\ud800"`))
	p := newPrinter()
	f.Fuzz(func(t *testing.T, topic, name, ref, joinRef string, session int, seq uint64, payload []byte) {
		ev := phoenix.Event{
			Time: time.Unix(0, int64(seq>>1)), Seq: seq, Session: max(session, 0),
			Topic: topic, Name: name, Ref: ref, JoinRef: joinRef,
			Payload: phoenix.Binary(payload), Detail: &phoenix.Message{},
		}
		if readable(payload) {
			ev.Payload = phoenix.Payload{Data: payload, Broken: bytes.ContainsAny(payload, "\r\n")}
		}
		p.check(t, &ev)
	})
}

// readable says whether text is JSON in which every number is one of float64 (see payloads).
func readable(text []byte) bool {
	var value any
	return json.Unmarshal(text, &value) == nil
}
