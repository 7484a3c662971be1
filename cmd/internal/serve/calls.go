package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/lease"
	"phx/phoenix"
	"phx/router"
	"phx/router/glob"
	"phx/signal"
)

// The calls of the control API. ctx is that of the call: it ends when the caller has gone, when the time that the caller gave is up,
// and when the server shuts down. A name that serve does not have is an error of each call that takes one.

// Connections returns every connection, in the order in which it was configured or added.
func (b *Bridge) Connections(ctx context.Context) ([]Connection, error) {
	list := []Connection{}
	for _, l := range b.look(ctx, b.supervisor.Names()) {
		switch {
		case errors.Is(l.err, phoenix.ErrUnknownConnection), l.err == nil && b.connection(l.name) == nil: // removed meanwhile
		case l.err != nil:
			return nil, b.callError(l.name, l.err)
		default:
			list = append(list, b.describe(l.status))
		}
	}
	return list, nil
}

// Connection returns one connection.
func (b *Bridge) Connection(ctx context.Context, name string) (Connection, error) {
	status, err := b.status(ctx, name)
	if err != nil {
		return Connection{}, b.callError(name, err)
	}
	return b.describe(status), nil
}

// describe returns a status as the API has it. Times are as exact as those of signals.
func (b *Bridge) describe(s phoenix.ConnectionStatus) Connection {
	d := Connection{
		Name: s.Name, Status: string(s.Link), URI: s.URI, Transport: string(s.Transport), Session: s.Session, Since: s.Since.UTC().Truncate(time.Microsecond),
		Required: s.Required, Channels: make([]Channel, len(s.Channels)), Counters: map[string]uint64{}, Shard: b.shard.String(),
	}
	if s.Link == phoenix.StatusConnecting {
		d.Attempt = s.Retries + 1
	}
	for i, c := range s.Channels {
		d.Channels[i] = Channel{Topic: c.Topic, State: c.State, JoinedAt: c.JoinedAt.UTC().Truncate(time.Microsecond), Socket: c.Socket}
		if c.Held {
			d.Channels[i].Live = new(bool)
		}
	}
	for _, socket := range s.Sockets {
		d.Sockets = append(d.Sockets, Socket{Socket: socket.Number, Status: string(socket.Link), Transport: string(socket.Transport), Session: socket.Session, Channels: socket.Channels})
	}
	if c := b.connection(s.Name); c != nil {
		d.Counters = c.counters.all()
	}
	if s.Err != nil {
		d.Error = s.Err.Error()
	}
	b.place(&d)
	return d
}

// Sinks returns every sink, in the order of the configuration. Those that throw away are left out: there is nothing to know about them.
func (b *Bridge) Sinks() []Sink {
	list := []Sink{}
	for _, s := range b.router.Stats() {
		if s.Kind != discardKind {
			list = append(list, describeSink(&s))
		}
	}
	return list
}

// discardKind is the kind of sinks that throw away.
const discardKind = "discard"

// Sink returns one sink.
func (b *Bridge) Sink(name string) (Sink, error) {
	for _, s := range b.Sinks() {
		if s.Name == name {
			return s, nil
		}
	}
	return Sink{}, newAPIError(http.StatusNotFound, exit.Failure, fmt.Sprintf("serve has no sink %q", name), "`phx ctl sinks` shows those it has")
}

// describeSink returns what there is to know about a sink as the API has it.
func describeSink(s *router.SinkStats) Sink {
	d := Sink{
		Name: s.Name, Kind: s.Kind, Status: SinkUp, Waiting: s.Waiting, WaitingBytes: s.WaitingBytes, OldestMS: s.Oldest.Milliseconds(),
		Attempts: s.Attempts, LastError: s.LastError, LastErrorAt: s.LastErrorAt.UTC().Truncate(time.Microsecond),
	}
	if s.Spool != nil {
		d.Spool = &Spool{Spooled: s.Spool.Records, SpooledBytes: s.Spool.Bytes}
		if s.Spool.Fault != nil {
			d.Spool.Error = s.Spool.Fault.Error()
		}
	}
	d.Delivered, d.Lost = s.Sum()
	switch {
	case s.Err != nil:
		d.Status = SinkOver
		if d.LastError == "" {
			d.LastError = s.Err.Error()
		}
	case s.Failing:
		d.Status = SinkFailing
	}
	return d
}

// Await waits until the connection is in the state: [StateConnected], or [StateJoined]: connected and each of its wanted channels
// joined. A connection that another instance runs is in the state when that instance says so. When ctx ends first, Await returns ctx's
// error and the connection as it was last.
func (b *Bridge) Await(ctx context.Context, name, state string) (Connection, error) {
	c := b.connection(name)
	if c == nil { // it may be one that is not known yet
		select {
		case <-b.startEnded:
			c = b.connection(name)
		case <-ctx.Done():
			return Connection{Name: name, Status: string(phoenix.StatusDisconnected)}, ctx.Err()
		}
	}
	if c == nil {
		return Connection{}, b.unknown(name)
	}
	inState := func(s phoenix.ConnectionStatus) bool {
		if state == StateJoined {
			return len(missingOf(&s, wantedTopics(&s, c.settings.Load()))) == 0
		}
		return s.Link == phoenix.StatusConnected
	}
	for {
		if b.upElsewhere(c, state) {
			return b.Connection(ctx, name)
		}
		look, cancel := ctx, context.CancelFunc(func() {})
		if b.leased(c) {
			look, cancel = context.WithTimeout(ctx, leaseLook)
		}
		status, err := b.supervisor.Await(look, name, inState)
		cancel()
		switch {
		case err == nil:
			return b.describe(status), nil
		case errors.Is(err, phoenix.ErrUnknownConnection):
			return Connection{}, b.unknown(name)
		case ctx.Err() != nil:
			return b.describe(status), ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded):
			return b.describe(status), err
		}
	}
}

// leaseLook is the time between two looks of a wait at who runs a connection: leases change without the supervisor.
const leaseLook = 250 * time.Millisecond

// Add adds a connection and starts it. entry is its entry of a config file, as JSON, with its name. Paths in it that are relative
// start at dir; empty: where the configuration is.
func (b *Bridge) Add(ctx context.Context, entry []byte, dir string) (Connection, error) {
	if dir == "" {
		dir = b.opts.Dir()
	}
	file := filepath.Join(dir, "connection") // there is none: relative paths begin beside it
	badEntry := func(err error) error {
		return badRequest(exit.HintOf(err), "%s", strings.ReplaceAll(err.Error(), file+":", "the sent connection:"))
	}
	e, err := config.ParseEntry(file, entry, config.Noting(b.opts.LookupEnv, func(name string) { b.secrets.add(name) }))
	if err != nil {
		return Connection{}, badEntry(err)
	}
	_, unlock, err := b.lockForChange(ctx)
	if err != nil {
		return Connection{}, b.callError(e.Name, err)
	}
	defer unlock()
	e.Under(b.file) // require_wss is for all connections
	p, err := b.planConnection(e)
	if err != nil {
		return Connection{}, badEntry(err)
	}
	p.added.Store(true)
	if err := b.add(p); err != nil {
		return Connection{}, b.callError(p.name, err)
	}
	for _, warning := range e.Warnings(p.connection) {
		b.log.Warn(warning)
	}
	return b.Start(ctx, p.name)
}

// Remove stops a connection and forgets it. Its name is free then.
func (b *Bridge) Remove(ctx context.Context, name string) error {
	ctx, unlock, err := b.lockForChange(ctx)
	if err != nil {
		return b.callError(name, err)
	}
	defer unlock()
	if c := b.connection(name); c != nil && b.leased(c) {
		return newAPIError(http.StatusConflict, exit.Failure, fmt.Sprintf("the connection %q is one of all instances, and is not removed from one of them", name),
			"take it out of the config, and reload each; `phx ctl stop "+name+"` stops it where it runs")
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	return b.callError(name, b.remove(ctx, name))
}

// Start starts a connection that is stopped or over. It returns it as it is then, and so do Stop and Restart.
func (b *Bridge) Start(ctx context.Context, name string) (Connection, error) {
	if err := b.checkLease(name); err != nil {
		return Connection{}, err
	}
	return b.connectionAfter(ctx, name, b.supervisor.Start(name))
}

// Stop leaves a connection's channels and closes it. To stop what does not run is no error, but what another instance runs is stopped there.
func (b *Bridge) Stop(ctx context.Context, name string) (Connection, error) {
	if err := b.checkLease(name); err != nil {
		return Connection{}, err
	}
	return b.connectionAfter(ctx, name, b.supervisor.Stop(ctx, name))
}

// Restart stops a connection and starts it.
func (b *Bridge) Restart(ctx context.Context, name string) (Connection, error) {
	if err := b.checkLease(name); err != nil {
		return Connection{}, err
	}
	return b.connectionAfter(ctx, name, b.supervisor.Restart(ctx, name))
}

// connectionAfter answers a call that changed a connection with the connection as it is then.
func (b *Bridge) connectionAfter(ctx context.Context, name string, err error) (Connection, error) {
	if err != nil {
		return Connection{}, b.callError(name, err)
	}
	return b.Connection(ctx, name)
}

// Join joins a topic and answers with the signal joined or join_error.
func (b *Bridge) Join(ctx context.Context, name string, j Join) (Answer, error) {
	conn, c, err := b.running(name)
	if err != nil {
		return Answer{}, err
	}
	want := c.channels(j.Topic)[0]
	if j.Params != nil {
		payload := phoenix.Payload{Data: bytes.Clone(j.Params)}
		want.Params = func(context.Context) (phoenix.Payload, error) { return payload, nil }
		want = c.withToken(want)
	}
	ev, err := conn.JoinEvent(ctx, want)
	if errors.Is(err, phoenix.ErrNotJoined) {
		return Answer{}, newAPIError(http.StatusConflict, exit.Channel, "the topic was left again before the server had answered the join",
			"was the connection stopped? `phx ctl status "+name+"` shows it")
	}
	return b.answer(name, &ev, err)
}

// Leave leaves a topic and answers with the signal left.
func (b *Bridge) Leave(ctx context.Context, name, topic string) (Answer, error) {
	conn, _, err := b.running(name)
	if err != nil {
		return Answer{}, err
	}
	ev, err := conn.LeaveEvent(ctx, topic)
	return b.answer(name, &ev, err)
}

// Push pushes and answers with the signal that ended it: push.reply, push.timeout or push.error.
func (b *Bridge) Push(ctx context.Context, name string, p Push) (Answer, error) {
	conn, c, err := b.running(name)
	if err != nil {
		return Answer{}, err
	}
	push := phoenix.Push{Topic: p.Topic, Name: p.Event, Payload: phoenix.Payload{Data: p.Payload}}
	if p.Binary != nil {
		push.Payload = phoenix.Binary(p.Binary)
	}
	settings := c.settings.Load().connection
	if err = settings.CheckPush(p.Topic, p.Event); err == nil && p.BroadcastEvent != "" {
		push, err = settings.Broadcast(p.Topic, p.BroadcastEvent, push.Payload)
	}
	if err != nil {
		return Answer{}, badRequest("nothing was sent: give another event or payload", "%v", err)
	}
	push.Timeout = time.Duration(p.TimeoutMS) * time.Millisecond
	if !p.NoReply {
		ev, err := conn.PushEvent(ctx, push)
		return b.answer(name, &ev, err)
	}
	ref, err := conn.SendRef(ctx, push)
	if lost := (*phoenix.PushError)(nil); errors.As(err, &lost) {
		// Its event is in the stream; the answer has it without its number.
		return b.answer(name, &phoenix.Event{Time: time.Now(), Topic: p.Topic, Name: p.Event, Detail: lost}, nil)
	}
	if err != nil {
		return Answer{}, b.callError(name, err)
	}
	line, _ := json.Marshal(struct { // strings always marshal
		Ref string `json:"ref"`
	}{ref})
	return Answer{Status: http.StatusAccepted, Line: line}, nil
}

// answer returns the signal of the event that answered a call. It has the id and the number of the one that is routed.
func (b *Bridge) answer(name string, ev *phoenix.Event, err error) (Answer, error) {
	if err != nil {
		return Answer{}, b.callError(name, err)
	}
	encoder := signal.NewEncoder(signal.FormatSignal, name)
	var profile config.Profile
	if c := b.connection(name); c != nil {
		profile = c.settings.Load().connection.Profile
		if g := c.tenure.current(); g != nil {
			encoder.SetEpoch(g.Epoch())
		}
	}
	a := Answer{Status: http.StatusOK, Line: encoder.Append(nil, ev), Err: b.opts.Explain(profile, ev)}
	switch d := ev.Detail.(type) {
	case *phoenix.PushTimeout:
		a.Status = http.StatusGatewayTimeout
	case *phoenix.PushError:
		a.Status = http.StatusBadGateway
	case *phoenix.JoinError:
		a.Status = http.StatusBadGateway
		if d.Reason == phoenix.JoinTimeout {
			a.Status = http.StatusGatewayTimeout
		}
	}
	return a, nil
}

// running returns the connection of a name and its current run.
func (b *Bridge) running(name string) (*phoenix.Conn, *connection, error) {
	if err := b.checkLease(name); err != nil {
		return nil, nil, err
	}
	conn, err := b.supervisor.Conn(name)
	c := b.connection(name)
	switch {
	case err != nil:
		return nil, nil, b.callError(name, err)
	case c == nil: // removed meanwhile
		return nil, nil, b.unknown(name)
	}
	return conn, c, nil
}

// callError makes of an error of a connection one that says what to do about it, with the exit code that other commands have.
func (b *Bridge) callError(name string, err error) error {
	var link *phoenix.LinkError
	var invalid *phoenix.InvalidError
	conflict := func(code exit.Code, message, hint string) error {
		return newAPIError(http.StatusConflict, code, message, hint)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, phoenix.ErrUnknownConnection):
		return b.unknown(name)
	case errors.Is(err, phoenix.ErrShutdown):
		return errClosing
	case errors.As(err, &invalid):
		return badRequest("give another topic, event or payload", "%v", err)
	case errors.Is(err, phoenix.ErrConnectionExists):
		return conflict(exit.Failure, fmt.Sprintf("serve has a connection %q already", name),
			"give the new one another name, or `phx ctl remove` the old one")
	case errors.Is(err, phoenix.ErrNotRunning), errors.Is(err, phoenix.ErrClosed), errors.As(err, &link):
		return conflict(exit.LinkLost, fmt.Sprintf("the connection %q is not running", name), "`phx ctl start "+name+"` starts it")
	case errors.Is(err, phoenix.ErrJoined):
		return conflict(exit.Failure, "the topic is joined already, or wanted", "leave it first, to join it with other params")
	case errors.Is(err, phoenix.ErrNotJoined):
		return conflict(exit.Channel, "the topic is not joined", "`phx ctl status "+name+"` shows the channels")
	case errors.Is(err, context.DeadlineExceeded):
		return newAPIError(http.StatusGatewayTimeout, exit.Timeout, "not finished in time", "see in serve's log what the server is doing")
	}
	return err
}

// unknown is the error of a call that names a connection that serve does not have.
func (b *Bridge) unknown(name string) error {
	if !b.started.Load() {
		return errStarting
	}
	message, hint := fmt.Sprintf("serve has no connection %q", name), "`phx ctl list` shows those it has"
	if others := b.elsewhere.Load(); others != nil && slices.Contains(*others, name) {
		other := lease.ShardOf(name, b.shard.Of)
		message = fmt.Sprintf("the connection %q is in shard %v, and this serve runs shard %v", name, other, b.shard)
		hint = fmt.Sprintf("ask the serve with --shard %v, by its --control", other)
	}
	return newAPIError(http.StatusNotFound, exit.Failure, message, hint)
}

// subscriptionLimit bounds in bytes what waits for a subscriber. One that is slower loses the oldest; the stream announces that.
const subscriptionLimit = 1 << 20

// Subscribe begins a stream of signals, which the caller closes.
func (b *Bridge) Subscribe(r SubscribeRequest) (*router.Subscription, error) {
	var f router.Filter
	for _, p := range []struct {
		text string
		into **router.Pattern
	}{{r.Match, &f.Match}, {r.Subscribe, &f.Subscribe}} {
		if p.text == "" {
			continue
		}
		pattern, err := router.CompilePattern(p.text)
		if err != nil {
			return nil, badRequest("a right one: phoenix.backend.**", "%v", err)
		}
		*p.into = &pattern
	}
	for _, g := range []struct {
		texts []string
		into  *[]glob.Glob
	}{{r.Topic, &f.Topic}, {r.Event, &f.Event}} {
		for _, text := range g.texts {
			compiled, err := glob.Compile(text)
			if err != nil {
				return nil, badRequest("a right one: room:*", "the glob %q: %v", text, err)
			}
			*g.into = append(*g.into, compiled)
		}
	}
	if r.Where != "" {
		var err error
		if f.Where, err = b.opts.Where(r.Where); err != nil {
			return nil, newAPIError(http.StatusBadRequest, exit.JQCompile, err.Error(), "check the expression of where")
		}
	}
	return b.router.Subscribe(f, r.Format, subscriptionLimit), nil
}
