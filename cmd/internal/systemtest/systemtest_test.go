// Package systemtest has the tests of the whole: phx serve under load, in trouble and under systemd, the README and docs, the table of exit
// codes, the imports, and a real Phoenix server.
package systemtest

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "phx/cmd" // what the tests run: a result is not from the cache when it is another binary
	"phx/cmd/phxtest"
)

// root is the top of the repository.
const root = "../../.."

func TestMain(m *testing.M) {
	os.Exit(phxtest.Main(m.Run))
}

// long skips a test where -short asks for it: `make full` runs all.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short; make full runs it")
	}
}

// binary returns the path of the binary under test.
func binary(t *testing.T) string {
	t.Helper()
	path, err := phxtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// phxOutput runs phx with the arguments and returns its stdout.
func phxOutput(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	cmd.Env = append(os.Environ(), phxtest.RaceOptions)
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("phx %v: %v", args, err)
	}
	return string(output)
}

func sendSignal(t *testing.T, cmd *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd waits for the end of phx serve.
func awaitEnd(t *testing.T, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(phxtest.Patience):
		t.Fatal("phx serve does not end")
	}
}

// value returns that of a series, 0 if there is none.
func value(t *testing.T, metrics, series string) float64 {
	t.Helper()
	for line := range strings.Lines(metrics) {
		text, ok := strings.CutPrefix(line, series+" ")
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			t.Errorf("the metrics have a number that is none: %s", line)
		}
		return n
	}
	return 0
}
