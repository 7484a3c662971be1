package router

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"phx/phoenix"
	"phx/phoenix/rawjson"
)

// A WebhookDrain is a [Drain] that posts each record to a web server, one after the other. An
// answer of 2xx is a delivery. After 429, 5xx and no answer the record is posted again, with a
// backoff of 100 ms to 30 s, and not before Retry-After: for as long as the queue has room for it,
// whose policy may drop it between two attempts. 410 ends the drain. Any other answer loses the
// record. Announcements are posted once. Redirects are not followed.
type WebhookDrain struct {
	options WebhookOptions
	url     *url.URL // nil: it is none
	log     *slog.Logger

	// What follows belongs to the goroutine that runs the drain.

	// request is that of the line which was tried last and may be tried again; nil: there is none.
	request *eventRequest
	line    []byte
	// failures is how many attempts in a row failed, of any records.
	failures int
	backoff  phoenix.Backoff
	// outage lasts from the first failed attempt to the next delivery.
	outage outage
	lost   sampler
}

// WebhookOptions are the settings of a [WebhookDrain].
type WebhookOptions struct {
	// URL is posted to. It may hold secrets: only its host and path are logged.
	URL string
	// Binary posts each signal in CloudEvents' binary content mode: its attributes as headers, its
	// data as the body. Otherwise the body is the signal. Both want a sink of the format
	// cloudevents.
	Binary bool
	// Headers returns headers for the requests of one signal. It is called for each signal, so that
	// secrets may change. nil: none.
	Headers func(ctx context.Context) (http.Header, error)
	// Secret returns the key that signs requests, as in Standard Webhooks. It is called like
	// Headers. A key that begins with whsec_ is decoded from the base64 behind that. nil: requests
	// are not signed.
	Secret func(ctx context.Context) ([]byte, error)
	// Timeout bounds one attempt. Default: 10 s.
	Timeout time.Duration
	// MaxRetries is how often a record is posted again. 0: for as long as the queue has room.
	// Negative: never.
	MaxRetries int
	// Transport sends the requests. nil: one like [http.DefaultTransport], with the proxies of the
	// environment.
	Transport http.RoundTripper
	// Logger logs failures. It should have the name of the sink among its attributes. It may be
	// nil.
	Logger *slog.Logger
}

const (
	defaultTimeout = 10 * time.Second
	// inHand is how many records a webhook takes at once. Of a receiver that is too slow, at least
	// as many requests are signals for each one that announces a loss.
	inHand = 16
)

// NewWebhookDrain returns a drain that posts to o.URL.
func NewWebhookDrain(o WebhookOptions) *WebhookDrain {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	d := &WebhookDrain{options: o, log: orDiscard(o.Logger), backoff: phoenix.DefaultReconnectAfter()}
	if u, err := url.Parse(o.URL); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		d.url = u
		d.log = d.log.With("url", u.Scheme+"://"+u.Host+u.EscapedPath())
	}
	d.outage = outage{log: d.log, level: slog.LevelWarn}
	return d
}

// newTransport returns a transport like http.DefaultTransport, which other code of the process may
// have changed.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               proxyFromEnvironment,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 1, // There is one request at a time.
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
}

// proxyFromEnvironment is [http.ProxyFromEnvironment] without the proxy's URL, which may have a
// password, in its error.
func proxyFromEnvironment(r *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil, errors.New("the proxy in the environment is not a URL")
	}
	return proxy, nil
}

// Open implements [Opener]: it finds out whether the URL is one. It connects to nothing.
func (d *WebhookDrain) Open() error {
	if d.url == nil {
		return errors.New("the URL of the webhook is not one that begins with http:// or https:// and a host")
	}
	return nil
}

// Run implements [Drain].
func (d *WebhookDrain) Run(ctx context.Context, q *Queue) error {
	if err := d.Open(); err != nil {
		return err
	}
	if t, ok := d.options.Transport.(interface{ CloseIdleConnections() }); ok {
		defer t.CloseIdleConnections()
	}
	for {
		c, err := q.TakeSome(ctx, inHand)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = d.postChunk(ctx, q, c)
		}
		if err != nil {
			return err
		}
	}
}

// postChunk posts the records of c in order and gives c back. After a failure that may pass, the
// record waits in the queue until it is its turn again, so that the policy can drop it meanwhile,
// but for an announcement, which is posted once. An error is the cause of ctx's end, or says why
// nothing can be posted any more.
func (d *WebhookDrain) postChunk(ctx context.Context, q *Queue, c *Chunk) error {
	for c.Len() > 0 {
		line, seq := c.Record(0)
		f := d.post(ctx, q, line)
		if f == nil {
			d.failures = 0
			d.outage.over("the webhook works again")
			q.Advance(c, 1)
			continue
		}
		_, announcement := c.lossOf(0)
		lost := 0
		switch {
		case ctx.Err() != nil:
			q.ReleaseFirst(c, 0)
			return context.Cause(ctx)
		case f.gone:
			q.ReleaseFirst(c, 0)
			return f.err
		case announcement:
			d.log.Debug("the webhook did not take the announcement of a loss, which is not posted again", "error", f.err)
			lost = 1
		case f.final || d.mayNotRetry():
			d.logLost(f.err, seq)
			lost = 1
		}
		q.GiveBack(c, 0, lost)
		if f.final {
			d.failures = 0
			return nil
		}
		return d.wait(ctx, f)
	}
	q.Release(c)
	return nil
}

// mayNotRetry counts a failed attempt for the request, and reports whether it was the last one that
// [WebhookOptions.MaxRetries] allows.
func (d *WebhookDrain) mayNotRetry() bool {
	if d.options.MaxRetries == 0 {
		return false
	}
	d.request.failures++
	return d.request.failures > d.options.MaxRetries
}

// wait waits before the next attempt, of whatever record: 100 ms, doubled each time up to 30 s, and
// jittered. What the server has asked for is a floor, with up to half of it above, or all clients
// would come back at the same moment.
func (d *WebhookDrain) wait(ctx context.Context, f *failure) error {
	delay := max(d.backoff(d.failures), time.Duration((1+rand.Float64()/2)*float64(f.atLeast)))
	d.failures++
	d.outage.failed("the webhook failed; it is tried again", "error", f.err, "delay", delay)
	return pause(ctx, delay)
}

// logLost logs one of the losses in an interval, and how many there were.
func (d *WebhookDrain) logLost(err error, seq uint64) {
	if n, ok := d.lost.pick(lossReportInterval); ok {
		d.log.Warn("the webhook did not take a signal, which is lost", "error", err, "seq", seq, "lost", n)
	}
}

// post posts one record once. What it knows of the last record is kept for another attempt.
func (d *WebhookDrain) post(ctx context.Context, q *Queue, line []byte) *failure {
	if d.request == nil || !bytes.Equal(d.line, line) {
		e, err := newEventRequest(line, d.options.Binary)
		if err != nil {
			q.attempted(notSent, err)
			return &failure{err: err, final: true}
		}
		d.request, d.line = e, bytes.Clone(line)
	}
	f := d.attempt(ctx, q, d.request)
	if f == nil || f.final {
		d.request, d.line = nil, nil
	}
	return f
}

const (
	// maxRetryAfter bounds what a server may ask for by Retry-After.
	maxRetryAfter = 5 * time.Minute
	// maxAnswer is how much of an answer's body is read so that its connection can be used again.
	maxAnswer = 64 << 10
	// maxSearched is how much of it is searched for secrets, and maxExcerpt how much is shown.
	maxSearched, maxExcerpt = 4 << 10, 200
)

// What comes of an attempt that was not answered. One that was has the HTTP status.
const notSent, noAnswer = "not sent", "no answer"

// attempt sends the request once, for which it first gets the secrets, if it has not.
func (d *WebhookDrain) attempt(ctx context.Context, q *Queue, e *eventRequest) *failure {
	limited, cancel := context.WithTimeout(ctx, d.options.Timeout)
	defer cancel()
	if err := d.authorize(limited, e); err != nil {
		q.attempted(notSent, err)
		return &failure{err: err}
	}
	answer, err := d.send(limited, e)
	if err != nil {
		// What is no HTTP is quoted by its error.
		err = errors.New(e.secrets.Redact(err.Error()))
		if limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("no answer within %v", d.options.Timeout)
		}
		if ctx.Err() == nil {
			q.attempted(noAnswer, err)
		}
		return &failure{err: err}
	}
	defer answer.Body.Close()
	f := d.judge(answer, e)
	if f == nil {
		q.attempted(strconv.Itoa(answer.StatusCode), nil)
	} else {
		q.attempted(strconv.Itoa(answer.StatusCode), f.err)
	}
	return f
}

// judge returns what an answer says.
func (d *WebhookDrain) judge(answer *http.Response, e *eventRequest) *failure {
	if answer.StatusCode/100 == 2 {
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
		return nil
	}
	f := &failure{err: d.refusal(answer, e)}
	if answer.StatusCode == http.StatusGone {
		f.err = fmt.Errorf("%w: the receiver wants nothing more, and gets nothing until the configuration is reloaded", f.err)
		f.final, f.gone = true, true
	} else if answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode/100 == 5 {
		asked, _ := phoenix.ParseRetryAfter(answer.Header, time.Now())
		f.atLeast = min(asked, maxRetryAfter)
	} else {
		f.final = true
	}
	return f
}

// send sends the request.
func (d *WebhookDrain) send(ctx context.Context, e *eventRequest) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url.String(), bytes.NewReader(e.body))
	if err != nil {
		return nil, err
	}
	r.Header = e.header.Clone()
	r.Host = r.Header.Get("Host")
	r.Header.Del("Host")
	if e.key != nil {
		sign(r.Header, e.key, e.id, time.Now(), e.body)
	}
	// Not by a Client: that follows redirects.
	return d.options.Transport.RoundTrip(r)
}

// authorize completes the headers of the request, once for all its attempts.
func (d *WebhookDrain) authorize(ctx context.Context, e *eventRequest) error {
	if e.authorized {
		return nil
	}
	header := http.Header{}
	header.Set("User-Agent", "phx")
	if user := d.url.User; user != nil {
		password, _ := user.Password()
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if d.options.Headers != nil {
		theirs, err := d.options.Headers(ctx)
		if err != nil {
			return err
		}
		for name, values := range theirs {
			header.Del(name)
			for _, value := range values {
				header.Add(name, value)
			}
		}
	}
	e.secrets = d.secrets(header)
	if d.options.Secret != nil {
		secret, err := d.options.Secret(ctx)
		if err != nil {
			return err
		}
		e.secrets.Add(string(secret))
		if e.key, err = signingKey(secret); err != nil {
			return err
		}
	}
	for name, values := range e.header {
		header[name] = values
	}
	e.header, e.authorized = header, true
	return nil
}

// secrets returns what must not be shown of a request.
func (d *WebhookDrain) secrets(header http.Header) *phoenix.Redactor {
	secrets := &phoenix.Redactor{}
	secrets.AddHeader(header)
	secrets.AddURL(d.url.String())
	secrets.Add(d.url.RawQuery)
	return secrets
}

// refusal says what the server answered, and quotes the beginning of it, but no secret that it
// repeats.
func (d *WebhookDrain) refusal(answer *http.Response, e *eventRequest) error {
	beginning, _ := io.ReadAll(io.LimitReader(answer.Body, maxSearched))
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	text := e.secrets.Excerpt(string(beginning), maxExcerpt)
	status := strconv.Itoa(answer.StatusCode) + " " + http.StatusText(answer.StatusCode)
	if answer.StatusCode/100 == 3 {
		status += ", and redirects are not followed"
	}
	if text == "" {
		return fmt.Errorf("the answer was %s", status)
	}
	return fmt.Errorf("the answer was %s: %s", status, text)
}

// An eventRequest is a CloudEvent as an HTTP request.
type eventRequest struct {
	id     string
	header http.Header
	body   []byte

	// authorized says that header has what only the drain knows, and that what follows is set.
	authorized bool
	failures   int               // attempts that failed, if they are bounded
	key        []byte            // nil: not signed
	secrets    *phoenix.Redactor // what must not be shown
}

// newEventRequest makes a request of the line of a CloudEvent in JSON. It keeps nothing of the line,
// because a request may still be sent when its failure has long been reported.
func newEventRequest(line []byte, binary bool) (*eventRequest, error) {
	line = bytes.Clone(bytes.TrimSuffix(line, []byte{'\n'}))
	e := &eventRequest{header: http.Header{}}
	if !binary {
		e.body = line
		e.header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	}
	var fault error
	end, err := rawjson.ReadObject(line, 0, func(key, value []byte) {
		name, text := string(key), attribute(value)
		if name == "id" {
			e.id = text
		}
		switch {
		case !binary:
		case name == "data":
			e.body = value
		case name == "datacontenttype":
			e.header.Set("Content-Type", text)
		case text == "":
			fault = fmt.Errorf("%q is no attribute of a CloudEvent: %s", name, formatAdvice)
		default:
			e.header.Set("ce-"+name, escapeHeader(text))
		}
	})
	if err == nil {
		err = rawjson.CheckEnd(line, end)
	}
	if err != nil {
		return nil, fmt.Errorf("a record is not a JSON object: %s", formatAdvice)
	}
	return e, fault
}

const formatAdvice = "the sink of a webhook needs the format cloudevents"

// attribute returns a JSON string, number or boolean as text, and nothing for an object or array.
func attribute(value []byte) string {
	switch value[0] {
	case '"':
		text, _, _ := rawjson.ReadString(value, 0)
		return string(text)
	case '{', '[':
		return ""
	}
	return string(value)
}

// escapeHeader returns an attribute as the value of a header: printable ASCII but for the space,
// '"' and '%' is as it is, all else is percent-encoded (HTTP Protocol Binding for CloudEvents
// 1.0.2, section 3.1.3.2).
func escapeHeader(value string) string {
	plain := func(c byte) bool { return '!' <= c && c <= '~' && c != '"' && c != '%' }
	var escaped strings.Builder
	for _, c := range []byte(value) {
		if plain(c) {
			escaped.WriteByte(c)
		} else {
			fmt.Fprintf(&escaped, "%%%02X", c)
		}
	}
	return escaped.String()
}

// signingKey returns the key that a secret stands for.
func signingKey(secret []byte) ([]byte, error) {
	encoded, ok := bytes.CutPrefix(secret, []byte(secretPrefix))
	if !ok {
		return secret, nil
	}
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(string(encoded), "="))
	if err != nil {
		return nil, errors.New("the secret of the webhook begins with " + secretPrefix + ", but what follows is not base64")
	}
	return key, nil
}

// secretPrefix begins a key that is written as Standard Webhooks says.
const secretPrefix = "whsec_"

// sign signs a request as Standard Webhooks 1.0 says (https://www.standardwebhooks.com). The time
// is that of the attempt: receivers refuse what is old.
func sign(header http.Header, key []byte, id string, now time.Time, body []byte) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", timestamp)
	header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
