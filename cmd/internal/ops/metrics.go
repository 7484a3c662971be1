package ops

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// BuildInfo is what phx_build_info tells.
type BuildInfo struct {
	Version, Revision, Go string
}

// Metrics are those of /metrics. Nothing is counted here but what takes a time: everything else is asked of the source when
// someone reads it.
type Metrics struct {
	registry  *prometheus.Registry
	push      *prometheus.HistogramVec
	heartbeat *prometheus.HistogramVec
}

// NewMetrics returns the metrics of a source.
func NewMetrics(source Source, build BuildInfo) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		push: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "phx_push_latency_seconds",
			Help: "Time from sending a push to the reply of the server.",
			// 1 ms to 16 s: a handler on the same machine to more than the timeout of a reply.
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}, []string{labelConnection}),
		heartbeat: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "phx_heartbeat_rtt_seconds",
			Help: "Round trip time of an answered heartbeat.",
			// 0.25 ms to 8 s: loopback to nearly the timeout of a heartbeat.
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}, []string{labelConnection}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "phx_build_info",
		Help:        "Always 1; what runs is in the labels.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "goversion": build.Go},
	})
	info.Set(1)
	m.registry.MustRegister(
		info, m.push, m.heartbeat, collector{source},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// ObservePush adds the latency of an answered push.
func (m *Metrics) ObservePush(connection string, latency time.Duration) {
	m.push.WithLabelValues(connection).Observe(latency.Seconds())
}

// ObserveHeartbeat adds the round trip time of a heartbeat.
func (m *Metrics) ObserveHeartbeat(connection string, rtt time.Duration) {
	m.heartbeat.WithLabelValues(connection).Observe(rtt.Seconds())
}

// Forget removes what was observed of a connection that is no more, after its last observation. What the source tells goes
// with the source.
func (m *Metrics) Forget(connection string) {
	m.push.DeleteLabelValues(connection)
	m.heartbeat.DeleteLabelValues(connection)
}

// scrapesAtOnce bounds what impatient scrapers can cost.
const scrapesAtOnce = 4

// Handler serves the metrics in the format that the client prefers.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// What is wrong with one series is logged, and does not hide all others.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce,
	})
}
