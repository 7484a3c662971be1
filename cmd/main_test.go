package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	ossignal "os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"phx/cmd/internal/exit"
)

func TestUsageErrors(t *testing.T) {
	const uri = "--uri=ws://user:secret@localhost:1/socket?token=secret"
	tests := []struct{ args, stderr string }{
		{"foo", "phx: there is no command \"foo\"\nphx: `phx --help` lists the commands\n"},
		{"conect", "phx: there is no command \"conect\"\nphx: did you mean `phx connect`?\n"},
		{"help nope", "phx: there is no help on \"nope\"\nphx: topics: config, environment, exit-codes, formatting, signals; `phx --help` lists the commands\n"},
		{"help join nope", "phx: there is no help on \"join nope\"\nphx: topics: config, environment, exit-codes, formatting, signals; `phx --help` lists the commands\n"},
		{"--bogus=secret", "phx: there is no option --bogus\nphx: see `phx --help`\n"},
		{"join -zsecret", "phx: there is no option -z\nphx: see `phx join --help`\n"},
		{"join --timeout", "phx: --timeout needs a value\nphx: see `phx join --help`\n"},
		{"join", "phx: there is no TOPIC to join\nphx: for example: phx join room:lobby\n"},
		{"join a a", "phx: the topic \"a\" is given twice\nphx: name each topic once\n"},
		{"connect extra", "phx: phx connect takes no arguments, and \"extra\" is one\nphx: see `phx connect --help`\n"},
		{"version extra", "phx: phx version takes no arguments, and \"extra\" is one\nphx: see `phx version --help`\n"},
		{"version --json=perhaps", "phx: --json \"perhaps\" is neither true nor false\n"},
		{"completion tcsh", "phx: completion wants one shell: bash, zsh, fish, powershell\nphx: for example: phx completion bash\n"},
		{"connect", "phx: there is no URI to connect to\nphx: give one with --uri or in PHX_URI; `phx demo` starts a server to try\n"},
		{"join a " + uri + " --timeout soon", "phx: --timeout \"soon\" is not a duration\nphx: a right one: --timeout 5s\n"},
		{"connect --pretty --compact " + uri, "phx: --pretty contradicts --compact\nphx: leave one of them out\n"},
		{"connect --uri ftp://secret", "phx: the value of --uri has another scheme than ws, wss, http or https\nphx: a right one: --uri ws://localhost:4000/socket\n"},
		{"demo --listen nowhere", "phx: --listen \"nowhere\" is not HOST:PORT\nphx: a right one: --listen 127.0.0.1:4000\n"},
		{"demo --listen localhost:http", "phx: --listen \"localhost:http\" has a port that is not a number up to 65535\nphx: a right one: --listen 127.0.0.1:4000\n"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			r := phx(t, strings.Fields(tt.args)...)
			r.want(t, exit.Usage, tt.stderr)
			if r.out.String() != "" {
				t.Errorf("stdout %q", r.out.String())
			}
		})
	}
	phx(t, "join", "").want(t, exit.Usage, "phx: a topic is empty\nphx: for example: phx join room:lobby\n")
}

func TestHelp(t *testing.T) {
	for args, want := range map[string]string{
		"":                "Commands:\n  completion ",
		"--help":          "Commands:\n  completion ",
		"help":            "Commands:\n  completion ",
		"help connect":    "--max-time TIME",
		"connect -h":      "--max-time TIME",
		"help exit-codes": "  64  join ",
	} {
		r := phx(t, strings.Fields(args)...)
		r.want(t, exit.OK, "")
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("phx %s lacks %q:\n%s", args, want, r.out.String())
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range shells {
		r := phx(t, "completion", shell)
		r.want(t, exit.OK, "")
		if !strings.Contains(r.out.String(), "phx") {
			t.Errorf("%s: %q", shell, r.out.String())
		}
	}
	r := phx(t, "__complete", "help", "")
	if !strings.Contains(r.out.String(), "exit-codes\n") || !strings.Contains(r.out.String(), "connect\n") {
		t.Errorf("help completes to %q", r.out.String())
	}
	if r := phx(t, "__complete", "help", "connect", ""); strings.Contains(r.out.String(), "exit-codes") {
		t.Errorf("a second topic completes to %q", r.out.String())
	}
}

func TestVersion(t *testing.T) {
	text := phx(t, "version")
	text.want(t, exit.OK, "")
	if !strings.HasPrefix(text.out.String(), "phx ") {
		t.Errorf("%q", text.out.String())
	}
	asJSON := phx(t, "version", "--json")
	asJSON.want(t, exit.OK, "")
	var v versionInfo
	if err := json.Unmarshal([]byte(asJSON.out.String()), &v); err != nil || v.Go == "" || v.OS == "" || v.Arch == "" || v.Version == "" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestVersionInfo(t *testing.T) {
	v := newVersionInfo(&debug.BuildInfo{
		Main: debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-01-01T00:00:00Z"}, {Key: "vcs.modified", Value: "true"},
		},
	})
	if v.Version != "v1.2.3" || v.Revision != "abc" || v.Time != "2026-01-01T00:00:00Z" || !v.Modified {
		t.Errorf("%+v", v)
	}
	if v := newVersionInfo(nil); v.Version != "(devel)" {
		t.Errorf("%+v", v)
	}
}

func TestReport(t *testing.T) {
	silent := &exit.Error{Code: exit.Failure}
	loud := &exit.Error{Code: exit.Join, Message: "evil \x1b[2J\nsecond", Hint: "do this"}
	tests := []struct {
		err          error
		text, asJSON string
	}{
		{silent, "", ""},
		{loud, "phx: evil \\x1b[2J\nphx: second\nphx: do this\n",
			`"level":"ERROR","msg":"evil \u001b[2J\nsecond","hint":"do this","exit_code":64}`},
		{errors.Join(silent, loud, errors.Join(errors.New("other"))), "phx: evil \\x1b[2J\nphx: second\nphx: other\n",
			`"msg":"evil \u001b[2J\nsecond; other","hint":"","exit_code":1}`},
	}
	for _, tt := range tests {
		var text, asJSON bytes.Buffer
		report(&text, tt.err, false, logStyle{})
		report(&asJSON, tt.err, true, logStyle{})
		if text.String() != tt.text {
			t.Errorf("got\n%s\nwant\n%s", text.String(), tt.text)
		}
		if !strings.Contains(asJSON.String(), tt.asJSON) || strings.Count(asJSON.String(), "\n") > 1 {
			t.Errorf("got %s\nwant %s", asJSON.String(), tt.asJSON)
		}
	}
}

// An error whose cause is several joined ones has a message of its own; only what is joined at the top is reported one by one.
func TestReportKeepsTheMessageOfAJoinedCause(t *testing.T) {
	cause := errors.Join(errors.New("first"), errors.New("second"))
	one := &exit.Error{Code: exit.Write, Message: "cannot do it", Hint: "try again", Err: cause}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{one, "phx: cannot do it\nphx: try again\n"},
		{errors.Join(one, errors.Join(errors.New("x"))), "phx: cannot do it\nphx: x\nphx: try again\n"},
		{fmt.Errorf("wrapped: %w", cause), "phx: wrapped: first\nphx: second\n"},
	} {
		var text bytes.Buffer
		report(&text, tt.err, false, logStyle{})
		if text.String() != tt.want {
			t.Errorf("got\n%s\nwant\n%s", text.String(), tt.want)
		}
	}
}

// The signal that ends the process is found behind other failures, too.
func TestKilledBehindAnotherFailure(t *testing.T) {
	failed := &exit.Error{Code: exit.Channel, Message: "lost"}
	err := fmt.Errorf("wrapped: %w", errors.Join(failed, exit.Killed(syscall.SIGTERM)))
	if sig, ok := killed(err); !ok || sig != syscall.SIGTERM {
		t.Errorf("%v, %v", sig, ok)
	}
	if _, ok := killed(failed); ok || codeOf(err) != exit.Channel {
		t.Errorf("exit code %d", codeOf(err))
	}
}

// A failingWriter is an output that cannot be written.
type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestOutputThatCannotBeWritten(t *testing.T) {
	for _, args := range []string{"version", "version --json", "completion bash", "help exit-codes"} {
		for err, code := range map[error]exit.Code{syscall.ENOSPC: exit.Write, syscall.EPIPE: exit.Pipe} {
			var stderr bytes.Buffer
			var died syscall.Signal
			s := &Streams{In: strings.NewReader(""), Out: failingWriter{err}, Err: &stderr, LookupEnv: func(string) (string, bool) { return "", false }}
			got := exit.Code(run(t.Context(), strings.Fields(args), s, func(sig syscall.Signal) { died = sig }))
			if got != code || (died == syscall.SIGPIPE) != (code == exit.Pipe) {
				t.Errorf("%s, %v: exit code %d, died of %v", args, err, got, died)
			}
		}
	}
}

func TestSystemStreams(t *testing.T) {
	s := SystemStreams()
	if s.In == nil || s.Out == nil || s.Err == nil || s.LookupEnv == nil {
		t.Errorf("%+v", s)
	}
}

// kill sends a signal to the test itself, which has to be watching for it.
func kill(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

func TestFirstSignalEndsTheContextSecondIsImmediate(t *testing.T) {
	for _, sig := range endingSignals {
		died := make(chan syscall.Signal, 1)
		ctx, stop := interruptible(t.Context(), func(sig syscall.Signal) { died <- sig }, nil, endingSignals...)
		kill(t, sig)
		<-ctx.Done()
		if got, ok := killed(context.Cause(ctx)); !ok || got != sig {
			t.Errorf("cause %v, want %v", context.Cause(ctx), sig)
		}
		kill(t, sig)
		if got := <-died; got != sig {
			t.Errorf("died of %v, want %v", got, sig)
		}
		stop()
	}
}

func TestStoppedWatchEndsItsContext(t *testing.T) {
	ctx, stop := interruptible(t.Context(), func(syscall.Signal) { t.Error("died") }, nil, endingSignals...)
	stop()
	if ctx.Err() == nil {
		t.Error("the context goes on")
	}
	if _, ok := killed(context.Cause(ctx)); ok {
		t.Error("a stop counts as a signal")
	}
}

func TestIgnoredSignalStaysIgnored(t *testing.T) {
	ossignal.Ignore(syscall.SIGHUP)
	defer ossignal.Reset(syscall.SIGHUP)
	ctx, stop := interruptible(t.Context(), func(syscall.Signal) { t.Error("died") }, nil, endingSignals...)
	defer stop()
	kill(t, syscall.SIGHUP)
	kill(t, syscall.SIGTERM)
	<-ctx.Done()
	if sig, _ := killed(context.Cause(ctx)); sig != syscall.SIGTERM {
		t.Errorf("ended by %v", sig)
	}
}
