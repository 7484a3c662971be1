// Package serve is `phx serve` at work, and the client that `phx ctl` is made of.
//
// The [Bridge] makes the connections, sinks and routes of a config file, and changes them with the file. Three parts do the
// work: a [phoenix.Supervisor] runs the connections, a [router.Router] takes their signals to the sinks, and between them one
// goroutine for each run of a connection reads its events and publishes to the router. The bridge owns what outlives them: the
// configuration in effect, and the counters of a connection.
//
// [Server] answers the control API, HTTP and JSON on a Unix socket, and [Client] calls it. What a call answers is JSON in one
// line; an error is {"error":{"message","hint","exit_code"}}. [Web] serves metrics, health and readiness over HTTP, and
// [Notifier] talks to systemd.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/lease"
	"phx/cmd/internal/natslink"
	"phx/cmd/internal/resume"
	"phx/cmd/internal/secret"
	"phx/phoenix"
	"phx/router"
	"phx/signal"
)

// Options are what a bridge is made with.
type Options struct {
	// Load reads the configuration, anew at each call.
	Load func() (*config.File, error)
	// Where compiles the jq expression of a route or a subscriber.
	Where func(expr string) (func(ctx context.Context, s router.Signal) (bool, error), error)
	// Resume compiles the jq expression of a resume param.
	Resume func(name, expr string) (resume.Param, error)
	// Shard is the part of the connections that this serve runs; zero: as the configuration says.
	Shard lease.Shard
	// LookupEnv finds the variables that entries added at run time refer to; Dir is where their relative paths begin: that is
	// known once the configuration has been loaded.
	LookupEnv func(name string) (string, bool)
	Dir       func() string
	// Stdout is where the sink of that name writes.
	Stdout io.Writer
	// Build is what the metrics say about the program.
	Build  BuildInfo
	Logger *slog.Logger
	// LogEvent logs an event of a connection's life to that connection's log.
	LogEvent func(log *slog.Logger, ev *phoenix.Event)
	// Explain returns the failure that an event is which ends a join, a leave or a push on a connection with a profile; nil if it is none.
	Explain func(profile config.Profile, ev *phoenix.Event) *exit.Error
	// Trace returns what gets every frame of a connection; nil: nobody does.
	Trace func(connection string) func(phoenix.TraceFrame)
	// Reloading is called when a reload begins, and what it returns when the reload has ended, whether it succeeded or not.
	Reloading func() (ended func())
}

// A Bridge is the connections, sinks and routes of a config file, at work. Its methods may be called from any goroutine.
type Bridge struct {
	opts       Options
	log        *slog.Logger
	supervisor *phoenix.Supervisor
	router     *router.Router
	// Metrics are what is measured of all of it.
	Metrics *Metrics
	failed  chan error
	// allToStdout: without a condition, every signal goes to stdout.
	allToStdout atomic.Bool
	// secrets are the names of variables that the programs of sinks do not get.
	secrets names
	// started: every connection is known. Before, none counts as missing. startEnded is closed when that is so, or will not be.
	started    atomic.Bool
	startEnded chan struct{}

	// changing is locked while the configuration changes: by a reload, an addition or a removal. closing is done when nothing is to
	// be changed any more: it ends every wait for the mutex, and every wait of a change for a connection.
	changing contextMutex
	closing  context.Context
	close    context.CancelFunc
	// file, serve and sinks are of the configuration in effect, first is the one that is to be. changing guards them.
	file  *config.File
	serve *config.Serve
	sinks []sink
	first *plan
	// shard is the part of the connections that this serve runs, zero: all. It stays as it is.
	shard lease.Shard
	// elsewhere are the connections of the configuration that belong to other shards.
	elsewhere atomic.Pointer[[]string]
	// cluster is there with leases, and nil without. It stays as it is.
	cluster *cluster
	// stateDir is the directory of what is kept over restarts; empty: nothing is. It stays as it is.
	stateDir string

	// mu guards connections and link, which others read while the configuration changes. It is held for a single access.
	mu          sync.RWMutex
	connections map[string]*connection
	// handler answers the calls that remote takes, at subjects; remote is nil as long as the configuration has no sources.
	handler  http.Handler
	remote   *remote
	subjects []string
	// link is the link to NATS, nil as long as the configuration has none. What uses it opens it. nats are its settings.
	link *natslink.Link
	nats *config.NATS
}

// New reads and checks the configuration. It takes effect with [Bridge.StartAll].
func New(o Options) (*Bridge, error) {
	b := &Bridge{
		opts: o, log: o.Logger, router: router.New(o.Logger), failed: make(chan error, 1),
		connections: map[string]*connection{}, changing: newContextMutex(), startEnded: make(chan struct{}),
	}
	b.closing, b.close = context.WithCancel(context.Background())
	b.Metrics = NewMetrics(func() lease.Shard { return b.shard }, b.leases, func() []Connection {
		all, _ := b.Connections(context.Background()) // without an end of the context there is no error
		return all
	}, b.router.Stats, o.Build)
	b.supervisor = phoenix.NewSupervisor(phoenix.SupervisorOptions{Logger: o.Logger, Ended: b.ended})
	var err error
	if b.first, err = b.plan(); err == nil {
		b.shard = b.first.shard
	}
	return b, err
}

// StartAll makes the sinks and starts every connection. Files are opened before anything is connected, so that a wrong path is
// an error of the start.
func (b *Bridge) StartAll() error {
	defer close(b.startEnded)
	_, unlock, err := b.lockConfig(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	p := b.first
	b.linkBy(p)
	b.clusterBy(p)
	if err := b.routeBy(p); err != nil {
		return err
	}
	b.serve, b.file, b.first = p.serve, p.file, nil
	defer b.remoteBy(p)
	b.elsewhere.Store(&p.elsewhere)
	b.stateDir = p.serve.StateDir
	if b.stateDir != "" {
		if err := os.MkdirAll(b.stateDir, 0o700); err != nil {
			return &exit.Error{Code: exit.Write, Message: "cannot make the directory of state_dir: " + exit.SystemText(err) + ": " + b.stateDir, Err: err,
				Hint: "check state_dir in the config file"}
		}
	}
	p.warn(b.log)
	_, err = b.connectBy(context.Background(), p)
	b.started.Store(err == nil)
	return err
}

// Config returns the path of the control API's socket, and HOST:PORT of health and metrics. It is called before StartAll; they
// stay as they are.
func (b *Bridge) Config() (controlSocket, httpListen string) {
	return b.first.serve.ControlSocket, b.first.serve.HTTPListen
}

// Names returns the names of the connections of the config file. It is called before StartAll.
func (b *Bridge) Names() (names []string) {
	for _, c := range b.first.connections {
		names = append(names, c.name)
	}
	return names
}

// An EndedError says that a required connection is over: it has used up its retries, or cannot be retried.
type EndedError struct {
	Connection string
	// Settings are what the configuration says about it.
	Settings *config.Connection
	Err      error
}

// Error names the connection.
func (e *EndedError) Error() string {
	return "the required connection " + e.Connection + " is over: " + e.Err.Error()
}

// Unwrap returns how it ended.
func (e *EndedError) Unwrap() error { return e.Err }

// Failed hands out, once, the [*EndedError] of the first required connection that is over.
func (b *Bridge) Failed() <-chan error { return b.failed }

// ended takes the end of a connection that the supervisor does not start again.
func (b *Bridge) ended(name string, err error) {
	c := b.connection(name)
	if c == nil {
		return
	}
	if !c.settings.Load().connection.Required {
		c.log.Error("the connection is over; the others go on", "error", err, "to_bring_it_back", "phx ctl start "+name)
		return
	}
	select {
	case b.failed <- &EndedError{Connection: name, Settings: c.settings.Load().connection, Err: err}:
	default: // another one was first
	}
}

// Reopen has the files of the sinks opened anew, after somebody has moved them.
func (b *Bridge) Reopen() { b.router.Reopen() }

const (
	// leaveShare is the part of the time for an end that leaving and closing may take; the rest is for delivering what is queued.
	leaveShare = 0.6
	// stopTime is what is kept, of the time for an end, for sinks to stop that could not deliver everything: programs are killed then.
	stopTime = 1250 * time.Millisecond
)

// Shutdown ends every connection, and then every sink when it has delivered what it holds, all before ctx ends. What could not
// be delivered by then is counted and logged.
func (b *Bridge) Shutdown(ctx context.Context) error {
	b.close()
	leave, deliver := ctx, ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancelLeave, cancelDeliver context.CancelFunc
		leave, cancelLeave = context.WithTimeout(ctx, time.Duration(leaveShare*float64(time.Until(deadline))))
		defer cancelLeave()
		deliver, cancelDeliver = context.WithDeadline(ctx, deadline.Add(-stopTime))
		defer cancelDeliver()
	}
	// A change that is still under way is not waited for: it can start nothing any more.
	err := b.supervisor.Shutdown(leave)
	b.saveCursors()
	b.leaves(ctx)
	err = errors.Join(err, b.router.Shutdown(deliver), b.eachCursors((*resume.Cursors).Close))
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.link != nil {
		b.link.Close(ctx)
	}
	return err
}

// Shard returns the part of the connections that this serve runs, zero if it runs all.
func (b *Bridge) Shard() lease.Shard { return b.shard }

// linkBy makes the link to NATS if a plan has one and there was none before. It is not opened.
func (b *Bridge) linkBy(p *plan) {
	if p.serve.NATS == nil || b.link != nil {
		return
	}
	o := p.serve.NATS.Options
	o.Logger = b.log
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nats, b.link = p.serve.NATS, natslink.New(o)
}

// connection returns the connection of a name, nil if there is none.
func (b *Bridge) connection(name string) *connection {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.connections[name]
}

// A plan is a configuration that was checked and is not yet in effect.
type plan struct {
	file        *config.File
	serve       *config.Serve
	connections []planned
	warnings    []string
	// shard is the part of the connections of the file that the plan has; elsewhere names the others, which are checked, too.
	shard     lease.Shard
	elsewhere []string
}

// planned is one connection of a plan.
type planned struct {
	name string
	*settings
}

// plan reads the configuration and checks all of it.
func (b *Bridge) plan() (*plan, error) {
	file, err := b.opts.Load()
	if err != nil {
		return nil, err
	}
	p := &plan{file: file}
	// All errors are reported together.
	var wrong []error
	p.serve, err = file.Serve(b.opts.Where)
	wrong = append(wrong, err)
	if p.shard = b.opts.Shard; err == nil {
		wrong = append(wrong, checkCluster(p.shard, p.serve.Cluster))
		if p.shard.Of == 0 {
			p.shard = p.serve.Cluster.Shard
		}
	}
	for _, entry := range file.Entries {
		c, err := b.planConnection(entry)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if !p.shard.Has(c.name) {
			p.elsewhere = append(p.elsewhere, c.name)
			continue
		}
		p.connections = append(p.connections, c)
		p.warnings = append(p.warnings, entry.Warnings(c.connection)...)
	}
	if err := config.Join(wrong...); err != nil {
		return nil, err
	}
	p.warnings = append(p.warnings, p.serve.Warnings...)
	return p, nil
}

// planConnection checks an entry.
func (b *Bridge) planConnection(entry *config.Entry) (planned, error) {
	c, err := entry.Resolve(b.log.With(connectionKey, entry.Name))
	if err != nil {
		return planned{}, err
	}
	p := planned{name: entry.Name, settings: &settings{connection: c}}
	if p.options, err = c.Build(nil); err != nil {
		return planned{}, err
	}
	p.fingerprint, p.socketFingerprint = c.Fingerprint(), c.SocketFingerprint()
	p.params, err = b.resumeParams(entry, c)
	return p, err
}

// resumeParams compiles the expressions of resume, by topic.
func (b *Bridge) resumeParams(entry *config.Entry, c *config.Connection) (map[string][]resume.Param, error) {
	params := map[string][]resume.Param{}
	for _, topic := range c.AutoJoin() {
		for _, said := range c.Resumes(topic) {
			p, err := b.opts.Resume(said.Name, said.Expr)
			if err != nil {
				return nil, entry.ChannelsError(topic, err)
			}
			params[topic] = append(params[topic], p)
		}
	}
	return params, nil
}

// connectionKey is under which name logs say which connection they are about.
const connectionKey = "connection"

// warn logs the warnings.
func (p *plan) warn(log *slog.Logger) {
	for _, w := range p.warnings {
		log.Warn(w)
	}
	if limit, ok := descriptorLimit(); ok && limit < p.descriptors() {
		log.Warn(fmt.Sprintf("at most %d files can be open, and this configuration may need %d: some connections will fail with no_descriptors",
			limit, p.descriptors()), "hint", noDescriptorsHint)
	}
	switch {
	case len(p.connections) > 0:
	case len(p.elsewhere) > 0:
		log.Warn(fmt.Sprintf("no connection of the configuration belongs to shard %v: other shards have them all", p.shard))
	default:
		log.Warn("the configuration has no connections; `phx ctl start -f FILE NAME` adds one")
	}
}

// ownDescriptors is what serve needs itself: stdio, the runtime, listeners, callers of the control API.
const ownDescriptors = 24

// descriptors returns how many descriptors the plan may need: after an outage of the network, every connection dials at once.
func (p *plan) descriptors() uint64 {
	need := ownDescriptors
	for _, s := range p.serve.Sinks {
		need += s.Descriptors()
	}
	if p.serve.NATS != nil {
		need += 1 + secret.MostDescriptors(p.serve.NATS.Sources())
	}
	for _, c := range p.connections {
		need += 1 + c.connection.Descriptors()
	}
	return uint64(need)
}

// A sink is a sink of the configuration in effect.
type sink struct {
	*router.Sink
	fingerprint string
	spool       string // its file; empty: none
}

// routeBy makes the sinks and routes those of a plan. A sink whose settings are the same goes on, with what it holds, unless it is
// dead: that is made anew. When routeBy fails, nothing has changed.
func (b *Bridge) routeBy(p *plan) error {
	var sinks []sink
	var opened []router.Drain
	done := false
	defer func() {
		if !done {
			closeAll(opened)
		}
	}()
	dead := map[string]bool{}
	for _, s := range b.router.Stats() {
		dead[s.Name] = s.Err != nil
	}
	b.secrets.add(p.file.Variables()...)
	secrets := strings.Join(p.file.Variables(), " ")
	for _, wanted := range p.serve.Sinks {
		if wanted.Exec != nil { // its program has been started without them, or has to be started anew
			wanted.Fingerprint += " " + secrets
		}
		s, ok := b.runningSink(wanted)
		if !ok || dead[wanted.Name] {
			drain := b.spooling(wanted, b.newDrain(wanted))
			if err := open(wanted.Name, drain); err != nil {
				return err
			}
			opened = append(opened, drain)
			s = sink{Sink: b.newSink(wanted, drain), fingerprint: wanted.Fingerprint}
			if wanted.Spool != nil {
				s.spool = wanted.Spool.Path(wanted.Name)
			}
		}
		sinks = append(sinks, s)
	}
	bare := make([]*router.Sink, len(sinks))
	for i, s := range sinks {
		bare[i] = s.Sink
	}
	if err := b.router.Apply(bare, p.serve.Routes); err != nil {
		return err
	}
	b.sinks, done = sinks, true
	b.allToStdout.Store(p.serve.AllToStdout)
	return nil
}

// AllToStdout reports whether every signal goes to stdout, because the configuration in effect has no routes.
func (b *Bridge) AllToStdout() bool { return b.allToStdout.Load() }

// names are those of variables that the configuration has named so far, that of connections which were added at run time included.
// A name is never removed: the value of its variable may still be a secret.
type names struct {
	mu  sync.Mutex
	all map[string]bool
}

func (n *names) add(list ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil {
		n.all = map[string]bool{}
	}
	for _, name := range list {
		n.all[name] = true
	}
}

func (n *names) list() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.all))
}

// runningSink returns the sink that has these settings already.
func (b *Bridge) runningSink(wanted config.Sink) (sink, bool) {
	for _, s := range b.sinks {
		if s.Name() == wanted.Name && s.fingerprint == wanted.Fingerprint {
			return s, true
		}
	}
	return sink{}, false
}

// open gets what a drain needs, so that what is wrong with it is known before anything has changed.
func open(name string, d router.Drain) error {
	if opener, ok := d.(router.Opener); ok {
		if err := opener.Open(); err != nil {
			return &exit.Error{
				Code: exit.Write, Message: fmt.Sprintf("the sink %s cannot work: %v", name, err),
				Hint: "check the sink in the config file, and what it names", Err: err,
			}
		}
	}
	return nil
}

// spooling puts the spool of a sink in front of its drain, if it has one. The sink that it replaces may have the file open until it has
// ended.
func (b *Bridge) spooling(s config.Sink, drain router.Drain) router.Drain {
	if s.Spool == nil {
		return drain
	}
	replaces := slices.ContainsFunc(b.sinks, func(other sink) bool { return other.Name() == s.Name && other.spool == s.Spool.Path(s.Name) })
	return router.NewSpoolDrain(router.SpoolOptions{
		Path: s.Spool.Path(s.Name), MaxBytes: s.Spool.MaxBytes, Sync: s.Spool.Sync, Behind: drain, Later: replaces, Logger: b.log.With("sink", s.Name),
	})
}

// closeAll closes what drains have opened that are not going to run.
func closeAll(drains []router.Drain) {
	for _, d := range drains {
		if closer, ok := d.(io.Closer); ok {
			_ = closer.Close() // nothing was written
		}
	}
}

func (b *Bridge) newSink(s config.Sink, d router.Drain) *router.Sink {
	return router.NewSink(router.SinkOptions{
		Name: s.Name, Kind: s.Kind(), Format: s.Format, Records: s.Records, Bytes: s.Bytes, Policy: s.WhenFull, OnLoss: s.OnLoss, Drain: d, Logger: b.log,
	})
}

func (b *Bridge) newDrain(s config.Sink) router.Drain {
	log := b.log.With("sink", s.Name)
	switch {
	case s.Stdout:
		return router.WriterDrain(b.opts.Stdout)
	case s.File != nil:
		return router.NewFileDrain(s.File.Path, log)
	case s.Exec != nil:
		return router.NewExecDrain(router.ExecOptions{Command: s.Exec.Command, Dir: s.Exec.Dir, Hide: b.secrets.list, Logger: log})
	case s.Webhook != nil:
		w := s.Webhook
		w.Logger = log
		return router.NewWebhookDrain(router.WebhookOptions{
			URL: w.URL, Binary: w.Binary, Headers: w.Headers, Secret: w.Secret, Timeout: w.Timeout, MaxRetries: w.MaxRetries,
			Batch: w.Batch, BatchBytes: int(w.BatchBytes), BatchWait: w.BatchWait, MaxInFlight: w.MaxInFlight, RetryOn: w.RetryOn, DropOn: w.DropOn,
			Logger: log,
		})
	case s.NATS != nil:
		n := s.NATS
		publisher := b.link.NewPublisher(natslink.PublisherOptions{Stream: n.Stream, Subjects: n.Subjects(), Create: n.Create})
		return router.NewNATSDrain(router.NATSOptions{
			Publisher: publisher, ByType: n.ByType, Window: n.Window, Lines: n.Lines,
			CloudEvents: s.Format == signal.FormatCloudEvents, Binary: n.Binary, Logger: log,
		})
	}
	return router.Discard()
}
