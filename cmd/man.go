package cmd

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"phx/cmd/internal/option"
)

// ManPages returns the manual pages by the names of their files, made of what --help and `phx help` are made of: phx.1, one for each
// command, as phx-ctl-list.1, and one for each topic, phx-config.5 and others in section 7.
func ManPages() map[string][]byte {
	root := newRootCmd(&factory{streams: &Streams{}})
	pages := map[string][]byte{}
	add := func(name, section, about, body string) {
		info, _ := debug.ReadBuildInfo()
		pages[name+"."+section] = fmt.Appendf(nil, ".TH %s %s \"\" %s %s\n.SH NAME\n%s \\- %s\n%s",
			roffQuoted(strings.ToUpper(name)), roffQuoted(section), roffQuoted("phx "+newVersionInfo(info).Version), roffQuoted("phx manual"),
			roffEscapes.Replace(name), roffEscapes.Replace(about), body)
	}
	var addCommand func(c *cobra.Command)
	addCommand = func(c *cobra.Command) {
		add(manName(c), "1", c.Short, manBody(c))
		for _, sub := range c.Commands() {
			addCommand(sub)
		}
	}
	addCommand(root)
	for name, topic := range helpTopics {
		p := topic(root)
		// The first paragraph says what the page is about.
		about := strings.TrimSuffix(p.parts[0].texts[0], ".")
		p.parts = append([]part{{kind: partHeading, name: "Description"}}, p.parts[1:]...)
		add("phx-"+name, topicSection(name), about, p.roff())
	}
	return pages
}

// topicSection is the section of the manual that a topic stands in: 5 has the formats of files, 7 what belongs nowhere else.
func topicSection(name string) string {
	if name == "config" {
		return "5"
	}
	return "7"
}

// manName is the name of a command's manual page.
func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manBody returns what stands below the name of a command's page.
func manBody(c *cobra.Command) string {
	p := &page{}
	p.heading("Synopsis")
	p.block(0, usageLine(c))
	p.heading("Description")
	if c.Long != "" {
		p.prose(c.Long)
	} else {
		p.paragraph(sentence(c.Short))
	}
	if c.HasAvailableSubCommands() {
		p.heading("Commands")
		for _, sub := range c.Commands() {
			p.item(commandColumn, sub.Name(), sentence(sub.Short))
		}
	}
	p.heading("Options")
	for _, group := range optionGroups(c) {
		if len(group.options) > 0 && group.group != option.Own {
			p.subheading(group.group.String())
		}
		for _, f := range group.options {
			name, text := flagHelp(f)
			p.item(flagColumn, strings.TrimSpace(name), text)
		}
	}
	p.item(flagColumn, "-h, --help", "print help: with -h the commonest of it, with --help all")
	if c.Example != "" {
		p.heading("Examples")
		p.block(0, c.Example)
	}
	p.heading("See also")
	p.paragraph(strings.Join(seeAlso(c), ", "))
	return p.roff()
}

// seeAlso lists the pages about the command above, those below, and all topics.
func seeAlso(c *cobra.Command) []string {
	var pages []string
	if c.HasParent() {
		pages = append(pages, manName(c.Parent())+"(1)")
	}
	for _, sub := range c.Commands() {
		pages = append(pages, manName(sub)+"(1)")
	}
	for _, topic := range slices.Sorted(maps.Keys(helpTopics)) {
		pages = append(pages, "phx-"+topic+"("+topicSection(topic)+")")
	}
	return pages
}
