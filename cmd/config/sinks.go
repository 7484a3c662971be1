package config

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/strictyaml"
	"phx/router"
	"phx/signal"
)

// What the queue of a sink holds unless it is told otherwise. Whatever it is told, it is not more than maxQueueBytes by default: a number
// of signals says little about memory.
const (
	defaultQueue  = 10000
	maxQueueBytes = 64 << 20
)

// sinkKinds are the keys of which a sink has exactly one.
var sinkKinds = []string{"file", "exec", "webhook", "stdout", "discard"}

// builtInSinks can be routed to without being in the file. A sink of such a name is of that kind.
var builtInSinks = []string{"stdout", "discard"}

const sinkAdvice = "right ones: {file: {path: signals.ndjson}}, {exec: {command: [./handle.sh]}}, {webhook: {url: https://example.com/hook}}, {stdout: {}}, {discard: {}}"

// sinkOptions declares what a sink can have.
func sinkOptions(s *Sink) []Option {
	file, exec := &FileSink{}, &ExecSink{}
	s.File, s.Exec, s.Webhook = file, exec, &WebhookSink{}
	return slices.Concat([]Option{
		{Key: "file.path", Value: pathBeside(&file.Path)},
		{Key: "exec.command", Value: commandValue(&exec.Command)},
		{Key: "exec.dir", Value: pathBeside(&exec.Dir)},
	}, webhookOptions(s.Webhook), []Option{
		{Key: "stdout", Value: emptyValue()},
		{Key: "discard", Value: emptyValue()},
		{Key: "format", Value: s.formatValue(), Example: "cloudevents"},
		{Key: "queue", Value: s.queueValue(), Example: "10000, or a size: 16MiB"},
		{Key: "when_full", Value: s.whenFullValue(), Example: "drop-oldest"},
	})
}

func (s *Sink) formatValue() Value {
	v := Checked(&s.Format, signal.FormatSignal.String(), func(text string) (signal.Format, error) {
		format, err := signal.ParseFormat(text)
		if err != nil {
			return 0, errors.New("is none of " + strings.Join(signal.Formats(), ", "))
		}
		return format, nil
	})
	v.shape = choiceShape(signal.Formats()...)
	return v
}

// queueValue is a number of signals, or a size with its unit.
func (s *Sink) queueValue() Value {
	s.Records, s.Bytes = defaultQueue, maxQueueBytes
	return Value{def: defaultQueue, shape: queueShape, parse: func(text string) error {
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			s.Records = n
			return nil
		}
		size, err := ParseSize(text)
		if err != nil {
			return errors.New("is neither a number of signals nor a size with KiB, MiB or GiB")
		}
		s.Records, s.Bytes = 0, size
		return nil
	}}
}

// whenFullValue takes the policies that keep a sink from holding up others.
func (s *Sink) whenFullValue() Value {
	dropping := []string{router.DropOldest.String(), router.DropNewest.String()}
	v := Checked(&s.WhenFull, dropping[0], func(text string) (router.Policy, error) {
		policy, err := router.ParsePolicy(text)
		switch {
		case err != nil:
			return 0, errors.New("is none of " + strings.Join(dropping, ", "))
		case policy == router.Block:
			return 0, errors.New("is not for sinks: a slow one would hold up all the others, and the connections; a full one can only lose signals, and tells which")
		case policy == router.Fail:
			return 0, errors.New("is not for sinks: a slow one would end all the others; a full one can only lose signals, and tells which")
		}
		return policy, nil
	})
	v.shape = choiceShape(dropping...)
	return v
}

// emptyValue is what is said by its key alone: {}.
func emptyValue() Value {
	nothing := func(strictyaml.Node) (json.RawMessage, error) { return json.RawMessage("{}"), nil }
	return Value{shape: emptyShape, masked: nothing, read: func(n strictyaml.Node) error {
		if n.IsNull() {
			return nil
		}
		list, err := n.Fields()
		if err == nil && len(list) > 0 {
			err = list[0].Key.Errorf("write {}", "the key %q is not known here: there is nothing to set", list[0].Name)
		}
		return err
	}}
}

func commandValue(v *[]string) Value {
	const advice = "a right one: command: [./handle.sh, ARGUMENT]"
	return Value{shape: commandShape, masked: strictyaml.Node.RawTexts, read: func(n strictyaml.Node) (err error) {
		*v, err = readCommand(n, advice)
		return err
	}}
}

// readSinks reads the sinks of the file.
func (r *serveReader) readSinks() {
	n, said := r.file.serve["sinks"]
	if !said {
		return
	}
	list, err := n.Fields()
	r.wrong.add(err)
	for _, field := range list {
		sink, err := readSink(field)
		if err != nil {
			r.wrong.add(err)
			r.broken = append(r.broken, field.Name)
			continue
		}
		r.wrong.add(r.checkBeside(sink, field))
		r.serve.Sinks = append(r.serve.Sinks, sink)
		r.sinks = append(r.sinks, field.Key)
	}
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
	found, err := readOptions(field.Value, sinkOptions(&s))
	if err != nil {
		return s, err
	}
	for _, needed := range []string{"file.path", "exec.command", "webhook.url"} {
		group, name, _ := strings.Cut(needed, ".")
		if _, said := found[needed]; group == kind && !said {
			return s, field.Key.Errorf(sinkAdvice, "the sink %s has no %s", s.Name, name)
		}
	}
	if slices.Contains(builtInSinks, s.Name) && s.Name != kind {
		return s, field.Key.Errorf("give it another name", "the sink %s is of the kind %s, and its name stands for another", s.Name, kind)
	}
	if format, said := found["format"]; kind == "webhook" && said && s.Format != signal.FormatCloudEvents {
		return s, format.Errorf("take the key out: it is cloudevents", "a webhook is sent CloudEvents, and no other format")
	}
	s.found = found
	s.keep(kind)
	return s, nil
}

// kind returns which of sinkKinds the sink is.
func (s *Sink) kind() string {
	switch {
	case s.File != nil:
		return "file"
	case s.Exec != nil:
		return "exec"
	case s.Webhook != nil:
		return "webhook"
	case s.Stdout:
		return "stdout"
	}
	return "discard"
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
		return "", field.Key.Errorf(sinkAdvice, "the sink %s is of no kind: it needs one of %s", field.Name, strings.Join(sinkKinds, ", "))
	}
	return kind, nil
}

// keep forgets what belongs to other kinds, and completes the sink.
func (s *Sink) keep(kind string) {
	s.Stdout, s.Discard = kind == "stdout", kind == "discard"
	if kind != "file" {
		s.File = nil
	}
	if kind != "exec" {
		s.Exec = nil
	} else if s.Exec.Dir != "" && filepath.Base(s.Exec.Command[0]) != s.Exec.Command[0] {
		s.Exec.Command[0] = absolute(s.Exec.Command[0]) // else it would be looked for from there
	}
	if kind != "webhook" {
		s.Webhook = nil
	} else {
		s.Format = signal.FormatCloudEvents
		s.Webhook.finish()
	}
	s.Fingerprint = s.fingerprint()
}

// fingerprint hashes everything that makes a difference.
func (s *Sink) fingerprint() string {
	settings := []any{s.Name, s.Format.String(), s.Records, s.Bytes, s.WhenFull.String(), s.Stdout, s.Discard, s.File, s.Exec}
	if w := s.Webhook; w != nil {
		settings = append(settings, w.URL, w.Binary, w.Timeout, w.MaxRetries, canonicalPairs(w.headers, http.CanonicalHeaderKey), w.secret.canonical())
	}
	return hashOf(settings)
}

// builtIn returns a sink that the file does not have.
func builtIn(name string) Sink {
	s := Sink{Name: name}
	sinkOptions(&s) // sets the defaults
	s.keep(name)
	return s
}

// absolute returns a path that can be compared with others.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}

// requestHeaders are those that the request to a webhook has anyway.
var requestHeaders = []string{
	"Connection", "Content-Length", "Content-Type", "Host", "Trailer", "Transfer-Encoding", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp",
}

// isRequestHeader reports whether the request sets a header itself. The attributes of a CloudEvent are ce-* in binary mode.
func isRequestHeader(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	return slices.Contains(requestHeaders, name) || strings.HasPrefix(name, "Ce-")
}

// The values of mode.
const (
	webhookStructured = "structured"
	webhookBinary     = "binary"
)

func webhookOptions(w *WebhookSink) []Option {
	return []Option{
		{Key: "webhook.url", Secret: true, Value: w.urlValue(), Example: "https://example.com/hook"},
		{Key: "webhook.mode", Value: w.modeValue(), Example: webhookBinary},
		{Key: "webhook.headers", Value: w.headersValue()},
		{Key: "webhook.secret", Value: w.secretValue()},
		{Key: "webhook.timeout_msec", Value: msec(Duration(&w.Timeout, "10s"))},
		{Key: "webhook.max_retries", Value: w.retriesValue(), Example: "10"},
	}
}

func (w *WebhookSink) urlValue() Value {
	v := Checked(&w.URL, "", checkWebhook).shaped(urlShape)
	v.masked = maskedURL
	return v
}

// checkWebhook repeats no part of the text in its errors: there may be a password in it.
func checkWebhook(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "":
		return "", errors.New("has another scheme than http or https")
	case u.Hostname() == "":
		return "", errors.New("has no host")
	case u.Fragment != "":
		return "", errors.New("has a fragment (#...)")
	}
	return text, nil
}

func (w *WebhookSink) modeValue() Value {
	v := Checked(&w.Binary, webhookStructured, func(text string) (bool, error) {
		if text != webhookStructured && text != webhookBinary {
			return false, fmt.Errorf("is none of %s, %s", webhookStructured, webhookBinary)
		}
		return text == webhookBinary, nil
	})
	v.shape = choiceShape(webhookStructured, webhookBinary)
	return v
}

func (w *WebhookSink) headersValue() Value {
	return Value{shape: headersShape(append(slices.Clone(requestHeaders), "Ce-.*")...), masked: maskedHeaders, read: func(n strictyaml.Node) (err error) {
		w.headers, err = w.secrets().readHeaders(n, isRequestHeader, "the request itself")
		return err
	}}
}

func (w *WebhookSink) secretValue() Value {
	return Value{shape: refTo("key"), masked: maskedSecret, read: func(n strictyaml.Node) (err error) {
		w.secret, err = w.secrets().read("webhook.secret", n)
		if err != nil || !w.secret.isLiteral() {
			return err
		}
		if w.secret.literal == "" {
			return n.Errorf(secretAdvice, "the secret is empty")
		}
		encoded, isEncoded := strings.CutPrefix(w.secret.literal, "whsec_")
		if _, err := base64.StdEncoding.DecodeString(encoded); isEncoded && err != nil {
			return n.Errorf("copy all of it, or take another key, which does not begin with whsec_", "what follows whsec_ is not base64")
		}
		return nil
	}}
}

// retriesValue is a number of retries; there is always one after which a webhook is given up.
func (w *WebhookSink) retriesValue() Value {
	v := Checked(&w.MaxRetries, "10", func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return 0, errors.New("is not a number of retries: 0 or more")
		}
		return n, nil
	})
	v.shape, v.def = timesShape, w.MaxRetries
	return v
}

// secrets reads those of the webhook. A command may take as long as a request.
func (w *WebhookSink) secrets() secretReader {
	return secretReader{patience: func() time.Duration { return w.Timeout }, note: w.note}
}

func (w *WebhookSink) note(level slog.Level, message string, args ...any) {
	if w.Logger != nil {
		w.Logger.Log(context.Background(), level, message, args...)
	}
}

// finish puts what was read into the fields that [router.WebhookOptions] has.
func (w *WebhookSink) finish() {
	if w.MaxRetries == 0 {
		w.MaxRetries = -1 // never; 0 stands for the default there
	}
	if len(w.headers) > 0 {
		w.Headers = w.readHeaders
	}
	if w.secret != nil {
		w.Secret = w.readSecret
	}
}

func (w *WebhookSink) readHeaders(ctx context.Context) (http.Header, error) {
	header := http.Header{}
	for _, h := range w.headers {
		value, err := h.readLine(ctx)
		if err != nil {
			return nil, err
		}
		header.Add(h.name, value)
	}
	return header, nil
}

func (w *WebhookSink) readSecret(ctx context.Context) ([]byte, error) {
	text, err := w.secret.Text(ctx)
	if err == nil && text == "" {
		err = &UsageError{Message: "there is no secret in " + w.secret.name(), Advice: "write the secret to it, as one line"}
	}
	return []byte(text), err
}
