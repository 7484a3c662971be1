package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/itchyny/gojq"
	"github.com/rogpeppe/go-internal/testscript"
)

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
		got = endOf(exit.ProcessState)
	}
	if got != args[0] {
		ts.Fatalf("it ended with %s, want %s", got, args[0])
	}
}

// endOf returns how a process ended: its exit code, or the name of the signal that it died of.
func endOf(state *os.ProcessState) string {
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

// signalNames are the signals that scripts send, or expect to end a program.
var signalNames = map[string]syscall.Signal{
	"HUP":  syscall.SIGHUP,
	"INT":  syscall.SIGINT,
	"KILL": syscall.SIGKILL,
	"PIPE": syscall.SIGPIPE,
	"TERM": syscall.SIGTERM,
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
