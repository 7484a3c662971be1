package supabase

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"phx/phoenix"
)

// The server looks at a token every 5 minutes and when it expires, and closes the channel then. It takes a new one at any time, without an
// answer, and a token that it has already for nothing.
const (
	// renewBefore is how long before its end a token is renewed, or a quarter of the time that it has left, if that is less.
	renewBefore = time.Minute
	// renewAgain is when the source is asked again that has no new token yet, or failed.
	renewAgain = 10 * time.Second
)

// WithToken returns c with the access token of a source: in the params of each join, unless they have one, and pushed as event access_token
// before it expires, once the source has a new one. A token that is empty, or is a key of a project (sb_...), is not sent: the server
// ignores it.
func WithToken(c phoenix.Channel, source func(context.Context) (string, error)) phoenix.Channel {
	a := &access{source: source, params: c.Params}
	c.Params, c.Renew = a.joinParams, a.renew
	return c
}

// access is what a channel has for its token.
type access struct {
	source func(context.Context) (string, error)
	params func(context.Context) (phoenix.Payload, error)

	mu sync.Mutex
	// joined says that joinParams was called: else another access may have joined the channel, before a change of the source.
	joined bool
	// sent is what the server has of the source, and due when it is to be renewed; empty and zero: nothing is.
	sent string
	due  time.Time
}

func (a *access) joinParams(ctx context.Context) (phoenix.Payload, error) {
	params := phoenix.JSON("{}")
	if a.params != nil {
		var err error
		if params, err = a.params(ctx); err != nil {
			return params, err
		}
	}
	token, err := a.source(ctx)
	if err != nil {
		return params, err
	}
	var members map[string]json.RawMessage
	if params.Binary || json.Unmarshal(params.Data, &members) != nil || members == nil {
		return params, errors.New("the join params are no JSON object")
	}
	if members[eventAccessToken] != nil {
		token = ""
	}
	if a.note(token); !isToken(token) {
		return params, nil
	}
	if members[eventAccessToken], err = json.Marshal(token); err != nil {
		return params, err
	}
	return phoenix.Marshal(members)
}

// isToken reports whether the server takes a token for one.
func isToken(token string) bool { return token != "" && !strings.HasPrefix(token, "sb_") }

// note notes what is sent, and returns when it is to be renewed; a token that is none is not sent.
func (a *access) note(token string) (due time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.joined, a.sent, a.due = true, "", time.Time{}
	if isToken(token) {
		a.sent, a.due = token, renewalOf(token, time.Now())
	}
	return a.due
}

func (a *access) renew(ctx context.Context) (*phoenix.Push, time.Time, error) {
	a.mu.Lock()
	joined, sent, due := a.joined, a.sent, a.due
	a.mu.Unlock()
	if joined && (due.IsZero() || time.Now().Before(due)) {
		return nil, due, nil
	}
	token, err := a.source(ctx)
	again := time.Now().Add(renewAgain)
	switch {
	case err != nil, joined && (token == sent || !isToken(token)): // the source may have a new one later
		return nil, again, err
	case !isToken(token):
		return nil, a.note(token), nil
	}
	payload, err := phoenix.Marshal(map[string]string{eventAccessToken: token})
	if due = a.note(token); !due.IsZero() && due.Before(again) {
		due = again
	}
	return &phoenix.Push{Name: eventAccessToken, Payload: payload}, due, err
}

// eventAccessToken is the event of a push with a new token, and the name of the member that has it, there and in the join params.
const eventAccessToken = "access_token"

// renewalOf returns when a token is to be renewed, as seen at a time; zero if it says of no time that it expires then.
func renewalOf(token string, now time.Time) time.Time {
	expires, err := expiry(token)
	if err != nil {
		return time.Time{}
	}
	return expires.Add(-min(renewBefore, max(0, expires.Sub(now)/4)))
}

// expiry returns when a JWT expires, as its claim exp says. Nothing is verified: that is the server's business.
func expiry(token string) (time.Time, error) {
	parts := strings.Split(token, ".")
	const jwt = 3
	if len(parts) != jwt {
		return time.Time{}, errors.New("it is no JWT")
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}, fmt.Errorf("its claims: %w", err)
	}
	var claims struct{ Exp *int64 }
	if err := json.Unmarshal(text, &claims); err != nil {
		return time.Time{}, fmt.Errorf("its claims: %w", err)
	}
	if claims.Exp == nil {
		return time.Time{}, errors.New("it has no exp")
	}
	return time.Unix(*claims.Exp, 0), nil
}
