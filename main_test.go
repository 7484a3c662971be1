package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The tests of this directory run the real binary, as a process in real pipes, against real servers. PHX_BINARY names the
// binary to test; without it, one is built, with -race if the tests were.

// binDir holds the binary, under the name phx, while the tests run.
var binDir string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	var err error
	if binDir, err = os.MkdirTemp("", "phx-bin-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binDir)
	return m.Run()
}

// provideBinary puts the binary into binDir, once.
var provideBinary = sync.OnceValue(func() error {
	target := filepath.Join(binDir, "phx")
	if given := os.Getenv("PHX_BINARY"); given != "" {
		path, err := filepath.Abs(given)
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("PHX_BINARY: %w", err)
		}
		return os.Symlink(path, target)
	}
	args := []string{"build", "-o", target}
	if builtWithRace() {
		args = append(args, "-race")
	}
	output, err := exec.Command("go", append(args, ".")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, output)
	}
	return nil
})

func builtWithRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// needBinary makes sure that there is a binary in binDir.
func needBinary(t *testing.T) {
	t.Helper()
	if err := provideBinary(); err != nil {
		t.Fatal(err)
	}
}

// phxOutput runs phx with the arguments and returns its stdout.
func phxOutput(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(binDir, "phx"), args...)
	cmd.Env = append(os.Environ(), raceOptions)
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("phx %v: %v", args, err)
	}
	return string(output)
}

// raceOptions make a data race in the binary fail every test that runs into it. The default exit code of the race detector,
// 66, is one of phx's, and its default nap at the exit is a second.
const raceOptions = "GORACE=halt_on_error=1 exitcode=199 atexit_sleep_ms=0"

// scriptDir holds the scripts, one behaviour a file.
const scriptDir = "testdata/script"

// TestScripts runs every script. The commands that they have beside testscript's own are in scriptCommands.
func TestScripts(t *testing.T) {
	needBinary(t)
	testscript.Run(t, testscript.Params{
		Dir:                 scriptDir,
		Setup:               setUpScript,
		Cmds:                scriptCommands,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
	})
}

// scriptCommands are explained where they are defined.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// One program, in the foreground.
	"exits": positive(cmdExits),
	"pipe":  positive(cmdPipe),
	"holds": positive(cmdHolds),
	// Jobs: programs in the background.
	"start":  positive(cmdStart),
	"await":  positive(cmdAwait),
	"signal": positive(cmdSignal),
	"feed":   positive(cmdFeed),
	"eof":    positive(cmdEOF),
	"drain":  positive(cmdDrain),
	"hangup": positive(cmdHangup),
	"ends":   positive(cmdEnds),
	// Who is at the other end.
	"demo":       positive(cmdDemo),
	"serve":      positive(cmdServe),
	"server":     positive(cmdServer),
	"serve-tls":  positive(cmdServeTLS),
	"serve-unix": positive(cmdServeUnix),
	"proxy":      positive(cmdProxy),
	"stranger":   positive(cmdStranger),
}

// positive is for commands that nobody needs to negate.
func positive(run func(ts *testscript.TestScript, args []string)) func(*testscript.TestScript, bool, []string) {
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

func setUpScript(env *testscript.Env) error {
	env.Setenv("PATH", binDir+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Vars = append(env.Vars, raceOptions, "PHX_CONTROL="+filepath.Join(env.WorkDir, "serve.sock"))
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
