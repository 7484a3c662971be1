package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// An event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// A report collects events.
type report struct {
	out      io.Writer
	packages map[string]*packageReport
	skipped  []string
	passed   int
	failed   int
	problems []string
}

// A packageReport is what is known of one package.
type packageReport struct {
	// output is what each test has printed, until it ends.
	output map[string][]string
	ran    int
	// testless says that there are no test files.
	testless bool
}

func newReport(out io.Writer) *report {
	return &report{out: out, packages: map[string]*packageReport{}}
}

func (r *report) add(e event) {
	if strings.HasPrefix(e.Action, "build-") {
		fmt.Fprint(r.out, e.Output)
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &packageReport{output: map[string][]string{}}
		r.packages[e.Package] = p
	}
	switch {
	case e.Test == "":
		r.addToPackage(p, e)
	case e.Action == "run":
		p.ran++
	case e.Action == "output":
		p.output[e.Test] = append(p.output[e.Test], e.Output)
	default:
		r.endTest(p, e)
	}
}

// addToPackage takes an event that is about no single test.
func (r *report) addToPackage(p *packageReport, e event) {
	switch e.Action {
	case "output":
		r.packageOutput(p, e)
	case "pass":
		if p.ran == 0 && !p.testless {
			r.problem("%s has test files, but ran no test", e.Package)
		}
	case "fail":
		// What had not ended when the package failed tells why: a panic, a timeout.
		for _, test := range slices.Sorted(maps.Keys(p.output)) {
			r.print(p.output[test])
		}
		r.problem("%s failed", e.Package)
	}
}

func (r *report) packageOutput(p *packageReport, e event) {
	line := e.Output
	switch {
	case strings.Contains(line, "[no test files]"),
		strings.HasPrefix(line, "\t"+e.Package+"\t") && strings.Contains(line, "coverage: "):
		// The second is how a package without test files looks under -cover.
		p.testless = true
		fmt.Fprintf(r.out, "?   \t%s\t[no test files]\n", e.Package)
		return
	case line == "PASS\n", strings.HasPrefix(line, "coverage: "):
		return
	}
	// With -coverpkg the line goes on to list every package.
	line, _, _ = strings.Cut(line, "\tcoverage: ")
	fmt.Fprintln(r.out, strings.TrimSuffix(line, "\n"))
}

func (r *report) endTest(p *packageReport, e event) {
	switch e.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		r.print(p.output[e.Test])
	case "skip":
		r.skipped = append(r.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(p.output[e.Test])))
	default: // pause, cont
		return
	}
	delete(p.output, e.Test)
}

// reason is what a skipped test said, on one line.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

func (r *report) print(lines []string) {
	for _, line := range lines {
		fmt.Fprint(r.out, line)
	}
}

func (r *report) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// end prints the count, and returns what is wrong.
func (r *report) end() error {
	fmt.Fprintf(r.out, "%d tests passed, %d failed, %d skipped, in %d packages\n",
		r.passed, r.failed, len(r.skipped), len(r.packages))
	if r.passed == 0 {
		r.problem("no test passed")
	}
	if len(r.problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(r.problems, "; "))
}
