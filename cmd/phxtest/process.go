//go:build unix

// Package phxtest runs the phx binary for tests, as a process in real pipes. [Params] has the commands of the scripts in
// testdata/script.
package phxtest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Patience is how long scripts wait for what has to come. It bounds a test that has failed, and measures nothing.
const Patience = time.Minute

// RaceOptions make a data race in the binary fail every test that runs into it. The default exit code of the race detector,
// 66, is one of phx's, and its default nap at the exit is a second.
const RaceOptions = "GORACE=halt_on_error=1 exitcode=199 atexit_sleep_ms=0"

// binDir holds the binary, under the name phx, while the tests run.
var binDir string

// Main is the TestMain of a package that runs the binary: it calls run, which is that of a [testing.M], and returns the exit code.
func Main(run func() int) int {
	CatchIgnoredSignals()
	var err error
	if binDir, err = os.MkdirTemp("", "phx-bin-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binDir)
	return run()
}

// CatchIgnoredSignals gives every process that is started from now on the default action for each signal. Under nohup, or in the
// background of a script, SIGHUP or SIGINT is ignored, and a child would inherit that; a signal that is caught is the default in a
// child. The Go runtime does this for all other signals.
func CatchIgnoredSignals() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

// Binary returns the path of the binary under test: that of PHX_BINARY or else, built once, one with -race if the tests have it.
// Its name is phx, and its directory has nothing else. Only tests under [Main] can call it.
func Binary() (string, error) {
	return provideBinary()
}

var provideBinary = sync.OnceValues(func() (string, error) {
	target := filepath.Join(binDir, "phx")
	if given := os.Getenv("PHX_BINARY"); given != "" {
		path, err := filepath.Abs(given)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("PHX_BINARY: %w", err)
		}
		return target, os.Symlink(path, target)
	}
	info, _ := debug.ReadBuildInfo() // a test binary of a module has it
	args := []string{"build", "-o", target}
	if Race() {
		args = append(args, "-race")
	}
	output, err := exec.Command("go", append(args, info.Main.Path)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return target, nil
})

// Race reports whether the tests have the race detector.
func Race() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// EndOf returns how a process ended: its exit code, or the name of the signal that it died of.
func EndOf(state *os.ProcessState) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return strconv.Itoa(state.ExitCode())
	}
	for name, sig := range signalNames {
		if sig == status.Signal() {
			return "SIG" + name
		}
	}
	return status.Signal().String()
}

// ends are how phx ended in the scripts that have run, each an exit code or the name of a signal, with one of the scripts.
var ends struct {
	mu sync.Mutex
	by map[string]string
}

// noteEnd notes how phx has ended in a script.
func noteEnd(end, script string) {
	ends.mu.Lock()
	defer ends.mu.Unlock()
	if ends.by == nil {
		ends.by = map[string]string{}
	}
	ends.by[end] = script
}

// Ends returns how phx has ended so far, where a script looked at that with exits or ends: each exit code and name of a signal, with the name of
// one of the scripts.
func Ends() map[string]string {
	ends.mu.Lock()
	defer ends.mu.Unlock()
	return maps.Clone(ends.by)
}

// signalNames are the signals that scripts send, or expect to end a program.
var signalNames = map[string]syscall.Signal{
	"HUP":  syscall.SIGHUP,
	"INT":  syscall.SIGINT,
	"KILL": syscall.SIGKILL,
	"PIPE": syscall.SIGPIPE,
	"TERM": syscall.SIGTERM,
	"STOP": syscall.SIGSTOP,
	"CONT": syscall.SIGCONT,
}

// A Watched is an output that can be waited for.
type Watched struct {
	mu      sync.Mutex
	text    []byte
	atEnd   bool
	changed chan struct{} // closed and replaced at every change; nil while nobody waits
}

// ReadAll takes what comes from a pipe until its end.
func (w *Watched) ReadAll(pipe io.ReadCloser) {
	defer pipe.Close()
	_, _ = io.Copy(w, pipe) // a pipe has no other error than its end
	w.End()
}

// End says that nothing more comes.
func (w *Watched) End() { w.change(func() { w.atEnd = true }) }

// Write implements [io.Writer].
func (w *Watched) Write(p []byte) (int, error) {
	w.change(func() { w.text = append(w.text, p...) })
	return len(p), nil
}

func (w *Watched) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

func (w *Watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}

// Await waits for a match, and returns it with its groups. It gives up at the end of the output and at that of the context.
func (w *Watched) Await(ctx context.Context, re *regexp.Regexp) (match []string, ok bool) {
	for {
		match, changed := w.look(re)
		if match != nil || changed == nil {
			return match, match != nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// look returns the first match, and a channel that is closed when there is more to look at, nil if there never is.
func (w *Watched) look(re *regexp.Regexp) (match []string, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	match = re.FindStringSubmatch(string(w.text))
	if w.atEnd {
		return match, nil
	}
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return match, w.changed
}
