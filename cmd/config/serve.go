package config

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"phx/cmd/internal/strictyaml"
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

	// found are the keys that the file has; nil for a built-in sink.
	found fields
}

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
	// Logger gets what the commands of secrets write to stderr, and warnings about files of secrets; to be set before Headers and
	// Secret are called. Nil: nothing.
	Logger *slog.Logger

	headers []pair
	secret  *Source
}

// Where is a compiled expression of a route, as [router.Filter] has it.
type Where = func(ctx context.Context, line []byte) (bool, error)

// Serve reads the keys that a server has besides connections, and the defaults, which may be nobody's. compileWhere compiles a jq
// expression; its error is shown at the place of the expression. An error is as that of [ParseFile].
func (f *File) Serve(compileWhere func(expr string) (Where, error)) (*Serve, error) {
	serve, warnings, err := f.readServe(compileWhere)
	if err != nil {
		return nil, err
	}
	serve.Warnings = texts(warnings)
	return serve, nil
}

func (f *File) readServe(compileWhere func(expr string) (Where, error)) (serve *Serve, warnings []error, err error) {
	r := &serveReader{file: f, compileWhere: compileWhere, serve: &Serve{}, led: map[string]bool{}}
	r.readDefaults()
	r.readSinks()
	r.readRoutes()
	r.warnOfSinks()
	r.wrong.add(r.readOne("control", controlOptions(&r.serve.Control)))
	r.wrong.add(r.readOne("http", httpOptions(&r.serve.HTTP)))
	return r.serve, r.warnings.ordered(), r.wrong.err()
}

// A serveReader reads what a file says to a server.
type serveReader struct {
	file         *File
	compileWhere func(expr string) (Where, error)
	serve        *Serve
	wrong        problems
	warnings     problems
	// sinks are where the sinks of serve are named, in their order.
	sinks []strictyaml.Node
	// broken are the names of sinks that something is wrong with: routes may lead to them.
	broken []string
	// led are the names of sinks that a route leads to.
	led map[string]bool
}

// readDefaults reads the defaults by themselves: a wrong one is wrong, even where every connection has its own.
func (r *serveReader) readDefaults() {
	_, err := (&Entry{own: fields{}, defaults: r.file.defaults}).read(nil)
	r.wrong.add(err)
}

// readOne reads the map of a key.
func (r *serveReader) readOne(key string, options []Option) error {
	n, said := r.file.serve[key]
	if !said {
		return nil
	}
	_, err := readOptions(n, options)
	return err
}

// readOptions reads a map that has the keys of the options, and returns those that were found.
func readOptions(n strictyaml.Node, options []Option) (fields, error) {
	found := fields{}
	var wrong problems
	wrong.add(keysOf(options).collect(n, "", found))
	for _, o := range NewSet(options).settings {
		wrong.add(o.resolveKeys(found))
	}
	return found, wrong.err()
}

func controlOptions(c *ControlSocket) []Option {
	return []Option{{Key: "socket", Value: pathBeside(&c.Path), Example: "/run/phx/control.sock"}}
}

func httpOptions(h *HTTPListen) []Option {
	return []Option{{Key: "listen", Value: Checked(&h.Addr, "", parseListen).shaped(listenShape), Example: "127.0.0.1:9464"}}
}

// parseListen takes HOST:PORT; without a host, every address of the machine.
func parseListen(text string) (string, error) {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", errors.New("is not HOST:PORT")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", errors.New("has a port that is not a number up to 65535")
	}
	return text, nil
}

// pathBeside is a path that begins in the directory of the file.
func pathBeside(v *string) Value {
	return Value{shape: wordShape, masked: strictyaml.Node.RawTexts, read: func(n strictyaml.Node) error {
		path, err := n.Text()
		switch {
		case err != nil:
			return err
		case path == "":
			return n.Errorf("give the name of a file", "this path is empty")
		}
		*v = n.Beside(path)
		return nil
	}}
}
