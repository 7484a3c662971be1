package cmd

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
)

// A helpTopic returns a page of `phx help` that is not about a command. As far as it can be, it is made of what root declares.
type helpTopic func(root *cobra.Command) *page

var helpTopics = map[string]helpTopic{
	"config":      configHelp,
	"environment": environmentHelp,
	"exit-codes":  func(*cobra.Command) *page { return exitCodesHelp() },
	"formatting":  func(*cobra.Command) *page { return formattingHelp() },
	"signals":     func(*cobra.Command) *page { return signalsHelp() },
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
		RunE: func(c *cobra.Command, args []string) error { return helpRun(f.streams, c.Root(), args) },
	}
}

func helpRun(s *Streams, root *cobra.Command, args []string) error {
	p, err := helpPage(root, args)
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.Out, p.text(s.pageWidth()))
	return writeError(err)
}

// helpPage returns the page that the arguments of help name.
func helpPage(root *cobra.Command, args []string) (*page, error) {
	if len(args) == 1 {
		if topic, ok := helpTopics[args[0]]; ok {
			return topic(root), nil
		}
	}
	command, rest, err := root.Find(args)
	if err != nil || len(rest) > 0 {
		hint := "topics: " + strings.Join(slices.Sorted(maps.Keys(helpTopics)), ", ") + "; `phx --help` lists the commands"
		return nil, exit.Usagef(hint, "there is no help on %q", strings.Join(args, " "))
	}
	return commandHelp(command, false), nil
}

// flagColumn is where the explanations of flags begin, commandColumn those of commands.
const (
	flagColumn    = 30
	commandColumn = 14
)

// commandHelp returns the page about a command: -h is short, with the command's own options and the commonest, --help has all.
func commandHelp(c *cobra.Command, short bool) *page {
	p := &page{dense: true}
	groups := c.HasAvailableSubCommands()
	switch {
	case short && !groups, c.Long == "":
		p.paragraph(sentence(c.Short))
	default:
		p.prose(c.Long)
	}
	p.heading("Usage")
	p.block(2, usageLine(c))
	if c.Example != "" && (!short || groups) {
		p.heading("Examples")
		p.block(0, c.Example)
	}
	if groups {
		p.heading("Commands")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				p.item(commandColumn, sub.Name(), sub.Short)
			}
		}
	}
	all, left := optionGroups(c), 0
	for _, group := range all {
		shown := group.options
		if short {
			shown = slices.DeleteFunc(slices.Clone(shown), func(f *pflag.Flag) bool { return !isCommon(f) })
		}
		left += len(group.options) - len(shown)
		if len(shown) == 0 && group.group != option.Own {
			continue
		}
		p.heading(group.group.String())
		for _, f := range shown {
			name, text := flagHelp(f)
			p.item(flagColumn, name, text)
		}
		if group.group == option.Own {
			p.item(flagColumn, "-h, --help", "with -h the commonest of this, with --help all")
		}
	}
	switch {
	case left > 0:
		p.paragraph(fmt.Sprintf("`%s --help` has %d more options, and examples.", c.CommandPath(), left))
	case groups:
		p.paragraph(fmt.Sprintf("`%s COMMAND --help` explains a command.", c.CommandPath()))
	}
	return p
}

// sentence returns the text with a full stop, unless it ends with a question mark.
func sentence(text string) string {
	if strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

// usageLine returns how a command is called.
func usageLine(c *cobra.Command) string {
	switch {
	case c.HasAvailableSubCommands():
		return c.CommandPath() + " COMMAND"
	case c.HasParent():
		return c.Parent().CommandPath() + " " + c.Use + " [OPTION...]"
	}
	return c.Use + " [OPTION...]"
}

// An optionGroup is the flags of a command that stand together in its help.
type optionGroup struct {
	group   option.Group
	options []*pflag.Flag
}

// optionGroups returns the flags of a command, and those that it has from the commands above, by group. The first is the command's own.
func optionGroups(c *cobra.Command) []optionGroup {
	groups := make([]optionGroup, len(option.Groups()))
	for i, g := range option.Groups() {
		groups[i].group = g
	}
	c.LocalFlags() // adds those of the commands above
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if o, ok := option.OptionOf(f); ok && !f.Hidden {
			groups[o.Group].options = append(groups[o.Group].options, f)
		}
	})
	return groups
}

// isCommon reports whether a flag is in the short help.
func isCommon(f *pflag.Flag) bool {
	o, ok := option.OptionOf(f)
	return ok && (o.Group == option.Own || o.Common)
}

// flagHelp returns a flag as it is written, and what there is to say about it.
func flagHelp(f *pflag.Flag) (name, text string) {
	argument, text := pflag.UnquoteUsage(f)
	name = "    "
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", "
	}
	name = strings.TrimRight(name+"--"+f.Name+" "+argument, " ")
	if f.DefValue != "" && f.NoOptDefVal == "" {
		text += " (default " + strings.ReplaceAll(f.DefValue, ",", ", ") + ")"
	}
	return name, text
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
