package config

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/strictyaml"
	"phx/router"
	"phx/router/glob"
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

// routeOptions declares what a route can have, but where it leads to.
func routeOptions(route *Route, compileWhere func(expr string) (Where, error)) []Option {
	return []Option{
		{Key: "match", Value: patternValue(&route.Match), Example: `"phoenix.backend.**"`},
		{Key: "subscribe", Value: patternValue(&route.Subscribe), Example: `"jido.protocol.phoenix.backend.**"`},
		{Key: "topic", Value: globsValue(&route.Topic, "room:*")},
		{Key: "event", Value: globsValue(&route.Event, "refund_*")},
		{Key: "where", Value: whereValue(route, compileWhere)},
		{Key: "to", Value: textsValue(&route.To)},
	}
}

func patternValue(v **router.Pattern) Value {
	return Checked(v, "", func(text string) (*router.Pattern, error) {
		pattern, err := router.CompilePattern(text)
		if err != nil {
			return nil, patternError{err}
		}
		return &pattern, nil
	}).shaped(patternShape)
}

// A patternError says what is wrong with a pattern as a predicate.
type patternError struct{ error }

// Error implements error.
func (e patternError) Error() string { return "cannot be used: " + e.error.Error() }

// readTexts reads a text or a list of texts, of which there is at least one, and gives each to take.
func readTexts(n strictyaml.Node, advice string, take func(n strictyaml.Node, text string) error) error {
	items := []strictyaml.Node{n}
	if n.IsList() {
		var err error
		if items, err = n.Items(); err != nil {
			return err
		}
		if len(items) == 0 {
			return n.Errorf(advice, "there is nothing in this list")
		}
	}
	var wrong problems
	for _, item := range items {
		text, err := item.Text()
		if err == nil && text == "" {
			err = item.Errorf(advice, "this text is empty")
		}
		if err == nil {
			err = take(item, text)
		}
		wrong.add(err)
	}
	return wrong.err()
}

func globsValue(v *[]glob.Glob, example string) Value {
	advice := `a right one: "` + example + `"`
	return Value{shape: listShape(globShape), read: func(n strictyaml.Node) error {
		return readTexts(n, advice, func(n strictyaml.Node, text string) error {
			g, err := glob.Compile(text)
			if err != nil {
				return n.Errorf(advice, "%v", err)
			}
			*v = append(*v, g)
			return nil
		})
	}}
}

func textsValue(v *[]string) Value {
	return Value{shape: listShape(wordShape), read: func(n strictyaml.Node) error {
		return readTexts(n, "a right one: to: [stdout]", func(_ strictyaml.Node, text string) error {
			*v = append(*v, text)
			return nil
		})
	}}
}

func whereValue(route *Route, compile func(expr string) (Where, error)) Value {
	return Value{shape: wordShape, read: func(n strictyaml.Node) error {
		const advice = "a right one: where: .data.payload.total > 100"
		text, err := n.Text()
		if err == nil && text == "" {
			err = n.Errorf(advice, "the expression is empty")
		}
		if err != nil {
			return err
		}
		route.Where, err = compile(text)
		switch {
		case err == nil:
			return nil
		case text != n.Raw(): // what was filled in may be a secret, and the error shows it
			err = errors.New("the expression of where does not compile once its variables are filled in")
		}
		return n.Errorf(advice, "%v", err)
	}}
}

// readRoutes reads the routes. Without any, everything goes to stdout.
func (r *serveReader) readRoutes() {
	n, said := r.file.serve["routes"]
	var items []strictyaml.Node
	if said {
		var err error
		if items, err = n.Items(); err != nil {
			r.wrong.add(err)
			return
		}
	}
	for _, item := range items {
		r.readRoute(item)
	}
	if len(items) == 0 {
		r.serve.Routes = []Route{{To: []string{r.stdoutSink()}}}
		r.lead(r.stdoutSink())
	}
}

func (r *serveReader) readRoute(n strictyaml.Node) {
	var route Route
	found, err := readOptions(n, routeOptions(&route, r.compileWhere))
	r.wrong.add(err)
	match, matches := found["match"]
	if subscribe, subscribes := found["subscribe"]; matches && subscribes {
		r.wrong.add(subscribe.Errorf("make two routes of it", "a route has match or subscribe, not both"))
	}
	to, leads := found["to"]
	switch {
	case leads:
		r.wrong.add(r.checkTargets(to))
	case n.IsMap():
		r.wrong.add(n.Errorf("say where it leads: to: [stdout]", "the route leads nowhere"))
	}
	if route.Match != nil {
		r.warnings.add(r.neverMatches(match, route.Match.String(), "phoenix"))
	}
	if route.Subscribe != nil {
		r.warnings.add(r.neverMatches(found["subscribe"], route.Subscribe.String(), "jido", "protocol", "phoenix"))
	}
	r.serve.Routes = append(r.serve.Routes, route)
}

// checkTargets refuses sinks that there are not, and adds the built-in ones that are asked for.
func (r *serveReader) checkTargets(n strictyaml.Node) error {
	items := []strictyaml.Node{n}
	if n.IsList() {
		items, _ = n.Items() // it is one
	}
	var wrong problems
	for _, item := range items {
		name, err := item.Text()
		if err != nil || name == "" {
			continue // it was said already
		}
		switch {
		case name == "stdout" && r.stdoutSink() != name:
			wrong.add(item.Errorf("lead the route to "+r.stdoutSink(), "stdout is the sink %s already", r.stdoutSink()))
		case r.knows(name):
			r.lead(name)
		default:
			wrong.add(item.Errorf("there are: "+strings.Join(r.known(), ", "), "there is no sink %q", item.Raw()))
		}
	}
	return wrong.err()
}

// known are the names that routes can lead to.
func (r *serveReader) known() []string {
	var names []string
	for _, s := range r.serve.Sinks {
		if s.found != nil { // it is in the file
			names = append(names, s.Name)
		}
	}
	for _, name := range slices.Concat(r.broken, builtInSinks) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (r *serveReader) knows(name string) bool { return slices.Contains(r.known(), name) }

// stdoutSink returns the name of the sink that writes to stdout.
func (r *serveReader) stdoutSink() string {
	for _, s := range r.serve.Sinks {
		if s.Stdout {
			return s.Name
		}
	}
	return "stdout"
}

// lead notes that a route leads to a sink, and adds it if it is a built-in one that the file does not have.
func (r *serveReader) lead(name string) {
	r.led[name] = true
	isNamed := func(s Sink) bool { return s.Name == name }
	if slices.Contains(builtInSinks, name) && !slices.Contains(r.broken, name) && !slices.ContainsFunc(r.serve.Sinks, isNamed) {
		r.serve.Sinks = append(r.serve.Sinks, builtIn(name))
	}
}

// warnOfSinks warns of sinks that no route leads to.
func (r *serveReader) warnOfSinks() {
	for i, at := range r.sinks {
		if name := r.serve.Sinks[i].Name; !r.led[name] {
			r.warnings.add(at.Errorf("", "no route leads to the sink %s", name))
		}
	}
}

// neverMatches warns of a pattern that no type, or no bus topic, can match: each begins with the given segments, and the name of a
// connection or, of a type, a reserved word. It is nil if there may be one.
func (r *serveReader) neverMatches(n strictyaml.Node, pattern string, first ...string) error {
	for i, segment := range strings.Split(pattern, ".") {
		switch {
		case segment == "**":
			return nil
		case segment == "*":
		case i < len(first) && segment != first[i]:
			return n.Errorf("", "the pattern matches nothing: every signal has %s in place of %s", first[i], segment)
		case i == len(first):
			reserved := signal.CheckName(segment) != nil
			if !reserved && len(r.file.Entries) > 0 && r.file.entry(segment) == nil {
				return n.Errorf("", "no connection of this file is called %s: there are %s", segment, strings.Join(r.file.names(), ", "))
			}
		}
	}
	return nil
}
