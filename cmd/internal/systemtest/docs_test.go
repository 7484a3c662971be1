package systemtest

import (
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

// The README and the pages in docs are tested, so that what they say works as they say it:
//
//   - Each block ```sh is run as one bash script, `bash -eu`, in a directory of its own, with the built phx first in PATH and
//     PHX_URI, SUPABASE_URL and SUPABASE_KEY pointing at a running `phx demo`. It has to exit 0. As at a prompt, a pipeline ends like its last command:
//     under pipefail, a `head` that has enough would fail it.
//   - A block that calls make is checked with `make -n`: CI runs the targets themselves.
//   - A block ```text or ```json that directly follows is what it prints on stdout; `...` stands for anything on one line.
//   - A block without a language that directly follows is what it says on stderr; 127.0.0.1:4000 stands for the address of the demo.
//   - A block ```yaml is a config file that `phx config validate` accepts.
//   - Commands stand in no other kind of block, and none of them sleeps.
//   - Each --flag that is named anywhere is a flag of some command, and each relative link leads to a file.

// A docBlock is a fenced block of a page.
type docBlock struct {
	page     string
	line     int // the first inside
	language string
	body     string
	// output and messages are what a block of commands prints on stdout and stderr, if the page says so.
	output, messages string
}

func (b docBlock) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// docPages returns the text of each page by its path from the root.
func docPages(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no pages in docs: %v", err)
	}
	pages := map[string]string{}
	for _, path := range append(paths, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		pages[filepath.ToSlash(name)] = string(text)
	}
	return pages
}

var fencePattern = regexp.MustCompile("^```([a-z]*)$")

// docBlocks finds the blocks of a page.
func docBlocks(t *testing.T, page, text string) []docBlock {
	t.Helper()
	var (
		blocks []docBlock
		inside bool
		body   strings.Builder
		// follows says that only blank lines stand between the last block and here.
		follows bool
		current docBlock
	)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		fence := fencePattern.FindStringSubmatch(line)
		switch {
		case fence != nil && !inside:
			inside, current = true, docBlock{page: page, line: n + 1, language: fence[1]}
			body.Reset()
		case fence != nil:
			inside = false
			current.body = body.String()
			if last := len(blocks) - 1; follows && blocks[last].language == "sh" {
				switch current.language {
				case "text", "json":
					blocks[last].output = current.body
				case "":
					blocks[last].messages = current.body
				}
			}
			blocks = append(blocks, current)
			follows = true
		case inside:
			body.WriteString(line + "\n")
		case line != "":
			follows = false
		}
	}
	if inside {
		t.Fatalf("%v: the block has no end", current)
	}
	return blocks
}

// commandPattern finds a command of phx, and not its messages, which begin with "phx: ".
var commandPattern = regexp.MustCompile(`(?m)^\s*(?:\$ )?phx [a-z]`)

var sleepPattern = regexp.MustCompile(`\bsleep\b`)

func TestDocs(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed: the commands of the README are not tested")
	}
	for page, text := range docPages(t) {
		ran := false
		for _, block := range docBlocks(t, page, text) {
			switch {
			case block.language == "yaml":
				t.Run(block.String(), func(t *testing.T) { t.Parallel(); block.validate(t) })
			case block.language != "sh":
				if found := commandPattern.FindString(block.body); found != "" {
					t.Errorf("%v: %q stands in a block %q, which no test runs", block, found, block.language)
				}
				continue
			case makePattern.MatchString(block.body):
				t.Run(block.String(), func(t *testing.T) { dryRun(t, block) })
			default:
				t.Run(block.String(), func(t *testing.T) { t.Parallel(); block.run(t) })
			}
			if sleepPattern.MatchString(block.body) {
				t.Errorf("%v: it sleeps", block)
			}
			ran = true
		}
		if !ran {
			t.Errorf("%s has no block that is tested", page)
		}
	}
}

// validate checks a config file.
func (b docBlock) validate(t *testing.T) {
	cmd := exec.Command(binary(t), "config", "validate", "-f", "-")
	cmd.Stdin = strings.NewReader(b.body)
	cmd.Env = append(os.Environ(), phxtest.RaceOptions)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", b, err, output)
	}
}

var makePattern = regexp.MustCompile(`(?m)^make (\S+)`)

// dryRun checks that the targets are there.
func dryRun(t *testing.T, block docBlock) {
	for _, call := range makePattern.FindAllStringSubmatch(block.body, -1) {
		output, err := exec.Command("make", "-n", "-C", root, call[1]).CombinedOutput()
		if err != nil {
			t.Errorf("make -n %s: %v\n%s", call[1], err, output)
		}
	}
}

// run runs the block beside a demo server of its own: ticks begin at 1.
func (b docBlock) run(t *testing.T) {
	dir := t.TempDir()
	env := scriptEnv(t, dir)
	uri := startDemo(t, env)
	_, address, _ := strings.Cut(strings.TrimSuffix(uri, "/socket"), "://")
	env = append(env, "PHX_URI="+uri, "SUPABASE_URL=http://"+address, "SUPABASE_KEY=sb_publishable_demo")
	stdout, stderr := runBash(t, dir, env, "-eu", "-c", b.body)
	stderr = strings.ReplaceAll(stderr, address, "127.0.0.1:4000")
	if b.messages != "" && !outputPattern(b.messages).MatchString(stderr) {
		t.Errorf("%v: it says on stderr\n%s\nand the page says\n%s", b, stderr, b.messages)
	}
	if b.output != "" && !outputPattern(b.output).MatchString(stdout) {
		t.Errorf("%v: it prints\n%s\nand the page says\n%s", b, stdout, b.output)
	}
}

// scriptEnv is the environment of a script that runs in dir: the built phx is first in PATH, and no config file of the user counts.
func scriptEnv(t *testing.T, dir string) []string {
	t.Helper()
	return append(os.Environ(), "PATH="+filepath.Dir(binary(t))+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+dir, phxtest.RaceOptions)
}

// runBash runs bash to its end, which has to be 0.
func runBash(t *testing.T, dir string, env []string, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := bash(t, dir, env, args...)
	if err != nil {
		t.Fatalf("%v: %v\n[stdout]\n%s\n[stderr]\n%s", args, err, stdout, stderr)
	}
	return stdout, stderr
}

// bash runs bash to its end. What is left in the background is killed.
func bash(t *testing.T, dir string, env []string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", args...)
	cmd.Dir, cmd.Env = dir, env
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	// What a script that fails has left in the background ends with it, and would hold its stdout open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		t.Errorf("%v does not end", args)
	}
	_ = cmd.Cancel() // it fails when nothing is left
	return out.String(), errOut.String(), err
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

// TestDocsFlags looks for each flag of the pages in the help of the commands.
func TestDocsFlags(t *testing.T) {
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
	otherProgram := regexp.MustCompile("`nats [^`]*`")
	for page, text := range docPages(t) {
		text = otherProgram.ReplaceAllString(text, "")
		for _, flag := range flagPattern.FindAllStringSubmatch(text, -1) {
			if !known[flag[1]] {
				t.Errorf("%s names %s, which no command has", page, flag[1])
			}
		}
	}
}

var linkPattern = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)

func TestDocsLinks(t *testing.T) {
	for page, text := range docPages(t) {
		for _, link := range linkPattern.FindAllStringSubmatch(text, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), link[1])); err != nil {
				t.Errorf("%s: a link leads nowhere: %v", page, err)
			}
		}
	}
}

// TestPicture makes the picture of the README anew: it shows what phx prints today.
func TestPicture(t *testing.T) {
	long(t)
	want, err := os.ReadFile(filepath.Join(root, "docs", "terminal.svg"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "terminal.svg")
	runBash(t, root, append(os.Environ(), phxtest.RaceOptions, "PHX_BINARY="+binary(t)), "scripts/screenshot", path)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/terminal.svg is another: run scripts/screenshot, and look at it\n%s", got)
	}
}

// TestInstall: make install says where phx went, and what to do when no shell finds it there.
func TestInstall(t *testing.T) {
	long(t)
	bin := filepath.Join(t.TempDir(), "bin")
	env := append(os.Environ(), "GOBIN="+bin)
	stdout, _ := runBash(t, root, env, "scripts/build", "--install")
	if want := "phx is installed: " + bin + "/phx\n" + bin + " is not in PATH: "; !strings.HasPrefix(stdout, want) {
		t.Errorf("it says %q, want %q", stdout, want)
	}
	if _, err := os.Stat(filepath.Join(bin, "phx")); err != nil {
		t.Error(err)
	}
	stdout, _ = runBash(t, root, append(env, "PATH="+os.Getenv("PATH")+":"+bin), "scripts/build", "--install")
	if want := "phx is installed: " + bin + "/phx\n"; stdout != want {
		t.Errorf("with the directory in PATH it says %q, want %q", stdout, want)
	}
}
