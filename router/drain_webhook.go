package router

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"phx/phoenix"
)

const (
	defaultTimeout    = 10 * time.Second
	defaultMaxRetries = 10
	// countAfter is how long a chunk is posted before what is done of it is counted and the rest may be dropped again.
	countAfter = time.Second
)

// WebhookOptions are the settings of a [WebhookDrain].
type WebhookOptions struct {
	// URL is where to post. It may hold secrets: of it the log shows host and path.
	URL string
	// Binary posts each signal in CloudEvents' binary content mode: its attributes as headers, its data as the body. Otherwise the
	// body is the signal. Both want a sink of the format cloudevents.
	Binary bool
	// Headers returns headers for the requests of one signal. It is asked again for each signal, so that secrets may change.
	// nil: none.
	Headers func(ctx context.Context) (http.Header, error)
	// Secret returns the key with which requests are signed as Standard Webhooks says. Asked like Headers. A key that begins with
	// whsec_ is what the base64 behind it stands for. nil: not signed.
	Secret func(ctx context.Context) ([]byte, error)
	// Timeout bounds one attempt. Default: 10 s.
	Timeout time.Duration
	// MaxRetries is how often a request that failed in a way that may pass is sent again. 0: the default, 10. Negative: never.
	MaxRetries int
	// Transport sends the requests. nil: one like [http.DefaultTransport], with the proxies of the environment.
	Transport http.RoundTripper
	// Logger is told of failures. It should have the name of the sink among its attributes. nil: nobody is.
	Logger *slog.Logger
}

// A WebhookDrain is a [Drain] that posts each record to a web server, one after the other. An answer of 2xx is a delivery. After
// 429, 5xx, and when there was no answer, the request is sent again, with a backoff of 100 ms to 30 s or as Retry-After says; any
// other answer loses the signal, and so do too many retries. Redirects are not followed.
type WebhookDrain struct {
	options WebhookOptions
	url     *url.URL // nil: it is none
	log     *slog.Logger

	// failing is true from the first failed attempt to the next delivery.
	failing bool
	// lost counts the signals lost since lostLogged, when one was last logged.
	lost       int
	lostLogged time.Time
}

// NewWebhookDrain returns a drain that posts to o.URL.
func NewWebhookDrain(o WebhookOptions) *WebhookDrain {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxRetries == 0 {
		o.MaxRetries = defaultMaxRetries
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	d := &WebhookDrain{options: o, log: orDiscard(o.Logger)}
	if u, err := url.Parse(o.URL); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		d.url = u
		d.log = d.log.With("url", u.Scheme+"://"+u.Host+u.EscapedPath())
	}
	return d
}

// newTransport returns a transport like the default one, which somebody else in the process may have changed.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               proxyFromEnvironment,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 1, // There is one request at a time.
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
}

// proxyFromEnvironment is [http.ProxyFromEnvironment] without the proxy's URL, which may have a password, in its error.
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
		c, err := q.Take(ctx)
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

// postChunk posts the records of c in order and gives c back: earlier than it has to at a lost record, so that the loss is
// announced before the next one is posted. An error is the cause of ctx's end.
func (d *WebhookDrain) postChunk(ctx context.Context, q *Queue, c *Chunk) error {
	taken := time.Now()
	for i := range c.Len() {
		line, seq := c.Record(i)
		err := d.post(ctx, line)
		switch {
		case err == nil && time.Since(taken) >= countAfter:
			q.GiveBack(c, i+1, 0)
			return nil
		case err == nil:
		case ctx.Err() != nil:
			q.ReleaseFirst(c, i)
			return context.Cause(ctx)
		default:
			d.logLost(err, seq)
			q.GiveBack(c, i, 1)
			return nil
		}
	}
	q.Release(c)
	return nil
}

// post posts one record until it is delivered, which is no error, or lost.
func (d *WebhookDrain) post(ctx context.Context, line []byte) error {
	e, err := newEventRequest(line, d.options.Binary)
	if err != nil {
		return err
	}
	after := retryAfter()
	for attempt := 0; ; attempt++ {
		failure := d.attempt(ctx, e)
		if failure == nil {
			d.logDelivered()
			return nil
		}
		if failure.final || attempt >= d.options.MaxRetries || ctx.Err() != nil {
			return failure
		}
		if err := d.waitAfter(ctx, failure, after, attempt); err != nil {
			return err
		}
	}
}

// waitAfter waits before the next attempt.
func (d *WebhookDrain) waitAfter(ctx context.Context, failure *postFailure, after phoenix.Backoff, attempt int) error {
	delay := max(after(attempt), failure.after)
	level := slog.LevelDebug
	if !d.failing {
		level = slog.LevelWarn
	}
	d.failing = true
	d.log.Log(ctx, level, "the webhook failed; the request is sent again", "error", failure, "delay", delay)
	return pause(ctx, delay)
}

func (d *WebhookDrain) logDelivered() {
	if d.failing {
		d.failing = false
		d.log.Info("the webhook works again")
	}
}

// logLost logs the loss of a signal, unless it has just logged one.
func (d *WebhookDrain) logLost(err error, seq uint64) {
	d.lost++
	now := time.Now()
	if !d.lostLogged.IsZero() && now.Sub(d.lostLogged) < lossLogInterval {
		return
	}
	d.log.Warn("the webhook did not take a signal, which is lost", "error", err, "seq", seq, "lost", d.lost)
	d.lost, d.lostLogged = 0, now
}
