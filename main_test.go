package main_test

import (
	"flag"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	_ "phx/cmd" // what the scripts run: a result is not from the cache when it is another binary
	"phx/cmd/phxtest"
)

// update rewrites what scripts compare with, in place of comparing.
var update = flag.Bool("update", false, "rewrite the files that scripts compare with")

func TestMain(m *testing.M) {
	os.Exit(phxtest.Main(m.Run))
}

// TestScripts runs every script in testdata/script, one behaviour a file, with the real binary. Package phxtest explains the
// commands that scripts have beside testscript's own.
func TestScripts(t *testing.T) {
	params, err := phxtest.Params("testdata/script")
	if err != nil {
		t.Fatal(err)
	}
	params.UpdateScripts = *update
	if flag.Lookup("test.run").Value.String() == "" {
		t.Cleanup(func() { checkExitCodes(t) })
	}
	testscript.Run(t, params)
}

// exitCodeRow is a row of `phx help exit-codes`.
var exitCodeRow = regexp.MustCompile(`(?m)^ +(\d+)  (\S+) +\S`)

// checkExitCodes compares how phx has ended in all scripts with what `phx help exit-codes` says: no more and no less.
func checkExitCodes(t *testing.T) {
	binary, err := phxtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	page, err := exec.Command(binary, "help", "exit-codes").Output()
	if err != nil {
		t.Fatal(err)
	}
	ended := phxtest.Ends()
	delete(ended, "SIGKILL") // which a script has sent
	rows := exitCodeRow.FindAllStringSubmatch(string(page), -1)
	if len(rows) < 20 {
		t.Errorf("the page has %d rows: %s", len(rows), page)
	}
	for _, row := range rows {
		end := row[1]
		if strings.HasPrefix(row[2], "SIG") {
			end = row[2] // a real death, not an exit code
		}
		if ended[end] == "" {
			t.Errorf("phx has ended with %s (%s) in no script", end, row[2])
		}
		delete(ended, end)
	}
	for end, script := range ended {
		t.Errorf("%s: phx ended with %s, which is not in the table", script, end)
	}
}

// longPollScripts are those of the commands that connect, and of what these do on the wire.
var longPollScripts = []string{
	"connect*", "join*", "push*", "listen*", "binary", "ending_*", "gap_*", "idle_timeout", "on_join*", "origin", "params_and_headers",
	"pause_*", "payload_*", "presence_*", "proxy*", "ready_*", "secrets*", "supabase_p*", "tls*", "unix_socket", "vsn1*",
}

// TestScriptsByLongPoll runs scripts once more, with long poll in place of WebSockets. What is about a WebSocket itself is left out by
// the condition [longpoll], with a reason.
func TestScriptsByLongPoll(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short; make full runs it")
	}
	params, err := phxtest.LongPollParams("testdata/script", longPollScripts...)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, params)
}

// signalScripts are some scripts in which a signal ends phx, or has it do something.
var signalScripts = []string{"join_stay", "listen_interrupted", "listen_nohup", "push_interrupted", "push_reader_gone", "serve_end", "serve_reload"}

// TestScriptsWithIgnoredSignals runs scripts in a process that has been started with signals ignored, as under nohup or in the
// background of a script: the programs that a script runs have the default action all the same.
func TestScriptsWithIgnoredSignals(t *testing.T) {
	binary, err := phxtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `trap "" HUP INT QUIT PIPE TERM; exec "$0" "$@"`, os.Args[0],
		"-test.v", "-test.run=^TestScripts$/^("+strings.Join(signalScripts, "|")+")$")
	cmd.Env = append(os.Environ(), "PHX_BINARY="+binary)
	output, err := cmd.CombinedOutput()
	if passed := strings.Count(string(output), "--- PASS: TestScripts/"); err != nil || passed != len(signalScripts) {
		t.Errorf("%d of %d passed: %v\n%s", passed, len(signalScripts), err, output)
	}
}
