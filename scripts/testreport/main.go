// Command testreport reads the output of `go test -json` on stdin and prints what a person wants to see of it: a line for each
// package, the output of what failed, and a line that counts. It fails if a test failed, if nothing ran, or if a package has
// test files and ran no test. Skipped tests are not passed ones: -skips FILE collects their names and reasons.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	skips := flag.String("skips", "", "append a line for each skipped test to `FILE`")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *skips); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, skips string) error {
	r := newReport(out)
	decoder := json.NewDecoder(bufio.NewReader(in))
	for {
		var e event
		err := decoder.Decode(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("this is not the output of go test -json: %w", err)
		}
		r.add(e)
	}
	if skips != "" {
		if err := appendLines(skips, r.skipped); err != nil {
			return err
		}
	}
	return r.end()
}

func appendLines(path string, lines []string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(file, line); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return file.Close()
}
