package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/secret"
	"phx/cmd/internal/strictyaml"
	"phx/router"
	"phx/router/glob"
	"phx/signal"
)

// A Kind is what values of one sort have in common: how they are called, described, read and
// shown. An error of Parse is a predicate, "is not a number", because the caller says of what;
// one of Read has its place.
type Kind[T any] struct {
	// Name is what help calls a value of a key.
	Name string
	// Schema describes it for editors.
	Schema shape
	// Parse parses the text of a flag, of a variable unless there is Env, and of a key unless
	// there is Read.
	Parse, Env func(text string) (T, error)
	// Read reads the value of a key. key is its name in errors.
	Read func(key string, n strictyaml.Node) (T, error)
	// Join adds what a flag says that is given again; nil: the last one counts.
	Join func(list, more T) T
	// Merge adds what a place says that counts less; nil: the first place counts.
	Merge func(list, less T) T
	// Switch says that the flag works without an argument.
	Switch bool

	// JSON is how a default is written; nil: as its text.
	JSON func(T) any
	// Literal says that the key of a number or a boolean is shown as one, and not as text.
	Literal bool
	// Show writes the value of a key without secrets; nil: as it is, with variables filled in.
	Show form
	// Parts writes a value of several parts in a style; values are those that are merged.
	Parts func(as style, values []strictyaml.Node) (json.RawMessage, error)
	// Canonical is equal for values that mean the same; nil: the value itself.
	Canonical func(T) any
}

// To returns the variable v with values of the kind. It is set to def, unless that is empty:
// there is no default then.
func (k Kind[T]) To(v *T, def string) Value {
	value := Value{
		name: k.Name, schema: k.Schema, def: def, isSwitch: k.Switch, repeats: k.Join != nil, merges: k.Merge != nil,
		literal: k.Literal, show: k.Show, parts: k.Parts, variable: &binding[T]{k, v},
	}
	if def == "" {
		return value
	}
	var err error
	if *v, err = k.Parse(def); err != nil {
		panic("config: the default " + def + " " + err.Error())
	}
	value.defJSON = jsonOf(def)
	if k.JSON != nil {
		value.defJSON = jsonOf(k.JSON(*v))
	}
	return value
}

// A Value is a variable with the kind of its values.
type Value struct {
	variable
	name   string
	schema shape
	// def is the default as flags show it, defJSON that of the key; empty: none.
	def                       string
	defJSON                   json.RawMessage
	isSwitch, repeats, merges bool
	literal                   bool
	show                      form
	parts                     func(as style, values []strictyaml.Node) (json.RawMessage, error)
}

// A variable is what an option sets.
type variable interface {
	parse(from origin, text string) error
	read(o *Option, values []strictyaml.Node) error
	canonical() any
}

// A binding is a variable of a type.
type binding[T any] struct {
	kind Kind[T]
	v    *T
}

func (b *binding[T]) parse(from origin, text string) error {
	parse := b.kind.Parse
	if from == fromEnv && b.kind.Env != nil {
		parse = b.kind.Env
	}
	value, err := parse(text)
	if err != nil {
		return err
	}
	if b.kind.Join != nil {
		value = b.kind.Join(*b.v, value)
	}
	*b.v = value
	return nil
}

func (b *binding[T]) read(o *Option, values []strictyaml.Node) error {
	for _, n := range values {
		value, err := b.readOne(o, n)
		if err != nil {
			return err
		}
		if b.kind.Merge == nil {
			*b.v = value
			return nil
		}
		*b.v = b.kind.Merge(*b.v, value)
	}
	return nil
}

func (b *binding[T]) readOne(o *Option, n strictyaml.Node) (T, error) {
	if b.kind.Read != nil {
		return b.kind.Read(o.Key, n)
	}
	text, err := n.Text()
	if err != nil {
		return *b.v, err
	}
	value, err := b.kind.Parse(text)
	if err != nil {
		err = o.wrongKey(n, err)
	}
	return value, err
}

func (b *binding[T]) canonical() any {
	if b.kind.Canonical != nil {
		return b.kind.Canonical(*b.v)
	}
	return *b.v
}

// Checked is a value that a function parses, the default, if there is one, included.
func Checked[T any](v *T, def string, parse func(string) (T, error)) Value {
	return Kind[T]{Parse: parse}.To(v, def)
}

// Repeated is a value of which each occurrence adds to v. Nothing is split.
func Repeated[T any](v *[]T, parse func(string) (T, error)) Value {
	return Kind[[]T]{Parse: oneOf(parse), Join: joined[T]}.To(v, "")
}

// oneOf parses a list of one.
func oneOf[T any](parse func(string) (T, error)) func(string) ([]T, error) {
	return func(text string) ([]T, error) {
		value, err := parse(text)
		return []T{value}, err
	}
}

func joined[T any](list, more []T) []T { return append(list, more...) }

// Text is a value that is taken as it is.
func Text(v *string, def string) Value { return Kind[string]{Parse: asIs}.To(v, def) }

func asIs(text string) (string, error) { return text, nil }

func same[T any](v T) any { return v }

// Switch is a value that is on when its flag is given.
func Switch(v *bool) Value { return boolKind.To(v, "false") }

// Choice is a value that is one of the given texts, the first by default.
func Choice(v *string, choices ...string) Value {
	return choiceKind(asIs, choices...).To(v, choices[0])
}

// Duration is a positive duration.
func Duration(v *time.Duration, def string) Value { return Checked(v, def, parsePositive) }

// Size is a value of one or more bytes.
func Size(v *int64, def string) Value { return sizeKind.To(v, def) }

// Listen is an address to listen on, HOST:PORT.
func Listen(v *string, def string) Value { return listenKind.To(v, def) }

// Count is a number of at least 1; without a default, 0 stands for none given.
func Count(v *int, def string) Value {
	return Checked(v, def, countFrom(1, "is not a number of at least 1"))
}

// countFrom parses a number that is not less than least.
func countFrom(least int, problem string) func(text string) (int, error) {
	return func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < least {
			return 0, errors.New(problem)
		}
		return n, nil
	}
}

// boolKind is on or off.
var boolKind = Kind[bool]{
	Name: "true or false", Schema: anyOf(shape{"type": "boolean"}, shape{"enum": []string{"true", "false"}}),
	Parse: parseBool, Read: readBool, Switch: true, JSON: same[bool], Literal: true,
}

// offKind is on unless its flag is given: --no-jitter, jitter: false.
var offKind = func() Kind[bool] {
	k := boolKind
	k.Parse = func(text string) (bool, error) {
		off, err := parseBool(text)
		return !off, err
	}
	return k
}()

func parseBool(text string) (bool, error) {
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, errors.New("is neither true nor false")
	}
	return on, nil
}

func readBool(_ string, n strictyaml.Node) (bool, error) {
	text, err := n.Text()
	if err == nil && text != "true" && text != "false" {
		err = n.Errorf("write true or false", "%q is neither true nor false", n.Raw())
	}
	return text == "true", err
}

// choiceKind is one of several texts, which parse then takes.
func choiceKind[T any](parse func(string) (T, error), choices ...string) Kind[T] {
	return Kind[T]{
		Name: strings.Join(choices, " or "), Schema: choiceShape(choices...),
		Parse: func(text string) (value T, err error) {
			if !slices.Contains(choices, text) {
				return value, fmt.Errorf("is none of %s", strings.Join(choices, ", "))
			}
			return parse(text)
		},
	}
}

func choiceShape(choices ...string) shape { return anyOf(shape{"enum": choices}) }

// transportKind is the one transport that there is.
var transportKind = Kind[string]{Name: "websocket", Schema: choiceShape("websocket"), Parse: func(text string) (string, error) {
	if text != "websocket" {
		return "", errors.New("is not supported: phx speaks websocket only")
	}
	return text, nil
}}

var formatKind = choiceKind(signal.ParseFormat, signal.Formats()...)

// policyKind is of the policies that keep a sink from holding up others.
var policyKind = func() Kind[router.Policy] {
	k := choiceKind(router.ParsePolicy, router.DropOldest.String(), router.DropNewest.String())
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

// msecKind is a positive duration: its key is a number of milliseconds, the text of its flag as
// for [ParseDuration].
var msecKind = Kind[time.Duration]{
	Name: "number", Schema: msecShape(1), Literal: true, Parse: parsePositive,
	JSON: func(d time.Duration) any { return d.Milliseconds() },
	Read: func(_ string, n strictyaml.Node) (time.Duration, error) {
		d, err := readMsec(n)
		if err == nil && d == 0 {
			err = n.Errorf("give a number of milliseconds, for example 1000", "%q is no time at all", n.Raw())
		}
		return d, err
	},
}

// msecsKind is a list of delays: of milliseconds in its key, with commas in its flag.
var msecsKind = Kind[[]time.Duration]{
	Name: "list of numbers", Schema: shape{"type": "array", "minItems": 1, "items": msecShape(0)}, Literal: true,
	Parse: func(text string) (list []time.Duration, err error) {
		for item := range strings.SplitSeq(text, ",") {
			d, err := ParseDuration(strings.TrimSpace(item))
			if err != nil {
				return nil, errors.New("is not a list of durations")
			}
			list = append(list, d)
		}
		return list, nil
	},
	JSON: func(delays []time.Duration) any {
		list := make([]int64, len(delays))
		for i, d := range delays {
			list[i] = d.Milliseconds()
		}
		return list
	},
	Read: func(_ string, n strictyaml.Node) ([]time.Duration, error) {
		items, err := n.Items()
		if err == nil && len(items) == 0 {
			err = n.Errorf("a right one: [100, 1000, 10000]", "there is no delay in this list")
		}
		list := make([]time.Duration, len(items))
		for i := 0; i < len(items) && err == nil; i++ {
			list[i], err = readMsec(items[i])
		}
		return list, err
	},
}

// maxMsec is the longest duration that there is, in milliseconds.
const maxMsec = math.MaxInt64 / int64(time.Millisecond)

func msecShape(least int) shape {
	digits := textLike(`^[+]?[0-9]*[1-9][0-9]*$`)
	if least == 0 {
		digits = textLike(`^([+]?[0-9]+|-0+)$`)
	}
	return anyOf(shape{"type": "integer", "minimum": least, "maximum": maxMsec}, digits)
}

func readMsec(n strictyaml.Node) (time.Duration, error) {
	text, err := n.Text()
	if err != nil {
		return 0, err
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 || ms > maxMsec {
		return 0, n.Errorf("a right one: 1000", "%q is not a number of milliseconds", n.Raw())
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func parsePositive(text string) (time.Duration, error) {
	d, err := ParseDuration(text)
	if err == nil && d == 0 {
		err = errors.New("is no time at all")
	}
	return d, err
}

// ParseDuration parses a duration in Go's syntax (1m30s, 250ms) or a bare number of seconds (10,
// 0.5). It is never negative.
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		seconds, numErr := strconv.ParseFloat(text, 64)
		// ParseFloat also takes hexadecimal numbers, underscores, infinities and words for them.
		if numErr != nil || strings.Trim(text, "0123456789.+-") != "" || math.Abs(seconds) >= math.MaxInt64/1e9 {
			return 0, errors.New("is not a duration")
		}
		d = time.Duration(math.Round(seconds * float64(time.Second)))
	}
	if d < 0 {
		return 0, errors.New("is negative")
	}
	return d, nil
}

// sizeKind is one or more bytes.
var sizeKind = Kind[int64]{Name: "number or size", Schema: sizeShape, Literal: true, Parse: ParseSize}

var sizeShape = anyOf(shape{"type": "integer", "minimum": 1}, textLike(`^0*[1-9][0-9]*( *[KMG]iB)?$`))

// sizeText is how a number of bytes is written that is one of MiB.
func sizeText(n int64) string { return strconv.FormatInt(n>>20, 10) + "MiB" }

// ParseSize parses a number of bytes: 65536, 64KiB, 1MiB, 2GiB. It is at least 1.
func ParseSize(text string) (int64, error) {
	digits, factor := text, int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if before, ok := strings.CutSuffix(text, unit); ok {
			digits, factor = strings.TrimRight(before, " "), int64(1)<<(10*(i+1))
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n == 0 || n > uint64(math.MaxInt64/factor) {
		return 0, errors.New("is not a size: bytes, or a number with KiB, MiB or GiB")
	}
	return int64(n) * factor, nil
}

const (
	// unboundedQueue is the size of a queue that is given a number of signals: it holds so many, of
	// whatever size.
	unboundedQueue = math.MaxInt64
	// mostQueued is the largest such number. A larger one is a size without its unit.
	mostQueued = 10_000_000
)

// queueKind is a number of signals, or a size with its unit.
var queueKind = Kind[QueueBound]{
	Name: "number or size", Schema: sizeShape, Literal: true,
	JSON: func(q QueueBound) any { return q.Records },
	Parse: func(text string) (QueueBound, error) {
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			if n > mostQueued {
				return QueueBound{}, errors.New("is more signals than memory can hold; a size has a unit: 64MiB")
			}
			return QueueBound{Records: n, Bytes: unboundedQueue}, nil
		}
		size, err := ParseSize(text)
		if err != nil {
			err = errors.New("is neither a number of signals nor a size with KiB, MiB or GiB")
		}
		return QueueBound{Bytes: size}, err
	},
}

// retriesKind is a number of retries, or -1 for no limit.
var retriesKind = Kind[int]{
	Name: "number", Schema: anyOf(shape{"type": "integer", "minimum": -1}, textLike(`^(-0*1|[+]?[0-9]+|-0+)$`)),
	Parse: countFrom(-1, "is not a number of retries: -1 or more"), JSON: same[int], Literal: true,
}

// nameKind is the name of a connection. Its default is none of the key, which is the entry's own.
var nameKind = Kind[string]{
	Name: "text", JSON: func(string) any { return nil },
	Schema: anyOf(
		shape{"type": "string", "pattern": `^[A-Za-z0-9][A-Za-z0-9_-]*$`, "not": shape{"enum": []string{"connection", "channel", "push", "signal", "presence"}}},
		shape{"type": "integer", "minimum": 0}, shape{"type": "boolean"}),
	Parse: func(text string) (string, error) {
		if err := signal.CheckName(text); err != nil {
			return "", fmt.Errorf("cannot be used: %w", err)
		}
		return text, nil
	},
}

// uriKind is the address of a socket. The first character after the user is that of the host.
var uriKind = urlKind("URI", "ws, wss, http or https", "ws", "wss", "http", "https").with(
	anyOf(textLike(`^([wW][sS][sS]?|[hH][tT][tT][pP][sS]?)://([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^#\s]*#?$`)))

// hookKind is the address of a webhook.
var hookKind = urlKind("URL", "http or https", "http", "https").with(
	anyOf(textLike(`^[hH][tT][tT][pP][sS]?://([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^#\s]*#?$`)))

func (k Kind[T]) with(s shape) Kind[T] {
	k.Schema = s
	return k
}

// urlKind is an address of one of the schemes. Errors repeat no part of the text: even that of
// url.Parse may hold part of a password.
func urlKind(what, list string, schemes ...string) Kind[string] {
	return Kind[string]{Name: "URL", Show: maskedURL, Parse: func(text string) (string, error) {
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
		case u.Hostname() == "":
			return "", errors.New("has no host")
		case u.Fragment != "":
			return "", errors.New("has a fragment (#...)")
		}
		return text, nil
	}}
}

// proxyKind is the URL of a proxy, or HOST:PORT for one of HTTP.
var proxyKind = Kind[string]{
	Name: "URL", Parse: parseProxy, Show: maskedProxy,
	Schema: anyOf(shape{"type": []string{"number", "boolean"}}, textLike(`^(([hH][tT][tT][pP]|[sS][oO][cC][kK][sS]5[hH]?)://)?([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^/?#\s]*/*[?]?#?$`)),
}

func parseProxy(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return "", errors.New("is not the URL of a proxy")
	case !slices.Contains([]string{"http", "socks5", "socks5h"}, u.Scheme):
		return "", errors.New("has another scheme than http, socks5 or socks5h")
	case strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "":
		return "", errors.New("has more than scheme, user, host and port")
	}
	return u.String(), nil
}

// hostKind is the name of a host.
var hostKind = Kind[string]{
	Name: "text", Schema: shape{"type": textTypes, "pattern": `^[^/: ]+$|\$\{`},
	Parse: func(text string) (string, error) {
		if text == "" || strings.ContainsAny(text, "/: ") {
			return "", errors.New("is not the name of a host")
		}
		return text, nil
	},
}

// listenKind is HOST:PORT; without a host, every address of the machine.
var listenKind = Kind[string]{
	Name: "HOST:PORT", Schema: anyOf(textLike(`^([^:\[\]]*|\[[^\[\]]*\]):[0-9]{1,5}$`)),
	Parse: func(text string) (string, error) {
		_, port, err := net.SplitHostPort(text)
		if err != nil {
			return "", errors.New("is not HOST:PORT")
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return "", errors.New("has a port that is not a number up to 65535")
		}
		return text, nil
	},
}

// pathKind is a path, which begins in the directory of the file.
var pathKind = Kind[string]{
	Name: "text", Schema: wordShape, Show: strictyaml.Node.RawTexts,
	Read: func(_ string, n strictyaml.Node) (string, error) {
		path, err := n.Text()
		if err == nil && path == "" {
			err = n.Errorf("give the name of a file", "this path is empty")
		}
		if err != nil {
			return "", err
		}
		return n.Beside(path), nil
	},
}

// fileKind is a file that is read again each time. flag names it in errors.
func fileKind(flag string) Kind[*secret.Source] {
	return Kind[*secret.Source]{
		Name: "text", Schema: wordShape, Show: strictyaml.Node.RawTexts, Canonical: canonicalSource, Read: readFile,
		Parse: func(path string) (*secret.Source, error) {
			if path == "" {
				return nil, errors.New("is not the name of a file")
			}
			return secret.File(flag, path), nil
		},
	}
}

// commandKind is a program with its arguments.
var commandKind = Kind[[]string]{
	Name: "list of texts", Schema: commandShape, Show: strictyaml.Node.RawTexts,
	Read: func(_ string, n strictyaml.Node) ([]string, error) {
		return readCommand(n, "a right one: command: [./handle.sh, ARGUMENT]")
	},
}

// emptyKind is what is said by its key alone: {}.
var emptyKind = Kind[struct{}]{
	Name: "{}", Schema: shape{"type": []string{"object", "null"}, "maxProperties": 0},
	Show: func(strictyaml.Node) (json.RawMessage, error) { return json.RawMessage("{}"), nil },
	Read: func(_ string, n strictyaml.Node) (none struct{}, err error) {
		if n.IsNull() {
			return none, nil
		}
		list, err := n.Fields()
		if err == nil && len(list) > 0 {
			err = list[0].Key.Errorf("write {}", "the key %q is not known here: there is nothing to set", list[0].Name)
		}
		return none, err
	},
}

// patternKind is a pattern of the type, or of a bus topic.
var patternKind = Kind[*router.Pattern]{
	Name: "pattern", Schema: anyOf(textLike(`^(\*\*?|[A-Za-z0-9_-]+)(\.(\*\*?|[A-Za-z0-9_-]+))*$`), shape{"type": []string{"number", "boolean"}}),
	Parse: func(text string) (*router.Pattern, error) {
		pattern, err := router.CompilePattern(text)
		if err != nil {
			err = fmt.Errorf("cannot be used: %w", err)
		}
		return &pattern, err
	},
}

// globsKind is one glob or several. The pattern of the schema refuses a single backslash at the
// end.
func globsKind(example string) Kind[[]glob.Glob] {
	return listKind("glob", shape{"type": textTypes, "minLength": 1, "pattern": `^([^\\]|\\[\s\S])*$|\$\{`},
		`a right one: "`+example+`"`, glob.Compile)
}

// textsKind is one text or several.
var textsKind = listKind("text", wordShape, "a right one: to: [stdout]", asIs)

// listKind is one of something, or a list of at least one, each of a text that is not empty.
func listKind[T any](name string, item shape, hint string, parse func(string) (T, error)) Kind[[]T] {
	return Kind[[]T]{
		Name: name + " or list of " + name + "s", Schema: shape{"anyOf": []shape{item, {"type": "array", "minItems": 1, "items": item}}},
		Read: func(_ string, n strictyaml.Node) ([]T, error) {
			items := []strictyaml.Node{n}
			if n.IsList() {
				if items, _ = n.Items(); len(items) == 0 {
					return nil, n.Errorf(hint, "there is nothing in this list")
				}
			}
			var list []T
			var wrong problems
			for _, item := range items {
				text, err := item.Text()
				if err == nil && text == "" {
					err = item.Errorf(hint, "this text is empty")
				}
				if err == nil {
					var value T
					if value, err = parse(text); err != nil {
						err = item.Errorf(hint, "%v", err)
					}
					list = append(list, value)
				}
				wrong.add(err)
			}
			return list, wrong.err()
		},
	}
}

// whereKind is a jq expression, which compile compiles.
func whereKind(compile func(expr string) (Where, error)) Kind[Where] {
	return Kind[Where]{Name: "text", Schema: wordShape, Read: func(_ string, n strictyaml.Node) (Where, error) {
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

// described is a key that only describes: what is below it is read by somebody else.
func described(name string, s shape) Value {
	return Value{name: name, schema: s}
}
