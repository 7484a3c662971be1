package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"phx/cmd/internal/endpoint"
	"phx/cmd/internal/natslink"
	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/cmd/internal/strictyaml"
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

// natsURLsKind is the URLs of NATS servers.
var natsURLsKind = func() option.Kind[[]string] {
	one := urlKind("URL", "nats, tls, ws or wss", "nats", "tls", "ws", "wss")
	k := option.ListKind("URL", option.AnyOf(option.TextLike(`^([nN][aA][tT][sS]|[tT][lL][sS]|[wW][sS][sS]?)://([^/?#@]*@)?(\[|[^/?#@:\[\]\s])[^#\s]*#?$`)),
		"a right one: urls: [nats://127.0.0.1:4222]", func(text string) (string, error) {
			text, err := one.Parse(text)
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

// readNATS reads the link to NATS.
func (r *serveReader) readNATS() {
	n, said := r.file.serve["nats"]
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
