package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/cmd/internal/strictyaml"
	"phx/phoenix"
	"phx/router"
	"phx/signal"
)

// transportKind is of the ways in which messages travel.
var transportKind = option.ChoiceKind(func(text string) (phoenix.Transport, error) { return phoenix.Transport(text), nil },
	string(phoenix.TransportWebSocket), string(phoenix.TransportLongPoll), string(phoenix.TransportAuto))

var formatKind = option.ChoiceKind(signal.ParseFormat, signal.Formats()...)

// policyKind is of the policies that keep a sink from holding up others.
var policyKind = func() option.Kind[router.Policy] {
	k := option.ChoiceKind(router.ParsePolicy, router.DropOldest.String(), router.DropNewest.String())
	dropping := k.Parse
	k.Parse = func(text string) (router.Policy, error) {
		switch text {
		case router.Block.String():
			return 0, errors.New("is not for sinks: a slow one would hold up all the others, and the connections; a full one can only lose signals, and tells which")
		case router.Fail.String():
			return 0, errors.New("is not for sinks: a slow one would end all the others; a full one can only lose signals, and tells which")
		}
		return dropping(text)
	}
	return k
}()

const (
	// unboundedQueue is the size of a queue that is given a number of signals: it holds so many, of
	// whatever size.
	unboundedQueue = math.MaxInt64
	// mostQueued is the largest such number. A larger one is a size without its unit.
	mostQueued = 10_000_000
)

// queueKind is a number of signals, or a size with its unit.
var queueKind = option.Kind[QueueBound]{
	Name: "number or size", Schema: option.SizeShape, Literal: true,
	JSON: func(q QueueBound) any { return q.Records },
	Parse: func(text string) (QueueBound, error) {
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			if n > mostQueued {
				return QueueBound{}, errors.New("is more signals than memory can hold; a size has a unit: 64MiB")
			}
			return QueueBound{Records: n, Bytes: unboundedQueue}, nil
		}
		size, err := option.ParseSize(text)
		if err != nil {
			err = errors.New("is neither a number of signals nor a size with KiB, MiB or GiB")
		}
		return QueueBound{Bytes: size}, err
	},
}

// sinkNameKind is the name of a sink.
var sinkNameKind = option.Kind[string]{
	Name: "text", Schema: option.WordShape,
	Parse: func(text string) (string, error) {
		if text == "" {
			return "", errors.New("is not the name of a sink")
		}
		return text, nil
	},
}

// retriesKind is a number of retries, or -1 for no limit.
var retriesKind = option.Kind[int]{
	Name: "number", Schema: option.AnyOf(option.Shape{"type": "integer", "minimum": -1}, option.TextLike(`^(-0*1|[+]?[0-9]+|-0+)$`)),
	Parse: option.CountFrom(-1, "is not a number of retries: -1 or more"), JSON: option.Same[int], Literal: true,
}

// numberKind is a number from 1 on.
var numberKind = option.Kind[int]{
	Name: "number", Schema: option.AnyOf(option.Shape{"type": "integer", "minimum": 1}, option.TextLike(`^[+]?0*[1-9][0-9]*$`)),
	Parse: option.CountFrom(1, "is not a number of at least 1"), JSON: option.Same[int], Literal: true,
}

// statusesKind is HTTP statuses and classes of them.
var statusesKind = option.ListKind("HTTP status", "HTTP statuses", option.AnyOf(option.Shape{"type": "integer", "minimum": 300, "maximum": 599, "not": option.Shape{"const": 410}},
	option.TextLike(`^([3-5][0-9][1-9]|[3-5][02-9]0|[35]10|[3-5]xx)$`)), "a right one: [404, 5xx]", func(text string) (router.StatusRange, error) {
	r, err := router.ParseStatusRange(text)
	if err != nil {
		err = fmt.Errorf("%q %w", text, err)
	}
	return r, err
})

// batchWaitKind is a number of milliseconds, which may be 0.
var batchWaitKind = option.Kind[time.Duration]{
	Name: "number", Schema: option.AnyOf(option.Shape{"type": "integer", "minimum": 0}, option.TextLike(`^[+]?[0-9]+$`)), Literal: true,
	Parse: func(text string) (time.Duration, error) {
		n, err := option.CountFrom(0, "is not a number of milliseconds")(text)
		return time.Duration(n) * time.Millisecond, err
	},
	JSON: func(d time.Duration) any { return d.Milliseconds() },
}

// nameKind is the name of a connection. Its default is none of the key, which is the entry's own.
var nameKind = option.Kind[string]{
	Name: "text", JSON: func(string) any { return nil },
	Schema: option.AnyOf(
		option.Shape{"type": "string", "pattern": `^[A-Za-z0-9][A-Za-z0-9_-]*$`, "not": option.Shape{"enum": []string{"connection", "channel", "push", "signal", "presence"}}},
		option.Shape{"type": "integer", "minimum": 0}, option.Shape{"type": "boolean"}),
	Parse: func(text string) (string, error) {
		if err := signal.CheckName(text); err != nil {
			return "", fmt.Errorf("cannot be used: %w", err)
		}
		return text, nil
	},
}

// uriKind is the address of a socket. The first character after the user is that of the host.
var uriKind = urlKind("URI", "ws, wss, http or https", "ws", "wss", "http", "https").With(
	option.AnyOf(option.TextLike(`^([wW][sS][sS]?|[hH][tT][tT][pP][sS]?)://([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^#\s]*#?$`)))

// hookKind is the address of a webhook.
var hookKind = urlKind("URL", "http or https", "http", "https").With(
	option.AnyOf(option.TextLike(`^[hH][tT][tT][pP][sS]?://([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^#\s]*#?$`)))

// urlKind is an address of one of the schemes. Errors repeat no part of the text: even that of
// url.Parse may hold part of a password.
func urlKind(what, list string, schemes ...string) option.Kind[string] {
	return option.Kind[string]{Name: "URL", Show: maskedURL, Parse: func(text string) (string, error) {
		text = secret.Trim(text)
		u, err := url.Parse(text)
		invisible := secret.CheckVisible(text, false)
		switch {
		case invisible != nil:
			return "", invisible
		case err != nil:
			return "", errors.New("is not a " + what)
		case what == "URI" && (u.Scheme == "" || u.Opaque != ""):
			return "", errors.New("has no scheme")
		case !slices.Contains(schemes, u.Scheme) || u.Opaque != "":
			return "", errors.New("has another scheme than " + list)
		case strings.Count(u.Host, ":") > 1 && !strings.HasPrefix(u.Host, "["):
			return "", fmt.Errorf("has several colons in its host: an IPv6 address stands in brackets, as in %s://[::1]:4000/", u.Scheme)
		case u.Hostname() == "":
			return "", errors.New("has no host")
		case !isPort(u.Port()):
			return "", errors.New("has a port that is not one of 1 to 65535")
		case u.Fragment != "":
			return "", errors.New("has a fragment (#...)")
		}
		return text, nil
	}}
}

// isPort reports whether text is a port that can be dialed, or empty, which is the one of the scheme.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && n > 0
}

// proxyKind is the URL of a proxy, or HOST:PORT for one of HTTP.
var proxyKind = option.Kind[string]{
	Name: "URL", Parse: parseProxy, Show: maskedProxy,
	Schema: option.AnyOf(option.Shape{"type": []string{"number", "boolean"}}, option.TextLike(`^(([hH][tT][tT][pP]|[sS][oO][cC][kK][sS]5[hH]?)://)?([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^/?#\s]*/*[?]?#?$`)),
}

func parseProxy(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return "", errors.New("is not the URL of a proxy")
	case !isPort(u.Port()):
		return "", errors.New("has a port that is not one of 1 to 65535")
	case !slices.Contains([]string{"http", "socks5", "socks5h"}, u.Scheme):
		return "", errors.New("has another scheme than http, socks5 or socks5h")
	case strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "":
		return "", errors.New("has more than scheme, user, host and port")
	}
	return u.String(), nil
}

// hostKind is the name of a host.
var hostKind = option.Kind[string]{
	Name: "text", Schema: option.Shape{"type": option.TextTypes, "pattern": `^[^/: ]+$|\$\{`},
	Parse: func(text string) (string, error) {
		if text == "" || strings.ContainsAny(text, "/: ") {
			return "", errors.New("is not the name of a host")
		}
		return text, nil
	},
}

// fileKind is a file that is read again each time. flag names it in errors.
func fileKind(flag string) option.Kind[*secret.Source] {
	return option.Kind[*secret.Source]{
		Name: "text", Schema: option.WordShape, Show: strictyaml.Node.RawTexts, Canonical: canonicalSource, Read: readFile,
		Parse: func(path string) (*secret.Source, error) {
			if path == "" {
				return nil, errors.New("is not the name of a file")
			}
			return secret.File(flag, path), nil
		},
	}
}

// commandKind is a program with its arguments.
var commandKind = option.Kind[[]string]{
	Name: "list of texts", Schema: option.CommandShape, Show: strictyaml.Node.RawTexts,
	Read: func(_ string, n strictyaml.Node) ([]string, error) {
		return readCommand(n, "a right one: command: [./handle.sh, ARGUMENT]")
	},
}

// patternKind is a pattern of the type, or of a bus topic.
var patternKind = option.Kind[*router.Pattern]{
	Name: "pattern", Schema: option.AnyOf(option.TextLike(`^(\*\*?|[A-Za-z0-9_-]+)(\.(\*\*?|[A-Za-z0-9_-]+))*$`), option.Shape{"type": []string{"number", "boolean"}}),
	Parse: func(text string) (*router.Pattern, error) {
		pattern, err := router.CompilePattern(text)
		if err != nil {
			err = fmt.Errorf("cannot be used: %w", err)
		}
		return &pattern, err
	},
}

// whereKind is a jq expression, which compile compiles.
func whereKind(compile func(expr string) (Where, error)) option.Kind[Where] {
	return option.Kind[Where]{Name: "text", Schema: option.WordShape, Read: func(_ string, n strictyaml.Node) (Where, error) {
		const hint = "a right one: where: .data.payload.total > 100"
		text, err := n.Text()
		if err == nil && text == "" {
			err = n.Errorf(hint, "the expression is empty")
		}
		if err != nil {
			return nil, err
		}
		where, err := compile(text)
		switch {
		case err == nil:
			return where, nil
		case text != n.Raw(): // what was filled in may be a secret, and the error shows it
			err = errors.New("the expression of where does not compile once its variables are filled in")
		}
		return nil, n.Errorf(hint, "%v", err)
	}}
}
