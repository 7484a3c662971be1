package config

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"phx/router"
	"phx/signal"
)

// Serve is what a config file says to a server beside its connections.
type Serve struct {
	// Sinks are those of the file, in its order, then the built-in ones that a route leads to.
	Sinks []Sink
	// Routes are in the order of the file; without any, one that leads everything to stdout.
	Routes  []Route
	Control ControlSocket
	HTTP    HTTPListen
	// Warnings are positioned lines about what is allowed, and hardly wanted: a sink that no route leads to.
	Warnings []string
}

// A Route leads the signals that its filter wants to sinks.
type Route = router.Route

// A ControlSocket is where the control API listens.
type ControlSocket struct {
	// Path is that of the Unix socket; empty: the default one.
	Path string
}

// An HTTPListen is where health and metrics can be asked for.
type HTTPListen struct {
	// Addr is HOST:PORT; empty: nowhere.
	Addr string
}

// A Sink is where routes lead to: exactly one of Stdout, Discard, File, Exec and Webhook.
type Sink struct {
	Name   string
	Format signal.Format
	// Records and Bytes bound its queue: 0 is no bound of its own. WhenFull is DropOldest or DropNewest.
	Records  int
	Bytes    int64
	WhenFull router.Policy

	Stdout, Discard bool
	File            *FileSink
	Exec            *ExecSink
	Webhook         *WebhookSink

	// Fingerprint is equal for equal settings, the name among them, and tells nothing of them.
	Fingerprint string
}

// A FileSink appends to a file.
type FileSink struct{ Path string }

// An ExecSink writes to the standard input of a program.
type ExecSink struct {
	Command []string
	// Dir is where it runs; empty: where we do.
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
	// Logger gets what the commands of secrets write to stderr, and warnings about files of secrets; to be set before Headers and
	// Secret are called. Nil: nothing.
	Logger *slog.Logger
}

// Where is a compiled expression of a route, as [router.Filter] has it.
type Where = func(ctx context.Context, line []byte) (bool, error)

// Serve reads the keys that a server has besides connections. compileWhere compiles a jq expression; its error is shown at the
// place of the expression. An error is all that is wrong, joined, each a positioned [*strictyaml.Error].
func (f *File) Serve(compileWhere func(expr string) (Where, error)) (*Serve, error) {
	return nil, errors.ErrUnsupported
}
