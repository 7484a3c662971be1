package cmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	ossignal "os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"phx/cmd/internal/bridge"
	"phx/cmd/internal/control"
	"phx/cmd/internal/ops"
	"phx/phoenix"
)

// A server is serve at work: the bridge, and who may ask it something.
type server struct {
	*serveOptions
	bridge *bridge.Bridge
	// hangups gets HUP.
	hangups <-chan os.Signal

	// control and web are where the control API and the HTTP server listen, web nil if there is none.
	control, web net.Listener
	// asking runs while others may ask, until answering ends.
	asking     sync.WaitGroup
	answering  context.Context
	stopAsking context.CancelFunc
	// broken gets the error of a listener that fails while it should not.
	broken chan error
}

// open begins to listen. Whoever asks before the connections are started finds them disconnected.
func (s *server) open() error {
	socket, web := s.bridge.Config()
	path := s.serveOptions.control
	if path == "" {
		path = socket.Path
	}
	if path == "" {
		path = control.DefaultPath(s.factory.streams.LookupEnv)
	}
	var err error
	if s.control, err = control.Listen(path); err != nil {
		return err
	}
	if web.Addr != "" {
		if s.web, err = ops.Listen(web.Addr); err != nil {
			return errors.Join(err, s.control.Close())
		}
		s.log.Info("health and metrics", "at", "http://"+s.web.Addr().String())
	}
	s.log.Info("serving", "control", path)
	return nil
}

// run starts everything, and returns when it is told to end, or has to: nil, or why.
func (s *server) run(ctx context.Context) error {
	s.answer(ctx)
	if err := s.bridge.StartAll(); err != nil {
		return err
	}
	s.asking.Go(func() { s.tellReady(s.answering) })
	s.asking.Go(func() { s.takeHangups(s.answering) })
	select {
	case err := <-s.bridge.Failed():
		return endedFailure(err)
	case err := <-s.broken:
		return err
	case <-ctx.Done():
		return nil
	}
}

// answer lets others ask.
func (s *server) answer(ctx context.Context) {
	s.answering, s.stopAsking = context.WithCancel(context.WithoutCancel(ctx))
	ctx = s.answering
	s.broken = make(chan error, 2)
	serve := func(what string, run func() error) {
		s.asking.Go(func() {
			if err := run(); err != nil && ctx.Err() == nil {
				s.broken <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	serve("the control API", func() error { return control.NewServer(s.bridge, s.log).Serve(ctx, s.control) })
	if s.web != nil {
		web := ops.NewServer(s.bridge.Source(), s.bridge.Metrics(), s.log)
		serve("the HTTP server", func() error { return web.Serve(ctx, s.web) })
	}
	s.asking.Go(func() { s.notifier.Watchdog(ctx, ops.NewHealth(s.bridge.Source()).Check) })
}

// tellReady tells systemd and whoever waits for a file that everything is there, once, and logs what is missing.
func (s *server) tellReady(ctx context.Context) {
	told := false
	s.bridge.WatchReady(ctx, func(ready bool, missing []string) {
		if !ready {
			s.notifier.Status("waiting for " + strings.Join(missing, ", "))
			s.log.Debug("not ready", "missing", strings.Join(missing, ", "))
			return
		}
		if !told {
			told = true
			s.notifier.Ready()
			if err := s.ready.tell(); err != nil {
				s.broken <- err
			}
		}
		s.notifier.Status("ready")
		s.log.Info("ready")
	})
}

// takeHangups takes HUPs, apart from whoever waits for the end: a config may take long to read.
func (s *server) takeHangups(ctx context.Context) {
	for {
		select {
		case <-s.hangups:
			s.bridge.Reopen()
			s.reload(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// reload takes a HUP. What is wrong is logged; serve goes on as before.
func (s *server) reload(ctx context.Context) {
	if err := s.bridge.Reload(ctx); err != nil {
		for _, e := range flatten(err) {
			s.log.Error("not reloaded: "+e.Error(), "hint", hintOf(e))
		}
	}
}

// close ends the connections, delivers what is queued, and lets nobody ask any more, all within closeGrace.
func (s *server) close(ctx context.Context) {
	s.notifier.Stopping()
	s.log.Info("stopping")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	if err := s.bridge.Shutdown(grace); err != nil {
		s.log.Warn("not everything ended as it should", "error", err)
	}
	s.stopAsking()
	answered := make(chan struct{})
	go func() {
		s.asking.Wait()
		close(answered)
	}()
	deadline, _ := grace.Deadline()
	select {
	case <-answered:
	case <-time.After(max(time.Until(deadline), lastAnswers)): // somebody sends a request and does not come to its end
	}
}

// lastAnswers is what answers to others have at least after everything else has ended, so that the socket is removed.
const lastAnswers = 250 * time.Millisecond

// endedFailure is the failure of serve by the end of a required connection.
func endedFailure(err error) error {
	f := &failure{code: exitLinkLost, message: err.Error(), err: err,
		hint: "with `required: false` serve goes on without a connection; `max_retries: -1` never gives up"}
	ended, link := (*bridge.EndedError)(nil), (*phoenix.LinkError)(nil)
	if errors.As(err, &ended) && errors.As(err, &link) {
		c := linkFailure(ended.URI, link, true)
		f.message = fmt.Sprintf("the required connection %q has used up its retries: %s", ended.Connection, c.message)
		if c.hint != "" {
			f.hint = c.hint + "; " + f.hint
		}
	}
	return f
}

// catchHangups catches HUP, unless we were started to ignore it: from the start, in case somebody is quick, and to the end, which
// a late one must not cut short. Several that nobody has taken yet are one.
func catchHangups() (hangups <-chan os.Signal, stop func()) {
	received := make(chan os.Signal, 1)
	if !ossignal.Ignored(syscall.SIGHUP) {
		ossignal.Notify(received, syscall.SIGHUP)
	}
	return received, func() { ossignal.Stop(received) }
}

// surviveBrokenPipes makes a write to a pipe without a reader an error, where it would end the process: a sink is lost then,
// and the others go on. Children do not inherit it. undo takes it back.
func surviveBrokenPipes() (undo func()) {
	ignored := make(chan os.Signal, 1)
	ossignal.Notify(ignored, syscall.SIGPIPE)
	return func() { ossignal.Stop(ignored) }
}

// compileWhere compiles the predicate of a route or of a subscriber.
func compileWhere(expr string) (func(context.Context, []byte) (bool, error), error) {
	p, err := compilePredicate("where", expr)
	if err != nil {
		return nil, err
	}
	return p.match, nil
}

// serveBuildInfo is what the metrics say about the program.
func serveBuildInfo() ops.BuildInfo {
	info, _ := debug.ReadBuildInfo()
	v := newVersionInfo(info)
	return ops.BuildInfo{Version: v.Version, Revision: v.Revision, Go: v.Go}
}
