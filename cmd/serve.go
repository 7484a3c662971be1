package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	ossignal "os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/jq"
	"phx/cmd/internal/lease"
	"phx/cmd/internal/option"
	"phx/cmd/internal/resume"
	"phx/cmd/internal/serve"
	"phx/phoenix"
	"phx/router"
)

type serveOptions struct {
	factory   *factory
	selection config.Selection
	output    outputOptions
	logging   loggingOptions
	control   string
	shard     lease.Shard
	ready     readiness

	log      *slog.Logger
	notifier *serve.Notifier
	bridge   *serve.Bridge
	// form is how signals are written to stdout; nil: as they are.
	form *textForm
}

func newServeCmd(f *factory) *cobra.Command {
	o := &serveOptions{factory: f}
	c := &cobra.Command{
		Use:   "serve",
		Short: "Many named connections, supervised, routed",
		Long: `Keeps the connections of a config file up, and takes their signals to its sinks: stdout, files, programs,
webhooks. It runs until it is told to stop; HUP makes it read the config again and open its files anew, and its
control socket, if that is gone; also under nohup. While it runs, phx ctl shows and steers it.`,
		Example: `  phx serve -f phx.yaml
  phx serve -f phx.yaml --log-format json 2>> serve.log | jq -r .type
  kill -HUP $(pidof phx)    # or: phx ctl reload`,
		Args: noArgs,
	}
	c.Flags().SortFlags = false
	f.bind(c, func(ctx context.Context) error {
		if err := o.logging.Check(); err != nil {
			return err
		}
		o.logging.suit(o.output.Color, f)
		o.log = f.newLogger(o.logging, slog.LevelInfo)
		return serveRun(ctx, o)
	}, o.selection.FileOptions(), o.options(), only(o.output.Options(), isLook), o.logging.Options())
	return c
}

// isLook reports whether an option of printing is one of serve, too: what is printed, and in which format, the config says.
func isLook(flag string) bool { return flag == "color" || flag == "no-trim" }

func (o *serveOptions) options() []option.Option {
	return append([]option.Option{
		{Flag: "control", Env: "PHX_CONTROL", Value: option.Text(&o.control, ""),
			Usage: "Unix socket at `PATH` for phx ctl (default the config's control.socket, else $XDG_RUNTIME_DIR/phx/control.sock)", Example: "/run/phx/control.sock"},
		{Flag: "shard", Env: "PHX_SHARD", Value: option.Checked(&o.shard, "", lease.ParseShard), Example: "0/3",
			Usage: "run one of several parts of the connections, `INDEX/OF` (default the config's cluster.shard, else all)"},
	}, o.ready.flags("every required connection is connected and joined")...)
}

func serveRun(ctx context.Context, o *serveOptions) error {
	keepLittleGarbage()
	defer takeStandardLog(o.log)()
	// A log that nobody reads does not end it.
	ctx, stop := interruptible(ctx, o.factory.die, nil, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	hangups, stopHangups := catchHangups()
	defer stopHangups()
	o.notifier = serve.NewNotifier(o.log)
	err := o.ready.prepare(o.factory)
	if err != nil {
		return err
	}
	defer o.ready.end(o.log)
	err = untilDone(ctx, func() (err error) { // the config may come from a pipe
		o.bridge, err = serve.New(o.bridgeOptions())
		return err
	})
	if _, stopped := killed(err); stopped {
		return nil
	}
	if err != nil {
		return wrongConfig(err)
	}
	if o.form != nil {
		reserve(&o.form.nameWidth, o.bridge.Names()...)
	}
	s := &server{serveOptions: o, hangups: hangups}
	if err := s.open(); err != nil {
		return err
	}
	err = s.run(ctx)
	s.close(ctx)
	return err
}

func (o *serveOptions) bridgeOptions() serve.Options {
	options := serve.Options{
		Load:      func() (*config.File, error) { return o.selection.Load(o.factory.streams.LookupEnv, o.factory.stdin) },
		Shard:     o.shard,
		Where:     compileWhere,
		Resume:    func(name, expr string) (resume.Param, error) { return serveParam(name, expr, o.log) },
		LookupEnv: o.factory.streams.LookupEnv,
		Dir:       o.selection.Dir,
		Stdout:    o.stdout(),
		Build:     serveBuildInfo(),
		Logger:    o.log,
		LogEvent:  o.logEvent,
		Explain:   explainAnswer,
		Reloading: o.notifier.Reloading,
	}
	if o.logging.Trace {
		options.Trace = func(connection string) func(phoenix.TraceFrame) {
			return newTracer(o.factory.streams.Err, o.logging, connection)
		}
	}
	return options
}

// stdout returns what the sink of that name writes to: on a terminal, signals are text.
func (o *serveOptions) stdout() io.Writer {
	streams := o.factory.streams
	if !streams.OutTerminal {
		return streams.Out
	}
	o.form = newTextForm(o.output, streams)
	o.form.names = true
	return &textWriter{w: streams.Out, form: o.form}
}

// logEvent logs an event of a connection's life, unless the same terminal shows its signal.
func (o *serveOptions) logEvent(log *slog.Logger, ev *phoenix.Event) {
	streams := o.factory.streams
	if streams.OutTerminal && streams.ErrTerminal && !o.logging.Verbose && o.bridge.AllToStdout() {
		return
	}
	logLifecycle(log, ev, intervalKey)
}

// A server is serve at work: the bridge, the control API, the HTTP server and the watchdog.
type server struct {
	*serveOptions
	// hangups gets HUP.
	hangups <-chan os.Signal

	// control and web are where the control API and the HTTP server listen, web nil if there is none.
	control *serve.Listener
	web     net.Listener
	// servers are the goroutines that run until serving ends.
	servers     sync.WaitGroup
	serving     context.Context
	stopServing context.CancelFunc
	// broken gets the error of a listener that fails while it should not.
	broken chan error
}

// open begins to listen. A call before the connections are started finds them disconnected.
func (s *server) open() error {
	socket, web := s.bridge.Config()
	path := s.serveOptions.control
	if path == "" {
		path = socket
	}
	if path == "" {
		path = serve.DefaultPath(s.factory.streams.LookupEnv)
	}
	var err error
	if s.control, err = serve.Listen(path); err != nil {
		return err
	}
	s.factory.traces.add(func() { _ = s.control.Close() })
	if web != "" {
		if s.web, err = serve.ListenHTTP(web); err != nil {
			return errors.Join(err, s.control.Close())
		}
		s.log.Info("health and metrics", "at", "http://"+s.web.Addr().String())
	}
	if shard := s.bridge.Shard(); shard.Of > 0 {
		s.log.Info("serving", "control", path, "shard", shard.String())
	} else {
		s.log.Info("serving", "control", path)
	}
	return nil
}

// run starts everything, and returns at the end of ctx, or with the error that ends serve.
func (s *server) run(ctx context.Context) error {
	s.startServers(ctx)
	if err := s.bridge.StartAll(); err != nil {
		return err
	}
	s.servers.Go(func() { s.notifyReady(s.serving) })
	s.servers.Go(func() { s.handleHangups(s.serving) })
	select {
	case err := <-s.bridge.Failed():
		return endedFailure(err)
	case err := <-s.broken:
		return err
	case <-ctx.Done():
		return nil
	}
}

// startServers starts what answers others: the control API, the HTTP server and the watchdog.
func (s *server) startServers(ctx context.Context) {
	s.serving, s.stopServing = context.WithCancel(context.WithoutCancel(ctx))
	ctx = s.serving
	s.broken = make(chan error, 2)
	run := func(what string, serving func() error) {
		s.servers.Go(func() {
			if err := serving(); err != nil && ctx.Err() == nil {
				s.broken <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	control := serve.NewServer(s.bridge, s.log)
	run("the control API", func() error { return control.Serve(ctx, s.control) })
	health := serve.NewHealth(s.bridge.Alive)
	if s.web != nil {
		web := serve.NewWeb(health, s.bridge.Ready, readyText(s.bridge.Shard()), s.bridge.Metrics, s.log)
		run("the HTTP server", func() error { return web.Serve(ctx, s.web) })
	}
	s.servers.Go(func() { s.notifier.Watchdog(ctx, health.Check) })
}

// notifyReady notifies systemd and --ready-file once that everything is there, and logs what is missing.
func (s *server) notifyReady(ctx context.Context) {
	notified := false
	s.bridge.WatchReady(ctx, func(ready bool, missing []string) {
		if !ready {
			s.notifier.Status("waiting for " + strings.Join(missing, ", "))
			s.log.Debug("not ready", "missing", strings.Join(missing, ", "))
			return
		}
		if !notified {
			notified = true
			s.notifier.Ready()
			if err := s.ready.notify(s.log); err != nil {
				s.broken <- err
			}
		}
		s.notifier.Status(readyText(s.bridge.Shard()))
		s.log.Info("ready")
	})
}

// readyText is what systemd and /readyz are told when all is ready.
func readyText(shard lease.Shard) string {
	if shard.Of == 0 {
		return "ready"
	}
	return "ready, shard " + shard.String()
}

// handleHangups takes HUPs, apart from whoever waits for the end: a config may take long to read.
func (s *server) handleHangups(ctx context.Context) {
	for {
		select {
		case <-s.hangups:
			s.bridge.Reopen()
			s.renewControl()
			s.reload(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// renewControl makes the control socket anew, if it is gone.
func (s *server) renewControl() {
	renewed, err := s.control.Renew()
	switch {
	case err != nil:
		s.log.Error("the control socket is gone, and could not be created again: "+err.Error(), "hint", exit.HintOf(err))
	case renewed:
		s.log.Info("the control socket was gone, and has been created again", "control", s.control.Addr())
	}
}

// reload takes a HUP. What is wrong is logged; serve goes on as before.
func (s *server) reload(ctx context.Context) {
	if err := s.bridge.Reload(ctx); err != nil {
		for _, e := range exit.Flatten(err) {
			s.log.Error("not reloaded: "+e.Error(), "hint", hintOf(e))
		}
	}
}

// close ends the connections, delivers what is queued, and ends the servers, all within closeGrace.
func (s *server) close(ctx context.Context) {
	s.notifier.Stopping()
	s.log.Info("stopping")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	if err := s.bridge.Shutdown(grace); err != nil {
		s.log.Warn("not everything ended as it should", "error", err)
	}
	s.stopServing()
	ended := make(chan struct{})
	go func() {
		s.servers.Wait()
		close(ended)
	}()
	deadline, _ := grace.Deadline()
	select {
	case <-ended:
	case <-time.After(max(time.Until(deadline), lastServing)): // somebody sends a request and does not come to its end
	}
}

// lastServing is the least time that the servers have after everything else has ended, so that the socket is removed.
const lastServing = 250 * time.Millisecond

// endedFailure is the failure of serve by the end of a required connection.
func endedFailure(err error) error {
	f := &exit.Error{Code: exit.LinkLost, Message: err.Error(), Err: err,
		Hint: "with `required: false` serve goes on without a connection; `max_retries: -1` never gives up"}
	ended, link := (*serve.EndedError)(nil), (*phoenix.LinkError)(nil)
	if errors.As(err, &ended) && errors.As(err, &link) {
		c := linkFailure(ended.Settings.Address(), link, true)
		if link.Silence > 0 {
			c.Hint = idleHint(link.Code, link.Silence, intervalKey)
		}
		if hint := supabaseLinkHint(ended.Settings, link); hint != "" {
			c.Hint = hint
		}
		f.Message = fmt.Sprintf("the required connection %q has used up its retries: %s", ended.Connection, c.Message)
		if c.Hint != "" {
			f.Hint = c.Hint + "; " + f.Hint
		}
	}
	return f
}

// explainAnswer returns the failure that an event is which ends a join, a leave or a push of `phx ctl`, as the commands join and push
// report it; nil if it is none.
func explainAnswer(profile config.Profile, ev *phoenix.Event) *exit.Error {
	switch d := ev.Detail.(type) {
	case *phoenix.JoinError:
		f := joinFailure(d)
		if hint, ok := ctlJoinHints[d.Reason]; ok && d.Err == nil {
			f.Hint = hint
		}
		f = suited(f, profile, ev)
		if d.Retry.Will {
			f.Hint += "; phx serve goes on trying, until: phx ctl leave NAME " + ev.Topic
		}
		return f
	case *phoenix.PushReply:
		if d.Status != "ok" {
			return suited(statusFailure(ev.Topic, ev.Name, d, ev.Payload), profile, ev)
		}
	case *phoenix.PushTimeout:
		return suited(pushTimeoutFailure(ev.Topic, ev.Name, d), profile, ev)
	case *phoenix.PushError:
		return pushFailure(d)
	}
	return nil
}

// ctlJoinHints are the joinHints that differ for a join by phx serve.
var ctlJoinHints = map[phoenix.JoinReason]string{
	phoenix.JoinRefused: "the channel's join/3 refused: check the topic and its params",
	phoenix.JoinTimeout: "allow more with reply_timeout_msec in the config, or see what the server's join/3 is doing",
}

// catchHangups catches HUP, also if we were started to ignore it, as by nohup: it does not end serve, which is all that nohup is for.
// It does so from the start, in case somebody is quick, and to the end, which a late one must not cut short. Several that nobody has
// taken yet are one.
func catchHangups() (hangups <-chan os.Signal, stop func()) {
	received := make(chan os.Signal, 1)
	ossignal.Notify(received, syscall.SIGHUP)
	return received, func() { ossignal.Stop(received) }
}

// compileWhere compiles the predicate of a route or of a subscriber. The router bounds its time.
func compileWhere(expr string) (config.Where, error) {
	f, err := jq.Compile(expr, jq.Options{Source: "where"})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, s router.Signal) (bool, error) {
		return f.Match(ctx, jq.Document{Source: s})
	}, nil
}

// serveBuildInfo returns the labels of phx_build_info.
func serveBuildInfo() serve.BuildInfo {
	info, _ := debug.ReadBuildInfo()
	v := newVersionInfo(info)
	return serve.BuildInfo{Version: v.Version, Revision: v.Revision, Go: v.Go}
}
