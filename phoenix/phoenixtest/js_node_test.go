package phoenixtest_test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// phoenixJS is where the official JavaScript client is installed, and the scenarios that it plays are.
const phoenixJS = "../../testdata/phoenix_js"

// nodeTimeout is how long a scenario may take on a machine that is busy; most take half a second.
const nodeTimeout = time.Minute

// needNode sees to it that node can run the client.
func needNode(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		lacking(t, err.Error())
	}
	if installed(t) {
		return
	}
	npm := exec.CommandContext(t.Context(), "npm", "ci")
	npm.Dir = phoenixJS
	if output, err := npm.CombinedOutput(); err != nil {
		lacking(t, "npm ci: "+err.Error()+"\n"+string(output))
	}
}

// lacking ends a test that cannot run here. In CI, where everything is there, that is a failure.
func lacking(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip("THE OFFICIAL JAVASCRIPT CLIENT WAS NOT RUN: " + what)
}

// installed tells whether npm has installed what the lock file says. scripts/test asks the same.
func installed(t *testing.T) bool {
	t.Helper()
	want, err := os.Stat(filepath.Join(phoenixJS, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	// npm writes it when everything else is there.
	got, err := os.Stat(filepath.Join(phoenixJS, "node_modules", ".package-lock.json"))
	return err == nil && got.ModTime().After(want.ModTime())
}

// node runs the scenarios' program and returns the lines that it prints; each is also shown to saw, if that is not nil.
func node(t *testing.T, saw func(line string), args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), nodeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{filepath.Join(phoenixJS, "main.mjs")}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
		lines = append(lines, scanner.Text())
		if saw != nil {
			saw(scanner.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("node: %v, context: %v\n%s\n%s", err, ctx.Err(), strings.Join(lines, "\n"), &stderr)
	}
	return lines
}
