package config

import (
	"context"
	"slices"
	"strings"

	"phx/cmd/internal/option"
	"phx/cmd/internal/strictyaml"
	"phx/router"
	"phx/signal"
)

// Serve is what a config file says to a server beside its connections.
type Serve struct {
	// Sinks are those of the file, in its order, then the built-in ones that a route leads to.
	Sinks []Sink
	// AllToStdout says that the file has no routes.
	AllToStdout bool
	// Routes are in the order of the file; without any, one that leads everything to stdout.
	Routes []Route
	// ControlSocket is the path of the control API's Unix socket; empty: the default one.
	ControlSocket string
	// HTTPListen is the HOST:PORT of health and metrics; empty: none.
	HTTPListen string
	// StateDir is the directory of what is kept over restarts; empty: nothing is.
	StateDir string
	// Cluster says which of several serve processes runs which connection.
	Cluster Cluster
	// Sources are the subjects at which calls come over NATS.
	Sources []string
	// NATS is the link to NATS; nil: there is none.
	NATS *NATS
	// Warnings are lines with places about what is allowed but hardly intended: a sink without
	// routes.
	Warnings []string
}

// A Route leads the signals that its filter wants to sinks.
type Route = router.Route

// Where is a compiled expression of a route, as [router.Filter] has it.
type Where = func(ctx context.Context, s router.Signal) (bool, error)

// controlOptions declares what the map control has: the path of the control API's socket.
func controlOptions(path *string) []option.Option {
	return []option.Option{{Key: "socket", Value: option.PathKind.To(path, ""), Example: "/run/phx/control.sock",
		About: "Path of the Unix socket; a relative one begins beside the config file. The default is phx/control.sock in $XDG_RUNTIME_DIR."}}
}

// httpOptions declares what the map http has: the address of health and metrics.
func httpOptions(addr *string) []option.Option {
	return []option.Option{{Key: "listen", Value: option.ListenKind.To(addr, ""), Example: "127.0.0.1:9464",
		About: "HOST:PORT to listen at, for /healthz, /readyz and /metrics."}}
}

func routeOptions(route *Route, compileWhere func(expr string) (Where, error)) []option.Option {
	return []option.Option{
		{Key: "match", Value: patternKind.To(&route.Match, ""), Example: `"phoenix.backend.**"`,
			About: "Pattern of the type. Segments are divided by dots; * is one, ** any number."},
		{Key: "subscribe", Value: patternKind.To(&route.Subscribe, ""), Example: `"jido.protocol.phoenix.backend.**"`,
			About: "Pattern of a bus topic. Segments are divided by dots; * is one, ** any number."},
		{Key: "topic", Value: option.GlobsKind("room:*").To(&route.Topic, ""),
			About: "Glob, or list of globs, one of which the raw topic must match: * is any run of characters, ? one."},
		{Key: "event", Value: option.GlobsKind("refund_*").To(&route.Event, ""),
			About: "Glob, or list of globs, one of which the raw event must match: * is any run of characters, ? one."},
		{Key: "where", Value: whereKind(compileWhere).To(&route.Where, ""),
			About: "jq expression that must be true of the signal."},
		{Key: "to", Value: option.TextsKind.To(&route.To, ""), Required: true,
			About: "Name of a sink, or a list of names."},
	}
}

// Serve reads serveKeys, and the defaults even if no connection uses them. compileWhere compiles
// a jq expression. Errors are as of [ParseFile].
func (f *File) Serve(compileWhere func(expr string) (Where, error)) (*Serve, error) {
	serve, warnings, err := f.readServe(compileWhere)
	if err != nil {
		return nil, err
	}
	serve.Warnings = texts(warnings)
	return serve, nil
}

func (f *File) readServe(compileWhere func(expr string) (Where, error)) (serve *Serve, warnings []error, err error) {
	r := &serveReader{file: f, compileWhere: compileWhere, serve: &Serve{}, used: map[string]bool{}}
	// A wrong default is wrong, even where every connection has its own.
	_, err = (&Entry{own: option.Fields{}, defaults: f.defaults}).read(nil)
	r.wrong.Add(err)
	if n, said := r.file.serve["state_dir"]; said {
		r.wrong.Add(stateOptions(&r.serve.StateDir)[0].ReadKey(n))
	}
	r.readSinks()
	r.checkOnLoss()
	r.readRoutes()
	for i, at := range r.sinks {
		if name := r.serve.Sinks[i].Name; !r.used[name] {
			r.warnings.Add(at.Errorf("", "no route leads to the sink %s", name))
		}
	}
	r.readCluster()
	r.readSources()
	r.readNATS()
	r.readMap("control", controlOptions(&r.serve.ControlSocket))
	r.readMap("http", httpOptions(&r.serve.HTTPListen))
	return r.serve, r.warnings.Ordered(), r.wrong.Err()
}

// A serveReader reads what a file says to a server.
type serveReader struct {
	file         *File
	compileWhere func(expr string) (Where, error)
	serve        *Serve
	wrong        option.Problems
	warnings     option.Problems
	// sinks are where the sinks of serve are named, in their order.
	sinks []strictyaml.Node
	// broken are the names of sinks that something is wrong with: routes may lead to them.
	broken []string
	// used are the names of sinks that a route, or the on_loss of another sink, leads to.
	used map[string]bool
}

// readMap reads the map of a key.
func (r *serveReader) readMap(key string, options []option.Option) {
	if n, said := r.file.serve[key]; said {
		_, err := option.ReadMap(n, options)
		r.wrong.Add(err)
	}
}

// readRoutes reads the routes. Without any, everything goes to stdout.
func (r *serveReader) readRoutes() {
	var items []strictyaml.Node
	if n, said := r.file.serve["routes"]; said {
		var err error
		if items, err = n.Items(); err != nil {
			r.wrong.Add(err)
			return
		}
	}
	for _, item := range items {
		r.readRoute(item)
	}
	if len(items) == 0 {
		r.serve.Routes, r.serve.AllToStdout = []Route{{To: []string{r.stdoutSink()}}}, true
		r.use(r.stdoutSink())
	}
}

func (r *serveReader) readRoute(n strictyaml.Node) {
	var route Route
	found, err := option.ReadMap(n, routeOptions(&route, r.compileWhere))
	r.wrong.Add(err)
	match, matches := found["match"]
	subscribe, subscribes := found["subscribe"]
	if matches && subscribes {
		r.wrong.Add(subscribe.Errorf("make two routes of it", "a route has match or subscribe, not both"))
	}
	to, leads := found["to"]
	switch {
	case leads:
		r.checkTargets(to)
	case n.IsMap():
		r.wrong.Add(n.Errorf("say where it leads: to: [stdout]", "the route leads nowhere"))
	}
	if route.Match != nil {
		r.warnings.Add(r.neverMatches(match, route.Match.String(), "phoenix"))
	}
	if route.Subscribe != nil {
		r.warnings.Add(r.neverMatches(subscribe, route.Subscribe.String(), "jido", "protocol", "phoenix"))
	}
	r.serve.Routes = append(r.serve.Routes, route)
}

// checkTargets refuses sinks that there are not, and adds the built-in ones that are asked for.
func (r *serveReader) checkTargets(n strictyaml.Node) {
	items := []strictyaml.Node{n}
	if n.IsList() {
		items, _ = n.Items() // it is one
	}
	for _, item := range items {
		r.checkTarget(item, "lead the route to ")
	}
}

// checkTarget returns the name of a sink that there is, and is used from now on. Advice comes before the
// name of the sink that is stdout.
func (r *serveReader) checkTarget(n strictyaml.Node, advice string) string {
	names := r.sinkNames()
	name, err := n.Text()
	switch {
	case err != nil || name == "": // it was said already
	case name == "stdout" && r.stdoutSink() != name:
		r.wrong.Add(n.Errorf(advice+r.stdoutSink(), "stdout is the sink %s already", r.stdoutSink()))
	case slices.Contains(names, name):
		r.use(name)
		return name
	default:
		r.wrong.Add(n.Errorf("there are: "+strings.Join(names, ", "), "there is no sink %q", n.Raw()))
	}
	return ""
}

// sinkNames are the names that routes can lead to.
func (r *serveReader) sinkNames() []string {
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

// stdoutSink returns the name of the sink that writes to stdout.
func (r *serveReader) stdoutSink() string {
	for _, s := range r.serve.Sinks {
		if s.Stdout {
			return s.Name
		}
	}
	return "stdout"
}

// use notes that a route leads to a sink, and adds a built-in sink that the file does not have.
func (r *serveReader) use(name string) {
	r.used[name] = true
	isNamed := func(s Sink) bool { return s.Name == name }
	if slices.Contains(builtInSinks, name) && !slices.Contains(r.broken, name) && !slices.ContainsFunc(r.serve.Sinks, isNamed) {
		r.serve.Sinks = append(r.serve.Sinks, builtInSink(name))
	}
}

// neverMatches returns a warning about a pattern that matches no type, or no bus topic. Each of
// these begins with the segments of first, followed by the name of a connection or, in a type, a
// reserved word. Nil: it can match.
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
