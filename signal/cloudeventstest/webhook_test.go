package cloudeventstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"phx/router"
	"phx/signal"
)

// A receiver takes requests as the SDK does, in memory.
type receiver struct {
	encoding binding.Encoding
	got      []*event.Event
}

// RoundTrip implements [http.RoundTripper].
func (r *receiver) RoundTrip(sent *http.Request) (*http.Response, error) {
	arrived := sent.Clone(sent.Context())
	for name, values := range arrived.Header {
		// The SDK leaves it to others to undo the percent-encoding of section 3.1.3.2.
		if value, err := url.PathUnescape(values[0]); err != nil {
			return nil, err
		} else if strings.HasPrefix(name, "Ce-") {
			arrived.Header.Set(name, value)
		}
	}
	message := cehttp.NewMessageFromHttpRequest(arrived)
	if message.ReadEncoding() != r.encoding {
		return nil, fmt.Errorf("the request is %v", message.ReadEncoding())
	}
	e, err := binding.ToEvent(sent.Context(), message)
	if err != nil {
		return nil, err
	}
	r.got = append(r.got, e)
	return &http.Response{StatusCode: http.StatusNoContent, Body: io.NopCloser(strings.NewReader(""))}, nil
}

// TestWebhook has the SDK receive what a webhook posts in both content modes: it is the event that the line is.
func TestWebhook(t *testing.T) {
	for _, encoding := range []binding.Encoding{binding.EncodingStructured, binding.EncodingBinary} {
		lines := strangeLines()
		q := router.NewQueue(1<<30, router.Block, nil)
		c := q.Chunk()
		for i, line := range lines {
			c.Commit(append(c.Buffer(), line...), uint64(i+1))
		}
		if err := q.Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		q.CloseInput(nil)
		r := &receiver{encoding: encoding}
		drain := router.NewWebhookDrain(router.WebhookOptions{
			URL: "http://example.com", Binary: encoding == binding.EncodingBinary, Transport: r, MaxRetries: -1,
		})
		if err := drain.Run(t.Context(), q); err != nil {
			t.Errorf("Run: %v", err)
		}
		if len(r.got) != len(lines) {
			t.Fatalf("%d events arrived %v, of %d", len(r.got), encoding, len(lines))
		}
		for i, line := range lines {
			checkEvent(t, r.got[i], line)
		}
	}
}

// checkEvent compares an event with the line of which it was made.
func checkEvent(t *testing.T, got *event.Event, line []byte) {
	t.Helper()
	var want event.Event
	if err := json.Unmarshal(line, &want); err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("%v\n%s", err, line)
	}
	if !bytes.Equal(got.Data(), want.Data()) {
		t.Errorf("the data is %s, want %s", got.Data(), want.Data())
	}
	// In a header, an Integer is text like any other.
	if a, b := fmt.Sprint(got.Extensions()), fmt.Sprint(want.Extensions()); a != b {
		t.Errorf("the extensions are %s, want %s", a, b)
	}
	// The SDK trims a subject that is in a header.
	if a, b := got.Context.Clone(), want.Context.Clone(); a.GetID() != b.GetID() || a.GetSource() != b.GetSource() || a.GetType() != b.GetType() ||
		strings.TrimSpace(a.GetSubject()) != strings.TrimSpace(b.GetSubject()) || !a.GetTime().Equal(b.GetTime()) || a.GetDataContentType() != b.GetDataContentType() {
		t.Errorf("the context is\n%s, want\n%s", a, b)
	}
}

// strangeLines has every kind of event with every strange string as its topic.
func strangeLines() (lines [][]byte) {
	p := newPrinter()
	for _, detail := range details {
		for _, s := range strangeStrings {
			ev := newEvent(rand.New(rand.NewPCG(1, 1)), detail)
			ev.Topic, ev.Name, ev.Ref, ev.JoinRef = s, "new_msg", "9", "3"
			if line := p.cloudEvents.Append(nil, &ev); len(line) < 10_000 { // a header has bounds
				lines = append(lines, line)
			}
		}
	}
	return append(lines, p.cloudEvents.AppendDropped(nil, signal.Dropped{Count: 5, Policy: "drop-oldest", FirstSeq: 1, LastSeq: 5}, newEvent(rand.New(rand.NewPCG(1, 1)), details[0]).Time))
}
