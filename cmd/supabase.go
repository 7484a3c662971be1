package cmd

import (
	"net/http"
	"strings"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/phoenix"
)

// What failures mean, and what to do about them, where the profile of the connection is that of Supabase Realtime: the server is not the
// user's own, so that a hint at its code helps nobody.

// hintOfEvent returns what to do about a failure that an event tells of; empty: as with any server.
func hintOfEvent(profile config.Profile, ev *phoenix.Event) string {
	if profile != config.Supabase {
		return ""
	}
	switch d := ev.Detail.(type) {
	case *phoenix.JoinError:
		if d.Err != nil { // which says itself what to do
			return ""
		}
		return supabaseJoinHint(d)
	case *phoenix.PushTimeout:
		return "RLS: a broadcast on a private channel that the policies of realtime.messages deny is dropped without an answer;" +
			" else the join must ask for answers: config.broadcast.ack of the join params, which is true unless they say otherwise"
	case *phoenix.PushReply:
		if strings.Contains(string(ev.Payload.Data), "payload_size_exceeded") {
			return "the payload is larger than the project takes: send less at once (the limit is in the Realtime settings)"
		}
		return "the server refused the push: check the payload and, on a private channel, the RLS policies of realtime.messages"
	}
	return ""
}

// suited returns a failure, nil for none, with the hint that suits the profile.
func suited(f *exit.Error, profile config.Profile, ev *phoenix.Event) *exit.Error {
	if hint := hintOfEvent(profile, ev); f != nil && hint != "" {
		f.Hint = hint
	}
	return f
}

// supabaseJoinHints are by the code with which the reason of a refused join begins.
var supabaseJoinHints = map[string]string{
	"TopicNameRequired":         "a topic is realtime: and a name, for example realtime:room1",
	"MalformedJWT":              tokenHint,
	"JwtSignatureError":         tokenHint,
	"JwtSignerError":            "the project cannot check tokens: see the JWT keys in its settings",
	"InvalidJWTToken":           tokenHint,
	"Unauthorized":              "on a private channel RLS policies of realtime.messages decide: check them, and whose token it is (--auth-token-file, auth_token in a config file)",
	"PrivateOnly":               `the project allows private channels only: join with config.private in the join params, {"config":{"private":true}}`,
	"TenantNotFound":            "check the host in --uri: its first label is the project",
	"RealtimeDisabledForTenant": "switch Realtime on in the settings of the project",
	"UnableToReplayMessages":    "config.broadcast.replay is for private channels: since in milliseconds, and limit, at most 25",
	"ChannelRateLimitReached":   "the project allows so many channels on one socket: --max-channels-per-socket spreads them",

	"ClientJoinRateLimitReached": "all clients of the project together joined too fast: try again, or allow retries with --max-retries",
	"ConnectionRateLimitReached": "the project has as many clients as it may have: close others, or raise the limit in the Realtime settings",
	"IncreaseConnectionPool":     "raise the size of Realtime's connection pool in the settings of the project",
}

const (
	tokenHint = "check the token (--auth-token-file, auth_token in a config file): a JWT of the project, not expired, with role and exp"
	// passingHint is for what is not the fault of the join.
	passingHint = "the project is not ready, and may be soon: try again, or allow retries with --max-retries"
)

// supabaseJoinHint says what to do about a join that failed.
func supabaseJoinHint(err *phoenix.JoinError) string {
	switch err.Reason {
	case phoenix.JoinTimeout:
		return "allow more with --timeout; the status page of the project, or its Realtime logs, may have more"
	case phoenix.JoinUnmatchedTopic:
		return supabaseJoinHints["TopicNameRequired"]
	case phoenix.JoinRefused:
	default:
		return ""
	}
	var said struct{ Reason string }
	_ = err.Response.Decode(&said) // without a reason it is not known
	code, _, _ := strings.Cut(said.Reason, ":")
	if hint := supabaseJoinHints[code]; hint != "" {
		return hint
	}
	return passingHint
}

// supabaseLinkHint says what to do about a refused upgrade; empty: as with any server.
func supabaseLinkHint(c *config.Connection, err *phoenix.LinkError) string {
	if c.Profile != config.Supabase || err.Reason != phoenix.ReasonRefused || err.Proxy != "" || isPage(err.Body) {
		return ""
	}
	switch err.HTTPStatus {
	case http.StatusUnauthorized, http.StatusForbidden:
		if !c.HasAPIKey() {
			return "the key of the project is missing: --param apikey=@key.txt (params in a config file)"
		}
		return "check apikey (--param, params in a config file): the anon or publishable key of this very project"
	case http.StatusNotFound:
		return "there is no such project: the first label of the host in --uri is its name; one that runs elsewhere has its socket at another path, such as /socket"
	case http.StatusTooManyRequests:
		return "the project has as many clients as it may have, or they came too fast: wait, then try again"
	}
	return ""
}
