package serve

import (
	"strconv"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"phx/cmd/internal/lease"
	"phx/phoenix"
	"phx/router"
)

// BuildInfo is what phx_build_info has in its labels.
type BuildInfo struct {
	Version, Revision, Go string
}

// Metrics are those of /metrics. Only what takes a time is counted here; all else is read at each scrape.
type Metrics struct {
	// observed holds the series of the histograms, one of each a connection.
	observed        *metrics.Set
	push, heartbeat histogram
	build           BuildInfo
	shard           func() lease.Shard
	leases          func() *lease.Stats
	connections     func() []Connection
	sinks           func() []router.SinkStats
}

// NewMetrics returns the metrics of this shard, or of these leases, nil being none, and of these connections, such as [Bridge.Connections], and
// sinks. The functions are called by several goroutines at once.
func NewMetrics(shard func() lease.Shard, leases func() *lease.Stats, connections func() []Connection, sinks func() []router.SinkStats, build BuildInfo) *Metrics {
	// The package writes no types and no help unless it is told to, for the whole process.
	metrics.ExposeMetadata(true)
	return &Metrics{
		observed: metrics.NewSet(),
		push: histogram{
			family{"phx_push_latency_seconds", "Time from sending a push to the reply of the server.", []string{labelConnection}},
			// 1 ms to 16 s: a handler on the same machine to more than the timeout of a reply.
			metrics.ExponentialBuckets(0.001, 2, 15),
		},
		heartbeat: histogram{
			family{"phx_heartbeat_rtt_seconds", "Round trip time of an answered heartbeat.", []string{labelConnection}},
			// 0.25 ms to 8 s: loopback to nearly the timeout of a heartbeat.
			metrics.ExponentialBuckets(0.00025, 2, 16),
		},
		build: build, shard: shard, leases: leases, connections: connections, sinks: sinks,
	}
}

// ObservePush adds the latency of an answered push.
func (m *Metrics) ObservePush(connection string, latency time.Duration) {
	m.observe(m.push, connection, latency)
}

// ObserveHeartbeat adds the round trip time of a heartbeat.
func (m *Metrics) ObserveHeartbeat(connection string, rtt time.Duration) {
	m.observe(m.heartbeat, connection, rtt)
}

func (m *Metrics) observe(h histogram, connection string, d time.Duration) {
	// The name of a connection is checked by its config: it makes a valid series.
	m.observed.GetOrCreatePrometheusHistogramExt(h.series(connection), h.buckets).Update(d.Seconds())
}

// Forget removes what was observed of a connection that is no more, after its last observation.
func (m *Metrics) Forget(connection string) {
	m.observed.UnregisterMetric(m.push.series(connection))
	m.observed.UnregisterMetric(m.heartbeat.series(connection))
}

// Names of labels.
const (
	labelConnection = "connection"
	labelSink       = "sink"
	labelStatus     = "status"
	labelInstance   = "instance"
)

// statuses are the values of the label status.
var statuses = []phoenix.LinkStatus{
	phoenix.StatusDisconnected, phoenix.StatusConnecting, phoenix.StatusConnected, phoenix.StatusDisconnecting,
}

// channelStates are the values of the label state that are always there, so that one that counts nothing is a 0 and not a hole.
var channelStates = []string{"waiting", "joining", "joined", "errored", "leaving"}

// families are those that are read at each scrape.
type families struct {
	build, shard, status, up, sockets, required, sessions, reconnects, joins, channels, messages family
	delivered, dropped, sinkUp, waiting, waitingBytes, oldest, attempts                          family
	spooled, spooledBytes, spoolUp                                                               family
	instance, session, owned, taken, lost, failed, renewed, epoch                                family
}

func describe() families {
	desc := func(name, help string, labels ...string) family { return family{name, help, labels} }
	return families{
		build: desc("phx_build_info", "Always 1; what runs is in the labels.", "goversion", "revision", "version"),
		shard: desc("phx_shard_info", "Always 1; the labels say which part of the connections of the config this process runs. Only with shards.",
			"shard", "shards"),
		instance: desc("phx_lease_instance_info", "Always 1; what this process is called among those that share the connections. This and what follows: only with leases.",
			labelInstance),
		session: desc("phx_lease_session_up", "Whether the process has a session, so that it may run connections."),
		owned:   desc("phx_lease_connections", "Connections that this process runs by its leases."),
		taken:   desc("phx_lease_takeovers_total", "Connections that this process has taken, and that another one, or itself with an earlier session, had run before."),
		lost:    desc("phx_lease_losses_total", "Leases that this process has lost while it ran their connections. What it gave back is not lost."),
		failed:  desc("phx_lease_renewals_failed_total", "Renewals of the session that NATS did not acknowledge in time."),
		renewed: desc("phx_lease_renewal_age_seconds", "How long ago the last acknowledged renewal of the session was sent; at 0.9 of the time to live the leases are over."),
		epoch:   desc("phx_lease_epoch", "Epoch of the lease of a connection that this process runs.", labelConnection),
		status: desc("phx_connection_status", "1 for the status that the connection has, 0 for the others.",
			labelConnection, labelStatus),
		up:      desc("phx_connection_up", "Whether the connection has an open socket; of several, whether all are open.", labelConnection),
		sockets: desc("phx_connection_sockets", "Sockets of the connection that are open or to be opened: several, if it has many channels.", labelConnection),
		required: desc("phx_connection_required", "Whether readiness depends on the connection.",
			labelConnection),
		sessions:     desc("phx_connection_sessions_total", "Successful connects.", labelConnection),
		reconnects:   desc("phx_connection_reconnects_total", "Successful connects after the loss of a session.", labelConnection),
		joins:        desc("phx_channel_joins_total", "Answered joins, by result: joined or join_error.", labelConnection, "result"),
		channels:     desc("phx_channels", "Wanted channels by state.", labelConnection, "state"),
		messages:     desc("phx_messages_received_total", "Messages that the server sent on channels.", labelConnection),
		delivered:    desc("phx_sink_signals_delivered_total", "Signals that the sink took.", labelConnection, labelSink),
		dropped:      desc("phx_sink_signals_dropped_total", "Signals that the sink lost.", labelConnection, labelSink),
		sinkUp:       desc("phx_sink_up", "0 for a sink that has given up.", labelSink),
		waiting:      desc("phx_sink_queue_signals", "Signals that the sink has got, and neither delivered nor lost.", labelSink),
		waitingBytes: desc("phx_sink_queue_bytes", "Size of the signals that the sink has got, and neither delivered nor lost.", labelSink),
		oldest:       desc("phx_sink_oldest_signal_seconds", "How long the first of those signals has waited; 0 if there is none.", labelSink),
		spooled:      desc("phx_sink_spooled_signals", "Signals that the sink keeps in the file of its spool.", labelSink),
		spooledBytes: desc("phx_sink_spooled_bytes", "Size of the signals that the sink keeps in the file of its spool.", labelSink),
		spoolUp:      desc("phx_sink_spool_up", "0 while the file of the spool cannot be written or read, so that signals wait in memory.", labelSink),
		attempts: desc("phx_sink_attempts_total", "Attempts of the sink to deliver, by what came of them: the HTTP status of a webhook, how the program of an exec ended.",
			labelSink, labelStatus),
	}
}

func (s *scrape) collect(m *Metrics) {
	s.gauge(s.build, 1, m.build.Go, m.build.Revision, m.build.Version)
	if shard := m.shard(); shard.Of > 0 {
		s.gauge(s.shard, 1, strconv.Itoa(shard.Index), strconv.Itoa(shard.Of))
	}
	leases := m.leases()
	if leases != nil {
		s.lease(leases)
	}
	for _, connection := range m.connections() {
		s.connection(connection)
		if leases != nil && connection.Epoch > 0 && connection.Instance == leases.Instance {
			s.gauge(s.epoch, float64(connection.Epoch), connection.Name)
		}
	}
	for _, sink := range m.sinks() {
		s.sink(sink)
	}
}

func (s *scrape) lease(l *lease.Stats) {
	s.gauge(s.instance, 1, l.Instance)
	s.gauge(s.session, oneIf(l.Session))
	s.gauge(s.owned, float64(l.Connections))
	s.count(s.taken, l.Taken)
	s.count(s.lost, l.Lost)
	s.count(s.failed, l.FailedRenewals)
	if l.Renewed {
		s.gauge(s.renewed, l.Age.Seconds())
	}
}

func (s *scrape) connection(c Connection) {
	for _, status := range statuses {
		s.gauge(s.status, oneIf(c.Status == string(status)), c.Name, string(status))
	}
	s.gauge(s.up, oneIf(c.Status == StateConnected), c.Name)
	s.gauge(s.sockets, float64(c.sockets()), c.Name)
	s.gauge(s.required, oneIf(c.Required), c.Name)
	s.count(s.sessions, uint64(c.Session), c.Name)
	s.count(s.reconnects, c.Counters["reconnects"], c.Name)
	s.count(s.joins, c.Counters["joins"], c.Name, "joined")
	s.count(s.joins, c.Counters["join_errors"], c.Name, "join_error")
	s.count(s.messages, c.Counters["messages"], c.Name)
	channels := map[string]int{}
	for _, channel := range c.Channels {
		channels[channel.State]++
	}
	for _, state := range channelStates {
		s.gauge(s.channels, float64(channels[state]), c.Name, state)
	}
}

// sockets is how many sockets a connection has.
func (c *Connection) sockets() int {
	switch {
	case len(c.Sockets) > 0:
		return len(c.Sockets)
	case c.Status == string(phoenix.StatusDisconnected):
		return 0
	}
	return 1
}

func (s *scrape) sink(r router.SinkStats) {
	s.gauge(s.sinkUp, oneIf(r.Err == nil), r.Name)
	s.gauge(s.waiting, float64(r.Waiting), r.Name)
	s.gauge(s.waitingBytes, float64(r.WaitingBytes), r.Name)
	s.gauge(s.oldest, r.Oldest.Seconds(), r.Name)
	if r.Spool != nil {
		s.gauge(s.spooled, float64(r.Spool.Records), r.Name)
		s.gauge(s.spooledBytes, float64(r.Spool.Bytes), r.Name)
		s.gauge(s.spoolUp, oneIf(r.Spool.Fault == nil), r.Name)
	}
	for status, n := range r.Attempts {
		s.count(s.attempts, n, r.Name, status)
	}
	for _, c := range r.Connections {
		s.count(s.delivered, c.Delivered, c.Connection, r.Name)
		s.count(s.dropped, c.Dropped, c.Connection, r.Name)
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
