// Package cmd is the command line of phx: one file a command, and what they share.
//
// stdout holds records and what was asked for by name (help, version), whole lines only. stderr holds everything else: lines
// that begin with "phx: ", the last of which says what to do. Nothing below Main ends the process.
package cmd

import (
	"context"
	"io"
	"log/slog"
	"math"
	"os"
	ossignal "os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/proc"
	"phx/cmd/internal/secret"
)

// A factory is what commands are made with.
type factory struct {
	streams *Streams
	// stderr is where streams.Err writes to: nothing waits for who reads that, or does not.
	stderr *proc.LineWriter
	stdin  *secret.Stdin
	// lines limits the log.
	lines logLimiter
	// die removes the traces and ends the process by a signal, at once.
	die func(syscall.Signal)
	// traces are removed by die.
	traces traces
	// logJSON says that errors are reported as JSON, too.
	logJSON bool
	// reportStyle is how errors are reported otherwise.
	reportStyle logStyle
	// running says that the command line was understood: from then on errors are not about it.
	running bool
}

// Main runs phx with the arguments that follow its name, and returns the exit code. A process signal that ended the command
// is not returned: the process dies of it.
func Main(args []string, s *Streams) int {
	surviveBrokenPipes()
	// A crash, or the signal of a watchdog, ends the process by SIGABRT. Otherwise the runtime ends it with 2, which is a wrong command line or
	// configuration, after which a unit does not start it again.
	debug.SetTraceback("crash")
	return run(context.Background(), args, s, proc.Die)
}

func run(ctx context.Context, args []string, s *Streams, die func(syscall.Signal)) int {
	streams := *s
	f := &factory{streams: &streams, stderr: proc.NewLineWriter(s.Err, reportLost(loggingOptions{})), stdin: secret.NewStdin(s.In)}
	f.die = func(sig syscall.Signal) {
		f.traces.remove()
		die(sig)
	}
	streams.Err = f.stderr
	defer f.stderr.Flush()
	root := newRootCmd(f)
	sets := flagSets(root)
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		unquoteUsages(sets)
	}
	root.SetArgs(option.JoinPairs(args, sets...))
	shown := &checkedWriter{w: s.Out}
	root.SetOut(shown)
	command, err := root.ExecuteContextC(ctx)
	f.lines.flush()
	if err == nil {
		err = writeError(shown.err)
	}
	if err == nil {
		return int(exit.OK)
	}
	if sig, ok := killed(err); ok {
		f.stderr.Flush()
		die(sig)
		return int(codeOf(err))
	}
	if !f.running && codeOf(err) == exit.Failure {
		err = exit.Usagef("see `"+command.CommandPath()+" --help`", "%v", err)
	}
	report(streams.Err, err, f.logJSON, f.reportStyle)
	return int(codeOf(err))
}

// surviveBrokenPipes makes a write to a pipe without a reader an error. Otherwise it would end the process, and leave its traces. The
// writer decides what follows: serve loses that sink, and other commands die of PIPE at their end. Children do not inherit it.
func surviveBrokenPipes() { ossignal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// flagSets returns those of a command and of all below it.
func flagSets(c *cobra.Command) []*pflag.FlagSet {
	sets := []*pflag.FlagSet{c.Flags(), c.PersistentFlags()}
	for _, sub := range c.Commands() {
		sets = append(sets, flagSets(sub)...)
	}
	return sets
}

// unquoteUsages takes out the backquotes that name the argument of a flag in its usage: cobra shows it as it is beside what it completes.
func unquoteUsages(sets []*pflag.FlagSet) {
	for _, set := range sets {
		set.VisitAll(func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "`", "") })
	}
}

// traces are what would outlive a process that a signal ends at once, such as the file of its control socket and a ready file. The
// function that removes one may be called again after that.
type traces struct {
	mu      sync.Mutex
	removal []func()
}

// add registers a function for when the process is to die at once.
func (t *traces) add(remove func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removal = append(t.removal, remove)
}

func (t *traces) remove() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, remove := range t.removal {
		remove()
	}
}

// A checkedWriter remembers the first error: nobody looks at those of writing a help text.
type checkedWriter struct {
	w   io.Writer
	err error
}

// Write implements [io.Writer].
func (c *checkedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.err == nil {
		c.err = err
	}
	return n, err
}

// A closedWriter is a standard output that is closed.
type closedWriter struct{}

// Write implements [io.Writer].
func (closedWriter) Write([]byte) (int, error) { return 0, syscall.EBADF }

// bind adds options to a command, and run as what it does once they are resolved.
func (f *factory) bind(c *cobra.Command, run func(ctx context.Context) error, groups ...[]option.Option) *option.Set {
	set := option.NewSet(groups...)
	c.Flags().SortFlags = false
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
func report(w io.Writer, err error, asJSON bool, style logStyle) {
	code, hint := codeOf(err), hintOf(err)
	var messages []string
	for _, e := range exit.Flatten(err) {
		if text := e.Error(); text != "" {
			messages = append(messages, text)
		}
	}
	if len(messages) == 0 {
		return
	}
	if asJSON {
		log := slog.New(slog.NewJSONHandler(jsonEscaper{w}, nil))
		log.Error(strings.Join(messages, "; "), "hint", hint, "exit_code", int(code))
		return
	}
	var text []byte
	add := func(level slog.Level, message string) {
		for line := range strings.SplitSeq(message, "\n") {
			text = append(text, style.start(level, time.Time{})...)
			text = style.end(appendVisible(text, line), level)
		}
	}
	for _, message := range messages {
		add(slog.LevelError, message)
	}
	if hint != "" {
		add(slog.LevelInfo, hint)
	}
	// An error that cannot be written has nowhere to say so; the exit code remains.
	_, _ = w.Write(text)
}

// Streams are what a command sees of its process. Tests have their own.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// InTerminal, OutTerminal and ErrTerminal say that a person is at the other end.
	InTerminal, OutTerminal, ErrTerminal bool
	// OutWidth and ErrWidth return how many cells a line has now of the terminal that Out or Err is.
	OutWidth, ErrWidth func() int
	// ErrStamped says that lines on Err need a time: no terminal shows them at once, and no journal records it.
	ErrStamped bool
	// LookupEnv returns an environment variable.
	LookupEnv func(name string) (value string, ok bool)
}

// SystemStreams returns those of this process.
func SystemStreams() *Streams {
	isTerminal := func(f *os.File) bool { return isatty.IsTerminal(f.Fd()) }
	var out io.Writer = os.Stdout
	if proc.StdoutClosed() {
		out = closedWriter{}
	}
	return &Streams{
		In:          os.Stdin,
		Out:         out,
		Err:         os.Stderr,
		InTerminal:  isTerminal(os.Stdin),
		OutTerminal: isTerminal(os.Stdout),
		ErrTerminal: isTerminal(os.Stderr),
		ErrStamped:  !isTerminal(os.Stderr) && !proc.IsJournal(os.Stderr, os.Getenv("JOURNAL_STREAM")),
		OutWidth:    func() int { return terminalWidth(os.Stdout) },
		ErrWidth:    func() int { return terminalWidth(os.Stderr) },
		LookupEnv:   os.LookupEnv,
	}
}

// usualWidth is how wide a terminal is that does not tell.
const usualWidth = 80

// terminalWidth returns the width of a terminal, as it is now.
func terminalWidth(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return usualWidth
	}
	return width
}

// env returns an environment variable; one that is empty counts as unset.
func (s *Streams) env(name string) string {
	value, _ := s.LookupEnv(name)
	return value
}

// coloured reports whether a stream gets colours: as --color says, then the environment (no-color.org, bixense.com/clicolors), then
// whether it is a terminal.
func (s *Streams) coloured(color string, terminal bool) bool {
	forced := s.env("CLICOLOR_FORCE")
	switch {
	case color == colorAlways:
		return true
	case color == colorNever, s.env("NO_COLOR") != "":
		return false
	case forced != "" && forced != "0":
		return true
	}
	return terminal && s.env("TERM") != "dumb"
}

// endingSignals are the process signals that end a command.
var endingSignals = []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}

// interruptible returns a context that the first of the given signals ends, its cause an error of [exit.Killed]: the command leaves and
// closes, and then dies of the signal. A second one is immediate, by die. Signals that the process was started to ignore,
// as by nohup, stay ignored. That the reader of the log has gone ends it like a PIPE; with a nil channel it does not count. stop ends
// the watch.
func interruptible(parent context.Context, die func(syscall.Signal), logGone <-chan struct{}, signals ...syscall.Signal) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	received := make(chan os.Signal, 2)
	for _, sig := range signals {
		if !ossignal.Ignored(sig) {
			ossignal.Notify(received, sig)
		}
	}
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for first := true; ; first = false {
			select {
			case <-logGone:
				logGone = nil
				cancel(errPipe)
			case sig := <-received:
				if !first {
					die(sig.(syscall.Signal))
					return
				}
				cancel(exit.Killed(sig.(syscall.Signal)))
			case <-stopped:
				return
			}
		}
	}()
	return ctx, func() {
		ossignal.Stop(received)
		close(stopped)
		<-done
		cancel(nil)
	}
}

// killed returns the signal of the first error in err's tree that ends the process by one. errors.As would stop at an exit.Error
// without a signal that is joined before it.
func killed(err error) (syscall.Signal, bool) {
	if e, ok := err.(*exit.Error); ok && e.Signal != 0 {
		return e.Signal, true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return killed(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if sig, ok := killed(one); ok {
				return sig, true
			}
		}
	}
	return 0, false
}

// garbagePercent is how much garbage there may be, in percent of what is in use, in commands that run for long: half of the usual.
// In the steady state they make next to none, so it costs no time, and what a start or a burst leaves does not stay resident.
const garbagePercent = 50

// limitMemory has garbage collected before what there is takes more than a buffer of that size and some messages as large as the
// largest line, in bytes. A limit that the environment sets holds.
func limitMemory(buffer int64, largest int) {
	const rest = 16 << 20 // of everything else; the program itself is not counted
	if givenMemoryLimit == math.MaxInt64 {
		debug.SetMemoryLimit(buffer + rest + 3*int64(largest))
	}
}

// givenMemoryLimit is the limit that GOMEMLIMIT sets, in bytes, which the Go runtime reads.
var givenMemoryLimit = debug.SetMemoryLimit(-1)

// keepLittleGarbage keeps the memory of a command small. It holds for the process.
func keepLittleGarbage() { debug.SetGCPercent(garbagePercent) }
