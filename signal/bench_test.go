package signal_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
	"phx/signal"
)

// broadcast returns the event of a frame of 110 bytes, the size that the project measures itself with.
func broadcast() *phoenix.Event {
	payload := `{"n":1234567,"body":"` + strings.Repeat("x", 110-len(`[null,null,"room:lobby","new_msg",{"n":1234567,"body":""}]`)) + `"}`
	return &phoenix.Event{
		Time:    time.Date(2026, 2, 7, 12, 0, 6, 123456789, time.UTC),
		Seq:     1234567,
		Session: 1,
		Topic:   "room:lobby",
		Name:    "new_msg",
		Payload: phoenix.JSON(payload),
		Detail:  phoenix.Message{},
	}
}

// benchmarkAppend encodes a stream in which each message is a microsecond later.
func benchmarkAppend(b *testing.B, format signal.Format, ev *phoenix.Event) {
	enc := signal.NewEncoder(format, "backend")
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		ev.Seq++
		ev.Time = ev.Time.Add(time.Microsecond)
		buf = enc.Append(buf[:0], ev)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkAppendMessage(b *testing.B) {
	benchmarkAppend(b, signal.FormatSignal, broadcast())
}

// BenchmarkAppendPushedMessage is a message with a join_ref, as a channel's own push has.
func BenchmarkAppendPushedMessage(b *testing.B) {
	ev := broadcast()
	ev.JoinRef = "3"
	benchmarkAppend(b, signal.FormatSignal, ev)
}

func BenchmarkAppendPayload(b *testing.B) {
	benchmarkAppend(b, signal.FormatPayload, broadcast())
}

func BenchmarkAppendCloudEvent(b *testing.B) {
	benchmarkAppend(b, signal.FormatCloudEvents, broadcast())
}

func BenchmarkAppendPushReply(b *testing.B) {
	ev := broadcast()
	ev.Ref, ev.JoinRef = "1234", "3"
	ev.Detail = &phoenix.PushReply{Index: 1233, Status: "ok", Latency: 3 * time.Millisecond}
	benchmarkAppend(b, signal.FormatSignal, ev)
}

// BenchmarkAppendManyTopics changes the topic from message to message.
func BenchmarkAppendManyTopics(b *testing.B) {
	events := make([]*phoenix.Event, 100)
	for i := range events {
		events[i] = broadcast()
		events[i].Topic = "room:" + strings.Repeat("z", i%10) + string(rune('a'+i/10))
	}
	enc := signal.NewEncoder(signal.FormatSignal, "backend")
	var buf []byte
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		buf = enc.Append(buf[:0], events[i])
		i = (i + 1) % len(events)
	}
	b.SetBytes(int64(len(buf)))
}

// BenchmarkEncodingJSON is what the benchmarks above are to be compared with: the same line by way of a struct.
func BenchmarkEncodingJSON(b *testing.B) {
	type data struct {
		Payload json.RawMessage `json:"payload"`
	}
	type metadata struct {
		Connection string `json:"connection_name"`
		Topic      string `json:"phoenix_topic"`
		Event      string `json:"phoenix_event"`
		Session    int    `json:"session"`
		Seq        uint64 `json:"seq"`
	}
	type line struct {
		SpecVersion string    `json:"specversion"`
		ID          string    `json:"id"`
		Source      string    `json:"source"`
		Type        string    `json:"type"`
		Subject     string    `json:"subject,omitempty"`
		Time        time.Time `json:"time"`
		ContentType string    `json:"datacontenttype"`
		Data        data      `json:"data"`
		Metadata    metadata  `json:"metadata"`
	}
	ev := broadcast()
	var buf strings.Builder
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	b.ReportAllocs()
	for b.Loop() {
		ev.Seq++
		buf.Reset()
		err := enc.Encode(line{
			"1.0", "01952f0e-8a00-7000-8000-000000000006", "/jidoka/phoenix/backend", signal.Type("backend", ev), ev.Topic, ev.Time,
			"application/json", data{ev.Payload.Data}, metadata{"backend", ev.Topic, ev.Name, ev.Session, ev.Seq},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(buf.Len()))
}
