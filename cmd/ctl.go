package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/serve"
	"phx/signal"
)

func newCtlCmd(f *factory) *cobra.Command {
	s := &ctlSocket{}
	c := &cobra.Command{
		Use:   "ctl",
		Short: "Talk to a running phx serve",
		Long: `Asks a running phx serve for its connections, changes them, and joins, pushes and listens through them. It
talks HTTP over a Unix socket, and prints the answers; so does curl --unix-socket PATH http://phx/v1/connections.
It gives up after 10 s without a sign of life of phx serve (exit 28); --max-time says otherwise.

With --nats it asks by NATS instead, from any machine, for list, push and listen: phx serve answers there when its
config has sources. Of several phx serve, list and listen have the connections and signals of all.`,
		Example: `  phx ctl list
  phx ctl status backend --wait joined --timeout 30s
  phx ctl push backend room:lobby new_msg '{"body":"hi"}'
  phx ctl listen --match 'phoenix.backend.**' -c 3
  phx ctl --nats nats://10.0.0.5 push backend room:lobby new_msg '{"body":"hi"}'
  phx ctl sinks
  phx ctl reload`,
		Args:                       noUnknownCommand,
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
		SuggestionsMinimumDistance: 2,
	}
	s.set = option.NewSet(append([]option.Option{{
		Flag: "control", From: &s.pathFrom, Group: option.Connecting, Common: true, Env: "PHX_CONTROL", Value: option.Text(&s.path, ""), Example: "/run/phx/control.sock",
		Usage: "`PATH` of the socket of phx serve (default $XDG_RUNTIME_DIR/phx/control.sock, or phx-UID/control.sock in the temp dir)",
	}}, slices.Concat(s.nats.flags("`URL` of a NATS server, to reach phx serve by as its sources say: list, push, listen (repeat for further servers)"),
		option.Connecting.In(option.Option{Flag: "nats-subject", Value: option.Checked(&s.subject, serve.DefaultSubject, natsSubject), Example: serve.DefaultSubject,
			Usage: "`SUBJECT` of the calls over NATS: that of the source in the config of phx serve"}), s.nats.natsTLSFlags())...))
	s.flags = c.PersistentFlags()
	s.set.Bind(s.flags)
	c.AddCommand(
		newCtlListCmd(f, s), newCtlStatusCmd(f, s), newCtlSinksCmd(f, s),
		newCtlStartCmd(f, s), newCtlStopCmd(f, s), newCtlRestartCmd(f, s), newCtlRemoveCmd(f, s),
		newCtlJoinCmd(f, s), newCtlLeaveCmd(f, s), newCtlPushCmd(f, s),
		newCtlListenCmd(f, s), newCtlReloadCmd(f, s),
	)
	return c
}

// A ctlSocket is the option that says whom all subcommands of ctl talk to.
type ctlSocket struct {
	set      *option.Set
	flags    *pflag.FlagSet
	path     string
	pathFrom option.Origin
	// nats says that it is reached by NATS, with the subject.
	nats    natsOptions
	subject string
}

// resolve parses the option, whose default is where the socket is when nobody says otherwise.
func (s *ctlSocket) resolve(lookupEnv func(string) (string, bool)) error {
	if err := s.set.Resolve(lookupEnv); err != nil {
		return err
	}
	if s.path == "" {
		s.path = serve.DefaultPath(lookupEnv)
	}
	return nil
}

// client returns a client for whom the options name, and what ends it.
func (s *ctlSocket) client(log *slog.Logger) (client *serve.Client, end func(), err error) {
	if !s.nats.given(s.pathFrom != option.FromDefault) {
		if err := checkUnused(s.flags, slices.Concat([]string{"nats-subject"}, onlyNATS, natsTLS)...); err != nil {
			return nil, nil, err
		}
		client := serve.NewClient(s.path)
		return client, client.Close, nil
	}
	link, o, err := s.nats.link(log)
	if err != nil {
		return nil, nil, err
	}
	return serve.NewRemoteClient(link, s.subject, o.Addresses()), func() { closeLink(link) }, nil
}

// A ctl is what the subcommands of ctl have in common: the options, and what is made of them.
type ctl struct {
	factory *factory
	socket  *ctlSocket
	output  outputOptions
	logging loggingOptions
	maxTime time.Duration
	// own is the options of the subcommand itself.
	own []option.Option
	// prints is what it prints: the values of --output. table writes what it prints for eyes, if that is no signal; nil: connections.
	prints []string
	table  func(f *textForm, dst []byte, texts [][]byte) ([]byte, error)

	log      *slog.Logger
	renderer *renderer
	out      *output
	client   *serve.Client
	end      func() // ends what client has opened
}

// bind adds the options to the command, and run as what it does, as [client.bind] does.
func (c *ctl) bind(command *cobra.Command, run func(ctx context.Context) error) *cobra.Command {
	command.Flags().SortFlags = false
	command.ValidArgsFunction = c.socket.completeArgs(c.factory)
	shown := only(c.output.Options(), func(flag string) bool { return flag != "output" })
	shown = append([]option.Option{c.output.outputOption(c.prints...)}, shown...)
	logging := only(c.logging.Options(), func(flag string) bool { return flag != "trace" })
	set := option.NewSet(c.own, shown, logging, []option.Option{maxTimeOption(&c.maxTime)})
	set.Bind(command.Flags())
	command.RunE = func(command *cobra.Command, _ []string) error {
		if err := c.resolve(set); err != nil {
			return err
		}
		defer c.end()
		p := printing{renderer: c.renderer, log: c.log, buffer: defaultBuffer}
		return c.factory.runBounded(command.Context(), c.maxTime, p, func(ctx context.Context, out *output) error {
			c.out = out
			return run(ctx)
		})
	}
	return command
}

// What subcommands print: what phx serve knows of connections, or a signal, which phx serve writes in the default format.
var (
	printsState  = []string{"json", formatText}
	printsAnswer = []string{signal.FormatSignal.String(), signal.FormatPayload.String(), formatText}
)

// only returns the options whose flags are kept.
func only(options []option.Option, keep func(flag string) bool) []option.Option {
	return slices.DeleteFunc(options, func(o option.Option) bool { return !keep(o.Flag) })
}

func (c *ctl) resolve(set *option.Set) error {
	lookupEnv := c.factory.streams.LookupEnv
	if err := errors.Join(c.socket.resolve(lookupEnv), set.Resolve(lookupEnv)); err != nil {
		return err
	}
	if err := errors.Join(c.output.Check(), c.logging.Check()); err != nil {
		return err
	}
	c.logging.suit(c.output.Color, c.factory)
	c.log = c.factory.newLogger(c.logging, slog.LevelWarn)
	var err error
	if c.client, c.end, err = c.socket.client(c.log); err != nil {
		return err
	}
	c.client.Log = c.log
	if c.maxTime > 0 {
		c.client.Patience = 0 // --max-time says how long
	}
	// The name does not matter: what is printed comes encoded.
	c.renderer, err = newRenderer(c.output, "ctl", c.factory.streams, c.log)
	if c.renderer.form != nil {
		c.renderer.form.sentences = true
	}
	return err
}

// print prints what a call has answered, JSON texts without line breaks, one record each.
func (c *ctl) print(ctx context.Context, texts ...[]byte) error {
	if c.renderer.form != nil && c.prints[0] == printsState[0] {
		appendTable := c.table
		if appendTable == nil {
			appendTable = (*textForm).appendConnections
		}
		table, err := appendTable(c.renderer.form, nil, texts)
		if err != nil {
			return err
		}
		return c.out.addLines(table)
	}
	for _, text := range texts {
		if _, err := c.out.addLine(text, 0); err != nil {
			return err
		}
	}
	return c.out.flush()
}

// appendConnections appends connections, JSON texts of the control API, as a table of them.
func (f *textForm) appendConnections(dst []byte, texts [][]byte) ([]byte, error) {
	return f.appendEachConnection(dst, texts, false)
}

// appendConnectionDetails appends connections, each with its channels and counters.
func (f *textForm) appendConnectionDetails(dst []byte, texts [][]byte) ([]byte, error) {
	return f.appendEachConnection(dst, texts, true)
}

// appendEachConnection appends connections. An answer that says no more than what was done is a line.
func (f *textForm) appendEachConnection(dst []byte, texts [][]byte, details bool) ([]byte, error) {
	rows := [][]string{{"NAME", "STATUS", "CHANNELS", "SESSION", "SINCE", "URI"}}
	var failures []byte
	shard, leases := "", false
	for i, text := range texts {
		var c serve.Connection
		if err := json.Unmarshal(text, &c); err != nil {
			return dst, err
		}
		switch {
		case c.Channels == nil:
			dst = append(f.paint(dst, "", strings.TrimLeft(c.Name+" "+c.Status, " ")), '\n')
			continue
		case details && i > 0:
			dst = append(dst, '\n')
		}
		rows = append(rows, connectionRow(&c))
		shard, leases = c.Shard, leases || c.Instance != ""
		if leases { // a column more, also of those before
			rows = withInstance(rows, &c)
		}
		if c.Error != "" {
			failures = append(failures, f.paint(nil, colorError, markTrouble+c.Name+": "+oneLine(c.Error))...)
			failures = append(failures, '\n')
		}
		if details {
			dst = append(f.appendTable(dst, rows), failures...)
			dst = f.appendDetails(dst, &c)
			rows, failures = rows[:1], nil
		}
	}
	if len(rows) > 1 {
		dst = append(f.appendTable(dst, rows), failures...)
	}
	if shard != "" {
		dst = append(f.paint(dst, "", "shard "+shard), '\n')
	}
	return dst, nil
}

// withInstance adds to the last row which instance runs the connection, and to all before that there is such a column.
func withInstance(rows [][]string, c *serve.Connection) [][]string {
	const place = 2
	for i, row := range rows {
		if len(row) > len(rows[len(rows)-1]) {
			continue
		}
		instance := "-"
		switch {
		case i == 0:
			instance = "INSTANCE"
		case i == len(rows)-1 && c.Instance != "":
			instance = c.Instance
			if c.OtherConfig {
				instance += " (other config)"
			}
		}
		rows[i] = slices.Insert(slices.Clone(row), place, instance)
	}
	return rows
}

// connectionRow is what the table says of a connection.
func connectionRow(c *serve.Connection) []string {
	joined := 0
	for _, channel := range c.Channels {
		if channel.State == serve.StateJoined && channel.Live == nil {
			joined++
		}
	}
	channels := strconv.Itoa(joined)
	if joined < len(c.Channels) {
		channels += "/" + strconv.Itoa(len(c.Channels))
	}
	session := strconv.Itoa(c.Session)
	if c.Since.IsZero() { // another instance runs it
		channels, session = "-", "-"
	}
	return []string{c.Name, c.Status, channels, session, age(c.Since), c.URI}
}

// appendDetails appends the sockets of a connection, if there are several, its channels, and what it has counted.
func (f *textForm) appendDetails(dst []byte, c *serve.Connection) []byte {
	if len(c.Sockets) > 0 {
		rows := [][]string{{"SOCKET", "STATUS", "SESSION", "CHANNELS"}}
		for _, s := range c.Sockets {
			rows = append(rows, []string{strconv.Itoa(s.Socket), s.Status, strconv.Itoa(s.Session), strconv.Itoa(s.Channels)})
		}
		dst = f.appendTable(append(dst, '\n'), rows)
	}
	if len(c.Channels) > 0 {
		rows := [][]string{{"TOPIC", "STATE", "SINCE"}}
		for _, channel := range c.Channels {
			state := channel.State
			if channel.Live != nil {
				state += ", not live yet"
			}
			row := []string{channel.Topic, state, age(channel.JoinedAt)}
			if len(c.Sockets) > 0 {
				row = append(row, strconv.Itoa(channel.Socket))
			}
			rows = append(rows, row)
		}
		if len(c.Sockets) > 0 {
			rows[0] = append(rows[0], "SOCKET")
		}
		dst = f.appendTable(append(dst, '\n'), rows)
	}
	var names, counts []string
	for _, name := range slices.Sorted(maps.Keys(c.Counters)) {
		if n := c.Counters[name]; n > 0 {
			names, counts = append(names, strings.ToUpper(name)), append(counts, strconv.FormatUint(n, 10))
		}
	}
	if names == nil {
		return dst
	}
	return f.appendTable(append(dst, '\n'), [][]string{names, counts})
}

// age is how long something has been so.
func age(since time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return inTwoUnits(max(time.Since(since), 0))
}

// inTwoUnits writes a time in the two largest units that it has.
func inTwoUnits(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// printAnswer is print for the results of a call.
func (c *ctl) printAnswer(ctx context.Context, text []byte, err error) error {
	if err != nil {
		return err
	}
	return c.print(ctx, text)
}

// ctlArgs takes exactly the named arguments, none of which may be empty.
func ctlArgs(example string, names []string, values ...*string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		hint := "for example: " + c.CommandPath() + " " + example
		switch {
		case len(args) < len(names):
			return exit.Usagef(hint, "there is no %s", names[len(args)])
		case len(args) > len(names):
			return exit.Usagef(hint, "there is an argument too many: %q", args[len(names)])
		}
		for i, arg := range args {
			if arg == "" {
				return exit.Usagef(hint, "the %s is empty", names[i])
			}
			*values[i] = arg
		}
		return nil
	}
}

func newCtlListCmd(f *factory, s *ctlSocket) *cobra.Command {
	c := &ctl{factory: f, socket: s, prints: printsState}
	return c.bind(&cobra.Command{
		Use:     "list",
		Short:   "Print every connection, one line each",
		Example: "  phx ctl list -q '[.name, .status] | join(\" \")' -r",
		Args:    ctlArgs("", nil),
	}, c.list)
}

// list prints each connection.
func (c *ctl) list(ctx context.Context) error {
	all, err := c.client.Connections(ctx)
	if err != nil {
		return err
	}
	return c.print(ctx, bare(all)...)
}

// bare returns texts as what [ctl.print] takes.
func bare(texts []json.RawMessage) [][]byte {
	list := make([][]byte, len(texts))
	for i, text := range texts {
		list[i] = text
	}
	return list
}

// A ctlWait is the options of commands that wait for a connection to be in a state.
type ctlWait struct {
	wait    string
	timeout time.Duration
}

func (w *ctlWait) options() []option.Option {
	return []option.Option{
		{Flag: "wait", Value: option.Checked(&w.wait, "", parseState).Among(serve.StateConnected, serve.StateJoined),
			Usage: "wait until it is in the `STATE` connected or joined: connected, and all its channels joined", Example: "joined"},
		{Flag: "timeout", Value: option.Duration(&w.timeout, ""),
			Usage: "`TIME` that --wait may take; not there by then: exit 28", Example: "30s"},
	}
}

func (w *ctlWait) check() error {
	if w.timeout > 0 && w.wait == "" {
		return exit.Usagef("for example: --wait joined --timeout 30s", "--timeout needs --wait")
	}
	return nil
}

// after returns the answer of a call that has started a connection: with --wait, the connection once it is in the state.
func (w *ctlWait) after(ctx context.Context, client *serve.Client, name string, answer []byte, err error) ([]byte, error) {
	if err != nil || w.wait == "" {
		return answer, err
	}
	return client.Connection(ctx, name, w.wait, w.timeout)
}

type ctlStatusOptions struct {
	ctl
	ctlWait
	name string
}

func newCtlStatusCmd(f *factory, s *ctlSocket) *cobra.Command {
	o := &ctlStatusOptions{ctl: ctl{factory: f, socket: s, prints: printsState, table: (*textForm).appendConnectionDetails}}
	o.own = o.options()
	return o.bind(&cobra.Command{
		Use:     "status [NAME]",
		Short:   "Print a connection, or every one; wait for it to be up",
		Example: "  phx ctl status backend --wait joined --timeout 30s",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return ctlArgs("backend", []string{"NAME"}, &o.name)(c, args)
		},
	}, func(ctx context.Context) error { return ctlStatusRun(ctx, o) })
}

var errNoState = errors.New("is neither connected nor joined")

func parseState(text string) (string, error) {
	if text != serve.StateConnected && text != serve.StateJoined {
		return "", errNoState
	}
	return text, nil
}

func ctlStatusRun(ctx context.Context, o *ctlStatusOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.name != "" {
		text, err := o.client.Connection(ctx, o.name, o.wait, o.timeout)
		return o.printAnswer(ctx, text, err)
	}
	if o.wait == "" {
		return o.list(ctx)
	}
	return o.waitForAll(ctx)
}

// waitForAll waits for one connection after the other, and prints each when it is there. All of them share the time.
func (o *ctlStatusOptions) waitForAll(ctx context.Context) error {
	names, err := o.names(ctx)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(o.timeout)
	for _, name := range names {
		var timeout time.Duration
		if o.timeout > 0 {
			timeout = max(time.Until(deadline), time.Nanosecond)
		}
		text, err := o.client.Connection(ctx, name, o.wait, timeout)
		if err := o.printAnswer(ctx, text, err); err != nil {
			return err
		}
	}
	return nil
}

// names returns the names of all connections.
func (o *ctlStatusOptions) names(ctx context.Context) ([]string, error) {
	all, err := o.client.Connections(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(all))
	for i, text := range all {
		var c serve.Connection
		if err := json.Unmarshal(text, &c); err != nil {
			return nil, err
		}
		names[i] = c.Name
	}
	return names, nil
}

func newCtlSinksCmd(f *factory, s *ctlSocket) *cobra.Command {
	c, name := &ctl{factory: f, socket: s, prints: printsState, table: (*textForm).appendSinks}, ""
	return c.bind(&cobra.Command{
		Use:   "sinks [SINK]",
		Short: "Print a sink, or every one: what waits, is delivered and is lost there",
		Long: `Prints a sink of phx serve, or every one, one line each: how many signals wait, for how long, and are delivered and lost;
what came of its attempts, by HTTP status or by how its program ended; and its last error. status is up, failing or over:
failing says that the last attempt failed and another one is to come, over that none is until a reload. Sinks that
throw away are left out. spool, of a sink that has one, is how much of what waits is in its file.`,
		Example: `  phx ctl sinks
  phx ctl sinks -q 'select(.status != "up" or .oldest_ms > 60000) | .name' -r`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return ctlArgs("hook", []string{"SINK"}, &name)(c, args)
		},
	}, func(ctx context.Context) error {
		if name != "" {
			text, err := c.client.Sink(ctx, name)
			return c.printAnswer(ctx, text, err)
		}
		all, err := c.client.Sinks(ctx)
		if err != nil {
			return err
		}
		return c.print(ctx, bare(all)...)
	})
}

// appendSinks appends sinks, JSON texts of the control API, as a table, and behind it the last error of each.
func (f *textForm) appendSinks(dst []byte, texts [][]byte) ([]byte, error) {
	const spooledColumn = 4
	rows := [][]string{{"NAME", "KIND", "STATUS", "WAITING", "SPOOLED", "OLDEST", "DELIVERED", "LOST", "ATTEMPTS"}}
	anySpool := false
	var failures []byte
	for _, text := range texts {
		var s serve.Sink
		if err := json.Unmarshal(text, &s); err != nil {
			return dst, err
		}
		oldest := "-"
		if s.Waiting > 0 {
			oldest = inTwoUnits(time.Duration(s.OldestMS) * time.Millisecond)
		}
		spooled := "-"
		if s.Spool != nil {
			spooled, anySpool = strconv.Itoa(s.Spool.Spooled), true
		}
		var attempts []string
		for _, status := range slices.Sorted(maps.Keys(s.Attempts)) {
			attempts = append(attempts, fmt.Sprintf("%s: %d", status, s.Attempts[status]))
		}
		rows = append(rows, []string{
			s.Name, s.Kind, s.Status, strconv.Itoa(s.Waiting), spooled, oldest, strconv.FormatUint(s.Delivered, 10), strconv.FormatUint(s.Lost, 10),
			strings.Join(attempts, ", "),
		})
		if s.Spool != nil && s.Spool.Error != "" {
			failures = append(f.paint(failures, colorError, markTrouble+s.Name+": the spool cannot be used, and signals wait in memory: "+oneLine(s.Spool.Error)), '\n')
		}
		if s.LastError == "" {
			continue
		}
		color, line := colorFaint, markLife
		if s.Status != serve.SinkUp {
			color, line = colorError, markTrouble
		}
		line += s.Name + ": " + oneLine(s.LastError)
		if !s.LastErrorAt.IsZero() {
			line += " (" + age(s.LastErrorAt) + " ago)"
		}
		failures = append(f.paint(failures, color, line), '\n')
	}
	if len(rows) == 1 {
		return dst, nil
	}
	if !anySpool {
		for i := range rows {
			rows[i] = slices.Delete(rows[i], spooledColumn, spooledColumn+1)
		}
	}
	return append(f.appendTable(dst, rows), failures...), nil
}

func newCtlStopCmd(f *factory, s *ctlSocket) *cobra.Command {
	return newCtlNameCmd(f, s, "stop", "Leave a connection's channels and close it, until it is started again", (*serve.Client).Stop, nil)
}

func newCtlRestartCmd(f *factory, s *ctlSocket) *cobra.Command {
	return newCtlNameCmd(f, s, "restart", "Stop a connection and start it", (*serve.Client).Restart, &ctlWait{})
}

func newCtlRemoveCmd(f *factory, s *ctlSocket) *cobra.Command {
	return newCtlNameCmd(f, s, "remove", "Stop a connection and forget it, until phx serve is started anew", (*serve.Client).Remove, nil)
}

// newCtlNameCmd returns a command that does one thing with one connection, and may wait for what comes of it; nil: it does not.
func newCtlNameCmd(
	f *factory, s *ctlSocket, verb, short string, call func(*serve.Client, context.Context, string) ([]byte, error), wait *ctlWait,
) *cobra.Command {
	c, name := &ctl{factory: f, socket: s, prints: printsState}, ""
	if wait == nil {
		wait = &ctlWait{}
	} else {
		c.own = wait.options()
	}
	return c.bind(&cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Example: "  phx ctl " + verb + " backend",
		Args:    ctlArgs("backend", []string{"NAME"}, &name),
	}, func(ctx context.Context) error {
		if err := wait.check(); err != nil {
			return err
		}
		text, err := call(c.client, ctx, name)
		text, err = wait.after(ctx, c.client, name, text, err)
		return c.printAnswer(ctx, text, err)
	})
}

func newCtlReloadCmd(f *factory, s *ctlSocket) *cobra.Command {
	c := &ctl{factory: f, socket: s, prints: printsState}
	return c.bind(&cobra.Command{
		Use:   "reload",
		Short: "Make phx serve read its config again, and wait until that has taken effect",
		Args:  ctlArgs("", nil),
	}, func(ctx context.Context) error {
		text, err := c.client.Reload(ctx)
		return c.printAnswer(ctx, text, err)
	})
}

type ctlStartOptions struct {
	ctl
	ctlWait
	name, file string
}

func newCtlStartCmd(f *factory, s *ctlSocket) *cobra.Command {
	o := &ctlStartOptions{ctl: ctl{factory: f, socket: s, prints: printsState}}
	o.own = append([]option.Option{
		{Flag: "config", Shorthand: "f", Value: option.Text(&o.file, ""),
			Usage: "config `FILE` with the connection, which phx serve does not know yet; - for stdin", Example: "phx.yaml"},
	}, o.options()...)
	return o.bind(&cobra.Command{
		Use:   "start NAME",
		Short: "Start a connection, with -f a new one",
		Long: `Starts a connection that phx serve knows, because it is in its config and was stopped, or has given up. With -f it
starts a new one, from a config file: with the defaults of that file, and variables as phx serve has them.`,
		Example: `  phx ctl start backend --wait joined --timeout 30s
  phx ctl start staging -f staging.yaml`,
		Args: ctlArgs("backend", []string{"NAME"}, &o.name),
	}, func(ctx context.Context) error { return ctlStartRun(ctx, o) })
}

func ctlStartRun(ctx context.Context, o *ctlStartOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.file == "" {
		text, err := o.client.Start(ctx, o.name)
		text, err = o.after(ctx, o.client, o.name, text, err)
		return o.printAnswer(ctx, text, err)
	}
	var entry []byte
	var dir string
	err := untilDone(ctx, func() (err error) {
		entry, dir, err = o.entry()
		return err
	})
	if err != nil {
		return err
	}
	text, err := o.client.Add(ctx, entry, dir)
	text, err = o.after(ctx, o.client, o.name, text, err)
	return o.printAnswer(ctx, text, err)
}

// entry returns the connection in the file as JSON, and where its relative paths start.
func (o *ctlStartOptions) entry() (entry []byte, dir string, err error) {
	name, data := o.file, []byte(nil)
	if o.file == "-" {
		name = "standard input"
		data, err = o.readStdin("--config")
		dir = "."
	} else {
		data, err = os.ReadFile(o.file)
		dir = filepath.Dir(o.file)
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, "", readFailure(name, err)
	}
	file, err := config.ParseFile(name, data, o.factory.streams.LookupEnv)
	if err != nil {
		return nil, "", err
	}
	found, err := file.Entry(o.name)
	if err != nil {
		return nil, "", err
	}
	entry, err = found.Raw()
	return entry, dir, err
}

type ctlJoinOptions struct {
	ctl
	name, topic, params string
}

func newCtlJoinCmd(f *factory, s *ctlSocket) *cobra.Command {
	o := &ctlJoinOptions{ctl: ctl{factory: f, socket: s, prints: printsAnswer}}
	o.own = []option.Option{
		{Flag: "params", Value: option.Text(&o.params, ""), Secret: true,
			Usage: "`JSON`, @FILE or - for the join's params (default those in the config of phx serve)", Example: `'{"user_id":123}'`},
	}
	return o.bind(&cobra.Command{
		Use:   "join NAME TOPIC",
		Short: "Join a topic, and print the answer",
		Long: `Joins a topic on a connection of phx serve, which stays joined until it is left, and prints the
phoenix.channel.joined or phoenix.channel.join_error signal.`,
		Example: "  phx ctl join backend room:lobby --params @params.json",
		Args:    ctlArgs("backend room:lobby", []string{"NAME", "TOPIC"}, &o.name, &o.topic),
	}, func(ctx context.Context) error { return ctlJoinRun(ctx, o) })
}

func ctlJoinRun(ctx context.Context, o *ctlJoinOptions) error {
	var params json.RawMessage
	err := untilDone(ctx, func() (err error) {
		params, err = o.readParams(o.params)
		return err
	})
	if err != nil {
		return err
	}
	text, err := o.client.Join(ctx, o.name, serve.Join{Topic: o.topic, Params: params})
	return o.printSignal(ctx, text, err)
}

// readParams returns the params of a join, nil for none.
func (c *ctl) readParams(text string) (json.RawMessage, error) {
	if text == "" {
		return nil, nil
	}
	params, name := []byte(text), "--params"
	path, isFile := strings.CutPrefix(text, "@")
	var err error
	switch {
	case text == "-" || isFile && path == "-":
		name = "standard input"
		params, err = c.readStdin("--params")
	case isFile && path == "":
		return nil, errNoName("--params")
	case isFile:
		name = path
		params, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, readFailure(name, err)
	}
	params = bytes.TrimSpace(params)
	if !bytes.HasPrefix(params, []byte("{")) || !json.Valid(params) || !utf8.Valid(params) {
		return nil, exit.Usagef(`a right one: {"user_id":123}`, "the params in %s are not one JSON object", name)
	}
	return params, nil
}

// readStdin reads the whole of the standard input for an option.
func (c *ctl) readStdin(option string) ([]byte, error) {
	stdin, err := c.factory.stdin.Claim(option)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(stdin)
}

func newCtlLeaveCmd(f *factory, s *ctlSocket) *cobra.Command {
	c, name, topic := &ctl{factory: f, socket: s, prints: printsAnswer}, "", ""
	return c.bind(&cobra.Command{
		Use:     "leave NAME TOPIC",
		Short:   "Leave a topic, and print the phoenix.channel.left signal",
		Example: "  phx ctl leave backend room:lobby",
		Args:    ctlArgs("backend room:lobby", []string{"NAME", "TOPIC"}, &name, &topic),
	}, func(ctx context.Context) error {
		text, err := c.client.Leave(ctx, name, topic)
		return c.printSignal(ctx, text, err)
	})
}

type ctlPushOptions struct {
	ctl
	pushSource
	name, topic, event string
	timeout            time.Duration
	noReply            bool
}

func newCtlPushCmd(f *factory, s *ctlSocket) *cobra.Command {
	o := &ctlPushOptions{ctl: ctl{factory: f, socket: s, prints: printsAnswer}}
	o.own = []option.Option{
		{Flag: "timeout", Value: option.Duration(&o.timeout, ""),
			Usage: "`TIME` to wait for the reply (default as configured for the connection)", Example: "5s"},
		{Flag: "no-reply", Value: option.Switch(&o.noReply),
			Usage: "wait for no reply, and print the ref of the push"},
		{Flag: "binary", Value: option.Switch(&o.binary),
			Usage: "push the whole input as one binary payload"},
		o.broadcastOption(),
	}
	return o.bind(&cobra.Command{
		Use:   "push NAME TOPIC EVENT [PAYLOAD]",
		Short: "Push on a joined topic, and print the reply",
		Long: `Pushes once, on a topic that a connection of phx serve has joined, and prints the phoenix.push.reply,
phoenix.push.timeout or phoenix.push.error signal. PAYLOAD is JSON, @FILE, or - for stdin, which it also comes from
if there is none: one JSON value.`,
		Example: `  phx ctl push backend room:lobby new_msg '{"body":"hi"}'
  jq -n '{body:"hi"}' | phx ctl push backend room:lobby new_msg
  phx ctl push backend room:lobby avatar @me.png --binary`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 3 {
				o.payload, o.given = args[3], true
				args = append(args[:3:3], args[4:]...)
			}
			return ctlArgs("backend room:lobby echo '{}'", []string{"NAME", "TOPIC", "EVENT"}, &o.name, &o.topic, &o.event)(c, args)
		},
	}, func(ctx context.Context) error { return ctlPushRun(ctx, o) })
}

func ctlPushRun(ctx context.Context, o *ctlPushOptions) error {
	if o.noReply && o.timeout > 0 {
		return exit.Usagef("leave one of them out", "--timeout bounds the wait for a reply, and with --no-reply there is none")
	}
	if err := o.checkBroadcast(o.event); err != nil {
		return err
	}
	var payload []byte
	err := untilDone(ctx, func() (err error) {
		payload, err = o.readPayload()
		return err
	})
	if err != nil {
		return err
	}
	push := serve.Push{Topic: o.topic, Event: o.event, BroadcastEvent: o.broadcast, Payload: payload, NoReply: o.noReply}
	if o.binary {
		push.Payload, push.Binary = nil, payload
	}
	if o.timeout > 0 {
		push.TimeoutMS = int64((o.timeout-1)/time.Millisecond) + 1 // a part of a millisecond is one
	}
	text, err := o.client.Push(ctx, o.name, push)
	return o.printSignal(ctx, text, err)
}

// readPayload returns the one payload that the input has.
func (o *ctlPushOptions) readPayload() ([]byte, error) {
	in, err := o.open(o.factory)
	if err != nil {
		return nil, err
	}
	defer in.close()
	item, err := in.next()
	if errors.Is(err, io.EOF) {
		return nil, in.errNoInput()
	}
	if err == nil {
		_, err = in.next()
		if err == nil {
			return nil, exit.Usagef("push them one by one; `phx push` takes many", "%s has more than one JSON value", in.name)
		}
	}
	if bad := (*exit.Error)(nil); errors.As(err, &bad) && bad.Code == exit.Usage {
		bad.Hint = "nothing was sent: give one JSON value"
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return item.payload.Data, nil
}

// printSignal prints the signal that answers a call, and returns the error of the call: a call that has failed may have a signal, too.
func (c *ctl) printSignal(ctx context.Context, text []byte, failure error) error {
	if text == nil {
		return failure
	}
	var err error
	if c.output.Output.Format == signal.FormatPayload {
		text, err = newSignalView(signal.FormatPayload).shown(text)
	}
	return firstError(c.printAnswer(ctx, text, err), failure)
}
