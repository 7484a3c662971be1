package cmd

import (
	"bytes"
	"encoding/json"
	"log"
	"log/slog"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
)

func TestTextLog(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, loggingOptions{}, slog.LevelInfo)
	log.Debug("not shown")
	log.Info("connected", "took", time.Second, "empty", "", "spaced", "a b", "quote", `"`, "none", nil)
	log.With("topic", "room:a").WithGroup("g").Info("joined", "n", 1, slog.Group("h", "m", 2), slog.Attr{})
	log.WithGroup("").Warn("evil \x1b[2J\u009b2J\nline", "key\x1b", "\x1b[2J", "c1", "\u009b", "bytes", "\xff\x9b")
	want := `phx: connected took_ms=1000 empty="" spaced="a b" quote="\"" none=<nil>
phx: joined topic=room:a g.n=1 g.h.m=2
phx: evil \x1b[2J\u009b2J\nline key\x1b="\x1b[2J" c1="\u009b" bytes="\xff\x9b"
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestLogStyles: what stands before a line, and around it, says nothing else than when it was and how grave.
func TestLogStyles(t *testing.T) {
	at := time.Date(2026, 2, 7, 13, 0, 6, 7_900_000, time.FixedZone("", 3600))
	tests := []struct {
		style logStyle
		level slog.Level
		want  string
	}{
		{logStyle{}, slog.LevelInfo, "phx: m a=1\n"},
		{logStyle{stamped: true}, slog.LevelInfo, "phx: 2026-02-07T12:00:06.007Z m a=1\n"},
		{logStyle{coloured: true}, slog.LevelInfo, "\x1b[2mphx: m a=1\x1b[0m\n"},
		{logStyle{coloured: true}, slog.LevelWarn, "\x1b[33mphx:\x1b[0m m a=1\n"},
		{logStyle{coloured: true}, slog.LevelError, "\x1b[31mphx:\x1b[0m m a=1\n"},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		record := slog.NewRecord(at, tt.level, "m", 0)
		record.Add("a", 1)
		log := newLogger(&out, loggingOptions{style: tt.style}, slog.LevelInfo)
		if err := log.Handler().Handle(t.Context(), record); err != nil || out.String() != tt.want {
			t.Errorf("%+v, %v: %q, %v, want %q", tt.style, tt.level, out.String(), err, tt.want)
		}
	}
}

// TestLogUnits: a time has the unit of the signals in its name, in both formats.
func TestLogUnits(t *testing.T) {
	for format, want := range map[string]string{logText: " retry_in_ms=1500 g.rtt_us=412", logJSON: `"retry_in_ms":1500,"g":{"rtt_us":412}`} {
		var out bytes.Buffer
		log := newLogger(&out, loggingOptions{Format: format}, slog.LevelInfo)
		log.Info("m", "retry_in", 1500*time.Millisecond, slog.Group("g", micros("rtt", 412*time.Microsecond)))
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %s lacks %s", format, out.String(), want)
		}
	}
}

func TestLogLevels(t *testing.T) {
	tests := []struct {
		options loggingOptions
		normal  slog.Level
		want    string
	}{
		{loggingOptions{}, slog.LevelInfo, "iwe"},
		{loggingOptions{}, slog.LevelWarn, "we"},
		{loggingOptions{Verbose: true}, slog.LevelWarn, "diwe"},
		{loggingOptions{Quiet: true}, slog.LevelInfo, "e"},
	}
	for _, tt := range tests {
		for _, format := range []string{logText, logJSON} {
			var out bytes.Buffer
			tt.options.Format = format
			log := newLogger(&out, tt.options, tt.normal)
			log.Debug("d")
			log.Info("i")
			log.Warn("w")
			log.Error("e")
			if got := strings.Count(out.String(), "\n"); got != len(tt.want) {
				t.Errorf("%+v: %d lines, want %q:\n%s", tt.options, got, tt.want, out.String())
			}
		}
	}
}

func TestJSONLogIsJSONWithoutControls(t *testing.T) {
	var out bytes.Buffer
	newLogger(&out, loggingOptions{Format: logJSON}, slog.LevelInfo).Info("evil \x1b\u009b\x7f", "k", "v")
	if strings.ContainsFunc(strings.TrimSuffix(out.String(), "\n"), isControl) {
		t.Errorf("control characters in %q", out.String())
	}
	var record struct{ Msg, K string }
	if err := json.Unmarshal(out.Bytes(), &record); err != nil || record.Msg != "evil \x1b\u009b\x7f" || record.K != "v" {
		t.Errorf("%+v, %v", record, err)
	}
}

func TestAppendEscapedJSON(t *testing.T) {
	text := "{\"a\":\t\"\x7f\u0080\u009f\u00a0ä\",\r\n\"b\":1}"
	want := `{"a": "\u007f\u0080\u009f` + "\u00a0" + `ä",  "b":1}`
	if got := string(appendEscapedJSON(nil, []byte(text))); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAppendVisible(t *testing.T) {
	got := string(appendVisible([]byte("> "), "a\tb\nc\x1b\u202e\ufffd\xf0", '\n'))
	if want := "> a\\tb\nc\\x1b\\u202e\ufffd\\xf0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStandardLog: what a package writes to the standard log has the form of serve's log while serve runs.
func TestStandardLog(t *testing.T) {
	var before, during bytes.Buffer
	defer log.SetOutput(log.Writer())
	log.SetOutput(&before)
	restore := takeStandardLog(newLogger(&during, loggingOptions{}, slog.LevelInfo))
	log.Printf("ERROR: metrics: cannot read %s", "/proc/self/io")
	restore()
	log.Print("after")
	if got, want := during.String(), "phx: ERROR: metrics: cannot read /proc/self/io\n"; got != want {
		t.Errorf("the log is %q, want %q", got, want)
	}
	if got := before.String(); !strings.HasSuffix(got, " after\n") {
		t.Errorf("the standard log is %q, want a line with its time", got)
	}
}

func TestLifecycleLog(t *testing.T) {
	events := []phoenix.Event{
		{Detail: &phoenix.Connecting{URI: "ws://h", Attempt: 1}},
		{Session: 1, Detail: &phoenix.Connected{Took: time.Second}},
		{Detail: &phoenix.Disconnected{Reason: phoenix.ReasonEOF, Text: "evil\n\x1b x", WillReconnect: true}},
		{Detail: &phoenix.Disconnected{Reason: phoenix.ReasonClosedByUs}},
		{Detail: &phoenix.Reconnecting{Delay: time.Second, Attempt: 1, MaxAttempts: 10}},
		{Detail: &phoenix.ReconnectExhausted{Attempts: 10}},
		{Detail: &phoenix.Heartbeat{RTT: time.Millisecond}},
		{Detail: &phoenix.HeartbeatTimeout{Timeout: time.Second}},
		{Socket: 2, Detail: &phoenix.HeartbeatTimeout{Timeout: time.Second}},
		{Topic: "t", Detail: &phoenix.Joining{Attempt: 1}},
		{Topic: "t", Detail: &phoenix.Joined{Took: time.Second}},
		{Topic: "t", Detail: &phoenix.Joined{Rejoin: true, Gap: time.Second}},
		{Topic: "t", Detail: &phoenix.Live{Took: time.Second}},
		{Topic: "t", Detail: &phoenix.Gap{Reason: phoenix.GapReplay, Gap: time.Second}},
		{Topic: "t", Detail: &phoenix.JoinError{Reason: phoenix.JoinTimeout, Retry: phoenix.Retry{Will: true, In: time.Second}}},
		{Topic: "t", Detail: &phoenix.Left{}},
		{Topic: "t", Detail: &phoenix.Closed{}},
		{Topic: "t", Detail: &phoenix.Errored{Reason: phoenix.ErroredCrash, Retry: phoenix.Retry{Will: true}}},
		// Output, and no lines of the log.
		{Topic: "t", Detail: &phoenix.Message{}},
		{Topic: "t", Detail: &phoenix.PushReply{}},
	}
	want := `phx: connecting uri=ws://h attempt=1
phx: connected connect_ms=1000 session=1
phx: disconnected reason=eof detail="evil x" will_reconnect=true
phx: disconnected reason=closed_by_us will_reconnect=false
phx: waiting to connect again delay_ms=1000 attempt=1 max_attempts=10
phx: no more attempts to connect attempts=10
phx: heartbeat rtt_us=1000
phx: no answer to a heartbeat timeout_ms=1000
phx: no answer to a heartbeat socket=2 timeout_ms=1000
phx: joining topic=t attempt=1
phx: joined topic=t join_ms=1000
phx: joined again topic=t gap_ms=1000
phx: live topic=t took_ms=1000
phx: messages may be missing topic=t gap_ms=1000 reason=replay_incomplete
phx: join failed topic=t reason=timeout retry_in_ms=1000
phx: left topic=t
phx: the server closed the channel topic=t
phx: the channel was lost topic=t reason=phx_error
`
	var out bytes.Buffer
	log := newLogger(&out, loggingOptions{Verbose: true}, slog.LevelWarn)
	for i := range events {
		logLifecycle(log, &events[i], intervalFlag)
	}
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestTrace(t *testing.T) {
	frames := []phoenix.TraceFrame{
		{Out: true, Kind: "text", Data: []byte(`["1","1","room:a","phx_join",{"token":"secret"}]`)},
		{Out: true, Kind: "text", Data: []byte(`{"topic":"room:a","event":"phx_join","payload":{"token":"secret"},"ref":"1"}`)},
		{Out: true, Kind: "text", Data: []byte(`["1","2","room:a","access_token",{"access_token":"secret"}]`)},
		{Out: true, Kind: "text", Data: []byte(`not json secret`)},
		{Out: true, Kind: "text", Data: []byte(`["1","3","room:a","echo",{"body":"hi"}]`)},
		{Out: true, Kind: "text", Data: []byte(`{"topic":"room:a","event":"echo","payload":{},"ref":"1"}`)},
		{Kind: "text", Data: []byte("[null,null,\"room:a\",\"phx_join\",\"\x7f\"]")},
		{Kind: "binary", Data: []byte{0, 'a', 0x1b}},
	}
	want := `phx: > text ["1","1","room:a","phx_join","(not shown)"]
phx: > text {"event":"phx_join","payload":"(not shown)","ref":"1","topic":"room:a"}
phx: > text ["1","2","room:a","access_token","(not shown)"]
phx: > text "(not shown)"
phx: > text ["1","3","room:a","echo",{"body":"hi"}]
phx: > text {"topic":"room:a","event":"echo","payload":{},"ref":"1"}
phx: < text [null,null,"room:a","phx_join","\x7f"]
phx: < binary \x00a\x1b
`
	var text, asJSON bytes.Buffer
	traceText, traceJSON := newTracer(&text, loggingOptions{}, ""), newTracer(&asJSON, loggingOptions{Format: logJSON}, "")
	for _, f := range frames {
		traceText(f)
		traceJSON(f)
	}
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
	if strings.Contains(asJSON.String(), "secret") || strings.Count(asJSON.String(), "\n") != len(frames) {
		t.Errorf("as JSON:\n%s", asJSON.String())
	}
	for line := range strings.Lines(asJSON.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}
