package serve

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"phx/cmd/config"
	"phx/cmd/internal/resume"
	"phx/phoenix"
	"phx/router"
)

// A connection is what the bridge keeps of a named connection, over its runs and over changes of its settings.
type connection struct {
	name     string
	log      *slog.Logger
	settings atomic.Pointer[settings]
	counters counters
	// following keeps the values of resume; nil until a setting asks for them, and with leases while the connection is not ours.
	following atomic.Pointer[following]
	// tenure is used with leases only.
	tenure tenure
	// removing says that it is about to be forgotten.
	removing atomic.Bool
}

// following has the values of resume of a connection, and tells which of its events are done with.
type following struct {
	cursors  *resume.Cursors
	progress *router.Progress
}

// settings are what the configuration says about a connection.
type settings struct {
	connection *config.Connection
	options    phoenix.Options
	// fingerprint is equal for equal settings; socketFingerprint for those between which a running connection can change.
	fingerprint, socketFingerprint string
	// params are the resume params, by topic.
	params map[string][]resume.Param
	// added says that they came by the control API, and not from the config file.
	added atomic.Bool
}

// counters count from the first start of a connection. The goroutine that reads its events counts; any goroutine may read.
type counters struct {
	messages, reconnects, joins, joinErrors        atomic.Uint64
	pushReplies, pushTimeouts, pushErrors, signals atomic.Uint64
	disconnects, channelErrors, heartbeats         atomic.Uint64
}

// all returns the counters by their names in the control API.
func (c *counters) all() map[string]uint64 {
	return map[string]uint64{
		"messages": c.messages.Load(), "signals": c.signals.Load(),
		"reconnects": c.reconnects.Load(), "disconnects": c.disconnects.Load(), "heartbeats": c.heartbeats.Load(),
		"joins": c.joins.Load(), "join_errors": c.joinErrors.Load(), "channel_errors": c.channelErrors.Load(),
		"push_replies": c.pushReplies.Load(), "push_timeouts": c.pushTimeouts.Load(), "push_errors": c.pushErrors.Load(),
	}
}

// readBuffer in bytes: with a thousand connections memory matters more than system calls.
const readBuffer = 2 << 10

// specOf is what the supervisor runs for a connection.
func (b *Bridge) specOf(c *connection) phoenix.Spec {
	s := c.settings.Load()
	o := s.options
	o.Logger = c.log
	if b.opts.Trace != nil {
		o.Trace = b.opts.Trace(c.name)
	}
	o.Presence = s.connection.Presence
	if b.cluster != nil {
		o.MissedSince = c.missedSince
	}
	// Credentials are read again at every dial: what was refused may be accepted next time.
	o.RetryRefusals = true
	o.ReadBuffer = readBuffer
	o.Channels = c.channels(s.connection.AutoJoin()...)
	o.OnHeartbeat = func(rtt time.Duration) {
		c.counters.heartbeats.Add(1)
		b.Metrics.ObserveHeartbeat(c.name, rtt)
	}
	return phoenix.Spec{
		Name: c.name, Required: s.connection.Required, Options: o,
		Consume: func(events *phoenix.Stream) { b.consume(c, events) },
	}
}

// channels returns the channels of topics, as the settings say.
func (c *connection) channels(topics ...string) []phoenix.Channel {
	s := c.settings.Load()
	channels := s.connection.UnreadChannels(topics...)
	for i := range channels {
		topic, params := channels[i].Topic, s.params[channels[i].Topic]
		if params != nil {
			channels[i].Resume = func(context.Context) (json.RawMessage, error) {
				f := c.following.Load()
				if f == nil { // the lease is over, and so is the connection in a moment
					return nil, nil
				}
				return f.cursors.Of(topic, params), nil
			}
		}
		channels[i] = c.withToken(channels[i])
	}
	return channels
}

// withToken adds the token of the joins, if there is one, from where the settings say at the time: a channel that was joined by a call
// outlives their changes.
func (c *connection) withToken(channel phoenix.Channel) phoenix.Channel {
	return c.settings.Load().connection.WithToken(channel, func(ctx context.Context) (string, error) {
		return c.settings.Load().connection.Token(ctx)
	})
}

// openCursors opens the cursors of a connection that is going to have these settings, if they ask for them and it has none. With a lease, its
// grant does that.
func (b *Bridge) openCursors(c *connection, s *settings) error {
	if len(s.params) == 0 || c.following.Load() != nil {
		return nil
	}
	if b.cluster != nil && !s.added.Load() {
		return b.takeCursorsNow(c)
	}
	progress := router.NewProgress()
	cursors, err := resume.Open(b.resumeFile(c), c.name, progress.Done, c.log)
	if err == nil {
		c.following.Store(&following{cursors, progress})
	}
	return err
}

// resumeFile is the path of the resume file of a connection; empty: there is none.
func (b *Bridge) resumeFile(c *connection) string {
	if b.stateDir == "" {
		return ""
	}
	return filepath.Join(b.stateDir, "resume-"+c.name+".json")
}

// closeCursors saves the cursors of a connection that does not run any more.
func (c *connection) closeCursors() error {
	f := c.following.Load()
	if f == nil {
		return nil
	}
	return f.cursors.Close()
}

// failureInterval is the least time between two logs of params that failed on a message.
const failureInterval = time.Minute

// follower returns what notes the values of resume in a run.
func (c *connection) follower(cursors *resume.Cursors) *resume.Follower {
	failures, logged := 0, time.Time{}
	return cursors.Follower(c.name, func(p resume.Param, err error) {
		failures++
		if time.Since(logged) >= failureInterval {
			c.log.Warn("resume failed on a message, and its value stays what it was: correct the expression", "param", p.Name, "error", err, "others_since_last", failures-1)
			failures, logged = 0, time.Now()
		}
	})
}

// consume reads the events of one run and publishes them to the router. It waits for nothing but the next event: the queues of
// the sinks drop rather than hold it up.
func (b *Bridge) consume(c *connection, events *phoenix.Stream) {
	publisher := b.router.Publisher(c.name)
	turn := b.turnOf(c)
	if turn != nil {
		publisher.SetEpoch(turn.epoch())
		publisher.Guard(turn.holds)
	}
	var follower *resume.Follower
	if f := c.following.Load(); f != nil {
		follower = c.follower(f.cursors)
		publisher.Follow(f.progress)
	}
	// Also after a panic: what holds the routes must let go of them.
	defer publisher.Flush()
	for {
		if !events.Ready() {
			publisher.Flush()
		}
		ev, err := events.Next(context.Background())
		if err != nil { // io.EOF: the run is over
			return
		}
		if turn != nil && !b.send(c, turn, publisher, ev) {
			continue
		}
		if follower != nil { // before it can be done with
			follower.Note(context.Background(), ev, c.settings.Load().params[ev.Topic])
		}
		publisher.Publish(ev)
		b.note(c, ev)
	}
}

// send prepares a publisher for an event of a connection with a lease, and reports whether the event is to be published by the caller.
// When the lease is over, all that is published is that.
func (b *Bridge) send(c *connection, t *turn, p *router.Publisher, ev *phoenix.Event) bool {
	if t.grant == nil {
		return false
	}
	c.noteTenure(ev)
	p.SetEpoch(t.epoch())
	if t.holds() {
		return true
	}
	p.Flush() // which drops what waits
	d, ended := ev.Detail.(*phoenix.Disconnected)
	if !ended || t.said.Load() || d.Reason != phoenix.ReasonLeaseLost {
		return false
	}
	p.Guard(t.mayEnd)
	p.Publish(ev)
	p.Flush()
	t.said.Store(true)
	p.Guard(t.holds)
	b.note(c, ev)
	return false
}

// note counts an event, and logs it if it is of the connection's life.
func (b *Bridge) note(c *connection, ev *phoenix.Event) {
	n := &c.counters
	n.signals.Add(1)
	switch d := ev.Detail.(type) {
	case *phoenix.Message:
		n.messages.Add(1)
		return
	case *phoenix.PushReply:
		n.pushReplies.Add(1)
		b.Metrics.ObservePush(c.name, d.Latency)
		if !d.OnJoin {
			return
		}
	case *phoenix.PushTimeout:
		n.pushTimeouts.Add(1)
	case *phoenix.PushError:
		n.pushErrors.Add(1)
	case *phoenix.Connected:
		if d.Reconnect || ev.Session > 1 && ev.Socket <= 1 { // the first session of a further socket follows no other
			n.reconnects.Add(1)
		}
	case *phoenix.Disconnected:
		n.disconnects.Add(1)
	case *phoenix.Joined:
		n.joins.Add(1)
	case *phoenix.JoinError:
		n.joinErrors.Add(1)
	case *phoenix.Errored, *phoenix.Closed:
		n.channelErrors.Add(1)
	}
	b.opts.LogEvent(c.log, ev)
}
