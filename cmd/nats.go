package cmd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/natslink"
	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
)

// natsOptions are what the options say about NATS, for the commands that reach a phx serve on another machine by it.
type natsOptions struct {
	urls                   []string
	creds, nkey, tokenFile string
	from                   option.Origin
	// tls is what the options of TLS say, which are those of a connection.
	tls *secret.TLS
}

// flags declares them. TLS has the flags of a connection; a command without a connection gets them with natsTLSFlags.
func (o *natsOptions) flags(usage string) []option.Option {
	return option.Connecting.In([]option.Option{
		{Flag: "nats", Common: true, Env: "PHX_NATS", Secret: true, From: &o.from, Value: option.Repeated(&o.urls, config.ParseNATSURL), Example: "nats://127.0.0.1:4222",
			Usage: usage},
		{Flag: "nats-creds", Value: option.Text(&o.creds, ""), Example: "nats.creds",
			Usage: "`FILE` with credentials for NATS, a JWT with its seed, read at every dial"},
		{Flag: "nats-nkey", Value: option.Text(&o.nkey, ""), Example: "nats.nkey",
			Usage: "`FILE` with the seed of an NKey for NATS, read at every dial"},
		{Flag: "nats-token-file", Value: option.Text(&o.tokenFile, ""), Example: "nats.token",
			Usage: "`FILE` with a token for NATS, read at every dial"},
	}...)
}

// natsTLSFlags declares the options of TLS for a command that has no connection of its own.
func (o *natsOptions) natsTLSFlags() []option.Option {
	c := config.NewConnection(config.Retry{})
	o.tls = &c.TLS
	return only(c.Options(), func(flag string) bool {
		return slices.Contains(natsTLS, flag)
	})
}

// given reports whether NATS is asked for: by the flag, or by the variable where no flag asks for something else.
func (o *natsOptions) given(otherwise bool) bool {
	return len(o.urls) > 0 && (o.from == option.FromFlag || !otherwise)
}

// checkUnused refuses a flag that only NATS has a use for, in a command that goes elsewhere: one that was left out is found by what it is not
// there for.
func checkUnused(flags *pflag.FlagSet, only ...string) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		if err == nil && f.Changed && slices.Contains(only, f.Name) {
			err = exit.Usagef("add --nats URL, or leave it out", "--%s is about NATS, and nothing asks for that", f.Name)
		}
	})
	return err
}

// onlyNATS are the flags of the link that no command has another use for, and natsTLS those of which a connection has one.
var (
	onlyNATS = []string{"nats-creds", "nats-nkey", "nats-token-file"}
	natsTLS  = []string{"cacert", "cert", "key", "insecure", "server-name"}
)

// link returns the link that the options describe, whose first attempt to connect decides.
func (o *natsOptions) link(log *slog.Logger) (*natslink.Link, *natslink.Options, error) {
	options := natslink.Options{URLs: o.urls, FailFast: true, Logger: log}
	ways := 0
	for _, one := range []struct {
		flag, path string
		into       **secret.Source
	}{{"--nats-creds", o.creds, &options.Creds}, {"--nats-nkey", o.nkey, &options.NKey}, {"--nats-token-file", o.tokenFile, &options.Token}} {
		if one.path == "" {
			continue
		}
		ways++
		*one.into = secret.File(one.flag, one.path)
		(*one.into).Secret = true
	}
	if ways > 1 {
		return nil, nil, exit.Usagef("leave all but one out", "--nats-creds, --nats-nkey and --nats-token-file exclude each other")
	}
	if o.tls != nil {
		options.TLS = *o.tls
	}
	return natslink.New(options), &options, nil
}

// closeLink ends a link within the time that any ending has.
func closeLink(link *natslink.Link) {
	ctx, cancel := context.WithTimeout(context.Background(), lastServing)
	defer cancel()
	link.Close(ctx)
}

// natsSubject is a subject without wildcards.
func natsSubject(text string) (string, error) {
	if text == "" || strings.ContainsAny(text, " \t*>") || strings.HasPrefix(text, ".") || strings.HasSuffix(text, ".") {
		return "", errNoSubject
	}
	return text, nil
}

var errNoSubject = errors.New("is not a subject")

// natsName is the name of a stream or of a consumer.
func natsName(text string) (string, error) {
	if text == "" || len(text) > 255 || strings.ContainsAny(text, " \t\r\n\f.*>/\\") {
		return "", errors.New("is not a name in JetStream: at most 255 bytes, without spaces and any of . * > / \\")
	}
	return text, nil
}

// checkFilters checks subjects that may have wildcards: * is one token, and > at the end is all that follow. JetStream wants that none of them
// covers another one.
func checkFilters(subjects []string) error {
	for i, subject := range subjects {
		tokens := strings.Split(subject, ".")
		for at, token := range tokens {
			wild := token == "*" || token == ">" && at == len(tokens)-1
			if token == "" || !wild && strings.ContainsAny(token, " \t\r\n\f*>") {
				return exit.Usagef("a right one: 'jido.protocol.phoenix.backend.>'. Tokens are divided by dots; * and > are tokens of their own, and > is the last one",
					"%q is not a subject", subject)
			}
		}
		for j, other := range subjects {
			if i != j && covers(strings.Split(other, "."), tokens) {
				return exit.Usagef("leave the second one out", "%s has the signals of %s, too", other, subject)
			}
		}
	}
	return nil
}

// covers reports whether every subject that matches narrow matches wide, too.
func covers(wide, narrow []string) bool {
	for i, token := range wide {
		switch {
		case i == len(narrow):
			return false
		case token == ">":
			return true
		case token == narrow[i] || token == "*" && narrow[i] != ">":
		default:
			return false
		}
	}
	return len(wide) == len(narrow)
}
