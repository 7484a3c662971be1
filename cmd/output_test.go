package cmd

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"phx/cmd/internal/exit"
	"phx/phoenix"
	"phx/signal"
)

// render prints a message of each payload and returns stdout, stderr and what the renderer says at the end.
func render(t *testing.T, o outputOptions, terminal bool, payloads ...string) (stdout, stderr string, result error) {
	t.Helper()
	var out, errs bytes.Buffer
	s := &Streams{OutTerminal: terminal, LookupEnv: func(string) (string, bool) { return "", false }}
	r, err := newRenderer(o, "default", s, newLogger(&errs, loggingOptions{}, slog.LevelWarn))
	if err != nil {
		t.Fatal(err)
	}
	s.Out = &out
	_, printed := startOutput(t.Context(), s, printing{renderer: r, log: r.errors.log, buffer: defaultBuffer})
	for _, payload := range payloads {
		if err := printed.print(&phoenix.Event{Topic: "t", Name: "e", Payload: phoenix.JSON(payload), Detail: &phoenix.Message{}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := printed.finish(); err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), r.result()
}

func TestRenderer(t *testing.T) {
	payload := func(o outputOptions) outputOptions {
		o.Output = recordFormat{Format: signal.FormatPayload, given: true}
		return o
	}
	tests := []struct {
		name     string
		options  outputOptions
		terminal bool
		payloads []string
		want     string
	}{
		{"payload", payload(outputOptions{}), false, []string{`{"b":1.0}`, `"s"`}, "{\"b\":1.0}\n\"s\"\n"},
		{"jq", payload(outputOptions{Filter: ".a"}), false, []string{`{"a":1.0}`, `{"a":"s"}`}, "1.0\n\"s\"\n"},
		{"several results", payload(outputOptions{Filter: ".[]"}), false, []string{`[1,2]`, `[]`, `[3]`}, "1\n2\n3\n"},
		{"raw", payload(outputOptions{Raw: true}), false, []string{`"a\nb\u001b"`, `{"a":"b"}`}, "a\nb\x1b\n{\"a\":\"b\"}\n"},
		{"raw on a terminal", payload(outputOptions{Raw: true, Compact: true, Color: colorNever}), true,
			[]string{`"a\n\tb\u001b[2J\u009b"`}, "a\n\tb\\x1b[2J\\u009b\n"},
		{"raw results", payload(outputOptions{Filter: ".a", Raw: true}), false, []string{`{"a":"b c"}`, `{"a":["b"]}`}, "b c\n[\"b\"]\n"},
		{"signal", outputOptions{Filter: ".type"}, false, []string{`{}`}, "\"phoenix.default.t.e\"\n"},
		{"pretty", payload(outputOptions{Pretty: true}), false, []string{`{"a":1}`}, "{\n  \"a\": 1\n}\n"},
	}
	for _, tt := range tests {
		stdout, stderr, err := render(t, tt.options, tt.terminal, tt.payloads...)
		if stdout != tt.want || stderr != "" || err != nil {
			t.Errorf("%s: got %q, %q, %v; want %q", tt.name, stdout, stderr, err, tt.want)
		}
	}
}

func TestFailingFilterPrintsTheOthers(t *testing.T) {
	stdout, stderr, err := render(t, outputOptions{Output: recordFormat{Format: signal.FormatPayload, given: true}, Filter: ".a.b"}, false,
		`{"a":{"b":1}}`, `{"a":"\u001b"}`, `{"a":{"b":2}}`, `{"a":[]}`)
	if stdout != "1\n2\n" || strings.Count(stderr, "phx: --jq failed on a record: ") != 2 || strings.Contains(stderr, "\x1b") {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	if codeOf(err) != exit.JQRun || err.Error() != "--jq failed on 2 records; all others were printed" {
		t.Errorf("result %v", err)
	}
}

func TestExitStatus(t *testing.T) {
	tests := []struct {
		filter   string
		payloads []string
		want     exit.Code
	}{
		{"", nil, exit.NoOutput},
		{"", []string{"null"}, exit.Failure},
		{"", []string{"false"}, exit.Failure},
		{"", []string{"null", "1"}, exit.OK},
		{"", []string{`"null"`}, exit.OK},
		{"", []string{`0`}, exit.OK},
		{".a", []string{`{"a":true}`, `{"a":false}`}, exit.Failure},
		{".a", []string{`{"a":false}`, `{"a":[]}`}, exit.OK},
		{"empty", []string{`{}`}, exit.NoOutput},
		{".a.b", []string{`{"a":1}`}, exit.JQRun},
	}
	for _, tt := range tests {
		o := outputOptions{Output: recordFormat{Format: signal.FormatPayload, given: true}, Filter: tt.filter, ExitStatus: true}
		if _, _, err := render(t, o, false, tt.payloads...); codeOf(err) != tt.want {
			t.Errorf("%q on %q: %v, want exit code %d", tt.filter, tt.payloads, err, tt.want)
		}
	}
}

func TestOutputSaysWhyItCannotWrite(t *testing.T) {
	s := &Streams{Out: failingWriter{syscall.ENOSPC}, LookupEnv: func(string) (string, bool) { return "", false }}
	r, err := newRenderer(outputOptions{}, "default", s, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	ctx, out := startOutput(t.Context(), s, printing{renderer: r, log: slog.Default(), buffer: defaultBuffer})
	_ = out.print(&phoenix.Event{Payload: phoenix.JSON("1"), Detail: &phoenix.Message{}})
	<-ctx.Done()
	if err := out.finish(); codeOf(err) != exit.Write || codeOf(context.Cause(ctx)) != exit.Write {
		t.Errorf("error %v, cause %v", err, context.Cause(ctx))
	}
}

func TestInterruptedFilterIsNoFailureOfTheRecord(t *testing.T) {
	var printed, errs bytes.Buffer
	s := &Streams{Out: &printed, LookupEnv: func(string) (string, bool) { return "", false }}
	r, err := newRenderer(outputOptions{Filter: "def f: f; f"}, "default", s, newLogger(&errs, loggingOptions{}, slog.LevelWarn))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, out := startOutput(ctx, s, printing{renderer: r, log: slog.Default(), buffer: defaultBuffer})
	if err := out.print(&phoenix.Event{Payload: phoenix.JSON("1"), Detail: &phoenix.Message{}}); err != nil {
		t.Error(err)
	}
	if err := out.finish(); err != nil || printed.Len() > 0 || errs.Len() > 0 || r.result() != nil {
		t.Errorf("printed %q, log %q, %v, result %v", printed.String(), errs.String(), err, r.result())
	}
}

// Of an expression without an end only so much waits as the buffer has room for.
func TestFilterIsHeldUpByAFullBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, stdout := io.Pipe()
		s := &Streams{Out: stdout, LookupEnv: func(string) (string, bool) { return "", false }}
		r, err := newRenderer(outputOptions{Filter: "repeat(1)"}, "default", s, slog.Default())
		if err != nil {
			t.Fatal(err)
		}
		const buffer = 64 << 10
		_, out := startOutput(t.Context(), s, printing{renderer: r, log: slog.Default(), buffer: buffer})
		added := make(chan error, 1)
		go func() { added <- out.print(&phoenix.Event{Payload: phoenix.JSON("1"), Detail: &phoenix.Message{}}) }()
		line, err := bufio.NewReaderSize(reader, 16).ReadString('\n')
		if line != "1\n" || err != nil {
			t.Errorf("read %q, %v", line, err)
		}
		synctest.Wait() // until everybody waits for the reader
		if _, waiting := out.queue.Len(); waiting > buffer {
			t.Errorf("%d bytes wait", waiting)
		}
		reader.CloseWithError(syscall.EPIPE)
		if err := <-added; codeOf(err) != exit.Pipe {
			t.Errorf("the reader has gone: %v", err)
		}
		if err := out.finish(); codeOf(err) != exit.Pipe {
			t.Errorf("at the end: %v", err)
		}
	})
}
