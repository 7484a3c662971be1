package systemtest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"phx/cmd/phxtest"
)

// The README is tested, so that what it says works as it says it:
//
//   - Each block ```sh is run as one bash script, `bash -eu`, in a directory of its own, with the built phx first in PATH and
//     PHX_URI pointing at a running `phx demo`. It has to exit 0. As at a prompt, a pipeline ends like its last command:
//     under pipefail, a `head` that has enough would fail it.
//   - A block that calls make is checked with `make -n`: CI runs the targets themselves.
//   - A block ```text or ```json that directly follows is what it prints on stdout; `...` stands for anything on one line.
//   - Each --flag that is named anywhere is a flag of some command.

// A readmeBlock is a block of shell commands.
type readmeBlock struct {
	line   int // of the first command
	script string
	// output is what it prints, if the README says so.
	output string
}

var fencePattern = regexp.MustCompile("^```([a-z]*)$")

// readmeBlocks finds the blocks to run.
func readmeBlocks(t *testing.T) []readmeBlock {
	t.Helper()
	var (
		blocks   []readmeBlock
		inside   bool
		language string
		body     strings.Builder
		// follows says that only blank lines stand between the last sh block and here.
		follows bool
		begin   int
	)
	scanner := bufio.NewScanner(bytes.NewReader(readREADME(t)))
	for n := 1; scanner.Scan(); n++ {
		line := scanner.Text()
		fence := fencePattern.FindStringSubmatch(line)
		switch {
		case fence != nil && !inside:
			inside, language, begin = true, fence[1], n+1
			body.Reset()
		case fence != nil:
			inside = false
			if follows && (language == "text" || language == "json") {
				blocks[len(blocks)-1].output = body.String()
			}
			if follows = language == "sh"; follows {
				blocks = append(blocks, readmeBlock{line: begin, script: body.String()})
			}
		case inside:
			body.WriteString(line + "\n")
		case line != "":
			follows = false
		}
	}
	if inside {
		t.Fatalf("README.md:%d: the block has no end", begin)
	}
	return blocks
}

func readREADME(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestREADME(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed: the blocks of the README are not tested")
	}
	blocks := readmeBlocks(t)
	if len(blocks) == 0 {
		t.Fatal("the README has no block of commands")
	}
	for _, block := range blocks {
		t.Run(fmt.Sprintf("line%d", block.line), func(t *testing.T) {
			t.Parallel()
			if makePattern.MatchString(block.script) {
				dryRun(t, block)
				return
			}
			block.run(t)
		})
	}
}

var makePattern = regexp.MustCompile(`(?m)^make (\S+)`)

// dryRun checks that the targets are there.
func dryRun(t *testing.T, block readmeBlock) {
	for _, call := range makePattern.FindAllStringSubmatch(block.script, -1) {
		output, err := exec.Command("make", "-n", "-C", root, call[1]).CombinedOutput()
		if err != nil {
			t.Errorf("make -n %s: %v\n%s", call[1], err, output)
		}
	}
}

// run runs the block beside a demo server of its own: ticks begin at 1.
func (b readmeBlock) run(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	dir := t.TempDir()
	env := append(os.Environ(), "PATH="+filepath.Dir(binary(t))+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+dir, phxtest.RaceOptions)
	cmd := exec.CommandContext(ctx, "bash", "-eu", "-c", b.script)
	cmd.Dir = dir
	cmd.Env = append(env, "PHX_URI="+startDemo(t, env))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// What a block that fails has left in the background ends with it, and would hold its stdout open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	_ = cmd.Cancel() // it fails when nothing is left
	if err != nil {
		t.Fatalf("README.md:%d: %v\n%s\n[stdout]\n%s\n[stderr]\n%s", b.line, err, b.script, stdout.Bytes(), stderr.Bytes())
	}
	if b.output != "" && !outputPattern(b.output).Match(stdout.Bytes()) {
		t.Errorf("README.md:%d: it prints\n%s\nand the README says\n%s", b.line, stdout.Bytes(), b.output)
	}
}

// startDemo starts a demo server that lives as long as the test, and returns its URI.
func startDemo(t *testing.T, env []string) string {
	t.Helper()
	var stderr phxtest.Watched
	cmd := exec.Command(binary(t), "demo", "--listen", "127.0.0.1:0")
	cmd.Env = env
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it fails when the demo has ended already
		_ = cmd.Wait()                       // it died of the signal
	})
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	match, ok := stderr.Await(ctx, regexp.MustCompile(`PHX_URI=(\S+)\n`))
	if !ok {
		t.Fatalf("the demo does not say where it is:\n%s", stderr.String())
	}
	return match[1]
}

// outputPattern makes a pattern of what a block is said to print.
func outputPattern(output string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(output)
	return regexp.MustCompile("^" + strings.ReplaceAll(quoted, regexp.QuoteMeta("..."), ".*") + "$")
}

var flagPattern = regexp.MustCompile("(?:^|[\\s`(/])(--[a-z][a-z-]*)")

// TestREADMEFlags looks for each flag of the README in the help of the commands.
func TestREADMEFlags(t *testing.T) {
	var help strings.Builder
	for _, command := range []string{
		"connect", "join", "push", "listen", "serve", "demo", "version", "config validate", "config show", "config schema",
		"ctl status", "ctl start", "ctl join", "ctl push", "ctl listen",
	} {
		help.WriteString(phxOutput(t, append(strings.Fields(command), "--help")...))
	}
	help.WriteString("--help\n")
	known := map[string]bool{}
	for _, flag := range flagPattern.FindAllStringSubmatch(help.String(), -1) {
		known[flag[1]] = true
	}
	for _, flag := range flagPattern.FindAllStringSubmatch(string(readREADME(t)), -1) {
		if !known[flag[1]] {
			t.Errorf("the README names %s, which no command has", flag[1])
		}
	}
}
