package cmd

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"phx/cmd/internal/exit"
	"phx/cmd/phxtest"
	"phx/phoenix/phoenixtest"
)

// TestMain lets the tests send their own process signals that whoever started it has ignored.
func TestMain(m *testing.M) {
	phxtest.CatchIgnoredSignals()
	os.Exit(m.Run())
}

// A phxRun is one run of phx inside the test: what it is given, and what came of it.
type phxRun struct {
	stdin string
	env   map[string]string
	// terminal says that stdout is one.
	terminal bool

	out, err safeBuffer
	code     exit.Code
	diedOf   syscall.Signal
}

// run runs phx with args.
func (r *phxRun) run(ctx context.Context, args ...string) *phxRun {
	streams := &Streams{
		In: strings.NewReader(r.stdin), Out: &r.out, Err: &r.err, OutTerminal: r.terminal, OutWidth: func() int { return usualWidth },
		LookupEnv: func(name string) (string, bool) {
			value, ok := r.env[name]
			return value, ok
		},
	}
	r.code = exit.Code(run(ctx, args, streams, func(sig syscall.Signal) { r.diedOf = sig }))
	return r
}

// phx runs phx with args, and nothing else.
func phx(t *testing.T, args ...string) *phxRun {
	t.Helper()
	return new(phxRun).run(t.Context(), args...)
}

// want checks exit code and stderr.
func (r *phxRun) want(t *testing.T, code exit.Code, stderr string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	if got := r.err.String(); got != stderr {
		t.Errorf("stderr\n%s\nwant\n%s", got, stderr)
	}
}

// startDemo starts the application of `phx demo` and returns it; its URL is the URI.
func startDemo(t *testing.T) *phoenixtest.Server {
	t.Helper()
	server := phoenixtest.NewServer(phoenixtest.Demo())
	t.Cleanup(server.Close)
	return server
}

// A safeBuffer is a buffer for several goroutines.
type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	// grown, if set, is called after each write.
	grown func(text string)
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.buffer.Write(p)
	if b.grown != nil {
		b.grown(b.buffer.String())
	}
	return n, err
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
