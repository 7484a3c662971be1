package systemtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryExitCodeHasAScript compares the table of `phx help exit-codes` with what the scripts have programs end with.
func TestEveryExitCodeHasAScript(t *testing.T) {
	claimed := claimedEnds(t)
	rows := exitCodeRows(t)
	if len(rows) < 20 {
		t.Fatalf("the table has only %d rows", len(rows))
	}
	for _, row := range rows {
		end := row.code
		if strings.HasPrefix(row.name, "SIG") {
			end = row.name // a real death, not an exit code
		}
		if !claimed[end] {
			t.Errorf("no script has phx end with %s (%s): want a line `exits %s phx ...` or `ends JOB %s`", end, row.name, end, end)
		}
		delete(claimed, end)
	}
	delete(claimed, "SIGKILL") // nobody ends by it but by somebody else's hand
	for end := range claimed {
		t.Errorf("the scripts have phx end with %s, which is not in the table", end)
	}
}

type exitCodeRow struct{ code, name string }

var exitCodeRowPattern = regexp.MustCompile(`(?m)^ +(\d+)  (\S+) +\S`)

// exitCodeRows are the rows of `phx help exit-codes`.
func exitCodeRows(t *testing.T) []exitCodeRow {
	t.Helper()
	var rows []exitCodeRow
	for _, match := range exitCodeRowPattern.FindAllStringSubmatch(phxOutput(t, "help", "exit-codes"), -1) {
		rows = append(rows, exitCodeRow{match[1], match[2]})
	}
	return rows
}

// claimPatterns find how a script has phx end. A pipeline shows a death by a signal as 128 and its number, and claims nothing.
var claimPatterns = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^exits (\S+) phx `),
	regexp.MustCompile(`(?m)^ends \S+ (\S+)$`),
	regexp.MustCompile(`(?m)^pipe \S+ (\d\d?)$`),
}

// execPattern finds a plain `exec phx`, which claims 0.
var execPattern = regexp.MustCompile(`(?m)^exec phx `)

// claimedEnds are the exit codes and signals that scripts check.
func claimedEnds(t *testing.T) map[string]bool {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join(root, "testdata/script/*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	claimed := map[string]bool{}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s does not begin with a comment that says what it shows", script)
		}
		for _, pattern := range claimPatterns {
			for _, match := range pattern.FindAllStringSubmatch(string(text), -1) {
				claimed[match[1]] = true
			}
		}
		if execPattern.Match(text) {
			claimed["0"] = true
		}
	}
	return claimed
}

// TestREADMEExitCodes compares the exit codes that the README names in a table with those that there are.
func TestREADMEExitCodes(t *testing.T) {
	named := regexp.MustCompile(`(?m)^\| *(\d+) *\|`).FindAllStringSubmatch(docPages(t)["README.md"], -1)
	if named == nil {
		return // there is no such table: the README points to `phx help exit-codes`
	}
	known := map[string]bool{}
	for _, row := range exitCodeRows(t) {
		known[row.code] = true
	}
	for _, row := range named {
		if !known[row[1]] {
			t.Errorf("the README explains exit code %s, which there is not", row[1])
		}
		delete(known, row[1])
	}
	for code := range known {
		t.Errorf("the README's table lacks exit code %s", code)
	}
}
