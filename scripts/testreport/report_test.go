package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lines makes a stream of events; each is an abbreviated JSON object.
func lines(objects ...string) string { return strings.Join(objects, "\n") + "\n" }

const (
	begins = `{"Action":"run","Package":"p","Test":"TestA"}`
	passes = `{"Action":"pass","Package":"p","Test":"TestA"}`
)

func TestRun(t *testing.T) {
	tests := []struct {
		name, in, out, err string
	}{
		{
			name: "a pass is one line",
			in: lines(begins, `{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}`, passes,
				`{"Action":"output","Package":"p","Output":"coverage: 1.0% of statements in p, q\n"}`,
				`{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\tcoverage: 1.0% of statements in p, q\n"}`,
				`{"Action":"pass","Package":"p"}`),
			out: "ok  \tp\t0.1s\n1 tests passed, 0 failed, 0 skipped, in 1 packages\n",
		}, {
			name: "a failure shows what its test printed",
			in: lines(begins, `{"Action":"output","Package":"p","Test":"TestA","Output":"why\n"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`, `{"Action":"fail","Package":"p"}`),
			out: "why\n0 tests passed, 1 failed, 0 skipped, in 1 packages\n",
			err: "p failed",
		}, {
			name: "a panic shows the test that was running",
			in: lines(begins, `{"Action":"output","Package":"p","Test":"TestA","Output":"panic: oh\n"}`,
				`{"Action":"fail","Package":"p"}`),
			out: "panic: oh\n",
			err: "p failed",
		}, {
			name: "what does not build is an error",
			in: lines(`{"ImportPath":"p","Action":"build-output","Output":"p.go:1: oh\n"}`,
				`{"ImportPath":"p","Action":"build-fail"}`, `{"Action":"fail","Package":"p"}`),
			out: "p.go:1: oh\n",
			err: "p failed",
		}, {
			name: "test files without a test are an error",
			in: lines(begins, passes, `{"Action":"pass","Package":"p"}`,
				`{"Action":"output","Package":"q","Output":"ok  \tq\t0.1s [no tests to run]\n"}`,
				`{"Action":"pass","Package":"q"}`),
			err: "q has test files, but ran no test",
		}, {
			name: "a package without test files is none",
			in: lines(begins, passes, `{"Action":"pass","Package":"p"}`,
				`{"Action":"output","Package":"q","Output":"\tq\t\tcoverage: 0.0% of statements\n"}`,
				`{"Action":"pass","Package":"q"}`),
			out: "?   \tq\t[no test files]\n",
		},
		{name: "nothing is an error", in: "", err: "no test passed"},
		{name: "what is not JSON is an error", in: "oh\n", err: "this is not the output"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			err := run(strings.NewReader(test.in), &out, "")
			if got := out.String(); !strings.Contains(got, test.out) {
				t.Errorf("printed %q, want %q in it", got, test.out)
			}
			switch {
			case err == nil && test.err != "":
				t.Errorf("no error, want %q", test.err)
			case err != nil && (test.err == "" || !strings.Contains(err.Error(), test.err)):
				t.Errorf("error %q, want %q", err, test.err)
			}
		})
	}
}

func TestSkipsAreCollected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "skips")
	in := lines(begins, passes, `{"Action":"run","Package":"p","Test":"TestB"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: no server\n"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestB"}`, `{"Action":"pass","Package":"p"}`)
	var out strings.Builder
	if err := run(strings.NewReader(in), &out, path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "p TestB: b_test.go:7: no server\n"; string(got) != want {
		t.Errorf("skips %q, want %q", got, want)
	}
	if want := "1 tests passed, 0 failed, 1 skipped"; !strings.Contains(out.String(), want) {
		t.Errorf("printed %q, want %q in it", out.String(), want)
	}
}
