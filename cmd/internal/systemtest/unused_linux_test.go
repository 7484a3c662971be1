package systemtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"phx/cmd/phxtest"
	"phx/phoenix/phoenixtest"
)

// engines are the parts of phx serve that cost nothing as long as the config does not name them, by what a stack shows of each.
var engines = map[string]*regexp.Regexp{
	"nats":   regexp.MustCompile(`nats-io/|internal/natslink\.`),
	"leases": regexp.MustCompile(`internal/lease\.|serve\.\(\*Bridge\)\.takeCursors`),
	"spool":  regexp.MustCompile(`go\.etcd\.io/bbolt|router\.\(\*SpoolDrain\)`),
}

// TestUnusedEngines: without nats, spool and cluster in its config, phx serve runs no goroutine of them, and has no file of them open. With them
// it does, so that the test sees them.
func TestUnusedEngines(t *testing.T) {
	app := phoenixtest.NewServer(phoenixtest.Demo())
	t.Cleanup(app.Close)
	config := fmt.Sprintf("connections:\n  backend: {uri: %q, auto_join_channels: [room:news]}\nsinks:\n  hook: {webhook: {url: \"http://127.0.0.1:1/\"}", app.URL)
	without := startServe(t, config+"}\nroutes: [{to: hook}]\n", nil)
	without.awaitReady(t)
	if files := without.files(t); strings.Contains(files, ".spool") {
		t.Errorf("a serve without a spool has open\n%s", files)
	}
	stacks := without.goroutines(t)
	for engine, seen := range engines {
		if stack := seen.FindString(stacks); stack != "" {
			t.Errorf("a serve without %s runs %s", engine, stack)
		}
	}

	spool := t.TempDir()
	with := startServe(t, config+fmt.Sprintf(", spool: {dir: %q}}\nroutes: [{to: hook}]\nnats: {urls: [\"nats://127.0.0.1:1\"]}\ncluster: {leases: phx}\n", spool), nil)
	with.await(t, func() (bool, string) {
		files := with.files(t)
		return strings.Contains(files, filepath.Join(spool, "hook.spool")) && strings.Contains(with.log.String(), "the leases cannot be kept in NATS"), files
	})
	stacks = with.goroutines(t)
	for engine, seen := range engines {
		if !seen.MatchString(stacks) {
			t.Errorf("a serve with %s does not run it", engine)
		}
	}
}

// files returns what the process has open, a line each.
func (s *served) files(t *testing.T) string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for _, e := range entries {
		if path, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // it may be closed by now
			fmt.Fprintln(&list, path)
		}
	}
	return list.String()
}

// goroutines ends the process, and returns the stacks of its goroutines.
func (s *served) goroutines(t *testing.T) string {
	t.Helper()
	sendSignal(t, s.cmd, syscall.SIGQUIT)
	awaitEnd(t, s.ended)
	_, stacks, told := strings.Cut(s.log.String(), "SIGQUIT: quit")
	if !told || !strings.Contains(stacks, "internal/serve.(*Bridge)") {
		t.Fatal("it does not tell of its goroutines")
	}
	return stacks
}

// TestVersionLoadsNothing: what is linked for NATS and spools is set up when it is used. At the start of a command it takes some variables,
// and no more.
func TestVersionLoadsNothing(t *testing.T) {
	cmd := exec.Command(binary(t), "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^init (\S+) .*, (\d+) bytes, (\d+) allocs$`).FindAllStringSubmatch(trace.String(), -1)
	ours := regexp.MustCompile(`nats-io/|etcd\.io/|^phx/cmd/internal/(natslink|lease|resume)$|^encoding/gob$`)
	bytes, allocs := 0, 0
	for _, line := range lines {
		if !ours.MatchString(line[1]) {
			continue
		}
		size, _ := strconv.Atoi(line[2]) // it is digits
		n, _ := strconv.Atoi(line[3])
		bytes, allocs = bytes+size, allocs+n
	}
	const mostBytes, mostAllocs = 128 << 10, 1500 // of 76,000 and 940 when this was written
	if len(lines) < 50 || allocs == 0 {
		t.Fatalf("this is no trace of a start:\n%s", trace.String())
	}
	if !phxtest.Race() && (bytes > mostBytes || allocs > mostAllocs) {
		t.Errorf("the start takes %d bytes in %d pieces for NATS and spools, want at most %d and %d", bytes, allocs, mostBytes, mostAllocs)
	}
	t.Logf("%d bytes in %d pieces", bytes, allocs)
}
