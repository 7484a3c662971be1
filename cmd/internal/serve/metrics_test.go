package serve

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"phx/cmd/internal/lease"
	"phx/router"
)

// wantSeries are all series of busyMetrics but those of the process.
const wantSeries = `
# HELP phx_build_info Always 1; what runs is in the labels.
# TYPE phx_build_info gauge
phx_build_info{goversion="go1",revision="abc",version="v1.2.3"} 1
# HELP phx_channel_joins_total Answered joins, by result: joined or join_error.
# TYPE phx_channel_joins_total counter
phx_channel_joins_total{connection="backend",result="join_error"} 1
phx_channel_joins_total{connection="backend",result="joined"} 5
phx_channel_joins_total{connection="other",result="join_error"} 0
phx_channel_joins_total{connection="other",result="joined"} 0
# HELP phx_channels Wanted channels by state.
# TYPE phx_channels gauge
phx_channels{connection="backend",state="errored"} 1
phx_channels{connection="backend",state="joined"} 2
phx_channels{connection="backend",state="joining"} 0
phx_channels{connection="backend",state="leaving"} 0
phx_channels{connection="backend",state="waiting"} 0
phx_channels{connection="other",state="errored"} 0
phx_channels{connection="other",state="joined"} 0
phx_channels{connection="other",state="joining"} 0
phx_channels{connection="other",state="leaving"} 0
phx_channels{connection="other",state="waiting"} 0
# HELP phx_connection_reconnects_total Successful connects after the loss of a session.
# TYPE phx_connection_reconnects_total counter
phx_connection_reconnects_total{connection="backend"} 2
phx_connection_reconnects_total{connection="other"} 0
# HELP phx_connection_required Whether readiness depends on the connection.
# TYPE phx_connection_required gauge
phx_connection_required{connection="backend"} 1
phx_connection_required{connection="other"} 0
# HELP phx_connection_sessions_total Successful connects.
# TYPE phx_connection_sessions_total counter
phx_connection_sessions_total{connection="backend"} 3
phx_connection_sessions_total{connection="other"} 0
# HELP phx_connection_sockets Sockets of the connection that are open or to be opened: several, if it has many channels.
# TYPE phx_connection_sockets gauge
phx_connection_sockets{connection="backend"} 1
phx_connection_sockets{connection="other"} 1
# HELP phx_connection_status 1 for the status that the connection has, 0 for the others.
# TYPE phx_connection_status gauge
phx_connection_status{connection="backend",status="connected"} 1
phx_connection_status{connection="backend",status="connecting"} 0
phx_connection_status{connection="backend",status="disconnected"} 0
phx_connection_status{connection="backend",status="disconnecting"} 0
phx_connection_status{connection="other",status="connected"} 0
phx_connection_status{connection="other",status="connecting"} 1
phx_connection_status{connection="other",status="disconnected"} 0
phx_connection_status{connection="other",status="disconnecting"} 0
# HELP phx_connection_up Whether the connection has an open socket; of several, whether all are open.
# TYPE phx_connection_up gauge
phx_connection_up{connection="backend"} 1
phx_connection_up{connection="other"} 0
# HELP phx_lease_connections Connections that this process runs by its leases.
# TYPE phx_lease_connections gauge
phx_lease_connections 5
# HELP phx_lease_epoch Epoch of the lease of a connection that this process runs.
# TYPE phx_lease_epoch gauge
phx_lease_epoch{connection="backend"} 42
# HELP phx_lease_instance_info Always 1; what this process is called among those that share the connections. This and what follows: only with leases.
# TYPE phx_lease_instance_info gauge
phx_lease_instance_info{instance="a"} 1
# HELP phx_lease_losses_total Leases that this process has lost while it ran their connections. What it gave back is not lost.
# TYPE phx_lease_losses_total counter
phx_lease_losses_total 4
# HELP phx_lease_renewal_age_seconds How long ago the last acknowledged renewal of the session was sent; at 0.9 of the time to live the leases are over.
# TYPE phx_lease_renewal_age_seconds gauge
phx_lease_renewal_age_seconds 2.5
# HELP phx_lease_renewals_failed_total Renewals of the session that NATS did not acknowledge in time.
# TYPE phx_lease_renewals_failed_total counter
phx_lease_renewals_failed_total 6
# HELP phx_lease_session_up Whether the process has a session, so that it may run connections.
# TYPE phx_lease_session_up gauge
phx_lease_session_up 1
# HELP phx_lease_takeovers_total Connections that this process has taken, and that another one, or itself with an earlier session, had run before.
# TYPE phx_lease_takeovers_total counter
phx_lease_takeovers_total 3
# HELP phx_messages_received_total Messages that the server sent on channels.
# TYPE phx_messages_received_total counter
phx_messages_received_total{connection="backend"} 1000
phx_messages_received_total{connection="other"} 0
# HELP phx_shard_info Always 1; the labels say which part of the connections of the config this process runs. Only with shards.
# TYPE phx_shard_info gauge
phx_shard_info{shard="1",shards="3"} 1
# HELP phx_sink_attempts_total Attempts of the sink to deliver, by what came of them: the HTTP status of a webhook, how the program of an exec ended.
# TYPE phx_sink_attempts_total counter
phx_sink_attempts_total{sink="hook",status="204"} 12
phx_sink_attempts_total{sink="hook",status="no answer"} 3
# HELP phx_sink_oldest_signal_seconds How long the first of those signals has waited; 0 if there is none.
# TYPE phx_sink_oldest_signal_seconds gauge
phx_sink_oldest_signal_seconds{sink="audit"} 1.5
phx_sink_oldest_signal_seconds{sink="hook"} 0
# HELP phx_sink_queue_bytes Size of the signals that the sink has got, and neither delivered nor lost.
# TYPE phx_sink_queue_bytes gauge
phx_sink_queue_bytes{sink="audit"} 2100
phx_sink_queue_bytes{sink="hook"} 0
# HELP phx_sink_queue_signals Signals that the sink has got, and neither delivered nor lost.
# TYPE phx_sink_queue_signals gauge
phx_sink_queue_signals{sink="audit"} 7
phx_sink_queue_signals{sink="hook"} 0
# HELP phx_sink_signals_delivered_total Signals that the sink took.
# TYPE phx_sink_signals_delivered_total counter
phx_sink_signals_delivered_total{connection="backend",sink="audit"} 990
phx_sink_signals_delivered_total{connection="other",sink="audit"} 1
# HELP phx_sink_signals_dropped_total Signals that the sink lost.
# TYPE phx_sink_signals_dropped_total counter
phx_sink_signals_dropped_total{connection="backend",sink="audit"} 10
phx_sink_signals_dropped_total{connection="other",sink="audit"} 0
# HELP phx_sink_spool_up 0 while the file of the spool cannot be written or read, so that signals wait in memory.
# TYPE phx_sink_spool_up gauge
phx_sink_spool_up{sink="hook"} 0
# HELP phx_sink_spooled_bytes Size of the signals that the sink keeps in the file of its spool.
# TYPE phx_sink_spooled_bytes gauge
phx_sink_spooled_bytes{sink="hook"} 900
# HELP phx_sink_spooled_signals Signals that the sink keeps in the file of its spool.
# TYPE phx_sink_spooled_signals gauge
phx_sink_spooled_signals{sink="hook"} 5
# HELP phx_sink_up 0 for a sink that has given up.
# TYPE phx_sink_up gauge
phx_sink_up{sink="audit"} 1
phx_sink_up{sink="hook"} 0
`

var testBuild = BuildInfo{Version: "v1.2.3", Revision: "abc", Go: "go1"}

func TestMetrics(t *testing.T) {
	m := busyMetrics()
	server := httptest.NewServer(m.Handler(quiet))
	defer server.Close()
	if err := testutil.ScrapeAndCompare(server.URL, strings.NewReader(wantSeries), ownNames(t, wantSeries)...); err != nil {
		t.Error(err)
	}
}

// ownNames returns the names of the metrics of an exposition.
func ownNames(t *testing.T, exposition string) []string {
	t.Helper()
	return slices.Collect(maps.Keys(parse(t, strings.NewReader(exposition))))
}

func parse(t *testing.T, exposition io.Reader) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(exposition)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func TestMetricsFollowConventions(t *testing.T) {
	m := busyMetrics()
	m.ObservePush("backend", time.Millisecond)
	m.ObserveHeartbeat("backend", time.Millisecond)
	problems, err := promlint.New(bytes.NewReader(m.page(quiet))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if strings.HasPrefix(problem.Metric, "phx_") {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
}

func TestMetricsOfTheProcess(t *testing.T) {
	families := scraped(t, busyMetrics())
	for _, name := range []string{"go_goroutines", "go_memstats_heap_alloc_bytes"} {
		if families[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
}

// scraped returns what a scraper gets.
func scraped(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(quiet).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return parse(t, w.Body)
}

func TestHistograms(t *testing.T) {
	m := idleMetrics()
	m.ObservePush("backend", 30*time.Millisecond)
	m.ObservePush("backend", 2*time.Second)
	m.ObservePush("other", time.Second)
	m.ObserveHeartbeat("backend", 400*time.Microsecond)

	families := scraped(t, m)
	if count, sum := observed(families["phx_push_latency_seconds"], "backend"); count != 2 || sum != 2.03 {
		t.Errorf("%d pushes of backend took %v s, want 2 and 2.03", count, sum)
	}
	if count, sum := observed(families["phx_heartbeat_rtt_seconds"], "backend"); count != 1 || sum != 0.0004 {
		t.Errorf("%d heartbeats of backend took %v s, want 1 and 0.0004", count, sum)
	}

	m.Forget("backend")
	families = scraped(t, m)
	if count, _ := observed(families["phx_push_latency_seconds"], "backend"); count != 0 {
		t.Errorf("%d pushes of a connection that is forgotten", count)
	}
	if families["phx_heartbeat_rtt_seconds"] != nil {
		t.Error("heartbeats of a connection that is forgotten")
	}
	if count, sum := observed(families["phx_push_latency_seconds"], "other"); count != 1 || sum != 1 {
		t.Errorf("%d pushes of other took %v s, want 1 and 1", count, sum)
	}
}

// observed returns what a histogram has of a connection.
func observed(family *dto.MetricFamily, connection string) (count uint64, sum float64) {
	for _, metric := range family.GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == labelConnection && label.GetValue() == connection {
				return metric.GetHistogram().GetSampleCount(), metric.GetHistogram().GetSampleSum()
			}
		}
	}
	return 0, 0
}

// TestOneWrongSeries: what cannot be told is logged, and all else is told.
func TestOneWrongSeries(t *testing.T) {
	var log bytes.Buffer
	w := httptest.NewRecorder()
	busyMetrics(Connection{Name: "\xff"}).Handler(slog.New(slog.NewTextHandler(&log, nil))).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
	up := parse(t, w.Body)["phx_connection_up"]
	if got := len(up.GetMetric()); got != 2 {
		t.Errorf("%d connections are told, want 2", got)
	}
	if !strings.Contains(log.String(), "UTF-8") {
		t.Errorf("the log says nothing of what is wrong:\n%s", &log)
	}
}

// TestMetricsCompressed: who takes gzip gets it, with the same content.
func TestMetricsCompressed(t *testing.T) {
	handler := busyMetrics().Handler(quiet)
	for accept, compressed := range map[string]bool{
		"": false, "gzip": true, "deflate, gzip;q=0.5": true, "GZIP ; q=1": true, "gzip;q=0": false, "gzip;q=0.000": false, "br, zstd": false,
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept-Encoding", accept)
		handler.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != compressed {
			t.Errorf("Accept-Encoding %q: compressed %t", accept, got)
			continue
		}
		body := io.Reader(w.Body)
		if compressed {
			var err error
			if body, err = gzip.NewReader(w.Body); err != nil {
				t.Errorf("Accept-Encoding %q: %v", accept, err)
				continue
			}
		}
		if got := len(parse(t, body)["phx_connection_up"].GetMetric()); got != 2 {
			t.Errorf("Accept-Encoding %q: %d connections are told, want 2", accept, got)
		}
	}
}

// TestMetricsBusy: of many scrapers at once some are told to come again.
func TestMetricsBusy(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	m := NewMetrics(func() lease.Shard { return lease.Shard{} }, func() *lease.Stats { return nil }, func() []Connection {
		asked <- struct{}{}
		<-release
		return nil
	}, func() []router.SinkStats { return nil }, testBuild)
	handler := m.Handler(quiet)
	status := make(chan int)
	scrape := func() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		status <- w.Code
	}
	for range scrapesAtOnce {
		go scrape()
		<-asked
	}
	go scrape()
	if got := <-status; got != http.StatusServiceUnavailable {
		t.Errorf("one more scrape has status %d", got)
	}
	close(release)
	for range scrapesAtOnce {
		if got := <-status; got != http.StatusOK {
			t.Errorf("a scrape that was waiting has status %d", got)
		}
	}
}

// TestSeries: a value of a label has any text, in one line.
func TestSeries(t *testing.T) {
	f := family{name: "m", labels: []string{"a", "b"}}
	page := "# TYPE m gauge\n" + f.series("x\"y\\z\n", "é") + " 1\n"
	labels := parse(t, strings.NewReader(page))["m"].GetMetric()[0].GetLabel()
	if got := []string{labels[0].GetValue(), labels[1].GetValue()}; !slices.Equal(got, []string{"x\"y\\z\n", "é"}) {
		t.Errorf("%s is read as %q", page, got)
	}
}

// TestNothingGlobal: two sets of metrics do not get into each other's way, as they would in the default registry.
func TestNothingGlobal(t *testing.T) {
	first, second := busyMetrics(), idleMetrics()
	first.ObservePush("backend", time.Second)
	if families := scraped(t, second); families["phx_push_latency_seconds"] != nil {
		t.Error("an observation of one is in the other")
	}
}

// quiet is a log that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// busyMetrics are those of a connection in the middle of its work, one that is waiting for its server, others, and two sinks.
func busyMetrics(others ...Connection) *Metrics {
	connections := append([]Connection{
		{
			Name: "backend", Status: "connected", Required: true, Session: 3, Instance: "a", Epoch: 42,
			Counters: map[string]uint64{"reconnects": 2, "joins": 5, "join_errors": 1, "messages": 1000},
			Channels: []Channel{{Topic: "a", State: "joined"}, {Topic: "b", State: "errored"}, {Topic: "c", State: "joined"}},
		},
		{Name: "other", Status: "connecting", Instance: "b", Epoch: 41},
	}, others...)
	sinks := []router.SinkStats{
		{
			Name: "audit", Waiting: 7, WaitingBytes: 2100, Oldest: 1500 * time.Millisecond,
			Connections: []router.ConnectionStats{{Connection: "backend", Delivered: 990, Dropped: 10}, {Connection: "other", Delivered: 1}},
		},
		{
			Name: "hook", Err: errors.New("no such command"),
			Tried: router.Tried{Attempts: map[string]uint64{"204": 12, "no answer": 3}},
			Spool: &router.SpoolStats{Records: 5, Bytes: 900, Fault: errors.New("no space left")},
		},
	}
	leases := &lease.Stats{
		Instance: "a", Session: true, Connections: 5, Taken: 3, Lost: 4, FailedRenewals: 6, Renewed: true, Age: 2500 * time.Millisecond,
	}
	return NewMetrics(
		func() lease.Shard { return lease.Shard{Index: 1, Of: 3} }, func() *lease.Stats { return leases }, func() []Connection { return connections },
		func() []router.SinkStats { return sinks }, testBuild,
	)
}

// idleMetrics are those of nothing.
func idleMetrics() *Metrics {
	return NewMetrics(func() lease.Shard { return lease.Shard{} }, func() *lease.Stats { return nil }, func() []Connection { return nil }, func() []router.SinkStats { return nil }, testBuild)
}
