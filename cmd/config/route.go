package config

import (
	"errors"
	"slices"
	"strings"

	"phx/cmd/internal/strictyaml"
	"phx/router"
	"phx/router/glob"
	"phx/signal"
)

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
