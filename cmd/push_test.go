package cmd

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/signal"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]float64{"10": 10, "10/s": 10, "0.5/s": 0.5, "90/m": 1.5, "7200/h": 2, "1e3/s": 1000} {
		if got, err := parseRate(text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "/s", "0", "-1/s", "x/s", "10/d", "10/", "10/s/s", "inf/s", "NaN"} {
		if got, err := parseRate(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// The time of a push is that of its turn, exactly; what was not used while nothing was sent is not made up for.
func TestRateOfSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender(&pushOptions{rate: 4}, nil)
		begun := time.Now()
		var got []time.Duration
		for i := range 6 {
			if i == 3 {
				time.Sleep(10 * time.Second)
			}
			time.Sleep(s.limiter.Reserve().Delay())
			got = append(got, time.Since(begun))
		}
		const ms = time.Millisecond
		if want := fmt.Sprint([]time.Duration{0, 250 * ms, 500 * ms, 10500 * ms, 10750 * ms, 11000 * ms}); fmt.Sprint(got) != want {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// A Read that is stopped has lost nothing: what comes then is there for the next one.
func TestStoppableReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		input := make(chan string)
		r := newStoppableReader(readerFunc(func(p []byte) (int, error) { return copy(p, <-input), nil }))
		ctx, cancel := context.WithCancel(t.Context())
		r.ctx = ctx
		time.AfterFunc(time.Second, cancel)
		buf := make([]byte, 2)
		if n, err := r.Read(buf); n != 0 || !errors.Is(err, errStopped) {
			t.Errorf("%d, %v", n, err)
		}
		input <- "abc"
		r.ctx = t.Context()
		for _, want := range []string{"ab", "c"} {
			if n, err := r.Read(buf); string(buf[:n]) != want || err != nil {
				t.Errorf("%q, %v; want %q", buf[:n], err, want)
			}
		}
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// FuzzEnvelope reads what the encoders have written of a message, whatever is in it: topic, event, the event within a broadcast, and payload
// come back byte for byte.
func FuzzEnvelope(f *testing.F) {
	f.Add("room:lobby", "new_msg", "", `{"a": 1.0,"a":[]}`, false)
	f.Add("röm:%\x01\"", "e\u2028", "", "\xff\x00", true)
	f.Add("t", "e", "", "null", false)
	f.Add("t", "", "röm:%\x01\"", "\xff\x00", true)
	f.Fuzz(func(t *testing.T, topic, event, broadcast, payload string, binary bool) {
		topic, event, broadcast = strings.ToValidUTF8(topic, ""), strings.ToValidUTF8(event, ""), strings.ToValidUTF8(broadcast, "")
		if broadcast != "" {
			event = eventBroadcast
		}
		if topic == "" || event == "" || !binary && !json.Valid([]byte(payload)) {
			return
		}
		data := []byte(payload)
		if !binary {
			var line bytes.Buffer // a signal has no line breaks
			if json.Compact(&line, data) != nil || strings.ToValidUTF8(payload, "") != payload {
				return
			}
			data = line.Bytes()
		}
		ev := phoenix.Event{Time: time.Unix(0, 0), Seq: 1, Session: 1, Topic: topic, Name: event, Payload: phoenix.Payload{Data: data, Binary: binary}, Detail: &phoenix.Message{}}
		quoted, _ := json.Marshal([]string{topic, event, base64.StdEncoding.EncodeToString(data), broadcast})
		var parts []json.RawMessage
		if err := json.Unmarshal(quoted, &parts); err != nil {
			t.Fatal(err)
		}
		member := fmt.Sprintf(`"payload":%s`, data)
		if binary {
			member = fmt.Sprintf(`"payload_base64":%s`, parts[2])
		}
		if broadcast != "" {
			ev.Broadcast = &phoenix.Broadcast{Event: broadcast}
			member += fmt.Sprintf(`,"broadcast_event":%s`, parts[3])
		}
		lines := [][]byte{fmt.Appendf(nil, `{%s,"event":%s,"topic":%s}`, member, parts[1], parts[0])}
		for _, format := range []signal.Format{signal.FormatSignal, signal.FormatCloudEvents, signal.FormatJido} {
			lines = append(lines, signal.NewEncoder(format, "default").Append(nil, &ev))
		}
		for _, line := range lines {
			var item pushItem
			if err := item.open(bytes.TrimSpace(line)); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if item.topic != topic || item.event != event || item.broadcast != broadcast || !bytes.Equal(item.payload.Data, data) || item.payload.Binary != binary {
				t.Fatalf("%s: %q %q %q %q", line, item.topic, item.event, item.broadcast, item.payload.Data)
			}
		}
	})
}

// FuzzStrangeEnvelope reads anything: what is taken has a topic, an event and a payload.
func FuzzStrangeEnvelope(f *testing.F) {
	f.Add(`{"specversion":"1.0","type":"phoenix.a","data":{},"metadata":null}`)
	f.Add(`{"specversion":1,"type":"phoenix.connection.up","phxenc":"pct","phxtopic":"%"}`)
	f.Add(`{"specversion":"1.0","type":"phoenix.a.b.c","extensions":[],"data":[]}`)
	f.Add(`{"topic":"t","event":"broadcast","broadcast_event":null,"payload":{}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		var item pushItem
		if err := item.open([]byte(strings.TrimSpace(text))); err == nil && (item.topic == "" || item.event == "" || item.payload.Data == nil) {
			t.Fatalf("%s: %+v", text, item)
		}
	})
}

// Replies that wait for that to the first push hold up the sending once they take so much, and all are printed, in order, when it has come.
func TestHeldRepliesAreBounded(t *testing.T) {
	const pushes, inflight, size, mostHeld = 100, 8, 16 << 10, 512 << 10
	synctest.Test(t, func(t *testing.T) {
		handled := 0
		answerFirst := make(chan func(), 1)
		srv := phoenixtest.NewPipeServer(func(s *phoenixtest.Server) {
			s.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("*", phoenixtest.ChannelFuncs{
				OnIn: func(s *phoenixtest.Socket, _ string, _ phoenixtest.Payload) phoenixtest.Result {
					if handled++; handled == 1 {
						ref := s.Ref()
						answerFirst <- func() { s.Reply(ref, "ok", phoenixtest.Map{}) }
						return phoenixtest.NoReply()
					}
					return phoenixtest.OK(strings.Repeat("x", size))
				},
			})}})
		})
		defer srv.Close()
		read := 0
		in := &pushInput{reader: newStoppableReader(strings.NewReader("")), next: func() (pushItem, error) {
			if read++; read > pushes {
				return pushItem{}, io.EOF
			}
			return pushItem{payload: phoenix.JSON("{}")}, nil
		}}
		var printed bytes.Buffer
		streams := &Streams{Out: &printed, LookupEnv: func(string) (string, bool) { return "", false }}
		r, err := newRenderer(outputOptions{Filter: ".data.index"}, "default", streams, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, out := startOutput(t.Context(), streams, printing{renderer: r, log: slog.New(slog.DiscardHandler), buffer: defaultBuffer})
		o := &pushOptions{
			client: newOneShot(&factory{streams: streams}), topic: "a", event: "e", maxInflight: inflight, progressLine: &progressLine{hidden: true},
		}
		p := &pusher{options: o, in: in, out: out, sender: newSender(o, in), failedAt: math.MaxInt}
		if p.sender.mostHeld != maxHeld {
			t.Errorf("%d bytes may be held", p.sender.mostHeld)
		}
		p.sender.mostHeld = mostHeld
		done := make(chan error, 1)
		go func() {
			done <- p.connectAndRun(ctx, phoenix.Options{
				URL: srv.URL, NetDial: srv.DialContext, Channels: []phoenix.Channel{{Topic: "a"}}, Logger: slog.New(slog.DiscardHandler),
			})
		}()
		synctest.Wait() // until nothing more is sent
		if least, most := mostHeld/(size+heldOverhead), mostHeld/size+inflight; handled < least || handled > most {
			t.Errorf("%d pushes were sent, want %d to %d", handled, least, most)
		}
		(<-answerFirst)()
		if err := errors.Join(<-done, out.finish()); err != nil {
			t.Error(err)
		}
		var want strings.Builder
		for i := range pushes {
			fmt.Fprintln(&want, i)
		}
		if printed.String() != want.String() {
			t.Errorf("printed %q", printed.String())
		}
	})
}
