//go:build unix

package phxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/itchyny/gojq"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/term"
)

// Params has everything that [testscript.Run] needs for the scripts in dir. They run the binary as phx.
func Params(dir string) (testscript.Params, error) {
	_, err := Binary()
	return testscript.Params{
		Dir:                 dir,
		Setup:               setUp,
		Cmds:                commands(),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Condition:           func(name string) (bool, error) { return conditionOf(false, name) },
	}, err
}

// IgnoredFlag is the variable that names the flag which a mutant of the binary ignores. Scripts pass it on.
const IgnoredFlag = "PHX_IGNORED_FLAG"

// LongPollParams is Params for the scripts whose names match one of the globs, in which phx goes by long poll unless it is told otherwise. The
// condition longpoll holds.
func LongPollParams(dir string, globs ...string) (testscript.Params, error) {
	params, err := Params(dir)
	params.Dir = ""
	for _, glob := range globs {
		files, globErr := filepath.Glob(filepath.Join(dir, glob+".txtar"))
		params.Files, err = append(params.Files, files...), errors.Join(err, globErr)
	}
	params.Setup = func(env *testscript.Env) error {
		env.Setenv("PHX_TRANSPORT", "longpoll")
		return setUp(env)
	}
	params.Condition = func(name string) (bool, error) { return conditionOf(true, name) }
	return params, err
}

// conditionOf is the condition of scripts that run by long poll, or do not.
func conditionOf(longPoll bool, name string) (bool, error) {
	if name != "longpoll" {
		return false, fmt.Errorf("there is no condition %s", name)
	}
	return longPoll, nil
}

// commands are explained where they are defined.
func commands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		// One program, in the foreground.
		"exits": Positive(cmdExits),
		"pipe":  Positive(cmdPipe),
		"holds": Positive(cmdHolds),
		// Jobs: programs in the background.
		"start":    Positive(cmdStart),
		"terminal": Positive(cmdTerminal),
		"resize":   Positive(cmdResize),
		"await":    Positive(cmdAwait),
		"signal":   Positive(cmdSignal),
		"feed":     Positive(cmdFeed),
		"eof":      Positive(cmdEOF),
		"drain":    Positive(cmdDrain),
		"hangup":   Positive(cmdHangup),
		"ends":     Positive(cmdEnds),
		// Who is at the other end.
		"demo":           Positive(cmdDemo),
		"serve":          Positive(cmdServe),
		"server":         Positive(cmdServer),
		"serve-tls":      Positive(cmdServeTLS),
		"serve-unix":     Positive(cmdServeUnix),
		"serve-supabase": Positive(cmdServeSupabase),
		"supabase":       Positive(cmdSupabase),
		"receiver":       Positive(cmdReceiver),
		"nats":           Positive(cmdNATS),
		"proxy":          Positive(cmdProxy),
		"gateway":        Positive(cmdGateway),
		"stranger":       Positive(cmdStranger),
	}
}

// Positive makes a command that nobody needs to negate.
func Positive(run func(ts *testscript.TestScript, args []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command cannot be negated")
		}
		run(ts, args)
	}
}

// A scene is what one script has running.
type scene struct {
	// env is the names of the variables that scripts begin with.
	env     []string
	jobs    map[string]*job
	servers servers
}

type sceneKey struct{}

func sceneOf(ts *testscript.TestScript) *scene { return ts.Value(sceneKey{}).(*scene) }

func setUp(env *testscript.Env) error {
	env.Setenv("PATH", binDir+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Vars = append(env.Vars, RaceOptions, "PHX_CONTROL="+filepath.Join(env.WorkDir, "serve.sock"))
	if flag := os.Getenv(IgnoredFlag); flag != "" {
		env.Vars = append(env.Vars, IgnoredFlag+"="+flag)
	}
	s := &scene{jobs: map[string]*job{}}
	for _, v := range env.Vars {
		s.env = append(s.env, nameOf(v))
	}
	env.Values[sceneKey{}] = s
	env.Defer(s.end)
	return nil
}

// end stops whatever a script has left running.
func (s *scene) end() {
	for _, j := range s.jobs {
		j.kill()
	}
	s.servers.close()
}

// cmdExits runs a program to its end:
//
//	exits CODE PROGRAM [ARG...]
//
// CODE is an exit code. A death by a signal is never taken for the exit code that a shell would show for it. stdout, stderr and
// cmp see the output.
func cmdExits(ts *testscript.TestScript, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	got := "0"
	if exit != nil {
		got = EndOf(exit.ProcessState)
	}
	if args[1] == "phx" {
		noteEnd(got, ts.Name())
	}
	if got != args[0] {
		ts.Fatalf("it ended with %s, want %s", got, args[0])
	}
}

// cmdPipe runs the pipeline in a file with bash:
//
//	pipe FILE CODE...
//
// There is a CODE for each of its programs, as in bash's PIPESTATUS.
func cmdPipe(ts *testscript.TestScript, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: pipe FILE CODE...")
	}
	statusFile := ts.MkAbs("pipestatus")
	text := ts.ReadFile(args[0]) + "\nprintf '%s' \"${PIPESTATUS[*]}\" > " + strconv.Quote(statusFile) + "\n"
	ts.Check(ts.Exec("bash", "-c", text))
	if got, want := ts.ReadFile("pipestatus"), strings.Join(args[1:], " "); got != want {
		ts.Fatalf("the programs of the pipeline exited with %s, want %s", got, want)
	}
}

// cmdHolds checks what is said about a file of JSON values, which may be stdout or stderr:
//
//	holds FILE EXPR
//
// EXPR is jq; it sees the array of all values, and is to yield true.
func cmdHolds(ts *testscript.TestScript, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: holds FILE EXPR")
	}
	text := ts.ReadFile(args[0])
	values, err := parseValues(text)
	if err != nil {
		ts.Fatalf("%s does not hold JSON: %v\n%s", args[0], err, text)
	}
	query, err := gojq.Parse(args[1])
	ts.Check(err)
	result, _ := query.Run(values).Next()
	if err, failed := result.(error); failed {
		ts.Fatalf("%v\n%s", err, text)
	}
	if result != true {
		ts.Fatalf("%s yields %v for\n%s", args[1], result, text)
	}
}

func parseValues(text string) ([]any, error) {
	values := []any{}
	decoder := json.NewDecoder(strings.NewReader(text))
	for {
		var v any
		switch err := decoder.Decode(&v); {
		case errors.Is(err, io.EOF):
			return values, nil
		case err != nil:
			return nil, fmt.Errorf("value %d: %w", len(values), err)
		}
		values = append(values, v)
	}
}

// A job is a program that runs in the background of a script.
type job struct {
	cmd        *exec.Cmd
	stdin      io.WriteCloser
	stdoutPipe *os.File
	// terminal is the far end of the terminal that the job has for its streams; nil: it has pipes.
	terminal       *os.File
	stdout, stderr Watched
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
	j := s.command(ts, command)
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
	j.readers.Go(func() { j.stderr.ReadAll(stderrR) })
	if !stalled {
		j.drain()
	}
	j.watch()
	return j
}

// command returns a job that is still to be started.
func (s *scene) command(ts *testscript.TestScript, command []string) *job {
	path := command[0]
	if path == "phx" {
		path = binDir + "/phx"
	}
	j := &job{cmd: exec.Command(path, command[1:]...), ended: make(chan struct{})}
	j.cmd.Dir = ts.MkAbs(".")
	j.cmd.Env = s.environ(ts)
	return j
}

// watch notes when the process has ended.
func (j *job) watch() {
	go func() {
		_ = j.cmd.Wait() // how it ended is in ProcessState
		close(j.ended)
	}()
}

// cmdTerminal starts a job in a terminal, which is its stdin, stdout and stderr:
//
//	terminal COLUMNS NAME PROGRAM [ARG...]
//
// What it shows is the job's stdout. The terminal is raw: it echoes nothing and translates no line breaks.
func cmdTerminal(ts *testscript.TestScript, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: terminal COLUMNS NAME PROGRAM [ARG...]")
	}
	s, name := sceneOf(ts), args[1]
	if s.jobs[name] != nil {
		ts.Fatalf("there is a job %s already", name)
	}
	far, near, err := pty.Open()
	ts.Check(err)
	defer near.Close()
	_, err = term.MakeRaw(int(near.Fd()))
	ts.Check(err)
	j := s.command(ts, args[2:])
	j.terminal, j.stdin = far, far
	j.resize(ts, args[0])
	j.cmd.Stdin, j.cmd.Stdout, j.cmd.Stderr = near, near, near
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(j.cmd.Start())
	s.jobs[name] = j
	j.readers.Go(func() { _, _ = io.Copy(&j.stdout, far); j.stdout.End(); j.stderr.End() }) // its end is an error on Linux
	j.watch()
}

// cmdResize changes the width of a job's terminal:
//
//	resize NAME COLUMNS
func cmdResize(ts *testscript.TestScript, args []string) {
	j := jobOf(ts, args)
	if len(args) != 2 || j.terminal == nil {
		ts.Fatalf("usage: resize NAME COLUMNS, of a job in a terminal")
	}
	j.resize(ts, args[1])
}

func (j *job) resize(ts *testscript.TestScript, columns string) {
	n, err := strconv.ParseUint(columns, 10, 16)
	ts.Check(err)
	ts.Check(pty.Setsize(j.terminal, &pty.Winsize{Cols: uint16(n), Rows: 50}))
}

// environ is the environment of the script, as far as phx looks at it.
func (s *scene) environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range append(slices.Clone(s.env), "PHX_URI", "PHX_TRANSPORT", "PHX_PROFILE", "SUPABASE_URL", "SUPABASE_KEY", "SUPABASE_TOKEN", "HTTP", "DEMO_ADDR", "RECEIVER_URL", "NATS_URL", "PHX_NATS", "ID", "PHX_AUTH_TOKEN", "PHX_SHARD", "SSL_CERT_FILE", "TERM", "NO_COLOR", "CLICOLOR_FORCE") {
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
	j.readers.Go(func() { j.stdout.ReadAll(pipe) })
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
	output := map[string]*Watched{"stdout": &j.stdout, "stderr": &j.stderr}[stream]
	if output == nil {
		ts.Fatalf("there is no stream %s", stream)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	match, ok := output.Await(ctx, re)
	if !ok {
		ts.Fatalf("nothing on %s matched %s\n[stdout]\n%s\n[stderr]\n%s", stream, expr, j.stdout.String(), j.stderr.String())
	}
	return match
}

// cmdSignal sends a signal to a job:
//
//	signal NAME HUP|INT|KILL|PIPE|TERM|STOP|CONT
func cmdSignal(ts *testscript.TestScript, args []string) {
	j := jobOf(ts, args)
	if len(args) != 2 || signalNames[args[1]] == 0 {
		ts.Fatalf("usage: signal NAME HUP|INT|KILL|PIPE|TERM|STOP|CONT")
	}
	ts.Check(j.cmd.Process.Signal(signalNames[args[1]]))
	if args[1] == "STOP" {
		awaitStopped(ts, j.cmd.Process.Pid)
	}
}

// awaitStopped waits until no thread of a process runs any more (proc(5), the state in stat): SIGSTOP is sent before it takes effect.
// Where there is no /proc, it does not wait.
func awaitStopped(ts *testscript.TestScript, pid int) {
	deadline := time.Now().Add(Patience)
	for {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		ts.Check(err)
		running := slices.ContainsFunc(threads, func(path string) bool {
			stat, _ := os.ReadFile(path) // a thread that has ended runs no more
			_, state, found := bytes.Cut(stat, []byte(") "))
			return found && !bytes.HasPrefix(state, []byte("T"))
		})
		if !running {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("process %d does not stop", pid)
		}
		time.Sleep(time.Millisecond)
	}
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
	// A child of another script has a copy of the pipe from its fork to its exec, and a write in between would succeed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	ts.Check(j.stdoutPipe.Close())
	j.stdoutPipe = nil
}

// cmdEnds waits for the end of a job:
//
//	ends [-stalled] NAME CODE|SIGNAL
//
// SIGNAL, such as SIGINT, is a real death by it. stdout, stderr, cmp and holds then see the output of the job. With -stalled nobody
// reads its stdout before that, and it has a quarter of Patience.
func cmdEnds(ts *testscript.TestScript, args []string) {
	stalled := len(args) > 0 && args[0] == "-stalled"
	patience := Patience
	if stalled {
		args, patience = args[1:], Patience/4
	}
	j := jobOf(ts, args)
	if len(args) != 2 {
		ts.Fatalf("usage: ends [-stalled] NAME CODE|SIGNAL")
	}
	if !stalled {
		j.drain()
	}
	select {
	case <-j.ended:
		j.drain()
	case <-time.After(patience):
		ts.Fatalf("%s does not end\n[stdout]\n%s\n[stderr]\n%s", args[0], j.stdout.String(), j.stderr.String())
	}
	j.readers.Wait()
	j.stdin.Close()
	delete(sceneOf(ts).jobs, args[0])
	_, _ = io.WriteString(ts.Stdout(), j.stdout.String())
	_, _ = io.WriteString(ts.Stderr(), j.stderr.String())
	got := EndOf(j.cmd.ProcessState)
	if j.cmd.Args[0] == filepath.Join(binDir, "phx") {
		noteEnd(got, ts.Name())
	}
	if got != args[1] {
		ts.Fatalf("%s ended with %s, want %s", args[0], got, args[1])
	}
}
