package router

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
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
	// Secret returns the key with which requests are signed as Standard Webhooks says. Asked like Headers. nil: not signed.
	Secret func(ctx context.Context) ([]byte, error)
	// Timeout bounds one attempt. Default: 10 s.
	Timeout time.Duration
	// MaxRetries is how often a request that failed in a way that may pass is sent again. 0: the default, 10. Negative: never.
	MaxRetries int
	// Transport sends the requests. nil: one like [http.DefaultTransport].
	Transport http.RoundTripper
	// Logger is told of failures. nil: nobody is.
	Logger *slog.Logger
}

// A WebhookDrain is a [Drain] that posts each record to a web server, one after the other.
type WebhookDrain struct{}

// NewWebhookDrain returns a drain that posts to o.URL.
func NewWebhookDrain(o WebhookOptions) *WebhookDrain { return &WebhookDrain{} }

// Run implements [Drain].
func (d *WebhookDrain) Run(ctx context.Context, q *Queue) error { return errors.ErrUnsupported }
