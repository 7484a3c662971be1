package main_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long scripts wait for what has to come. It bounds a test that has failed, and measures nothing.
const patience = time.Minute

// A job is a program that runs in the background of a script.
type job struct {
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdoutPipe     *os.File
	stdout, stderr watched
	// readers are the goroutines that read the output; ended is closed when the process is.
	readers sync.WaitGroup
	ended   chan struct{}
}

// cmdStart starts a job:
//
//	start [-stalled] NAME PROGRAM [ARG...]
//
// Its stdin stays open, see feed and eof. With -stalled nobody reads its stdout, until drain or ends.
func cmdStart(ts *testscript.TestScript, args []string) {
	stalled := len(args) > 0 && args[0] == "-stalled"
	if stalled {
		args = args[1:]
	}
	if len(args) < 2 {
		ts.Fatalf("usage: start [-stalled] NAME PROGRAM [ARG...]")
	}
	startJob(ts, args[0], stalled, args[1:]...)
}

func startJob(ts *testscript.TestScript, name string, stalled bool, command ...string) *job {
	s := sceneOf(ts)
	if s.jobs[name] != nil {
		ts.Fatalf("there is a job %s already", name)
	}
	path := command[0]
	if path == "phx" {
		path = binDir + "/phx"
	}
	j := &job{cmd: exec.Command(path, command[1:]...), ended: make(chan struct{})}
	j.cmd.Dir = ts.MkAbs(".")
	j.cmd.Env = s.environ(ts)
	var err error
	j.stdin, err = j.cmd.StdinPipe()
	ts.Check(err)
	// The pipes are our own: those of exec.Cmd are closed by Wait, whether they have been read or not.
	stdoutR, stdoutW, err := os.Pipe()
	ts.Check(err)
	stderrR, stderrW, err := os.Pipe()
	ts.Check(err)
	j.cmd.Stdout, j.cmd.Stderr, j.stdoutPipe = stdoutW, stderrW, stdoutR
	err = j.cmd.Start()
	stdoutW.Close()
	stderrW.Close()
	ts.Check(err)
	s.jobs[name] = j
	j.readers.Go(func() { j.stderr.readAll(stderrR) })
	if !stalled {
		j.drain()
	}
	go func() {
		_ = j.cmd.Wait() // how it ended is in ProcessState
		close(j.ended)
	}()
	return j
}

// environ is the environment of the script, as far as phx looks at it.
func (s *scene) environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range append(slices.Clone(s.env), "PHX_URI", "DEMO_ADDR", "ID", "PHX_AUTH_TOKEN", "SSL_CERT_FILE", "NO_COLOR", "CLICOLOR_FORCE") {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func nameOf(variable string) string {
	name, _, _ := strings.Cut(variable, "=")
	return name
}

// drain begins to read stdout.
func (j *job) drain() {
	pipe := j.stdoutPipe
	if pipe == nil {
		return
	}
	j.stdoutPipe = nil
	j.readers.Go(func() { j.stdout.readAll(pipe) })
}

// kill ends the job, whatever it is doing.
func (j *job) kill() {
	_ = j.cmd.Process.Kill() // it fails when there is no process any more
	<-j.ended
	j.stdin.Close()
	if j.stdoutPipe != nil {
		j.stdoutPipe.Close()
	}
	j.readers.Wait()
}

// jobOf returns the job that the first argument names.
func jobOf(ts *testscript.TestScript, args []string) *job {
	if len(args) == 0 || sceneOf(ts).jobs[args[0]] == nil {
		ts.Fatalf("there is no such job")
	}
	return sceneOf(ts).jobs[args[0]]
}

// cmdAwait waits until the output of a job matches a regular expression:
//
//	await NAME stdout|stderr REGEXP
func cmdAwait(ts *testscript.TestScript, args []string) {
	j := jobOf(ts, args)
	if len(args) != 3 {
		ts.Fatalf("usage: await NAME stdout|stderr REGEXP")
	}
	j.await(ts, args[1], args[2])
}

// await returns the first match and its groups.
func (j *job) await(ts *testscript.TestScript, stream, expr string) []string {
	re, err := regexp.Compile("(?m)" + expr)
	ts.Check(err)
	output := map[string]*watched{"stdout": &j.stdout, "stderr": &j.stderr}[stream]
	if output == nil {
		ts.Fatalf("there is no stream %s", stream)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	match, ok := output.await(ctx, re)
	if !ok {
		ts.Fatalf("nothing on %s matched %s\n[stdout]\n%s\n[stderr]\n%s", stream, expr, j.stdout.String(), j.stderr.String())
	}
	return match
}

// cmdSignal sends a signal to a job:
//
//	signal NAME HUP|INT|KILL|PIPE|TERM
func cmdSignal(ts *testscript.TestScript, args []string) {
	j := jobOf(ts, args)
	if len(args) != 2 || signalNames[args[1]] == 0 {
		ts.Fatalf("usage: signal NAME HUP|INT|KILL|PIPE|TERM")
	}
	ts.Check(j.cmd.Process.Signal(signalNames[args[1]]))
}

// cmdFeed writes a file to the stdin of a job:
//
//	feed NAME FILE
func cmdFeed(ts *testscript.TestScript, args []string) {
	j := jobOf(ts, args)
	if len(args) != 2 {
		ts.Fatalf("usage: feed NAME FILE")
	}
	_, err := io.WriteString(j.stdin, ts.ReadFile(args[1]))
	ts.Check(err)
}

// cmdEOF closes the stdin of a job.
func cmdEOF(ts *testscript.TestScript, args []string) {
	ts.Check(jobOf(ts, args).stdin.Close())
}

// cmdDrain begins to read the stdout of a job that was started with -stalled.
func cmdDrain(ts *testscript.TestScript, args []string) {
	jobOf(ts, args).drain()
}

// cmdHangup closes the reading end of the stdout of a job that was started with -stalled.
func cmdHangup(ts *testscript.TestScript, args []string) {
	j := jobOf(ts, args)
	if j.stdoutPipe == nil {
		ts.Fatalf("only a job that was started with -stalled can be hung up on")
	}
	ts.Check(j.stdoutPipe.Close())
	j.stdoutPipe = nil
}

// cmdEnds waits for the end of a job:
//
//	ends NAME CODE|SIGNAL
//
// SIGNAL, such as SIGINT, is a real death by it. stdout, stderr, cmp and holds then see the output of the job.
func cmdEnds(ts *testscript.TestScript, args []string) {
	j := jobOf(ts, args)
	if len(args) != 2 {
		ts.Fatalf("usage: ends NAME CODE|SIGNAL")
	}
	j.drain()
	select {
	case <-j.ended:
	case <-time.After(patience):
		ts.Fatalf("%s does not end\n[stdout]\n%s\n[stderr]\n%s", args[0], j.stdout.String(), j.stderr.String())
	}
	j.readers.Wait()
	j.stdin.Close()
	delete(sceneOf(ts).jobs, args[0])
	_, _ = io.WriteString(ts.Stdout(), j.stdout.String())
	_, _ = io.WriteString(ts.Stderr(), j.stderr.String())
	if got := endOf(j.cmd.ProcessState); got != args[1] {
		ts.Fatalf("%s ended with %s, want %s", args[0], got, args[1])
	}
}
