package serve

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/VictoriaMetrics/metrics"
)

// scrapesAtOnce bounds what impatient scrapers can cost.
const scrapesAtOnce = 4

// Handler serves the metrics in the text format of Prometheus, compressed for whom takes gzip. What is wrong with a series goes to log.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	running := make(chan struct{}, scrapesAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case running <- struct{}{}:
			defer func() { <-running }()
		default:
			http.Error(w, fmt.Sprintf("%d scrapes are being answered already, try again later", scrapesAtOnce), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.Header().Set("Vary", "Accept-Encoding")
		body := io.WriteCloser(plain{w})
		if takesGzip(r) {
			w.Header().Set("Content-Encoding", "gzip")
			body = gzip.NewWriter(w)
		}
		body.Write(m.page(log)) // an error means that nobody waits for the page any more
		body.Close()
	})
}

// plain is a body that is not compressed.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// takesGzip reads Accept-Encoding, as RFC 9110, section 12.5.3, has it: a coding with the weight 0 is refused.
func takesGzip(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(header, ",") {
			name, params, err := mime.ParseMediaType(coding)
			if err != nil || name != "gzip" {
				continue
			}
			weight, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
			return err == nil && weight > 0
		}
	}
	return false
}

// page is one scrape, whole.
func (m *Metrics) page(log *slog.Logger) []byte {
	help := map[string]string{m.push.name: m.push.help, m.heartbeat.name: m.heartbeat.help}
	s := &scrape{Set: metrics.NewSet(), families: describe(), help: help, log: log}
	s.collect(m)
	var page bytes.Buffer
	s.WritePrometheus(&page)
	m.observed.WritePrometheus(&page)
	metrics.WriteProcessMetrics(&page)
	metrics.WriteFDMetrics(&page)
	return addHelp(page.Bytes(), help)
}

// A family is a metric with all its series, which differ by the values of its labels. The labels are in alphabetical order, as in every exposition.
type family struct {
	name, help string
	labels     []string
}

// escaped are the characters that a label's value has only behind a backslash.
var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// series names one series, by a value for each label.
func (f family) series(values ...string) string {
	if len(values) == 0 {
		return f.name
	}
	var b strings.Builder
	b.WriteString(f.name)
	for i, value := range values {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(f.labels[i])
		b.WriteString(`="`)
		escaped.WriteString(&b, value) //nolint:errcheck // a Builder has no errors
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// A histogram is a family that counts durations in buckets, with bounds in seconds.
type histogram struct {
	family
	buckets []float64
}

// A scrape is the series of one answer. The package sorts them, writes them and adds their types.
type scrape struct {
	*metrics.Set
	families
	help map[string]string // by the name of a family
	log  *slog.Logger
}

func (s *scrape) gauge(f family, value float64, labels ...string) {
	if series, ok := s.add(f, labels); ok {
		s.GetOrCreateGauge(series, nil).Set(value)
	}
}

func (s *scrape) count(f family, value uint64, labels ...string) {
	if series, ok := s.add(f, labels); ok {
		s.GetOrCreateCounter(series).Set(value)
	}
}

// add names a series of f. One that cannot be told is logged, and all others are told.
func (s *scrape) add(f family, labels []string) (series string, ok bool) {
	for i, value := range labels {
		if !utf8.ValidString(value) {
			s.log.Warn("a metric is left out: the value of a label is not UTF-8", "metric", f.name, "label", f.labels[i], "value", value)
			return "", false
		}
	}
	s.help[f.name] = f.help
	return f.series(labels...), true
}

// addHelp adds the help of each family, which the package leaves empty.
func addHelp(page []byte, help map[string]string) []byte {
	var explained bytes.Buffer
	for line := range bytes.Lines(page) {
		if name, ok := strings.CutPrefix(string(bytes.TrimSpace(line)), "# HELP "); ok && help[name] != "" {
			fmt.Fprintf(&explained, "# HELP %s %s\n", name, help[name])
			continue
		}
		explained.Write(line)
	}
	return explained.Bytes()
}
