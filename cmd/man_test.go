package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestManPages has man read every page: it warns of nothing.
func TestManPages(t *testing.T) {
	pages := ManPages()
	eachCommand(newRootCmd(testFactory()), func(c *cobra.Command) {
		if text := string(pages[manName(c)+".1"]); !strings.Contains(text, ".SH \"OPTIONS\"\n") {
			t.Errorf("the page of %s has no options:\n%s", c.CommandPath(), text)
		}
	})
	for topic := range helpTopics {
		if pages["phx-"+topic+"."+topicSection(topic)] == nil {
			t.Errorf("there is no page about %s", topic)
		}
	}
	if listen := string(pages["phx-listen.1"]); !strings.Contains(listen, "\n.SS \"When to end\"\n.TP\n\\fB\\-c, \\-\\-count N\\fR\n") {
		t.Errorf("-c is not where it belongs:\n%s", listen)
	}
	man, err := exec.LookPath("man")
	if err != nil {
		t.Skip("man is not installed (Debian: man-db): nobody has checked the manual pages")
	}
	dir := t.TempDir()
	for name, text := range pages {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c := exec.Command(man, "--warnings", "--encoding=UTF-8", "--local-file", "--troff-device=utf8", "--ditroff", path)
		c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=80")
		var said strings.Builder
		c.Stderr = &said
		if err := c.Run(); err != nil || said.Len() > 0 {
			t.Errorf("man on %s: %v\n%s", name, err, said.String())
		}
	}
}

// TestRoffEscapes: what groff would take for a request or an escape comes out as it was.
func TestRoffEscapes(t *testing.T) {
	if _, err := exec.LookPath("man"); err != nil {
		t.Skip("man is not installed (Debian: man-db)")
	}
	const text = `.data.payload is not a request, 'no more than \this, "quoted" ~/.config ^x --dash` + " `tick`"
	p := &page{}
	p.heading("Name")
	p.paragraph("x - y")
	p.heading("Text")
	p.paragraph(text)
	p.block(0, text)
	path := filepath.Join(t.TempDir(), "x.1")
	if err := os.WriteFile(path, []byte(".TH x 1\n"+p.roff()), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("man", "--encoding=UTF-8", "--local-file", path)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=200", "MAN_KEEP_FORMATTING=", "MANPAGER=cat")
	got, err := c.Output()
	if err != nil || strings.Count(string(got), text) != 2 {
		t.Errorf("%v: man shows\n%s\nwant twice\n%s", err, got, text)
	}
}
