package config

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/cmd/internal/strictyaml"
	"phx/router"
	"phx/signal"
)

// A Sink is where routes lead to: exactly one of Stdout, Discard, File, Exec, Webhook and NATS.
type Sink struct {
	Name   string
	Format signal.Format
	QueueBound
	// WhenFull is DropOldest or DropNewest.
	WhenFull router.Policy
	// OnLoss is the name of a sink that is told of losses, too; empty: none.
	OnLoss string
	// Spool is nil if there is none.
	Spool *Spool

	Stdout, Discard bool
	File            *FileSink
	Exec            *ExecSink
	Webhook         *WebhookSink
	NATS            *NATSSink

	// Fingerprint is equal for equal settings, the name among them, and tells nothing of them.
	Fingerprint string

	// kind is which of sinkKinds the sink is.
	kind string
	// found are the keys that the file has; nil for a built-in sink.
	found option.Fields
}

// Kind is the key that says what the sink is: file, exec, webhook, nats, stdout or discard.
func (s *Sink) Kind() string { return s.kind }

// A QueueBound bounds the queue of a sink: 0 is no bound of its own.
type QueueBound struct {
	Records int
	Bytes   int64
}

// A Spool keeps what a sink has not delivered in a file.
type Spool struct {
	// Dir is the directory of the file, which has the name of the sink; empty: that of state_dir, until the whole configuration is read.
	Dir      string
	MaxBytes int64
	Sync     router.SyncPolicy
}

// spoolingSinks are the kinds of sinks that tell record by record what was delivered, and so may have a spool.
var spoolingSinks = []string{"webhook", "nats"}

// Path returns the file of the spool of a sink.
func (s *Spool) Path(sink string) string { return filepath.Join(s.Dir, sink+".spool") }

// A FileSink appends to a file.
type FileSink struct{ Path string }

// An ExecSink writes to the standard input of a program.
type ExecSink struct {
	Command []string
	// Dir is where the program runs; empty: where we do.
	Dir string
}

// A WebhookSink posts to a web server. The fields are as in [router.WebhookOptions].
type WebhookSink struct {
	// URL may hold secrets.
	URL    string
	Binary bool
	// Headers and Secret are nil if there are none.
	Headers    func(ctx context.Context) (http.Header, error)
	Secret     func(ctx context.Context) ([]byte, error)
	Timeout    time.Duration
	MaxRetries int
	// Batch is more than 1 only if Binary is false.
	Batch           int
	BatchBytes      int64
	BatchWait       time.Duration
	MaxInFlight     int
	RetryOn, DropOn []router.StatusRange
	// Logger gets how much commands of secrets write to stderr, and warnings about their files; set it
	// before Headers and Secret are called. Nil: no logging.
	Logger *slog.Logger

	headers []secret.Named
	secret  *secret.Source
}

// sinkKinds are the keys of which a sink has exactly one.
var sinkKinds = []string{"file", "exec", "webhook", "nats", "stdout", "discard"}

// builtInSinks can be routed to without being in the file. A sink of such a name is of that kind.
var builtInSinks = []string{"stdout", "discard"}

const sinkHint = "right ones: {file: {path: signals.ndjson}}, {exec: {command: [./handle.sh]}}, {webhook: {url: https://example.com/hook}}, {nats: {}}, {stdout: {}}, {discard: {}}"

// The values of a webhook's mode.
const (
	webhookStructured = "structured"
	webhookBinary     = "binary"
)

// sinkOptions declares the options of a sink, of every kind. [Sink.keep] drops the other kinds.
func sinkOptions(s *Sink) []option.Option {
	file, exec, w, bus := &FileSink{}, &ExecSink{}, &WebhookSink{}, &NATSSink{}
	spool := &Spool{}
	s.File, s.Exec, s.Webhook, s.NATS, s.Spool = file, exec, w, bus, spool
	syncKind := option.ChoiceKind(router.ParseSyncPolicy, "batch", "1s", "never")
	modeKind := option.ChoiceKind(func(text string) (bool, error) { return text == webhookBinary, nil }, webhookStructured, webhookBinary)
	return slices.Concat([]option.Option{
		{Key: "file.path", Value: option.PathKind.To(&file.Path, ""), Required: true,
			About: "The file; a relative path begins beside the config file."},
		{Key: "exec.command", Value: commandKind.To(&exec.Command, ""), Required: true,
			About: "The program and its arguments, run without a shell. With a slash in it, a relative name begins beside the config file."},
		{Key: "exec.dir", Value: option.PathKind.To(&exec.Dir, ""),
			About: "Where the program runs; a relative path begins beside the config file. The default is where phx serve runs."},
		{Key: "webhook.url", Secret: true, Value: hookKind.To(&w.URL, ""), Required: true, Example: "https://example.com/hook",
			About: "Where to post: http or https."},
		{Key: "webhook.mode", Value: modeKind.To(&w.Binary, webhookStructured), Example: webhookBinary,
			About: "CloudEvents' content mode: the event as the body, or its data as the body and its attributes as headers."},
		{Key: "webhook.headers", Value: hookHeadersKind.To(&w.headers, ""),
			About: "Headers of the requests: a map, or a list of pairs of name and value. Secrets are read for every request."},
		{Key: "webhook.secret", Value: signingKind.To(&w.secret, ""),
			About: "Key to sign requests with (HMAC), as Standard Webhooks says. Read for every request."},
		{Key: "webhook.timeout_msec", Value: option.MsecKind.To(&w.Timeout, "10s"),
			About: "Milliseconds for one request."},
		{Key: "webhook.max_retries", Value: retriesKind.To(&w.MaxRetries, "-1"), Example: "10",
			About: "How often a signal is posted again when there was no answer, or 429 or 5xx. -1: for as long as the queue has room."},
		{Key: "webhook.batch", Value: numberKind.To(&w.Batch, "1"), Example: "100",
			About: "How many signals a request has at most. More than 1: each request is a batch of CloudEvents, a JSON array, also of one signal."},
		{Key: "webhook.batch_bytes", Value: option.SizeKind.To(&w.BatchBytes, "1MiB"),
			About: "Size of a batch; one with a single signal may be larger."},
		{Key: "webhook.batch_wait_msec", Value: batchWaitKind.To(&w.BatchWait, "100"),
			About: "Milliseconds that the first signal of a batch waits for others. 0: what is there goes out at once."},
		{Key: "webhook.max_in_flight", Value: numberKind.To(&w.MaxInFlight, "1"), Example: "4",
			About: "How many requests there are at once. 1 keeps the order of all signals. With more, each topic of a connection keeps its order, and one that is stuck holds up no other."},
		{Key: "webhook.retry_on", Value: statusesKind.To(&w.RetryOn, ""), Example: "[404, 408]",
			About: "HTTP statuses, or classes such as 4xx, after which a signal is posted again, besides 429, 5xx and no answer. A single status goes before a class."},
		{Key: "webhook.drop_on", Value: statusesKind.To(&w.DropOn, ""), Example: "[501]",
			About: "HTTP statuses, or classes such as 5xx, after which a signal is lost, besides all other failures. A single status goes before a class."},
	}, below("nats", natsSinkOptions(bus)), []option.Option{
		{Key: "stdout", Value: option.EmptyKind.To(new(struct{}), ""),
			About: "Write to stdout: {}."},
		{Key: "discard", Value: option.EmptyKind.To(new(struct{}), ""),
			About: "Throw away: {}."},
		{Key: "format", Value: formatKind.To(&s.Format, signal.FormatSignal.String()), Example: "cloudevents",
			About: "How a signal is written. A webhook has cloudevents, and nothing else."},
		{Key: "queue", Value: queueKind.To(&s.QueueBound, "10000"), Example: "10000, or a size: 16MiB",
			About: "How much may wait for the sink: a number of signals, of whatever size, or a size with KiB, MiB or GiB."},
		{Key: "when_full", Value: policyKind.To(&s.WhenFull, router.DropOldest.String()), Example: "drop-oldest",
			About: "What a full queue loses: what has waited longest, or what comes."},
		{Key: "spool.dir", Value: option.PathKind.To(&spool.Dir, ""), Example: "/var/lib/phx",
			About: "Directory of the file NAME.spool; a relative one begins beside the config file. The default is that of state_dir."},
		{Key: "spool.max_bytes", Value: option.SizeKind.To(&spool.MaxBytes, "1GiB"),
			About: "How much is kept; what is over goes, the oldest first, and is announced. The file may be larger by a third."},
		{Key: "spool.sync", Value: syncKind.To(&spool.Sync, "batch"), Example: "1s",
			About: "When the disk is waited for, so that even a power failure loses nothing: at each batch, each second, or never."},
		{Key: "on_loss", Value: sinkNameKind.To(&s.OnLoss, ""), Example: "audit",
			About: "Name of another sink, which gets the announcements of losses (phoenix.signal.dropped), too, at most each ten seconds."},
	})
}

// readSinks reads the sinks of the file.
func (r *serveReader) readSinks() {
	n, said := r.file.serve["sinks"]
	if !said {
		return
	}
	list, err := n.Fields()
	r.wrong.Add(err)
	for _, field := range list {
		sink, err := readSink(field)
		if err != nil {
			r.wrong.Add(err)
			r.broken = append(r.broken, field.Name)
			continue
		}
		r.wrong.Add(r.checkBeside(sink, field))
		r.wrong.Add(r.placeSpool(&sink, field))
		r.warnings.Add(warnOfMemory(sink, field))
		r.serve.Sinks = append(r.serve.Sinks, sink)
		r.sinks = append(r.sinks, field.Key)
	}
}

// checkOnLoss refuses a sink whose losses would be told to none, and adds a built-in one that is asked
// for.
func (r *serveReader) checkOnLoss() {
	to := map[string]string{}
	for _, s := range r.serve.Sinks {
		to[s.Name] = s.OnLoss
	}
	for _, s := range slices.Clone(r.serve.Sinks) {
		at, said := s.found["on_loss"]
		if !said || r.checkTarget(at, "let on_loss name ") == "" {
			continue
		}
		chain := []string{s.Name}
		for next := to[s.Name]; next != "" && !slices.Contains(chain, next); next = to[next] {
			chain = append(chain, next)
		}
		switch i := slices.IndexFunc(r.serve.Sinks, func(other Sink) bool { return other.Name == s.OnLoss }); {
		case s.OnLoss == s.Name:
			r.wrong.Add(at.Errorf("name another sink", "the sink %s would have to tell itself what it loses", s.Name))
		case to[chain[len(chain)-1]] == s.Name:
			r.wrong.Add(at.Errorf("take one on_loss out", "the losses of the sink %s come back to it: %s", s.Name,
				strings.Join(append(chain, s.Name), ", ")))
		case i >= 0 && r.serve.Sinks[i].Format == signal.FormatPayload:
			r.wrong.Add(at.Errorf("give it another format, or name another sink",
				"the sink %s has the format payload, which has no announcements of losses", s.OnLoss))
		}
	}
}

// placeSpool gives a spool without a directory that of state_dir.
func (r *serveReader) placeSpool(s *Sink, field strictyaml.Field) error {
	if s.Spool == nil || s.Spool.Dir != "" {
		return nil
	}
	if r.serve.StateDir == "" {
		return field.Key.Errorf("spool: {dir: /var/lib/phx}, or state_dir at the top", "the spool of the sink %s has no dir, and there is no state_dir", s.Name)
	}
	s.Spool.Dir = r.serve.StateDir
	s.Fingerprint += " " + s.Spool.Dir
	return nil
}

// warnOfMemory returns a warning about a queue that may need much memory, and how much that is.
func warnOfMemory(s Sink, field strictyaml.Field) error {
	const usual, much = 1 << 10, 128 << 20 // of a signal; of a queue
	if need := s.Records * usual; need > much {
		return field.Key.Errorf("a size instead of a number bounds the memory: queue: 64MiB",
			"the queue of the sink %s holds %d signals, which needs about %d MiB when each has 1 KiB, and more when they are larger",
			s.Name, s.Records, need>>20)
	}
	return nil
}

// checkBeside refuses a sink that would write where another one does.
func (r *serveReader) checkBeside(s Sink, field strictyaml.Field) error {
	for _, other := range r.serve.Sinks {
		switch {
		case s.Stdout && other.Stdout:
			return field.Key.Errorf("lead routes to one of them", "the sink %s writes to stdout, as %s does", s.Name, other.Name)
		case s.File != nil && other.File != nil && absolute(s.File.Path) == absolute(other.File.Path):
			return field.Key.Errorf("give each its own file", "the sink %s writes to the same file as %s", s.Name, other.Name)
		}
	}
	return nil
}

// readSink reads one sink.
func readSink(field strictyaml.Field) (Sink, error) {
	s := Sink{Name: field.Name}
	if !isSinkName(s.Name) {
		return s, field.Key.Errorf("a right one: audit", "%q cannot be the name of a sink: it is made of letters, digits, - and _", s.Name)
	}
	kind, err := sinkKind(field)
	if err != nil {
		return s, err
	}
	options := sinkOptions(&s)
	found, err := option.ReadMap(field.Value, options)
	if err != nil {
		return s, err
	}
	for _, o := range options {
		group, name, _ := strings.Cut(o.Key, ".")
		if _, said := found[o.Key]; o.Required && group == kind && !said {
			return s, field.Key.Errorf(sinkHint, "the sink %s has no %s", s.Name, name)
		}
	}
	if kind == "webhook" {
		if err := s.checkWebhook(found); err != nil {
			return s, err
		}
	}
	if slices.Contains(builtInSinks, s.Name) && s.Name != kind {
		return s, field.Key.Errorf("give it another name", "the sink %s is of the kind %s, and its name stands for another", s.Name, kind)
	}
	if kind == "nats" {
		if err := s.checkNATS(field, found); err != nil {
			return s, err
		}
	}
	spool, err := sayingSpool(field)
	switch {
	case err != nil:
		return s, err
	case spool == nil:
		s.Spool = nil
	case !slices.Contains(spoolingSinks, kind):
		return s, spool.Key.Errorf("take the spool out", "a sink of the kind %s has no spool: only %s tell what was delivered", kind, strings.Join(spoolingSinks, " and "))
	}
	s.found = found
	s.keep(kind, options)
	return s, nil
}

// sayingSpool returns the key of the spool of a sink; nil: it has none. An empty map is one.
func sayingSpool(field strictyaml.Field) (*strictyaml.Field, error) {
	list, err := field.Value.Fields()
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(list, func(f strictyaml.Field) bool { return f.Name == "spool" }); i >= 0 {
		return &list[i], nil
	}
	return nil, nil
}

// checkWebhook refuses what a webhook cannot have together.
func (s *Sink) checkWebhook(found option.Fields) error {
	w := s.Webhook
	if format, said := found["format"]; said && s.Format != signal.FormatCloudEvents {
		return format.Errorf("take the key out: it is cloudevents", "a webhook is sent CloudEvents, and no other format")
	}
	if batch, said := found["webhook.batch"]; said && w.Batch > 1 && w.Binary {
		return batch.Errorf("take mode: binary out", "a batch of CloudEvents is one body, so it has no mode binary")
	}
	for _, r := range w.DropOn {
		if slices.Contains(w.RetryOn, r) {
			return found["webhook.drop_on"].Errorf("take it out of one of them", "a status of drop_on is in retry_on, too: %d", r.First)
		}
	}
	return nil
}

// isSinkName reports whether a sink can be called so. Names stand in logs and in metrics.
func isSinkName(name string) bool { return name != "" && signal.Sanitize(name) == name }

// sinkKind returns the one kind that a sink has.
func sinkKind(field strictyaml.Field) (string, error) {
	list, err := field.Value.Fields()
	if err != nil {
		return "", err
	}
	kind := ""
	for _, f := range list {
		switch {
		case !slices.Contains(sinkKinds, f.Name):
		case kind != "":
			return "", f.Key.Errorf("make two sinks of it, and lead routes to both", "the sink %s is of two kinds, %s and %s", field.Name, kind, f.Name)
		default:
			kind = f.Name
		}
	}
	if kind == "" {
		return "", field.Key.Errorf(sinkHint, "the sink %s is of no kind: it needs one of %s", field.Name, strings.Join(sinkKinds, ", "))
	}
	return kind, nil
}

// keep forgets what belongs to other kinds, and completes the sink. The options are its own.
func (s *Sink) keep(kind string, options []option.Option) {
	s.kind, s.Stdout, s.Discard = kind, kind == "stdout", kind == "discard"
	if kind != "file" {
		s.File = nil
	}
	if kind != "exec" {
		s.Exec = nil
	} else if s.Exec.Dir != "" && filepath.Base(s.Exec.Command[0]) != s.Exec.Command[0] {
		s.Exec.Command[0] = absolute(s.Exec.Command[0]) // else it would be looked for from there
	}
	if kind != "nats" {
		s.NATS = nil
	}
	if kind != "webhook" {
		s.Webhook = nil
	} else {
		s.Format = signal.FormatCloudEvents
	}
	settings := []any{s.Name, kind, s.Spool != nil}
	for _, o := range options {
		settings = append(settings, o.Key, o.Value.Canonical())
	}
	s.Fingerprint = option.Hash(settings)
	if s.Webhook != nil {
		s.Webhook.finish()
	}
}

// builtInSink returns a sink that the file does not have.
func builtInSink(name string) Sink {
	s := Sink{Name: name}
	options := sinkOptions(&s)
	s.Spool = nil
	s.keep(name, options)
	return s
}

// absolute returns a path that can be compared with others.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}

// finish puts what was read into the fields that [router.WebhookOptions] has.
func (w *WebhookSink) finish() {
	// No limit is 0 there, and never is negative.
	switch w.MaxRetries {
	case -1:
		w.MaxRetries = 0
	case 0:
		w.MaxRetries = -1
	}
	if len(w.headers) > 0 {
		w.Headers = func(ctx context.Context) (http.Header, error) { return w.reader().Headers(ctx, w.headers) }
	}
	if w.secret != nil {
		w.Secret = func(ctx context.Context) ([]byte, error) {
			text, err := w.reader().Required(ctx, w.secret, "secret")
			return []byte(text), err
		}
	}
}

// Descriptors returns how many file descriptors the sink may need at once: for a file, for the pipes of a program, for the requests of
// a webhook and for a secret of that.
func (s *Sink) Descriptors() int {
	const any = 4
	if s.Webhook == nil {
		return any
	}
	return any + s.Webhook.MaxInFlight - 1 + secret.MostDescriptors(append(valuesOf(s.Webhook.headers), s.Webhook.secret))
}

// reader reads the sources of the webhook. A command may take as long as a request.
func (w *WebhookSink) reader() secret.Reader { return secret.Reader{Timeout: w.Timeout, Log: w.Logger} }
