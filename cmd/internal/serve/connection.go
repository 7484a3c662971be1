package serve

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"phx/cmd/config"
	"phx/phoenix"
)

// A connection is what the bridge keeps of a named connection, over its runs and over changes of its settings.
type connection struct {
	name     string
	log      *slog.Logger
	settings atomic.Pointer[settings]
	counters counters
	// removing says that it is about to be forgotten.
	removing atomic.Bool
}

// settings are what the configuration says about a connection.
type settings struct {
	connection *config.Connection
	options    phoenix.Options
	// fingerprint is equal for equal settings; socketFingerprint for those between which a running connection can change.
	fingerprint, socketFingerprint string
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
	// Credentials are read again at every dial: what was refused may be accepted next time.
	o.RetryRefusals = true
	o.ReadBuffer = readBuffer
	o.Channels = s.connection.UnreadChannels(s.connection.AutoJoin()...)
	o.OnHeartbeat = func(rtt time.Duration) {
		c.counters.heartbeats.Add(1)
		b.Metrics.ObserveHeartbeat(c.name, rtt)
	}
	return phoenix.Spec{
		Name: c.name, Required: s.connection.Required, Options: o,
		Consume: func(events *phoenix.Stream) { b.consume(c, events) },
	}
}

// consume reads the events of one run and publishes them to the router. It waits for nothing but the next event: the queues of
// the sinks drop rather than hold it up.
func (b *Bridge) consume(c *connection, events *phoenix.Stream) {
	publisher := b.router.Publisher(c.name)
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
		publisher.Publish(ev)
		b.note(c, ev)
	}
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
		if ev.Session > 1 {
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
