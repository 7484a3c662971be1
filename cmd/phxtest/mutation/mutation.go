// Package mutation proves that a test sees bugs: it runs the test on copies of its package that have one each.
package mutation

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Mutant is a bug in one place of a file of the package under test. From must occur exactly once in it, so that a mutant cannot rot
// unnoticed when the code changes.
type Mutant struct{ Name, File, From, To string }

// Tests are the tests that have to fail.
type Tests struct {
	// Pattern returns what -run gets for a mutant of a file; for "", which is the package as it is, that of all the tests.
	Pattern func(file string) string
	// Needs reports whether the tests need a test file. The others are left out, which keeps the compile short.
	Needs func(file string) bool
	// Args are further arguments of go test for a mutant. The package as it is gets none: it is tested as a whole, without the race
	// detector, which makes a pure model many times slower and has nothing to find there.
	Args []string
}

// A T is the part of testing.T that is used here. Only tests import that package.
type T interface {
	Helper()
	Context() context.Context
	TempDir() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

// RaceDetector reports whether the process runs with it.
func RaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// patience bounds the run of a mutant.
const patience = 5 * time.Minute

// Check runs the tests on each mutant, two at a time, from the directory of their package: they have to fail for every one, and to pass
// for the package as it is. If short is true, or if there is no go tool, it skips the test.
func Check(t T, short bool, tests Tests, mutants []Mutant) {
	t.Helper()
	if short {
		t.Skip("the mutants are compiled one by one, which takes half a minute")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go tool to compile the mutants with")
	}
	if out, err := tests.run(t, goTool, Mutant{}); err != nil {
		t.Fatalf("the tests fail without a mutation: %v\n%s", err, out)
	}
	slots := make(chan struct{}, 2)
	var wait sync.WaitGroup
	for _, bug := range mutants {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out, err := tests.run(t, goTool, bug)
			switch _, failure, found := strings.Cut(out, "--- FAIL: Test"); {
			case err == nil:
				t.Errorf("not caught: %s", bug.Name)
			case !found:
				t.Errorf("%s: not a failure of a test: %v\n%s", bug.Name, err, out)
			default:
				verdict, _, _ := strings.Cut(strings.TrimSpace(failure[strings.Index(failure, "\n")+1:]), "\n")
				t.Logf("%s: caught: %s", bug.Name, verdict)
			}
		})
	}
	wait.Wait()
}

func (tests *Tests) run(t T, goTool string, bug Mutant) (out string, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	overlay, err := tests.writeOverlay(t.TempDir(), bug)
	if err != nil {
		return "", err
	}
	args := []string{"test", "-overlay=" + overlay, "-vet=off", "-ldflags=-w", "-run=" + tests.Pattern(bug.File), "."}
	if bug != (Mutant{}) {
		args = append(args, tests.Args...)
	}
	combined, err := exec.CommandContext(ctx, goTool, args...).CombinedOutput()
	return string(combined), err
}

// writeOverlay writes what the go tool's -overlay gets, and the changed file, into dir.
func (tests *Tests) writeOverlay(dir string, bug Mutant) (file string, err error) {
	here, err := filepath.Abs(".")
	if err != nil {
		return "", err
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for _, file := range files {
		if !tests.Needs(file) {
			replace[filepath.Join(here, file)] = ""
		}
	}
	if bug.File != "" {
		source, err := os.ReadFile(bug.File)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(source), bug.From); n != 1 {
			return "", fmt.Errorf("%s has the text of the mutant %q %d times: %s", bug.File, bug.Name, n, bug.From)
		}
		mutated := filepath.Join(dir, bug.File)
		if err := os.WriteFile(mutated, []byte(strings.Replace(string(source), bug.From, bug.To, 1)), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(here, bug.File)] = mutated
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o600)
}
