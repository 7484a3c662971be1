package systemtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestScriptsSayWhatTheyShow: each begins with a comment.
func TestScriptsSayWhatTheyShow(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(root, "testdata/script/*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s does not begin with a comment that says what it shows", script)
		}
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
