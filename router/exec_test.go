//go:build unix

package router_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"phx/router"
)

// childMode is the variable that makes a program to be fed of the test binary.
const childMode = "ROUTER_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		os.Exit(childModes[mode](bufio.NewReader(os.Stdin)))
	}
	os.Exit(m.Run())
}

// childModes are programs. They append what they read to the file that is their only argument, and
// return an exit code.
var childModes = map[string]func(in *bufio.Reader) int{
	"copy": func(in *bufio.Reader) int {
		text, _ := io.ReadAll(in)
		return keep(string(text))
	},
	// one reads one line, and fails after the second.
	"one": func(in *bufio.Reader) int {
		line, _ := in.ReadString('\n')
		return 3 + keep(line)
	},
	// half reads a part of a long line.
	"half": func(in *bufio.Reader) int {
		if before, _ := os.ReadFile(os.Args[1]); len(before) > 0 {
			text, _ := io.ReadAll(in)
			return keep(string(text))
		}
		part := make([]byte, 100)
		_, _ = io.ReadFull(in, part)
		return 3 + keep("half\n")
	},
	// closed does not want its input, but does not end.
	"closed": func(*bufio.Reader) int {
		keep("closed\n")
		os.Stdin.Close()
		select {}
	},
	// stuck does nothing, not even end.
	"stuck": func(*bufio.Reader) int {
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("up")
		select {}
	},
	// serve drains into a program of its own until it is killed.
	"serve": func(*bufio.Reader) int {
		os.Unsetenv(childMode)
		d := router.NewExecDrain(router.ExecOptions{Command: []string{
			"/bin/sh", "-c", `echo up >"$1"; exec sleep 1000 >"$1"`, "sh", os.Args[1],
		}})
		_ = d.Run(context.Background(), newSource().Queue)
		return 0
	},
}

func keep(text string) int {
	f, err := os.OpenFile(os.Args[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 100
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return 101
	}
	return 0
}

// newChild returns a drain into a mode of the test binary, the file to which that appends, and the
// log.
func newChild(t *testing.T, mode string, grace time.Duration) (d *router.ExecDrain, out string, book *logBook) {
	t.Setenv(childMode, mode)
	out = filepath.Join(t.TempDir(), "out")
	log, book := newLog()
	return router.NewExecDrain(router.ExecOptions{Command: []string{os.Args[0], out}, Logger: log, Grace: grace}), out, book
}

func TestExecGetsAllLines(t *testing.T) {
	d, out, book := newChild(t, "copy", 0)
	if err := d.Open(); err != nil {
		t.Errorf("Open: %v", err)
	}
	s := newSource()
	lines := longLines(300) // more than a pipe holds
	s.put(t, 1, lines...)
	s.CloseInput(nil)
	if err := d.Run(t.Context(), s.Queue); err != nil {
		t.Errorf("Run: %v", err)
	}
	wantFile(t, out, strings.Join(lines, "\n")+"\n")
	s.wantCounted(t, 300, 0)
	if logged := book.String(); logged != "" {
		t.Errorf("logged %s", logged)
	}
}

// A program that ends is started again, also when nothing but what waits is left of the input.
func TestExecIsStartedAgain(t *testing.T) {
	d, out, book := newChild(t, "one", 0)
	s := newSource()
	s.put(t, 1, "first")
	ended := running(t.Context(), d, s.Queue)
	book.waitFor(t, "exit status 3")
	s.put(t, 2, "second")
	s.CloseInput(nil)
	if err := ended(); err != nil {
		t.Errorf("Run: %v", err)
	}
	wantFile(t, out, "first\nsecond\n")
	s.wantCounted(t, 2, 0)
	wantContains(t, "the log", book.String(), "level=WARN", "the program has ended; it is started again")
}

// When the input has ended and nothing is left, no program is started to find that out.
func TestExecIsNotStartedForNothing(t *testing.T) {
	d, out, book := newChild(t, "one", 0)
	s := newSource()
	s.put(t, 1, "first")
	ended := running(t.Context(), d, s.Queue)
	book.waitFor(t, "exit status 3")
	s.CloseInput(nil)
	if err := ended(); err != nil {
		t.Errorf("Run: %v", err)
	}
	wantFile(t, out, "first\n")
}

// A line that the end of a program cut off is written whole to the next.
func TestExecDiesInTheMiddleOfALine(t *testing.T) {
	d, out, _ := newChild(t, "half", 0)
	s := newSource()
	long := strings.Repeat("x", 1<<19)
	s.put(t, 1, long, "short")
	s.CloseInput(nil)
	if err := d.Run(t.Context(), s.Queue); err != nil {
		t.Errorf("Run: %v", err)
	}
	wantFile(t, out, "half\n"+long+"\nshort\n")
	s.wantCounted(t, 2, 0)
}

// What a program leaves unread in its pipe is given to the next one, also at the end of the input.
func TestExecReadsAllInTurns(t *testing.T) {
	for name, text := range map[string]string{
		"a line each":     `read -r a; echo "$a" >> got; exit 0`,
		"a line and more": `read -r a; echo "$a" >> got; head -c 3 >/dev/null; exit 0`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, _ := script(t, dir, text)
			s := newSource()
			ended := running(t.Context(), d, s.Queue)
			var lines []string
			for i := range 10 {
				lines = append(lines, fmt.Sprintf("signal %d", i))
				s.put(t, uint64(i+1), lines[i])
			}
			s.CloseInput(nil)
			if err := ended(); err != nil {
				t.Errorf("Run: %v", err)
			}
			wantFile(t, filepath.Join(dir, "got"), strings.Join(lines, "\n")+"\n")
			s.wantCounted(t, 10, 0)
		})
	}
}

// What no program reads is not delivered, though the pipe has taken it.
func TestExecReadsNothing(t *testing.T) {
	for name, text := range map[string]string{
		"it ends":              `echo up >&2`,
		"it stays":             `echo up >&2; exec sleep 1000`,
		"another has its pipe": `exec 3<&0; sleep 1000 <&3 3<&- & echo up >&2`,
	} {
		t.Run(name, func(t *testing.T) {
			d, book := script(t, t.TempDir(), text)
			s := newSource()
			s.put(t, 1, "first", "second")
			ctx, cancel := context.WithCancelCause(t.Context())
			ended := running(ctx, d, s.Queue)
			book.waitFor(t, "up")
			s.wantCounted(t, 0, 0)
			cause := errors.New("cause")
			cancel(cause)
			if err := ended(); err != cause {
				t.Errorf("Run: %v", err)
			}
			s.Abort(cause)
			s.wantCounted(t, 0, 2)
		})
	}
}

// A program that closes its input is ended, and another one started.
func TestExecClosesItsInput(t *testing.T) {
	d, out, book := newChild(t, "closed", time.Millisecond)
	s := newSource()
	s.put(t, 1, longLines(300)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := running(ctx, d, s.Queue)
	book.waitFor(t, "signal: terminated")
	cancel()
	if err := ended(); err != context.Canceled {
		t.Errorf("Run: %v", err)
	}
	if got, err := os.ReadFile(out); err != nil || !strings.HasPrefix(string(got), "closed\n") {
		t.Errorf("the file has %q, %v", got, err)
	}
	if d, l := s.origin.Delivered.Load(), s.origin.Dropped.Load(); l == 0 || d+l != 300 {
		t.Errorf("%d records count as delivered, %d as dropped", d, l)
	}
}

// A program that neither reads nor ends is killed.
func TestExecIsKilled(t *testing.T) {
	for _, atEnd := range []bool{false, true} {
		d, _, book := newChild(t, "stuck", time.Millisecond)
		s := newSource()
		s.put(t, 1, "first")
		if atEnd {
			s.CloseInput(nil) // it may take its time, until ctx ends
		} else {
			s.put(t, 2, longLines(300)...)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := running(ctx, d, s.Queue)
		book.waitFor(t, "up")
		cause := errors.New("cause")
		cancel(cause)
		err := ended()
		wantContains(t, "the log", book.String(), "did not end in time; it is killed")
		if err != cause {
			t.Errorf("Run: %v, want %v", err, cause)
		}
		s.Abort(err)
		s.wantCounted(t, 0, map[bool]uint64{false: 301, true: 1}[atEnd]) // it has read nothing
	}
}

func TestExecCannotBeStarted(t *testing.T) {
	for _, test := range []struct {
		options router.ExecOptions
		want    string
	}{
		{router.ExecOptions{}, "the command is empty"},
		{router.ExecOptions{Command: []string{"no-such-program"}}, "not found"},
		{router.ExecOptions{Command: []string{"./no-such-program"}, Dir: t.TempDir()}, "no such file"},
		{router.ExecOptions{Command: []string{t.TempDir()}}, "directory"},
	} {
		log, book := newLog()
		test.options.Logger = log
		d := router.NewExecDrain(test.options)
		if err := d.Open(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Open of %q: %v", test.options.Command, err)
		}
		s := newSource()
		s.put(t, 1, "first")
		ctx, cancel := context.WithCancel(t.Context())
		ended := running(ctx, d, s.Queue)
		if len(test.options.Command) > 0 {
			book.waitFor(t, "the program could not be started; it is tried again")
		}
		cancel()
		if err := ended(); err == nil {
			t.Errorf("Run of %q returned nothing", test.options.Command)
		}
	}
}

// script returns a drain into a shell script.
func script(t *testing.T, dir, text string, args ...string) (*router.ExecDrain, *logBook) {
	log, book := newLog()
	command := append([]string{"/bin/sh", "-c", text, "sh"}, args...)
	return router.NewExecDrain(router.ExecOptions{Command: command, Dir: dir, Hide: func() []string { return []string{"BACKEND_KEY"} }, Logger: log}), book
}

// runToEnd runs a drain with one record.
func runToEnd(t *testing.T, d router.Drain) {
	t.Helper()
	s := newSource()
	s.put(t, 1, "the line")
	s.CloseInput(nil)
	if err := d.Run(t.Context(), s.Queue); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestExecEnvironment(t *testing.T) {
	t.Setenv("PHX_AUTH_TOKEN", "hunter2")
	t.Setenv("PHX_URI", "ws://user:hunter2@example.com")
	t.Setenv("BACKEND_KEY", "hunter2")
	t.Setenv("PHX_OTHER", "kept")
	dir := t.TempDir()
	d, book := script(t, dir, `env; pwd -P; cat >&2; printf unfinished; exit 7`)
	runToEnd(t, d)
	logged := book.String()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	wantContains(t, "the log", logged, "PHX_OTHER=kept", "PWD="+dir, "msg="+real, `msg="the line"`, "msg=unfinished",
		"has failed at the end of its input", "exit status 7")
	wantLacks(t, "the log", logged, "hunter2")
}

// What is found beside the directory in which the program runs is found before it is there.
func TestExecRelativeToItsDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "handle"), []byte("#!/bin/sh\ncat >got\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := router.NewExecDrain(router.ExecOptions{Command: []string{"./handle"}, Dir: dir})
	if err := d.Open(); err != nil {
		t.Errorf("Open: %v", err)
	}
	runToEnd(t, d)
	wantFile(t, filepath.Join(dir, "got"), "the line\n")
}
