//go:build unix

package proc

import (
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"phx/cmd/phxtest"
)

// childEnv tells the test binary to be the process that dies: "signal pid how", where pid is what it takes itself for, and
// how is what it does with the signal before.
const childEnv = "PHX_TEST_DEATH"

func TestMain(m *testing.M) {
	if order := os.Getenv(childEnv); order != "" {
		child(strings.Fields(order))
	}
	phxtest.CatchIgnoredSignals()
	os.Exit(m.Run())
}

func child(order []string) {
	n, _ := strconv.Atoi(order[0])
	pid, _ := strconv.Atoi(order[1])
	sig := syscall.Signal(n)
	if order[2] == "handled" {
		signal.Notify(make(chan os.Signal, 1), sig)
	}
	if pid == 0 {
		Die(sig)
	}
	die(pid, sig)
}

// died runs a child with the order and returns how it ended.
func died(t *testing.T, order string, through ...string) syscall.WaitStatus {
	t.Helper()
	args := append(through, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+order)
	out, err := cmd.CombinedOutput()
	if len(out) > 0 || cmd.ProcessState == nil {
		t.Errorf("the child said %q, %v", out, err)
		return 0
	}
	return cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func TestDieBySignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE, syscall.SIGTERM} {
		for _, how := range []string{"default", "handled"} {
			status := died(t, strconv.Itoa(int(sig))+" 0 "+how)
			if !status.Signaled() || status.Signal() != sig || status.CoreDump() {
				t.Errorf("%v, %s before: wait status %#x, want death by the signal", sig, how, status)
			}
		}
	}
}

func TestDieExitsWhereSignalsDoNotKill(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE, syscall.SIGTERM} {
		if status := died(t, strconv.Itoa(int(sig))+" 1 handled"); status.ExitStatus() != 128+int(sig) {
			t.Errorf("%v as process 1: wait status %#x, want exit %d", sig, status, 128+int(sig))
		}
	}
}

// What was inherited as ignored, as under nohup, the runtime leaves ignored; except SIGPIPE, which it always handles.
func TestDieWhenIgnoredByTheParent(t *testing.T) {
	for sig, want := range map[syscall.Signal]string{
		syscall.SIGHUP: "exit status 129", syscall.SIGINT: "exit status 130", syscall.SIGPIPE: "signal: broken pipe",
	} {
		n := strconv.Itoa(int(sig))
		if got := describe(died(t, n+" 0 default", "sh", "-c", "trap '' "+n+`; exec "$0"`)); got != want {
			t.Errorf("%v, inherited as ignored: %s, want %s", sig, got, want)
		}
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return "exit status " + strconv.Itoa(status.ExitStatus())
}
