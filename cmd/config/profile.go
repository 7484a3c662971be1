package config

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/phoenix"
	"phx/phoenix/supabase"
)

// A Profile is the kind of server that a connection goes to: what it adds to Phoenix's protocol, and defaults that suit it. The empty
// Profile is Phoenix itself.
type Profile string

// Supabase is Supabase Realtime; see package supabase.
const Supabase Profile = "supabase"

// profileKind is the profiles that there are. An empty text is none, so that a flag can take back what a config file says.
var profileKind = option.Kind[Profile]{
	Name: string(Supabase), Schema: option.ChoiceShape(string(Supabase), ""), Choices: []string{string(Supabase)},
	Parse: func(text string) (Profile, error) {
		if text != "" && text != string(Supabase) {
			return "", errors.New("is no profile: there is " + string(Supabase))
		}
		return Profile(text), nil
	},
}

// ApplyProfile fills in the defaults of the profile where no option says otherwise. It is called once the options are set.
func (c *Connection) ApplyProfile() {
	if c.Profile != Supabase {
		return
	}
	c.URI = supabase.SocketURL(c.URI)
	if c.heartbeatFrom == option.FromDefault {
		c.heartbeatInterval = supabase.HeartbeatInterval
	}
	if c.vsnFrom == option.FromDefault && c.mayLongPoll() {
		c.vsn = vsn1
	}
}

const vsn1 = "1.0.0"

// mayLongPoll reports whether messages may travel by long poll.
func (c *Connection) mayLongPoll() bool {
	if c.transportFrom != option.FromDefault {
		return c.transport != phoenix.TransportWebSocket
	}
	u, err := url.Parse(c.URI)
	return err == nil && strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/longpoll")
}

// effectiveVSN is the version of the wire format: that of the URI goes before the option.
func (c *Connection) effectiveVSN() string {
	if u, err := url.Parse(c.URI); err == nil && u.Query().Get("vsn") != "" {
		return u.Query().Get("vsn")
	}
	return c.vsn
}

// wrongVSN says why the version of the wire format does not go with the transport under the profile; empty: it does. The long poll of
// Supabase has another serializer for 2.0.0 than its WebSocket, which does not know broadcasts.
func (c *Connection) wrongVSN() (problem, hint string) {
	if c.Profile != Supabase || !c.mayLongPoll() || c.effectiveVSN() == vsn1 {
		return "", ""
	}
	return "by long poll Supabase has no form of vsn 2.0.0 for a broadcast: whoever sends one would crash", "vsn 1.0.0, the default with that transport, can do without binary broadcasts"
}

// MessageWarning returns a warning, or nothing, about messages that do not come under the profile.
func (c *Connection) MessageWarning() string {
	if c.Profile != Supabase || c.effectiveVSN() != vsn1 {
		return ""
	}
	return "with vsn 1.0.0 Supabase sends no binary broadcasts: those of others do not come, and are not announced"
}

// HasAPIKey reports whether a dial shows the key of the project that Supabase asks for.
func (c *Connection) HasAPIKey() bool {
	u, err := url.Parse(c.URI)
	return err == nil && u.Query().Get("apikey") != "" ||
		slices.ContainsFunc(c.Params, func(p secret.Named) bool { return p.Name == "apikey" }) ||
		slices.ContainsFunc(c.Headers, func(h secret.Named) bool { return http.CanonicalHeaderKey(h.Name) == "X-Api-Key" })
}

// tokenInJoin reports whether the auth token goes into the params of the joins, and not into the upgrade request.
func (c *Connection) tokenInJoin() bool { return c.Profile == Supabase && c.AuthToken != nil }

// Token reads the auth token that goes into joins, as it is now; empty: there is none.
func (c *Connection) Token(ctx context.Context) (string, error) {
	if !c.tokenInJoin() {
		return "", nil
	}
	return c.reader().Required(ctx, c.AuthToken, "token")
}

// Broadcast returns a push of a payload as a broadcast of an event, which servers of the profile have.
func (c *Connection) Broadcast(topic, event string, payload phoenix.Payload) (phoenix.Push, error) {
	switch {
	case c.Profile != Supabase:
		return phoenix.Push{}, errors.New("a broadcast of an event is for Supabase: --profile supabase (profile: supabase in a config file)")
	case payload.Binary && c.effectiveVSN() == vsn1:
		return phoenix.Push{}, errors.New("a broadcast of bytes takes vsn 2.0.0, and so a WebSocket")
	}
	return supabase.Broadcast(topic, event, payload), nil
}

// CheckPush says which pushes the server of the profile never handles. They are not to be sent.
func (c *Connection) CheckPush(topic, event string) error {
	if c.Profile != Supabase {
		return nil
	}
	return supabase.CheckPush(&phoenix.Push{Topic: topic, Name: event})
}

// WithToken returns a channel whose joins have the token of a source among their params, if that is where the profile has the auth token.
// It is to be called once for a channel.
func (c *Connection) WithToken(channel phoenix.Channel, source func(context.Context) (string, error)) phoenix.Channel {
	if !c.tokenInJoin() {
		return channel
	}
	return supabase.WithToken(channel, source)
}

// checkProfile checks the options of a command line.
func (c *Connection) checkProfile() error {
	if problem, hint := c.wrongVSN(); problem != "" {
		return exit.Usagef("leave out --vsn 2.0.0: "+hint, "%s", problem)
	}
	pushes := c.onJoin
	for _, channel := range c.autoJoin {
		pushes = append(slices.Clone(pushes), channel.onJoin...)
	}
	for _, push := range pushes {
		if err := c.CheckPush("", push.event); err != nil {
			return exit.Usagef(onJoinHint, "--on-join (on_join in a config file): %v", err)
		}
	}
	return nil
}

const onJoinHint = "a join is complete when each push of on_join is answered: broadcast and presence are"

// checkProfile says what Connection.checkProfile says, with its place.
func (e *Entry) checkProfile(c *Connection) error {
	var wrong option.Problems
	if problem, hint := c.wrongVSN(); problem != "" {
		n, said := e.value("vsn")
		if !said {
			n, _ = e.value("uri")
		}
		wrong.Add(n.Errorf("leave out vsn 2.0.0: "+hint, "%s", problem))
	}
	for _, channel := range c.autoJoin {
		for _, push := range channel.onJoin {
			if err := c.CheckPush(channel.topic, push.event); err != nil {
				wrong.Add(e.channelsError(onJoinHint, channel.topic, err))
			}
		}
	}
	return wrong.Err()
}
