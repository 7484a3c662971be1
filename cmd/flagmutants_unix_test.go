//go:build unix

package cmd

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"phx/cmd/phxtest"
)

// ignoring is what the mutant does with a flag that it is told to ignore: it checks the value, as far as that can be undone.
const ignoring = `
	if os.Getenv("PHX_IGNORED_FLAG") == o.Flag+" "+o.Usage {
		if o.Value.repeats || o.Value.def == "" {
			return nil
		}
		for _, text := range o.texts {
			if err := o.Value.parse(FromFlag, text); err != nil {
				return o.wrong("--"+o.Flag, text, "--"+o.Flag+" "+o.Example, err)
			}
		}
		return o.Value.parse(FromDefault, o.Value.def)
	}
`

// mutantPatience is how long the script of a mutant may take: one that waits for what never comes has failed. Where nothing gets a
// processor for so long, a mutant that lives is not noticed.
const mutantPatience = 15 * time.Second

// TestFlagMutants runs for each flag the script that flagScripts names with a binary that takes the flag and ignores it: the script fails.
// One build of the binary is all mutants.
func TestFlagMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a script for each flag; make full runs it")
	}
	dir := t.TempDir()
	source, err := filepath.Abs("internal/option/option.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const imports, parse = "import (\n", "func (o *setting) parseFlags() error {\n"
	mutant := strings.Replace(strings.Replace(string(text), imports, imports+"\t\"os\"\n", 1), parse, parse+ignoring, 1)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: filepath.Join(dir, "option.go")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"option.go": mutant, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary, scripts := filepath.Join(dir, "phx"), filepath.Join(dir, "scripts.test")
	for _, args := range [][]string{{"build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "."}, {"test", "-c", "-o", scripts, "."}} {
		build := exec.Command("go", args...)
		build.Dir = ".."
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", args[0], err, output)
		}
	}
	run := func(script, flag string, patience time.Duration) (output string, passed bool) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, scripts, "-test.run=^TestScripts$/^"+script+"$", "-test.v")
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "PHX_BINARY="+binary, phxtest.IgnoredFlag+"="+flag)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		text, err := cmd.CombinedOutput()
		return string(text), err == nil && strings.Contains(string(text), "--- PASS: TestScripts/")
	}
	if output, passed := run("push", "none", phxtest.Patience); !passed { // a mutant that ignores nothing is well
		t.Fatalf("without a flag to ignore: %s", output)
	}
	const atOnce = 16 // a mutant in six waits for its end
	var waiting sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, d := range declaredFlags() {
		slots <- struct{}{}
		waiting.Go(func() {
			defer func() { <-slots }()
			if script := flagScripts[d.key]; script != "" {
				if _, passed := run(script, d.name+" "+d.usage, mutantPatience); passed {
					t.Errorf("%s: %s passes without the flag", d.key, script)
				}
			}
		})
	}
	waiting.Wait()
}
