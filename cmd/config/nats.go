package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"phx/cmd/internal/endpoint"
	"phx/cmd/internal/natslink"
	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/cmd/internal/strictyaml"
	"phx/signal"
)

// NATS is the link to NATS of a server.
type NATS struct {
	natslink.Options
	// Fingerprint is equal for equal settings, and tells nothing of them.
	Fingerprint string
}

// natsOptions declares what the map nats has.
func natsOptions(o *natslink.Options) []option.Option {
	options := []option.Option{
		{Key: "urls", Secret: true, Value: natsURLsKind.To(&o.URLs, ""), Required: true, Example: "nats://127.0.0.1:4222",
			About: "URLs of the servers: nats, tls, ws or wss."},
		{Key: "creds", Value: natsSecretKind.To(&o.Creds, ""),
			About: "Credentials, a JWT with its seed as nsc writes them, read at every dial."},
		{Key: "nkey", Value: natsSecretKind.To(&o.NKey, ""),
			About: "Seed of a user's NKey, read at every dial."},
		{Key: "user", Value: natsUserKind.To(&o.User, ""),
			About: "Name of the user."},
		{Key: "password", Value: natsSecretKind.To(&o.Password, ""),
			About: "Password of the user, read at every dial."},
		{Key: "token", Value: natsSecretKind.To(&o.Token, ""),
			About: "Token, read at every dial."},
		{Key: "inbox_prefix", Value: inboxKind.To(&o.InboxPrefix, "_INBOX"), Example: "_INBOX_phx",
			About: "What the subjects of answers to us begin with: what the user may subscribe to."},
	}
	for _, tls := range tlsOptions(&o.TLS) {
		tls.Flag, tls.Shorthand = "", ""
		options = append(options, tls)
	}
	return options
}

// ParseNATSURL checks the URL of a NATS server, which may be HOST:PORT for the scheme nats.
func ParseNATSURL(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	return natsURLKind.Parse(text)
}

var natsURLKind = urlKind("URL", "nats, tls, ws or wss", "nats", "tls", "ws", "wss")

// natsURLsKind is the URLs of NATS servers.
var natsURLsKind = func() option.Kind[[]string] {
	k := option.ListKind("URL", "URLs", option.AnyOf(option.TextLike(`^([nN][aA][tT][sS]|[tT][lL][sS]|[wW][sS][sS]?)://([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^#\s]*#?$`)),
		"a right one: urls: [nats://127.0.0.1:4222]", func(text string) (string, error) {
			text, err := natsURLKind.Parse(text)
			if err != nil {
				err = fmt.Errorf("the URL %w", err)
			}
			return text, err
		})
	k.Show = func(n strictyaml.Node) (json.RawMessage, error) {
		return n.Write(func(n strictyaml.Node) (json.RawMessage, error) {
			text, err := n.Text()
			return option.JSONText(endpoint.MaskURL(text)), err
		})
	}
	return k
}()

// natsSecretKind is a secret that is not empty. Credentials have several lines.
var natsSecretKind = option.Kind[*secret.Source]{Name: "secret", Schema: option.RefTo("key"), Show: maskedSecret, Canonical: canonicalSource,
	Read: func(key string, n strictyaml.Node) (*secret.Source, error) {
		s, err := readSecret(key, n)
		if err == nil && s.IsLiteral() && secret.Trim(s.Literal) == "" {
			err = n.Errorf(secretHint, "the secret is empty")
		}
		return s, err
	}}

// natsUserKind is the name of a user.
var natsUserKind = option.Kind[string]{Name: "text", Schema: option.WordShape, Parse: func(text string) (string, error) {
	if text == "" {
		return "", errors.New("is not the name of a user")
	}
	return text, nil
}}

// inboxKind is the beginning of a subject.
var inboxKind = option.Kind[string]{Name: "text", Schema: option.AnyOf(option.TextLike(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`), option.Shape{"type": []string{"number", "boolean"}}),
	Parse: func(text string) (string, error) {
		for token := range strings.SplitSeq(text, ".") {
			if token == "" || strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
				return "", errors.New("is not the beginning of a subject: letters, digits, - and _, divided by dots")
			}
		}
		return text, nil
	}}

// A NATSSink publishes to NATS JetStream. The fields are as in [router.NATSOptions] and
// [natslink.PublisherOptions].
type NATSSink struct {
	Stream         string
	ByType, Create bool
	Window         int
	Lines, Binary  bool
}

// Subjects are those that a stream for the messages has to take.
func (s *NATSSink) Subjects() string {
	if s.ByType {
		return "phoenix.>"
	}
	return "jido.protocol.phoenix.>"
}

// natsSinkOptions declares the options of such a sink.
func natsSinkOptions(s *NATSSink) []option.Option {
	is := func(word string) func(text string) (bool, error) {
		return func(text string) (bool, error) { return text == word, nil }
	}
	return []option.Option{
		{Key: "stream", Value: natsStreamKind.To(&s.Stream, ""), Example: "PHX",
			About: "Name of the stream that the messages must get into. The default is whichever takes their subjects, and PHX for create."},
		{Key: "subject", Value: option.ChoiceKind(is("type"), "bus", "type").To(&s.ByType, "bus"), Example: "type",
			About: "The subject of a message: the bus topic of its signal, which is jido.protocol.phoenix.NAME.TOPIC, or its type. One of more than 255 bytes is cut, and ends in a hash."},
		{Key: "window", Value: natsWindowKind.To(&s.Window, "256"), Example: "256",
			About: "How many messages are published before the first of them is acknowledged. With 1, signals are in the stream in their order whatever happens there."},
		{Key: "create", Value: option.BoolKind.To(&s.Create, "false"),
			About: "Create the stream if there is none for the subjects: in files, without a replica, without limits."},
		{Key: "batch", Value: option.ChoiceKind(is("lines"), "none", "lines").To(&s.Lines, "none"), Example: "lines",
			About: "lines: make a message of many lines of one connection, up to 64 KiB; its subject is the bus topic of the connection."},
		{Key: "mode", Value: option.ChoiceKind(is(webhookBinary), webhookStructured, webhookBinary).To(&s.Binary, webhookStructured), Example: webhookBinary,
			About: "CloudEvents' content mode, for the format cloudevents: the event as the message, or its data as the message and its attributes as headers."},
	}
}

// natsStreamKind is the name of a stream.
var natsStreamKind = option.Kind[string]{Name: "text", Schema: option.AnyOf(option.TextLike(`^[A-Za-z0-9_-]+$`), option.Shape{"type": []string{"integer", "boolean"}}),
	Parse: func(text string) (string, error) {
		if !isSinkName(text) {
			return "", errors.New("is not the name of a stream: letters, digits, - and _")
		}
		return text, nil
	}}

// natsWindowKind is a number of messages. JetStream itself lets a client have 4096 under way at most
// by default.
var natsWindowKind = option.Kind[int]{
	Name: "number", Schema: option.AnyOf(option.Shape{"type": "integer", "minimum": 1, "maximum": mostInWindow}, option.TextLike(`^[+]?0*([1-9][0-9]{0,2}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-6])$`)),
	JSON: option.Same[int], Literal: true,
	Parse: func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostInWindow {
			return 0, fmt.Errorf("is not a number from 1 to %d", mostInWindow)
		}
		return n, nil
	},
}

const mostInWindow = 4096

// checkNATS checks the keys of a sink of NATS against each other.
func (s *Sink) checkNATS(field strictyaml.Field, found option.Fields) error {
	at := func(key string) strictyaml.Node {
		if n, said := found[key]; said {
			return n
		}
		return field.Key
	}
	switch {
	case s.Format == signal.FormatPayload:
		return at("format").Errorf("give it another format", "a message in a stream needs the id of its signal, which the format payload has not")
	case s.NATS.Binary && s.Format != signal.FormatCloudEvents:
		return at("nats.mode").Errorf("give the sink `format: cloudevents`", "the mode binary is one of CloudEvents, and the sink %s has the format %v", s.Name, s.Format)
	case s.NATS.Lines && s.NATS.ByType:
		return at("nats.subject").Errorf("take subject or batch out", "a message of many lines has signals of several types")
	case s.NATS.Lines && s.NATS.Binary:
		return at("nats.mode").Errorf("take mode or batch out", "a message of many lines has no attributes of its own")
	}
	return nil
}

// natsSourceOptions declares what a source of NATS has.
func natsSourceOptions(subject *string) []option.Option {
	return []option.Option{{Key: "subject", Value: subjectKind.To(subject, "phx.push"), Example: "phx.push",
		About: "Subject of the calls: requests to SUBJECT.NAME push to the connection NAME, and requests to SUBJECT list connections and signals."}}
}

// subjectKind is a subject without wildcards.
var subjectKind = inboxKind

// aboutSource says what the maps of a source are about.
var aboutSource = map[string]string{"nats": "Answer requests over NATS, by the link that nats at the top says."}

// readSources reads the sources.
func (r *serveReader) readSources() {
	n, said := r.file.serve["sources"]
	if !said {
		return
	}
	list, err := n.Fields()
	r.wrong.Add(err)
	_, linked := r.file.serve["nats"]
	for _, field := range list {
		var subject string
		options := below("nats", natsSourceOptions(&subject))
		_, err := option.ReadMap(field.Value, options)
		r.wrong.Add(err)
		fields, _ := field.Value.Fields() // else it was said
		switch {
		case err != nil:
		case !isSinkName(field.Name):
			r.wrong.Add(field.Key.Errorf("a right one: control", "%q cannot be the name of a source: it is made of letters, digits, - and _", field.Name))
		case len(fields) == 0:
			r.wrong.Add(field.Key.Errorf("a right one: {nats: {subject: phx.push}}", "the source %s is of no kind: it needs nats", field.Name))
		case !linked:
			r.wrong.Add(field.Key.Errorf(natsHint, "the source %s needs nats, which says where the servers are", field.Name))
		case slices.Contains(r.serve.Sources, subject):
			r.wrong.Add(field.Key.Errorf("give each its own subject", "the source %s has the subject of another one, %s", field.Name, subject))
		default:
			r.serve.Sources = append(r.serve.Sources, subject)
		}
	}
}

// showSources returns the sources, which were read before.
func showSources(n strictyaml.Node) json.RawMessage {
	var sources option.Object
	list, _ := n.Fields()
	for _, field := range list {
		text, _ := option.MapJSON(shown, field.Value, sourceKeys())
		sources.Add(field.Name, text)
	}
	return sources.JSON()
}

const natsHint = "a right one, at the top of the file: nats: {urls: [nats://127.0.0.1:4222]}"

// readNATS reads the link to NATS.
func (r *serveReader) readNATS() {
	n, said := r.file.serve["nats"]
	for i, s := range r.serve.Sinks {
		if s.NATS != nil && !said {
			r.wrong.Add(r.sinks[i].Errorf(natsHint, "the sink %s needs nats, which says where the servers are", s.Name))
		}
	}
	if !said {
		return
	}
	link := &NATS{}
	options := natsOptions(&link.Options)
	found, err := option.ReadMap(n, options)
	r.wrong.Add(err)
	if err != nil {
		return
	}
	if len(link.URLs) == 0 {
		r.wrong.Add(n.Errorf("a right one: urls: [nats://127.0.0.1:4222]", "nats has no urls"))
	}
	ways := slices.DeleteFunc([]string{"creds", "nkey", "token", "user"}, func(key string) bool { return len(found.Values(key)) == 0 })
	if len(ways) > 1 {
		r.wrong.Add(found[ways[1]].Errorf("take one of them out", "nats has %s and %s, and can show one of them only", ways[0], ways[1]))
	}
	_, user := found["user"]
	if password, said := found["password"]; said != user {
		at := n
		if said {
			at = password
		}
		r.wrong.Add(at.Errorf("give both, or neither", "nats has only one of user and password"))
	}
	if key, said := found["tls.key_file"]; said && link.TLS.Cert == nil {
		r.wrong.Add(key.Errorf("give the certificate of the key: cert_file: client.pem", "tls has a key_file and no cert_file"))
	}
	var settings []any
	for _, o := range options {
		settings = append(settings, o.Key, o.Value.Canonical())
	}
	link.Fingerprint = option.Hash(settings)
	r.serve.NATS = link
}
