// Package cmd is the command line of phx: one file a command, and what they share.
//
// stdout holds records and what was asked for by name (help, version), whole lines only. stderr holds everything else: lines
// that begin with "phx: ", the last of which says what to do. Nothing below Main ends the process.
package cmd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/death"
)

// A factory is what commands are made with.
type factory struct {
	streams *Streams
	stdin   *config.Stdin
	// die ends the process by a signal.
	die func(syscall.Signal)
	// logJSON says that errors are reported as JSON, too.
	logJSON bool
	// running says that the command line was understood: from then on errors are not about it.
	running bool
}

// Main runs phx with the arguments that follow its name, and returns the exit code. A process signal that ended the command
// is not returned: the process dies of it.
func Main(args []string, s *Streams) int {
	return run(context.Background(), args, s, death.Die)
}

func run(ctx context.Context, args []string, s *Streams, die func(syscall.Signal)) int {
	f := &factory{streams: s, stdin: config.NewStdin(s.In), die: die}
	root := newRootCmd(f)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if sig, ok := killed(err); ok {
		die(sig)
		return exitCodeOf(err)
	}
	if !f.running && exitCodeOf(err) == exitFailure {
		err = usageError("see `"+command.CommandPath()+" --help`", "%v", err)
	}
	report(s.Err, err, f.logJSON)
	return exitCodeOf(err)
}

// bind adds options to a command, and run as what it does once they are resolved.
func (f *factory) bind(c *cobra.Command, run func(ctx context.Context) error, groups ...[]config.Option) *config.Set {
	set := config.NewSet(groups...)
	set.Bind(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := set.Resolve(f.streams.LookupEnv); err != nil {
			return err
		}
		return run(c.Context())
	}
	return set
}

// report writes an error on stderr: what happened, then what to do about it. Errors joined are reported one after the other,
// with the hint of the first.
func report(w io.Writer, err error, asJSON bool) {
	code, hint := exitCodeOf(err), hintOf(err)
	var messages []string
	for _, e := range flatten(err) {
		if text := e.Error(); text != "" {
			messages = append(messages, text)
		}
	}
	if len(messages) == 0 {
		return
	}
	if asJSON {
		log := slog.New(slog.NewJSONHandler(jsonEscaper{w}, nil))
		log.Error(strings.Join(messages, "; "), "hint", hint, "exit_code", code)
		return
	}
	var text []byte
	for _, message := range append(messages, hint) {
		if message == "" {
			continue
		}
		for line := range strings.SplitSeq(message, "\n") {
			text = append(text, linePrefix...)
			text = append(appendVisible(text, line), '\n')
		}
	}
	// An error that cannot be written has nowhere to say so; the exit code remains.
	_, _ = w.Write(text)
}

// flatten returns the errors that were joined, or err alone.
func flatten(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}
