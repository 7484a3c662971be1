package cmd

import (
	"maps"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"phx/cmd/config"
	"phx/signal"
)

// helpPage returns a page of phx help.
func helpPage(t *testing.T, topic string) string {
	t.Helper()
	r := phx(t, "help", topic)
	r.want(t, exitOK, "")
	return r.out.String()
}

// helpSection returns what stands under a heading of a page, up to the next one.
func helpSection(t *testing.T, topic, heading string) string {
	t.Helper()
	_, behind, found := strings.Cut(helpPage(t, topic), "\n"+heading+":\n\n")
	if !found {
		t.Fatalf("help %s has no section %q", topic, heading)
	}
	if end := regexp.MustCompile(`(?m)^[A-Z].*:\n\n`).FindStringIndex(behind); end != nil {
		behind = behind[:end[0]]
	}
	return behind
}

// oneSpaced returns text with single spaces between its words, so that it does not matter how it is wrapped.
func oneSpaced(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestHelpPagesAreReadable(t *testing.T) {
	if len(helpTopics) != 5 {
		t.Errorf("%d topics", len(helpTopics))
	}
	for topic := range helpTopics {
		text := helpPage(t, topic)
		for i, line := range strings.Split(text, "\n") {
			if utf8.RuneCountInString(line) > pageWidth || strings.TrimRight(line, " ") != line || strings.ContainsAny(line, "\t\x1b") {
				t.Errorf("help %s, line %d: %q", topic, i+1, line)
			}
		}
		if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") || strings.Contains(text, "\n\n\n") {
			t.Errorf("help %s has too few or too many blank lines", topic)
		}
	}
}

// TestHelpFormatting: what the examples of the options print is compared by a script.
func TestHelpFormatting(t *testing.T) {
	section := helpSection(t, "formatting", "Options of the commands that print records")
	examples := maps.Clone(formattingExamples)
	for _, o := range (&config.Output{}).Options() {
		example, ok := examples[o.Flag]
		if !ok || !strings.Contains(section, "$ "+example.command+"\n") || !strings.Contains(section, "--"+o.Flag) {
			t.Errorf("--%s has no example", o.Flag)
		}
		if !strings.Contains(example.command, " --"+o.Flag) && !strings.Contains(example.command, " -"+o.Shorthand) {
			t.Errorf("the example of --%s does without it: %s", o.Flag, example.command)
		}
		delete(examples, o.Flag)
	}
	if len(examples) > 0 {
		t.Errorf("examples of options that there are not: %v", examples)
	}
	formats := helpSection(t, "formatting", "Formats, each with the same message, indented")
	for i, name := range signal.Formats() {
		if about := formatAbout[signal.Format(i)]; about == "" || !strings.Contains(oneSpaced(formats), name+" "+about) {
			t.Errorf("the format %s is not explained", name)
		}
	}
	if got := strings.Count(formats, `"n": 1.0`); got != len(signal.Formats()) || len(formatAbout) != got {
		t.Errorf("%d formats with an example, %d explained, of %d", got, len(formatAbout), len(signal.Formats()))
	}
}
