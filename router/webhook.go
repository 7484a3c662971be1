package router

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
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

// A WebhookDrain is a [Drain] that posts records to a web server: each for itself, or in batches, and in several requests at once if
// it may. An answer of 2xx is a delivery. After 429, 5xx and no answer the records are posted again, with a backoff of 100 ms to 30 s,
// and not before Retry-After: for as long as the queue has room for them, whose policy may drop them between two attempts. 410 ends the
// drain. Any other answer loses the record; of a batch, only the records that are refused when halves of it are posted, down to one.
// Announcements are posted once. Redirects are not followed.
type WebhookDrain struct {
	options WebhookOptions
	url     *url.URL // nil: it is none
	log     *slog.Logger

	// What follows belongs to the goroutine that runs the drain.

	window  *window
	results chan webhookResult
	// outage lasts from the first failed attempt to the next delivery.
	outage outage
	lost   sampler
	key    []byte // of the strand of the last record
}

// WebhookOptions are the settings of a [WebhookDrain].
type WebhookOptions struct {
	// URL is posted to. It may hold secrets: only its host and path are logged.
	URL string
	// Binary posts each signal in CloudEvents' binary content mode: its attributes as headers, its
	// data as the body. Otherwise the body is the signal. Both want a sink of the format
	// cloudevents.
	Binary bool
	// Batch is how many signals a request has at most. More than one makes every request a batch of CloudEvents, an array in JSON, also
	// of a single one; it cannot be Binary. Default: 1.
	Batch int
	// BatchBytes bounds the size of a batch, which has one signal at least. Default: 1 MiB. A batch that is not full waits for more
	// until its first signal is BatchWait old. 0: it does not wait.
	BatchBytes int
	BatchWait  time.Duration
	// MaxInFlight is how many requests there are at once. With more than one, the order is kept in each topic of a connection: two
	// requests with signals of one topic are never under way together, and one that has to be repeated holds up no other topic.
	// Default: 1, which keeps the order of all.
	MaxInFlight int
	// Headers returns headers for a request. It is called for each request, so that secrets may change, and by several goroutines at
	// once if MaxInFlight allows that. nil: none.
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
	// RetryOn are statuses after which a record is posted again, DropOn those after which it is lost, besides those that are so anyway.
	// A single status goes before a range, and 410 is never among them.
	RetryOn, DropOn []StatusRange
	// Transport sends the requests. nil: one like [http.DefaultTransport], with the proxies of the
	// environment.
	Transport http.RoundTripper
	// Logger logs failures. It should have the name of the sink among its attributes. It may be
	// nil.
	Logger *slog.Logger
}

// A StatusRange is HTTP statuses from one to another, both included.
type StatusRange struct{ First, Last int }

// ParseStatusRange reads a status, such as 404, or a class of them, such as 5xx. None is a success or 410, which have a meaning that
// cannot be changed.
func ParseStatusRange(text string) (StatusRange, error) {
	if class, ok := strings.CutSuffix(text, "xx"); ok && len(class) == 1 && '3' <= class[0] && class[0] <= '5' {
		first := int(class[0]-'0') * 100
		return StatusRange{first, first + 99}, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || len(text) != 3 || n < 300 || n > 599:
		return StatusRange{}, errors.New("is not the HTTP status of a failure: 300 to 599, 3xx, 4xx or 5xx")
	case n == http.StatusGone:
		return StatusRange{}, errors.New("cannot be chosen: 410 stops the webhook until a reload")
	}
	return StatusRange{n, n}, nil
}

// narrowest returns the size of the smallest of the ranges that have a status; 0: none has.
func narrowest(ranges []StatusRange, status int) (size int) {
	for _, r := range ranges {
		if n := r.Last - r.First + 1; r.First <= status && status <= r.Last && (size == 0 || n < size) {
			size = n
		}
	}
	return size
}

const (
	defaultTimeout    = 10 * time.Second
	defaultBatchBytes = 1 << 20
)

// NewWebhookDrain returns a drain that posts to o.URL.
func NewWebhookDrain(o WebhookOptions) *WebhookDrain {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = defaultBatchBytes
	}
	o.Batch, o.MaxInFlight = max(o.Batch, 1), max(o.MaxInFlight, 1)
	if o.Transport == nil {
		o.Transport = newTransport(o.MaxInFlight)
	}
	d := &WebhookDrain{options: o, log: orDiscard(o.Logger), results: make(chan webhookResult, o.MaxInFlight)}
	d.window = newWindow(windowLimits{
		Records: o.Batch, Bytes: o.BatchBytes, Wait: o.BatchWait, Requests: o.MaxInFlight, Retries: o.MaxRetries,
	})
	if o.Batch == 1 {
		d.window.limits.Wait = 0
	}
	if u, err := url.Parse(o.URL); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		d.url = u
		d.log = d.log.With("url", u.Scheme+"://"+u.Host+u.EscapedPath())
	}
	d.outage = outage{log: d.log, level: slog.LevelWarn}
	return d
}

// newTransport returns a transport like http.DefaultTransport, which other code of the process may
// have changed. It keeps so many connections.
func newTransport(connections int) *http.Transport {
	return &http.Transport{
		Proxy:               proxyFromEnvironment,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: connections,
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
	sending, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := d.run(sending, q)
	cancel(err)
	for d.window.sending > 0 {
		if r := <-d.results; r.failure == nil {
			d.window.delivered(r.batch)
		} else {
			d.window.back(r.batch)
		}
	}
	d.window.giveBack(q, true)
	return err
}

// run posts until the input has ended and everything is delivered or lost, and then returns nil. An error is the cause of ctx's end, or
// says why nothing can be posted any more.
func (d *WebhookDrain) run(ctx context.Context, q *Queue) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	ended := false
	for {
		if delay := d.window.paused(time.Now()); delay > 0 && d.window.sending == 0 && len(d.window.items) == 0 {
			if err := pause(ctx, delay); err != nil {
				return err
			}
		}
		over, err := d.fill(q)
		if err != nil {
			return err
		}
		delay := d.dispatch(ctx, q, ended)
		if d.window.sending == 0 {
			switch {
			case over && len(d.window.items) == 0:
				return nil
			case d.window.stale():
				d.window.giveBack(q, true)
				continue
			case delay > 0 && d.window.waits(time.Now()):
				// The policy of the queue may drop what waits for another attempt. If only some strands wait, others go on when something
				// comes for them; for that the queue has to have room.
				if d.window.paused(time.Now()) <= 0 {
					if q.hasSpare() {
						break
					}
					delay = min(delay, stuckPause)
				}
				d.window.giveBack(q, true)
				if err := pause(ctx, delay); err != nil {
					return err
				}
				continue
			}
		}
		timer.Reset(max(delay, 0))
		expired, ready, closed := timer.C, q.ready, q.closed
		if delay == 0 {
			expired = nil
		}
		if d.window.room() == 0 {
			ready = nil
		}
		if ended {
			closed = nil
		}
		select {
		case r := <-d.results:
			if err := d.take(ctx, q, r); err != nil {
				return err
			}
		case <-ready:
		case <-closed:
			ended = true
		case <-expired:
		case <-q.dead:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// stuckPause is how long the policy of a queue has that is nearly full of what waits for another attempt, before that is taken again to look
// for records that do not wait.
const stuckPause = time.Second

// fill takes records from the queue as far as the window has room. over: the input has ended, and nothing waits.
func (d *WebhookDrain) fill(q *Queue) (over bool, err error) {
	for room := d.window.room(); room > 0; room = d.window.room() {
		c, err := q.poll(room)
		switch {
		case err == io.EOF:
			return true, nil
		case err != nil:
			return false, err
		case c == nil:
			return false, nil
		}
		q.trim(c)
		if seq, wrong := d.window.add(c, time.Now(), d.strandOf); wrong != nil {
			q.attempted(notSent, wrong)
			d.logLost(wrong, seq, 1)
			d.window.giveBack(q, false)
		}
	}
	return false, nil
}

// strandOf returns what tells the topic of a CloudEvent from others, or why the line is none.
func (d *WebhookDrain) strandOf(line []byte) ([]byte, error) {
	d.key = d.key[:0]
	line = bytes.TrimSuffix(line, []byte{'\n'})
	end, err := rawjson.ReadObject(line, 0, func(name, value []byte) {
		if d.options.MaxInFlight > 1 && (string(name) == "phxconnection" || string(name) == "phxtopic") {
			d.key = append(append(append(d.key, name...), ':'), value...)
		}
	})
	if err == nil {
		err = rawjson.CheckEnd(line, end)
	}
	if err != nil {
		return nil, fmt.Errorf("a record is not a JSON object: %s", formatAdvice)
	}
	return d.key, nil
}

// A webhookResult is what came of a request.
type webhookResult struct {
	batch   []*item
	failure *failure
}

// dispatch starts the requests that may be sent. It returns how long it may be until there is another one, or 0, as [window.next] does.
func (d *WebhookDrain) dispatch(ctx context.Context, q *Queue, ended bool) (delay time.Duration) {
	for {
		batch, delay := d.window.next(time.Now(), ended)
		if batch == nil {
			return delay
		}
		e, err := d.newRequest(batch)
		if err != nil {
			q.attempted(notSent, err)
			d.logLost(err, batch[0].name().seq, d.window.refused(batch, false))
			d.window.giveBack(q, d.window.sending == 0)
			return 0
		}
		go func() { d.results <- webhookResult{batch, d.attempt(ctx, q, e)} }()
	}
}

// take takes in what came of a request.
func (d *WebhookDrain) take(ctx context.Context, q *Queue, r webhookResult) error {
	lost, f := 0, r.failure
	switch {
	case f == nil:
		d.window.delivered(r.batch)
		d.outage.over("the webhook works again")
	case ctx.Err() != nil:
		d.window.back(r.batch)
		return context.Cause(ctx)
	case f.gone:
		d.window.back(r.batch)
		return f.err
	case f.final:
		first := r.batch[0].name().seq
		if lost = d.window.refused(r.batch, !f.whole); lost > 0 {
			d.logLost(f.err, first, lost)
		}
	default:
		// What the server has asked for is a floor, with up to half of it above, or all clients would come back at the same moment.
		asked := time.Duration((1 + rand.Float64()/2) * float64(f.atLeast))
		first := r.batch[0].name().seq
		var delay time.Duration
		if lost, delay = d.window.failed(r.batch, time.Now(), asked); lost > 0 {
			d.logLost(f.err, first, lost)
		}
		d.outage.failed("the webhook failed; it is tried again", "error", f.err, "delay", delay)
	}
	// What was lost is announced next, and the policy of the queue may drop what has to wait, if nothing is under way.
	again := lost > 0 || f != nil && !f.final
	d.window.giveBack(q, again && d.window.sending == 0)
	return nil
}

// logLost logs one of the losses in an interval, and how many there were.
func (d *WebhookDrain) logLost(err error, seq uint64, lost int) {
	if n, ok := d.lost.pick(uint64(lost), lossReportInterval); ok {
		d.log.Warn("the webhook did not take a signal, which is lost", "error", err, "seq", seq, "lost", n)
	}
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

// attempt sends the request, for which it first gets the secrets.
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
	status := answer.StatusCode
	f := &failure{err: d.refusal(answer, e)}
	switch {
	case status == http.StatusGone:
		f.err = fmt.Errorf("%w: the receiver wants nothing more, and gets nothing until the configuration is reloaded", f.err)
		f.final, f.gone = true, true
	case d.mayPass(status):
		asked, _ := phoenix.ParseRetryAfter(answer.Header, time.Now())
		f.atLeast = min(asked, maxRetryAfter)
	default:
		f.final, f.whole = true, blamesAll(status)
		if status == http.StatusUnsupportedMediaType && d.options.Batch > 1 {
			f.err = fmt.Errorf("%w: does the receiver take batches of CloudEvents? batch: 1 sends each for itself", f.err)
		}
	}
	return f
}

// mayPass reports whether a record is posted again after a status.
func (d *WebhookDrain) mayPass(status int) bool {
	retry, drop := narrowest(d.options.RetryOn, status), narrowest(d.options.DropOn, status)
	switch {
	case retry == 0 && drop == 0:
		return status == http.StatusTooManyRequests || status/100 == 5
	case retry == 0 || drop == 0:
		return retry > 0
	}
	return retry <= drop
}

// blamesAll reports whether a status is about the request whatever it contains: who sent it, to where, in which way. Any other one may
// be about one record of several.
func blamesAll(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusProxyAuthRequired, http.StatusUnsupportedMediaType:
		return true
	}
	return status/100 == 3
}

// send sends the request.
func (d *WebhookDrain) send(ctx context.Context, e *eventRequest) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url.String(), bytes.NewReader(e.body))
	if err != nil {
		return nil, err
	}
	r.Header = e.header
	r.Host = r.Header.Get("Host")
	r.Header.Del("Host")
	if e.key != nil {
		sign(r.Header, e.key, e.id, time.Now(), e.body)
	}
	// Not by a Client: that follows redirects.
	return d.options.Transport.RoundTrip(r)
}

// authorize completes the headers of the request.
func (d *WebhookDrain) authorize(ctx context.Context, e *eventRequest) error {
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
	e.header = header
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

// An eventRequest is a CloudEvent, or a batch of them, as an HTTP request.
type eventRequest struct {
	id     string // the same when the same is sent again
	header http.Header
	body   []byte

	// What follows is set by authorize.

	key     []byte            // nil: not signed
	secrets *phoenix.Redactor // what must not be shown
}

// newRequest makes a request of records.
func (d *WebhookDrain) newRequest(batch []*item) (*eventRequest, error) {
	if d.options.Batch == 1 {
		return newEventRequest(batch[0].line(), d.options.Binary)
	}
	size := 2
	for _, it := range batch {
		size += it.size
	}
	e := &eventRequest{header: http.Header{}, body: append(make([]byte, 0, size), '[')}
	e.header.Set("Content-Type", "application/cloudevents-batch+json; charset=utf-8")
	for i, it := range batch {
		if i > 0 {
			e.body = append(e.body, ',')
		}
		e.body = append(e.body, it.line()...)
	}
	e.body = append(e.body, ']')
	if d.options.Secret != nil { // the id is signed, and nothing else asks for it
		sum := sha256.Sum256(e.body)
		e.id = "batch_" + hex.EncodeToString(sum[:16])
	}
	return e, nil
}

// newEventRequest makes a request of the line of a CloudEvent in JSON. It keeps nothing of the line,
// because a request may still be sent when its failure has long been reported.
func newEventRequest(line []byte, binary bool) (*eventRequest, error) {
	line = bytes.Clone(line)
	e := &eventRequest{header: http.Header{}}
	if !binary {
		h, _ := readHead(line) // only the id is asked for, and a record without one has none to sign
		e.id, e.body = h.id, line
		e.header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
		return e, nil
	}
	err := readAttributes(line, func(name, text string) {
		if name == "id" {
			e.id = text
		}
		if name == "datacontenttype" {
			e.header.Set("Content-Type", text)
		} else {
			e.header.Set("ce-"+name, escapeHeader(text))
		}
	}, func(data []byte) { e.body = data })
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, formatAdvice)
	}
	return e, nil
}

const formatAdvice = "the sink of a webhook needs the format cloudevents"

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
