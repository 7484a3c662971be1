package cmd

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"phx/signal"
)

// update rewrites the golden files: go test ./cmd -update
var update = flag.Bool("update", false, "rewrite the golden files of this package")

// golden compares a text with that of a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	path = filepath.Join("testdata", path)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("%v; make it with go test ./cmd -update", err)
		return
	}
	if got != string(want) {
		t.Errorf("%s is another text now; if that is right, go test ./cmd -update. Now it is\n%s", path, got)
	}
}

// goldenFiles checks that a directory has the files of these names and no others.
func goldenFiles(t *testing.T, dir string, names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("testdata", dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if slices.Contains(names, entry.Name()) {
			continue
		}
		if *update {
			if err := os.Remove(filepath.Join("testdata", dir, entry.Name())); err != nil {
				t.Fatal(err)
			}
			continue
		}
		t.Errorf("%s in %s is of nothing that there is", entry.Name(), dir)
	}
}

// TestHelpGolden compares the help of every command, and every topic, at the width of text without a terminal.
func TestHelpGolden(t *testing.T) {
	var names []string
	compare := func(name string, args ...string) {
		names = append(names, name)
		r := phx(t, args...)
		r.want(t, 0, "")
		golden(t, filepath.Join("help", name), r.out.String())
	}
	eachCommand(newRootCmd(testFactory()), func(c *cobra.Command) {
		args := strings.Fields(c.CommandPath())
		name := strings.Join(args, "-")
		compare(name+".txt", append(args[1:], "--help")...)
		if !c.HasSubCommands() {
			compare(name+".short.txt", append(args[1:], "-h")...)
		}
	})
	for topic := range helpTopics {
		compare("topic-"+topic+".txt", "help", topic)
	}
	goldenFiles(t, "help", names)
}

// TestHelpFitsItsWidth has every page at every width that a terminal may have. Only what cannot be wrapped is wider: examples, and words
// that are as wide themselves.
func TestHelpFitsItsWidth(t *testing.T) {
	root := newRootCmd(testFactory())
	pages := map[string]*page{}
	eachCommand(root, func(c *cobra.Command) {
		pages[c.CommandPath()] = commandHelp(c, false)
		pages[c.CommandPath()+" -h"] = commandHelp(c, true)
	})
	for topic, page := range helpTopics {
		pages[topic] = page(root)
	}
	for name, p := range pages {
		p.parts = slices.DeleteFunc(slices.Clone(p.parts), func(part part) bool { return part.kind == partBlock || part.kind == partHeading })
		for width := minPageWidth; width <= maxPageWidth; width++ {
			for line := range strings.Lines(p.text(width)) {
				line = strings.TrimSuffix(line, "\n")
				if words := strings.Fields(line); utf8.RuneCountInString(line) > width && len(words) > 1 && !strings.HasPrefix(line, "  ") {
					t.Fatalf("%s, at a width of %d: %q", name, width, line)
				}
			}
		}
	}
}

// TestPageWidth: the width is that of the terminal, within reason.
func TestPageWidth(t *testing.T) {
	for _, tt := range []struct {
		terminal    bool
		cells, want int
	}{{false, 200, 80}, {true, 60, 60}, {true, 99, 99}, {true, 200, 100}, {true, 10, 40}} {
		s := &Streams{OutTerminal: tt.terminal, OutWidth: func() int { return tt.cells }}
		if got := s.pageWidth(); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

// TestSignalGolden compares every kind of signal, in every format.
func TestSignalGolden(t *testing.T) {
	texts := map[string]string{}
	add := func(typ string, line []byte) {
		if _, behind, found := bytes.Cut(line, []byte(`"id":"`)); found {
			copy(behind, exampleID)
		}
		texts[typ] += string(line)
	}
	for _, ev := range signalSamples() {
		typ := fmt.Sprintf("%T", ev.Detail)
		typ = typ[strings.LastIndexByte(typ, '.')+1:]
		for i := range signal.Formats() {
			add(typ, signal.NewEncoder(signal.Format(i), "backend").Append(nil, &ev))
		}
	}
	for i := range signal.Formats() {
		add("Dropped", signal.NewEncoder(signal.Format(i), "backend").AppendDropped(nil, signal.Dropped{Count: 2, Policy: "drop-oldest", FirstSeq: 3, LastSeq: 4, Sink: "hook"}, exampleMessage.Time))
	}
	var names []string
	for _, typ := range slices.Sorted(maps.Keys(texts)) {
		names = append(names, typ+".ndjson")
		golden(t, filepath.Join("signals", typ+".ndjson"), texts[typ])
	}
	goldenFiles(t, "signals", names)
}
