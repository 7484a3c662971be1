package control

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A handler does one call.
type handler func(c *call) error

// bare is a handler of calls without a query.
func bare(h handler) handler {
	return func(c *call) error {
		if _, err := c.query(nil); err != nil {
			return err
		}
		return h(c)
	}
}

// methods are the handlers of one path.
type methods map[string]handler

// route returns the handlers of a path, and what the path names in c; nil if there is no such path. The path is looked at as it was
// escaped: what is a slash in a topic divides nothing.
func route(c *call, escaped string) methods {
	rest, ok := strings.CutPrefix(escaped, "/v1/")
	if !ok {
		return nil
	}
	switch rest {
	case "connections":
		return methods{http.MethodGet: bare(listConnections), http.MethodPost: addConnection}
	case "signals":
		return methods{http.MethodGet: streamSignals}
	case "reload":
		return methods{http.MethodPost: bare(reload)}
	}
	rest, ok = strings.CutPrefix(rest, "connections/")
	if !ok {
		return nil
	}
	name, rest, deeper := strings.Cut(rest, "/")
	if c.name, ok = unescape(name); !ok {
		return nil
	}
	if !deeper {
		return methods{http.MethodGet: getConnection, http.MethodDelete: bare(removeConnection)}
	}
	return routeBelow(c, rest)
}

// routeBelow is route for what comes below a connection.
func routeBelow(c *call, rest string) methods {
	switch rest {
	case "start":
		return methods{http.MethodPost: bare(startConnection)}
	case "stop":
		return methods{http.MethodPost: bare(stopConnection)}
	case "restart":
		return methods{http.MethodPost: bare(restartConnection)}
	case "push":
		return methods{http.MethodPost: bare(push)}
	case "channels":
		return methods{http.MethodPost: bare(join)}
	}
	topic, ok := strings.CutPrefix(rest, "channels/")
	if !ok {
		return nil
	}
	// A topic may hold slashes, escaped or not.
	if c.topic, ok = unescape(topic); !ok {
		return nil
	}
	return methods{http.MethodDelete: bare(leave)}
}

// unescape returns the text of a part of a path, which must not be empty.
func unescape(part string) (text string, ok bool) {
	text, err := url.PathUnescape(part)
	return text, err == nil && text != ""
}

// handle finds out what the call is, and does it.
func (c *call) handle() error {
	path := c.r.URL.EscapedPath()
	found := route(c, path)
	if found == nil {
		return &Error{
			Status: http.StatusNotFound, Code: exitUsage, Message: fmt.Sprintf("there is no call %s %s", c.r.Method, path),
			Advice: "for example: GET /v1/connections",
		}
	}
	h, ok := found[c.r.Method]
	if !ok {
		allowed := strings.Join(slices.Sorted(maps.Keys(found)), ", ")
		c.w.Header().Set("Allow", allowed)
		return &Error{
			Status: http.StatusMethodNotAllowed, Code: exitUsage, Message: fmt.Sprintf("%s does not go with %s", c.r.Method, path),
			Advice: "it takes " + allowed,
		}
	}
	return h(c)
}
