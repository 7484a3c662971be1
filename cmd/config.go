package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/strictyaml"
)

func newConfigCmd(f *factory) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Look into config files",
		Long: `Checks and shows config files. Nothing is connected to, and no command of a secret is run; of the environment, only
the variables that the file refers to count.`,
		Args: noUnknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newConfigValidateCmd(f), newConfigShowCmd(f), newConfigSchemaCmd(f))
	return c
}

type configValidateOptions struct {
	factory   *factory
	selection config.Selection
	verbose   bool
}

func newConfigValidateCmd(f *factory) *cobra.Command {
	o := &configValidateOptions{factory: f}
	c := &cobra.Command{
		Use:   "validate",
		Short: "Check a config file as serve does",
		Long: `Says nothing and exits 0 if phx serve would take the file. Otherwise all that is wrong is said, each with
FILE:LINE:COLUMN, and the exit code is 2. What is allowed, and hardly wanted, is warned of.`,
		Example: `  phx config validate -f phx.yaml && systemctl reload phx`,
		Args:    noArgs,
	}
	f.bind(c, func(context.Context) error { return configValidateRun(o) }, o.selection.FileOptions(), []option.Option{
		{Flag: "verbose", Shorthand: "v", Value: option.Switch(&o.verbose), Usage: "say what was checked"},
	})
	return c
}

func configValidateRun(o *configValidateOptions) error {
	lookupEnv := o.factory.streams.LookupEnv
	name, data, err := o.selection.Read(lookupEnv, o.factory.stdin)
	if err != nil {
		return err
	}
	findings, err := config.Validate(name, data, lookupEnv, compileWhere)
	if err != nil {
		return wrongConfig(err)
	}
	logging := loggingOptions{Verbose: o.verbose}
	logging.suit(colorAuto, o.factory)
	logging.style.stamped = false // what is true of a file is so at any time
	log := o.factory.newLogger(logging, slog.LevelWarn)
	for _, warning := range findings.Warnings {
		log.Warn(warning)
	}
	log.Info(name+" is right", "connections", findings.Connections, "sinks", findings.Sinks, "routes", findings.Routes)
	return nil
}

// wrongConfig makes one error of those joined in err, whose text has the hint of each behind it, and not only that of the first.
func wrongConfig(err error) error {
	all := exit.Flatten(err)
	if len(all) == 1 {
		return err
	}
	var text strings.Builder
	for i, one := range all {
		text.WriteString(one.Error())
		if i == len(all)-1 {
			break
		}
		if hint := hintOf(one); hint != "" {
			text.WriteString("\n  " + hint)
		}
		text.WriteByte('\n')
	}
	return &exit.Error{Code: exit.Usage, Message: text.String(), Hint: "  " + hintOf(all[len(all)-1]), Err: err}
}

type configShowOptions struct {
	factory   *factory
	selection config.Selection
	name      string
	asJSON    bool
}

func newConfigShowCmd(f *factory) *cobra.Command {
	o := &configShowOptions{factory: f}
	c := &cobra.Command{
		Use:   "show",
		Short: "Print what a config file comes to",
		Long: `Prints the configuration in effect: connections with the defaults of the file and those built in, variables filled in,
sinks and routes. What may be secret is ***, and where a secret is to be found stays as it is written.`,
		Example: `  phx config show -f phx.yaml -n backend
  phx config show --json | jq -r '.connections[].uri'`,
		Args: noArgs,
	}
	set := f.bind(c, func(context.Context) error { return configShowRun(o) }, o.selection.FileOptions(), []option.Option{
		{Flag: "connection", Shorthand: "n", Value: option.Text(&o.name, ""), Usage: "only the connection `NAME`", Example: "backend"},
		{Flag: "json", Value: option.Switch(&o.asJSON), Usage: "print a JSON object, not YAML"},
	})
	completeConnections(c, f, set, &o.selection)
	return c
}

func configShowRun(o *configShowOptions) error {
	file, err := o.selection.Load(o.factory.streams.LookupEnv, o.factory.stdin)
	var shown json.RawMessage
	if err == nil {
		shown, err = file.Show(o.name, compileWhere)
	}
	if err != nil {
		return wrongConfig(err)
	}
	text := append(shown, '\n')
	if !o.asJSON {
		if text, err = strictyaml.FromJSON(shown); err != nil {
			return fmt.Errorf("the configuration cannot be written as YAML: %w", err)
		}
	}
	_, err = o.factory.streams.Out.Write(text)
	return writeError(err)
}

func newConfigSchemaCmd(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of config files, for editors",
		Long: `Prints a JSON Schema (draft 2020-12) of config files. With it an editor completes keys and marks mistakes: put
# yaml-language-server: $schema=phx.schema.json at the top of the file.`,
		Example: `  phx config schema > phx.schema.json`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := f.streams.Out.Write(config.Schema())
			return writeError(err)
		},
	}
}
