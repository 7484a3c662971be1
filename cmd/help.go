package cmd

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
)

// A helpTopic returns a page of `phx help` that is not about a command. As far as it can be, it is made of what root declares.
type helpTopic func(root *cobra.Command) string

var helpTopics = map[string]helpTopic{
	"config":      configHelp,
	"environment": environmentHelp,
	"exit-codes":  func(*cobra.Command) string { return exit.Help() },
	"formatting":  func(*cobra.Command) string { return formattingHelp() },
	"signals":     func(*cobra.Command) string { return signalsHelp() },
}

func newHelpCmd(f *factory) *cobra.Command {
	topics := slices.Sorted(maps.Keys(helpTopics))
	return &cobra.Command{
		Use:   "help [COMMAND | TOPIC]",
		Short: "Help about a command, or about: " + strings.Join(topics, ", "),
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names := slices.Clone(topics)
			for _, sub := range c.Root().Commands() {
				if sub.IsAvailableCommand() && !slices.Contains(names, sub.Name()) {
					names = append(names, sub.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error { return helpRun(f.streams.Out, c.Root(), args) },
	}
}

func helpRun(w io.Writer, root *cobra.Command, args []string) error {
	if len(args) == 1 {
		if topic, ok := helpTopics[args[0]]; ok {
			_, err := io.WriteString(w, topic(root))
			return writeError(err)
		}
	}
	command, rest, err := root.Find(args)
	if err != nil || len(rest) > 0 {
		hint := "topics: " + strings.Join(slices.Sorted(maps.Keys(helpTopics)), ", ") + "; `phx --help` lists the commands"
		return exit.Usagef(hint, "there is no help on %q", strings.Join(args, " "))
	}
	command.InitDefaultHelpFlag()
	return command.Help()
}

// pageWidth is how many columns a page of help has at most.
const pageWidth = 100

// A page is the text of a help topic while it is written.
type page struct{ strings.Builder }

// gap makes sure that a blank line is above what comes next.
func (p *page) gap() {
	if p.Len() > 0 && !strings.HasSuffix(p.String(), "\n\n") {
		p.WriteByte('\n')
	}
}

// paragraph adds a paragraph.
func (p *page) paragraph(text string) {
	p.gap()
	p.wrap(0, text)
}

// heading adds the heading of a section.
func (p *page) heading(text string) {
	p.gap()
	p.WriteString(text + ":\n\n")
}

// block adds lines as they are, further to the right.
func (p *page) block(indent int, text string) {
	p.gap()
	for line := range strings.Lines(text) {
		p.WriteString(strings.Repeat(" ", indent) + line)
	}
}

// item adds what is explained on the lines below, or on the same line from column at on, where the name leaves room.
func (p *page) item(at int, name, text string) {
	const margin = 2
	if margin+utf8.RuneCountInString(name)+margin > at {
		fmt.Fprintf(p, "  %s\n", name)
		p.wrap(at, text)
		return
	}
	var lines page
	lines.wrap(at, text)
	fmt.Fprintf(p, "  %-*s%s", at-margin, name, lines.String()[at:])
}

// wrap adds words, indented, on as many lines as they need. There are only single spaces between them.
func (p *page) wrap(indent int, text string) {
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
			p.WriteString(strings.Repeat(" ", indent))
			column = indent
		case column+1+utf8.RuneCountInString(word) > pageWidth:
			p.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			p.WriteByte(' ')
			column++
		}
		p.WriteString(word)
		column += utf8.RuneCountInString(word)
	}
	p.WriteByte('\n')
}

// visitOptions calls visit for every option of every command below root, with the command's name.
func visitOptions(root *cobra.Command, visit func(command string, o option.Option)) {
	for _, c := range root.Commands() {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if o, ok := option.OptionOf(f); ok {
				visit(strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" "), o)
			}
		})
		visitOptions(c, visit)
	}
}
