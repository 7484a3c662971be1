package ops

import (
	"github.com/prometheus/client_golang/prometheus"

	"phx/phoenix"
	"phx/router"
)

// Names of labels.
const (
	labelConnection = "connection"
	labelSink       = "sink"
)

// statuses are the values of the label status.
var statuses = []phoenix.LinkStatus{
	phoenix.StatusDisconnected, phoenix.StatusConnecting, phoenix.StatusConnected, phoenix.StatusDisconnecting,
}

// channelStates are the values of the label state that are always there, so that one that counts nothing is a 0 and not a hole.
var channelStates = []string{"waiting", "joining", "joined", "errored", "leaving"}

// A collector asks its source at every scrape.
type collector struct{ source Source }

// descriptions are those of what a collector collects.
type descriptions struct {
	status, up, required, sessions, reconnects, joins, channels, messages *prometheus.Desc
	delivered, dropped, sinkUp, waiting, waitingBytes                     *prometheus.Desc
}

// describe is a function and no variable: commands that have no metrics do not pay for them at their start.
func describe() descriptions {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return descriptions{
		status: desc("phx_connection_status", "1 for the status that the connection has, 0 for the others.",
			labelConnection, "status"),
		up: desc("phx_connection_up", "Whether the connection has an open socket.", labelConnection),
		required: desc("phx_connection_required", "Whether readiness depends on the connection.",
			labelConnection),
		sessions:     desc("phx_connection_sessions_total", "Successful connects.", labelConnection),
		reconnects:   desc("phx_connection_reconnects_total", "Successful connects after the loss of a session.", labelConnection),
		joins:        desc("phx_channel_joins_total", "Answered joins, by result: joined or join_error.", labelConnection, "result"),
		channels:     desc("phx_channels", "Wanted channels by state.", labelConnection, "state"),
		messages:     desc("phx_messages_received_total", "Messages that the server sent on channels.", labelConnection),
		delivered:    desc("phx_sink_signals_delivered_total", "Signals that the sink took.", labelSink, labelConnection),
		dropped:      desc("phx_sink_signals_dropped_total", "Signals that the sink lost.", labelSink, labelConnection),
		sinkUp:       desc("phx_sink_up", "0 for a sink that has given up.", labelSink),
		waiting:      desc("phx_sink_queue_signals", "Signals waiting in the queue of the sink.", labelSink),
		waitingBytes: desc("phx_sink_queue_bytes", "Size of the signals waiting in the queue of the sink.", labelSink),
	}
}

// Describe implements [prometheus.Collector].
func (c collector) Describe(out chan<- *prometheus.Desc) {
	d := describe()
	for _, desc := range []*prometheus.Desc{
		d.status, d.up, d.required, d.sessions, d.reconnects, d.joins, d.channels, d.messages,
		d.delivered, d.dropped, d.sinkUp, d.waiting, d.waitingBytes,
	} {
		out <- desc
	}
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := series{out: out, descriptions: describe()}
	for _, connection := range c.source.Connections() {
		s.connection(connection)
	}
	for _, sink := range c.source.Sinks() {
		s.sink(sink)
	}
}

// series is one scrape.
type series struct {
	descriptions
	out chan<- prometheus.Metric
}

func (s *series) connection(c ConnectionMetrics) {
	for _, status := range statuses {
		s.gauge(s.status, oneIf(c.Status == status), c.Name, string(status))
	}
	s.gauge(s.up, oneIf(c.Status == phoenix.StatusConnected), c.Name)
	s.gauge(s.required, oneIf(c.Required), c.Name)
	s.count(s.sessions, c.Sessions, c.Name)
	s.count(s.reconnects, c.Reconnects, c.Name)
	s.count(s.joins, c.Joined, c.Name, "joined")
	s.count(s.joins, c.JoinErrors, c.Name, "join_error")
	s.count(s.messages, c.Messages, c.Name)
	for _, state := range channelStates {
		s.gauge(s.channels, float64(c.Channels[state]), c.Name, state)
	}
}

func (s *series) sink(r router.SinkStats) {
	if r.Connection != "" {
		s.count(s.delivered, r.Delivered, r.Sink, r.Connection)
		s.count(s.dropped, r.Dropped, r.Sink, r.Connection)
		return
	}
	s.gauge(s.sinkUp, oneIf(r.Err == nil), r.Sink)
	s.gauge(s.waiting, float64(r.Waiting), r.Sink)
	s.gauge(s.waitingBytes, float64(r.WaitingBytes), r.Sink)
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func (s *series) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	s.add(desc, prometheus.GaugeValue, value, labels)
}

func (s *series) count(desc *prometheus.Desc, value uint64, labels ...string) {
	s.add(desc, prometheus.CounterValue, float64(value), labels)
}

// add adds one value. One that is wrong is an error of the scrape, and no panic of the process.
func (s *series) add(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels []string) {
	m, err := prometheus.NewConstMetric(desc, kind, value, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(desc, err)
	}
	s.out <- m
}
