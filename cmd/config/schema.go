package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
)

// Schema returns a JSON Schema of config files, for editors. It is made of the options that the parser reads the keys with. What it
// cannot say is left to the parser: what variables will be, how numbers are spelled, jq, which files and sinks there are, and what
// one value means for another.
func Schema() []byte {
	root := objectShape("", fileShapes(), nil)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "phx config file"
	root["description"] = "Named connections to Phoenix servers and, for `phx serve`, where their signals go."
	// An empty file is a right one.
	root["type"] = []string{"object", "null"}
	defs := definitions()
	defs["connection"] = connectionShape()
	defs["sink"] = sinkShape()
	defs["route"] = routeShape()
	root["$defs"] = defs
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		panic("config: the schema is no JSON: " + err.Error())
	}
	return out.Bytes()
}

// fileShapes are the shapes of the keys at the top.
func fileShapes() map[string]shape {
	kinds := map[string]shape{}
	for _, name := range builtInSinks {
		kinds[name] = shape{"allOf": []shape{refTo("sink"), {"required": []string{name}}}}
	}
	shapes := map[string]shape{
		"defaults":    refTo("connection"),
		"connections": {"type": "object", "additionalProperties": refTo("connection")},
		"sinks": {
			"type": "object", "propertyNames": shape{"pattern": "^[A-Za-z0-9_-]+$"},
			"properties": kinds, "additionalProperties": refTo("sink"),
		},
		"routes":  {"type": "array", "items": refTo("route")},
		"control": optionsShape("control.", controlOptions(&ControlSocket{})),
		"http":    optionsShape("http.", httpOptions(&HTTPListen{})),
	}
	for _, o := range NewConnection(Retry{}).Options() {
		if slices.Contains(sharedKeys, o.Key) {
			shapes[o.Key] = withDefault(o.Value)
		}
	}
	return shapes
}

func connectionShape() shape {
	return optionsShape("connection.", connectionOptions(NewConnection(Retry{Max: ServeRetries})))
}

func sinkShape() shape {
	s := optionsShape("sink.", sinkOptions(&Sink{}), "file.path", "exec.command", "webhook.url")
	var kinds []shape
	for _, kind := range sinkKinds {
		kinds = append(kinds, shape{"required": []string{kind}})
	}
	s["oneOf"] = kinds
	s["if"] = shape{"required": []string{"webhook"}}
	s["then"] = shape{"properties": shape{"format": choiceShape("cloudevents")}}
	return s
}

func routeShape() shape {
	s := optionsShape("route.", routeOptions(&Route{}, nil), "to")
	s["not"] = shape{"required": []string{"match", "subscribe"}}
	return s
}

// optionsShape is the shape of the map that has the keys of the options. Those required must be there; prefix is where the map is in
// [about].
func optionsShape(prefix string, options []Option, required ...string) shape {
	shapes := map[string]shape{}
	for _, o := range options {
		shapes[o.Key] = withDefault(o.Value)
	}
	return objectShape(prefix, shapes, required)
}

func withDefault(v Value) shape {
	if v.def == nil {
		return v.shape
	}
	s := maps.Clone(v.shape)
	s["default"] = v.def
	return s
}

// objectShape is the shape of a map with the given keys. A dot divides the keys of nested maps.
func objectShape(prefix string, shapes map[string]shape, required []string) shape {
	properties, nested, needed := shape{}, map[string]map[string]shape{}, []string{}
	for key, s := range shapes {
		group, rest, dotted := strings.Cut(key, ".")
		if !dotted {
			properties[key] = described(about[prefix+key], s)
			continue
		}
		if nested[group] == nil {
			nested[group] = map[string]shape{}
		}
		nested[group][rest] = s
	}
	for group, inner := range nested {
		var ofGroup []string
		for _, key := range required {
			if rest, ok := strings.CutPrefix(key, group+"."); ok {
				ofGroup = append(ofGroup, rest)
			}
		}
		properties[group] = described(about[prefix+group], objectShape(prefix+group+".", inner, ofGroup))
	}
	for _, key := range required {
		if !strings.Contains(key, ".") {
			needed = append(needed, key)
		}
	}
	s := shape{"type": "object", "additionalProperties": false, "properties": properties}
	if len(needed) > 0 {
		s["required"] = needed
	}
	return s
}

// A shape says as JSON Schema what a value of a config file looks like. What the parser takes from it is a text: a shape takes the
// number or the boolean that such a text can be written as, and the texts that refer to variables, whatever they will be.
type shape map[string]any

// refTo is the shape of the definition of a name, see [definitions].
func refTo(name string) shape { return shape{"$ref": "#/$defs/" + name} }

// anyOf is any of the shapes, or a text with variables.
func anyOf(shapes ...shape) shape {
	return shape{"anyOf": append(slices.Clone(shapes), refTo("reference"))}
}

func textLike(pattern string) shape { return shape{"type": "string", "pattern": pattern} }

// textTypes are what a text can be written as.
var textTypes = []string{"string", "number", "boolean"}

var (
	textShape = refTo("text")
	// wordShape is a text that is not empty.
	wordShape = shape{"type": textTypes, "minLength": 1}
	boolShape = anyOf(shape{"type": "boolean"}, shape{"enum": []string{"true", "false"}})
	sizeShape = anyOf(shape{"type": "integer", "minimum": 1}, textLike(`^0*[1-9][0-9]*( *[KMG]iB)?$`))
	// queueShape is a number of signals or a size.
	queueShape   = sizeShape
	retriesShape = anyOf(shape{"type": "integer", "minimum": -1}, textLike(`^(-0*1|[+]?[0-9]+|-0+)$`))
	// timesShape is a number of times, also none.
	timesShape = anyOf(shape{"type": "integer", "minimum": 0}, textLike(`^([+]?[0-9]+|-0+)$`))

	// The first character after the user is that of the host.
	uriShape   = anyOf(textLike(`^([wW][sS][sS]?|[hH][tT][tT][pP][sS]?)://([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^#\s]*#?$`))
	urlShape   = anyOf(textLike(`^[hH][tT][tT][pP][sS]?://([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^#\s]*#?$`))
	proxyShape = anyOf(shape{"type": []string{"number", "boolean"}}, textLike(`^(([hH][tT][tT][pP]|[sS][oO][cC][kK][sS]5[hH]?)://)?([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^/?#\s]*/*[?]?#?$`))
	hostShape  = shape{"type": textTypes, "pattern": `^[^/: ]+$|\$\{`}
	// listenShape is HOST:PORT.
	listenShape = anyOf(textLike(`^([^:\[\]]*|\[[^\[\]]*\]):[0-9]{1,5}$`))

	nameShape = anyOf(
		shape{"type": "string", "pattern": `^[A-Za-z0-9][A-Za-z0-9_-]*$`, "not": shape{"enum": []string{"connection", "channel", "push", "signal", "presence"}}},
		shape{"type": "integer", "minimum": 0}, shape{"type": "boolean"})
	paramsShape = shape{"type": "object", "propertyNames": shape{"not": shape{"const": "vsn"}}, "additionalProperties": refTo("secret")}

	patternShape = anyOf(textLike(`^(\*\*?|[A-Za-z0-9_-]+)(\.(\*\*?|[A-Za-z0-9_-]+))*$`), shape{"type": []string{"number", "boolean"}})
	// globShape does not end in a single backslash.
	globShape    = shape{"type": textTypes, "minLength": 1, "pattern": `^([^\\]|\\[\s\S])*$|\$\{`}
	commandShape = shape{"type": "array", "minItems": 1, "prefixItems": []shape{wordShape}, "items": textShape}
	topicShape   = shape{"type": textTypes, "minLength": 1, "not": shape{"const": "phoenix"}}
	// emptyShape is of what is said by its key alone.
	emptyShape    = shape{"type": []string{"object", "null"}, "maxProperties": 0}
	autoJoinShape = shape{"type": "array", "items": shape{"anyOf": []shape{topicShape, {
		"type": "object", "required": []string{"topic"}, "additionalProperties": false,
		"properties": shape{
			"topic":         topicShape,
			"params":        shape{"type": "object"},
			"secret_params": shape{"type": "object", "additionalProperties": refTo("secret")},
		},
	}}}}
)

// msecShape is a number of milliseconds.
func msecShape(least int) shape {
	digits := textLike(`^[+]?[0-9]*[1-9][0-9]*$`)
	if least == 0 {
		digits = textLike(`^([+]?[0-9]+|-0+)$`)
	}
	return anyOf(shape{"type": "integer", "minimum": least, "maximum": maxMsec}, digits)
}

func choiceShape(choices ...string) shape { return anyOf(shape{"enum": choices}) }

// listShape is one of a shape, or a list of at least one.
func listShape(item shape) shape {
	return shape{"anyOf": []shape{item, {"type": "array", "minItems": 1, "items": item}}}
}

// headersShape is a map, or a list of pairs, of headers that are none of those taken, however these are written.
func headersShape(taken ...string) shape {
	name := shape{"type": textTypes, "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "not": shape{"type": "string", "pattern": "^(" + anyCase(taken) + ")$"}}
	return shape{"anyOf": []shape{
		{"type": "object", "propertyNames": name, "additionalProperties": refTo("header")},
		{"type": "array", "items": shape{
			"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": []shape{anyOf(name), refTo("header")},
		}},
	}}
}

// anyCase returns a pattern for names whose letters may be small or capital. Patterns of JSON Schema have no option for that.
func anyCase(names []string) string {
	var pattern strings.Builder
	for i, name := range names {
		if i > 0 {
			pattern.WriteByte('|')
		}
		for _, r := range name {
			if unicode.IsLetter(r) {
				pattern.WriteString("[" + string(unicode.ToLower(r)) + string(unicode.ToUpper(r)) + "]")
				continue
			}
			pattern.WriteRune(r)
		}
	}
	return pattern.String()
}

// definitions are the shapes that others refer to.
func definitions() shape {
	secret := func(text shape) shape {
		return shape{"anyOf": []shape{text, {
			"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
			"properties": shape{
				"env":     described("Name of an environment variable, which must be set.", wordShape),
				"file":    described("File with the secret, read again each time; a relative path begins beside the config file.", wordShape),
				"command": described("Program with its arguments that prints the secret, run again each time, without a shell.", commandShape),
			},
		}}}
	}
	return shape{
		"reference": described("Variables are filled in: ${VAR}, ${VAR:-default}, ${VAR:?message}; $$ is a dollar sign.", textLike(`\$\{`)),
		"text":      described("A text, in which variables are filled in: ${VAR}, ${VAR:-default}, ${VAR:?message}; $$ is a dollar sign.", shape{"type": textTypes}),
		"secret":    described("A text, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(textShape)),
		"key":       described("A text that is not empty, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(wordShape)),
		"header":    described("The value of a header, on one line, or where to find it: {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}.", secret(shape{"type": textTypes, "pattern": `^[^\x00-\x08\x0a-\x1f\x7f]*$`})),
	}
}

// described is a shape with a description for editors.
func described(text string, s shape) shape {
	with := shape{"description": text}
	for key, value := range s {
		with[key] = value
	}
	return with
}

// takesNumbers reports whether a text that is a number, or true or false, may be written without quotes, and is by most.
func (s shape) takesNumbers() bool {
	switch s["type"] {
	case "integer", "boolean":
		return true
	case "array":
		items, _ := s["items"].(shape)
		return items.takesNumbers()
	}
	choices, _ := s["anyOf"].([]shape)
	return slices.ContainsFunc(choices, shape.takesNumbers)
}

// about says for editors what each key does: those at the top, and those of a connection, a sink, a route, control and http behind
// the name of what they belong to.
var about = map[string]string{
	"require_wss": "Refuse a ws:// URI, which is not encrypted, unless it is that of this machine. Without it, credentials on such a link are warned of.",
	"defaults":    "What connections have that say nothing else. Params and headers add up, by name.",
	"connections": "The connections, each under a key that is its name unless it has a name of its own.",
	"sinks":       "Where routes lead to. stdout and discard are there anyway.",
	"routes":      "Which signals go to which sinks. A signal goes to the sinks of every route that wants it, to each sink once. Without routes, all go to stdout.",
	"control":     "The control API of phx serve.",
	"http":        "Health and metrics of phx serve.",

	"connection.uri":                      "URI of the socket: ws, wss, http or https; /websocket is appended.",
	"connection.name":                     "Name of the connection in signals: letters, digits, - and _. The default is the key that it stands under.",
	"connection.params":                   "Params of connect/3. Secrets are read at every dial.",
	"connection.headers":                  "Headers of the upgrade request: a map, or a list of pairs of name and value. Secrets are read at every dial.",
	"connection.auth_token":               "The auth token, read at every dial.",
	"connection.auto_join_channels":       "Channels to join and stay in: topics, or maps of a topic with params and secret_params, which are read at every join.",
	"connection.presence":                 "Emit the signals of who is there: phoenix.presence.join, leave and sync.",
	"connection.required":                 "Whether others count on the connection: it gates readiness, and phx serve ends when its retries are exhausted.",
	"connection.transport":                "How frames travel.",
	"connection.vsn":                      "Version of the wire format.",
	"connection.tls":                      "TLS. Files are PEM, read at every dial; a relative path begins beside the config file.",
	"connection.tls.ca_file":              "The certificates to trust in place of the system's.",
	"connection.tls.cert_file":            "The client certificate to show.",
	"connection.tls.key_file":             "The private key of the client certificate. The default is the file of the certificate.",
	"connection.tls.insecure_skip_verify": "Accept any certificate of the server: whoever stands between can read and change everything.",
	"connection.tls.server_name":          "Host name that the server's certificate must be for. The default is the host of the URI.",
	"connection.proxy":                    "URL of a proxy: http, socks5 or socks5h. The default is as $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY say.",
	"connection.connect_timeout_msec":     "Milliseconds for a dial, from DNS to upgrade.",
	"connection.reply_timeout_msec":       "Milliseconds for the reply to one join or push.",
	"connection.heartbeat_interval_msec":  "Milliseconds between heartbeats.",
	"connection.heartbeat_timeout_msec":   "Milliseconds for the answer to a heartbeat, at most the interval. The default is 10000, or the interval if that is shorter.",
	"connection.max_retries":              "Retries in a row, of dials and of joins; -1: no limit.",
	"connection.reconnect_after_msec":     "Milliseconds before each dial that is a retry; the last repeats.",
	"connection.rejoin_after_msec":        "Milliseconds before each join that is a retry; the last repeats.",
	"connection.reconnect":                "Whether anything is retried.",
	"connection.jitter":                   "Wait a random half to whole of the delays.",
	"connection.max_message":              "Size of the largest message accepted: bytes, or a number with KiB, MiB or GiB.",

	"sink.file":                 "Append to a file, which is opened anew on HUP.",
	"sink.file.path":            "The file; a relative path begins beside the config file.",
	"sink.exec":                 "Write lines to the standard input of a program, which is started again when it ends.",
	"sink.exec.command":         "The program and its arguments, run without a shell. With a slash in it, a relative name begins beside the config file.",
	"sink.exec.dir":             "Where the program runs; a relative path begins beside the config file. The default is where phx serve runs.",
	"sink.webhook":              "Post each signal as a CloudEvent.",
	"sink.webhook.url":          "Where to post: http or https.",
	"sink.webhook.mode":         "CloudEvents' content mode: the event as the body, or its data as the body and its attributes as headers.",
	"sink.webhook.headers":      "Headers of the requests: a map, or a list of pairs of name and value. Secrets are read for every signal.",
	"sink.webhook.secret":       "Key to sign requests with (HMAC), as Standard Webhooks says. Read for every signal.",
	"sink.webhook.timeout_msec": "Milliseconds for one request.",
	"sink.webhook.max_retries":  "How often a request is sent again that failed in a way that may pass.",
	"sink.stdout":               "Write to stdout: {}.",
	"sink.discard":              "Throw away: {}.",
	"sink.format":               "How a signal is written. A webhook has cloudevents, and nothing else.",
	"sink.queue":                "How much may wait for the sink: a number of signals, or a size with KiB, MiB or GiB.",
	"sink.when_full":            "What a full queue loses: what has waited longest, or what comes.",

	"route.match":     "Pattern of the type. Segments are divided by dots; * is one, ** any number.",
	"route.subscribe": "Pattern of a bus topic. Segments are divided by dots; * is one, ** any number.",
	"route.topic":     "Glob, or list of globs, one of which the raw topic must match: * is any run of characters, ? one.",
	"route.event":     "Glob, or list of globs, one of which the raw event must match: * is any run of characters, ? one.",
	"route.where":     "jq expression that must be true of the signal.",
	"route.to":        "Name of a sink, or a list of names.",

	"control.socket": "Path of the Unix socket; a relative one begins beside the config file. The default is phx/control.sock in $XDG_RUNTIME_DIR.",
	"http.listen":    "HOST:PORT to listen at, for /healthz, /readyz and /metrics.",
}

// A Key is what a config file can say, for people to read about.
type Key struct {
	// Path is the key; a dot divides those of nested maps.
	Path string
	// Type is what the value looks like, in a few words.
	Type string
	// Default is what is built in, as JSON; nil: nothing.
	Default json.RawMessage
	// Required says that the key must be there, where the map is that it belongs to.
	Required bool
	// About says what the key does.
	About string
}

// Keys are those of a config file, in the order in which they are declared.
type Keys struct {
	// Top are those at the top, control and http with what is in them.
	Top []Key
	// Connection are those of a connection and of the defaults, Sink of a sink, Route of a route, Secret of a map that stands where a
	// secret is wanted.
	Connection, Sink, Route, Secret []Key
}

// DescribeKeys returns every key there is. It is made of what [Schema] is made of.
func DescribeKeys() Keys {
	top := append(slices.Clone(keySet(sharedKeys)), "defaults", "connections")
	inside := map[string][]Option{"control": controlOptions(&ControlSocket{}), "http": httpOptions(&HTTPListen{})}
	for _, key := range serveKeys {
		if inside[key] == nil {
			top = append(top, key)
		}
		for _, inner := range keysOf(inside[key]) {
			top = append(top, key+"."+inner)
		}
	}
	secret, _ := definitions()["secret"].(shape)["anyOf"].([]shape)
	return Keys{
		Top:        keysIn(objectShape("", fileShapes(), nil), "", top),
		Connection: keysIn(connectionShape(), "", connectionKeys()),
		Sink:       keysIn(sinkShape(), "", keysOf(sinkOptions(&Sink{}))),
		Route:      keysIn(routeShape(), "", keysOf(routeOptions(&Route{}, nil))),
		Secret:     keysIn(secret[1], "", keySet{"env", "file", "command"}),
	}
}

// keysIn returns the keys of a map of that shape, and of those in it. prefix is the path to the map, with a dot at its end; order has
// all the paths.
func keysIn(s shape, prefix string, order keySet) []Key {
	properties, _ := s["properties"].(shape)
	required, _ := s["required"].([]string)
	var keys []Key
	for _, name := range order.under(prefix) {
		of := properties[name].(shape)
		text, _ := of["description"].(string)
		key := Key{Path: prefix + name, Type: of.typeName(), Required: slices.Contains(required, name), About: text}
		if def, ok := of["default"]; ok {
			key.Default = jsonOf(def)
		}
		keys = append(keys, key)
		keys = append(keys, keysIn(of, prefix+name+".", order)...)
	}
	return keys
}

// typeNames are the names of shapes that say more than they are made of.
var typeNames = []struct {
	shape shape
	name  string
}{
	{boolShape, "true or false"},
	{sizeShape, "number or size"},
	{retriesShape, "number"},
	{timesShape, "number"},
	{msecShape(0), "number"},
	{msecShape(1), "number"},
	{uriShape, "URL"},
	{urlShape, "URL"},
	{proxyShape, "URL"},
	{listenShape, "HOST:PORT"},
	{nameShape, "text"},
	{patternShape, "pattern"},
	{globShape, "glob"},
	{commandShape, "list of texts"},
	{autoJoinShape, "list"},
	{emptyShape, "{}"},
}

// typeName says in a few words what a value of the shape looks like. How else the same may be written, such as a number in quotes, is
// left out.
func (s shape) typeName() string {
	for _, known := range typeNames {
		if s.is(known.shape) {
			return known.name
		}
	}
	if ref, ok := s["$ref"].(string); ok {
		switch name := strings.TrimPrefix(ref, "#/$defs/"); name {
		case "key", "secret", "header":
			return "secret"
		case "connection", "sink", "route":
			return "map"
		default:
			return name
		}
	}
	if choices, ok := s["enum"].([]string); ok {
		return strings.Join(choices, " or ")
	}
	var names []string
	parts, _ := s["anyOf"].([]shape)
	for _, part := range parts {
		if name := part.typeName(); name != "reference" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return strings.Join(names, " or ")
	}
	switch s["type"] {
	case "object":
		return "map"
	case "array":
		items, _ := s["items"].(shape)
		if items["type"] == "array" { // headers: no other list has lists
			return "list of pairs"
		}
		return "list of " + items.typeName() + "s"
	}
	return "text"
}

// is reports whether s is the other shape, but for what it says of a key.
func (s shape) is(other shape) bool {
	for name, value := range s {
		if name != "description" && name != "default" && !reflect.DeepEqual(value, other[name]) {
			return false
		}
	}
	for name := range other {
		if _, ok := s[name]; !ok {
			return false
		}
	}
	return true
}

// OptionOf returns the option behind a flag that [Set.Bind] has added.
func OptionOf(f *pflag.Flag) (Option, bool) {
	o, ok := f.Value.(*setting)
	if !ok {
		return Option{}, false
	}
	return o.Option, true
}
