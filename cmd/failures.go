package cmd

import (
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"phx/phoenix"
)

// A cause is what is said about a reason: the exit code, what happened, and what to do next.
type cause struct {
	code int
	what string
	hint string
}

// linkCauses says it for every reason of a link that failed.
var linkCauses = map[phoenix.Reason]cause{
	phoenix.ReasonDNS:              {exitDNS, "the host name does not resolve", "check the host in --uri, and the network"},
	phoenix.ReasonConnectRefused:   {exitConnect, "nobody listens there", "start the server, or check host and port in --uri"},
	phoenix.ReasonUnreachable:      {exitConnect, "there is no way to the host", "check the host in --uri, and the network"},
	phoenix.ReasonTimeout:          {exitTimeout, "it took too long", "check host and port in --uri, or allow more with --connect-timeout"},
	phoenix.ReasonTLS:              {exitTLS, "the TLS handshake failed", "does the port speak TLS? a ws:// URI goes without"},
	phoenix.ReasonCertificate:      {exitCertificate, "the certificate was not accepted", "check the host in --uri; --cacert FILE, or SSL_CERT_FILE, trusts a CA of your own"},
	phoenix.ReasonRefused:          {exitRefused, "the server refused the upgrade", "see what the server logs about it"},
	phoenix.ReasonNotWebSocket:     {exitConnect, "what answers there does not speak WebSocket", "check the port and the path in --uri"},
	phoenix.ReasonClosedByRemote:   {exitConnect, "the server closed the connection", "see what the server logs about it"},
	phoenix.ReasonClosedByUs:       {exitConnect, "we closed the connection", "try again"},
	phoenix.ReasonReset:            {exitConnect, "the connection was reset", "check the port in --uri: does it want wss, or ws?"},
	phoenix.ReasonEOF:              {exitConnect, "the server hung up", "check the port in --uri: does it want wss, or ws?"},
	phoenix.ReasonHeartbeatTimeout: {exitConnect, "a heartbeat went unanswered", "check the network; --heartbeat-timeout allows more"},
	phoenix.ReasonProtocolError:    {exitConnect, "the server sent what WebSocket does not allow", "check what stands between: a proxy?"},
	phoenix.ReasonMessageTooBig:    {exitConnect, "a message was too big", "allow more with --max-message, or send less"},
}

// explainLink says what a link's error means; wasUp tells a link that was lost from one that was never there.
func explainLink(err *phoenix.LinkError, wasUp bool) cause {
	c, ok := linkCauses[err.Reason]
	if !ok {
		c = cause{exitConnect, string(err.Reason), "see more with -v"}
	}
	switch {
	case err.Proxy != "", err.Stage == phoenix.StageProxy:
		c = explainProxy(err, c)
	case err.Reason == phoenix.ReasonRefused:
		c.hint = explainRefusal(err, c.hint)
	case err.Reason == phoenix.ReasonTLS, err.Reason == phoenix.ReasonCertificate:
		c.hint = tlsHint(err, c.hint)
	default:
		c.hint = networkHint(err, c.hint)
	}
	if err.Proxy == "" {
		c = explainDial(err, c)
	}
	// A refusal is told by its own code, whenever it comes.
	refusal := err.Reason == phoenix.ReasonRefused || err.Reason == phoenix.ReasonCertificate && err.Stage != phoenix.StageSession
	if !refusal && (wasUp || err.Stage == phoenix.StageSession) {
		c.code = exitLinkLost
	}
	return c
}

// linkFailure is the failure of a link to address.
func linkFailure(address string, err *phoenix.LinkError, wasUp bool) *failure {
	c := explainLink(err, wasUp)
	message := "cannot connect to " + address
	if c.code == exitLinkLost {
		message = "lost the link to " + address
	}
	message += ": " + c.what
	if err.Stage != phoenix.StageSession {
		message += fmt.Sprintf(" (stage: %s)", err.Stage)
	}
	if detail := oneLine(err.Detail()); detail != "" {
		message += ": " + detail
	}
	if err.HTTPStatus == http.StatusNotFound {
		c.hint = pathHint(address, c.hint)
	}
	return &failure{code: c.code, message: message, hint: c.hint, err: err}
}

// joinHints says what to do about a join that failed.
var joinHints = map[phoenix.JoinReason]string{
	phoenix.JoinRefused:         "the channel's join/3 refused: check the topic and --join-params",
	phoenix.JoinTimeout:         "allow more with --timeout, or see what the server's join/3 is doing",
	phoenix.JoinUnmatchedTopic:  "the socket has no channel for this topic: check its spelling, and channel/2 in the server's socket",
	phoenix.JoinCrashed:         "the channel's join/3 crashed: see the server's log",
	phoenix.JoinTooManyChannels: "leave topics out, or join them on several connections",
}

// joinFailure is the failure of a join.
func joinFailure(err *phoenix.JoinError) *failure {
	if err.Err != nil { // the params, which say themselves what is wrong with them
		return &failure{code: exitCodeOf(err.Err), message: err.Err.Error(), hint: hintOf(err.Err), err: err}
	}
	message := fmt.Sprintf("cannot join %q: ", err.Topic)
	switch {
	case err.Reason == phoenix.JoinTimeout:
		message += "no answer in time"
	case err.Response.Data != nil && !err.Response.Binary:
		message += oneLine(string(err.Response.Data))
	default:
		message += string(err.Reason)
	}
	return &failure{code: exitCodeOfJoin(err.Reason), message: message, hint: joinHints[err.Reason], err: err}
}

// pushFailure is the failure of a push that can have no reply.
func pushFailure(err *phoenix.PushError) *failure {
	f := &failure{code: exitCodeOfPush(err.Reason), message: err.Error(), err: err,
		hint: "it may have reached the server: check before you send it again"}
	if err.Delivered == phoenix.DeliveredNo {
		f.hint = "it did not reach a channel: it is safe to send it again"
	}
	return f
}

// pushTimeoutFailure is the failure of a push without a reply.
func pushTimeoutFailure(topic, event string, err *phoenix.PushTimeout) *failure {
	return &failure{
		code:    exitTimeout,
		message: fmt.Sprintf("no reply to %q on %q in %v", event, topic, err.Timeout),
		hint:    "does the server's handle_in/3 reply to this event? allow more with --timeout",
		err:     err,
	}
}

// statusFailure is the failure of a push that was answered with another status than ok.
func statusFailure(topic, event string, reply *phoenix.PushReply, payload phoenix.Payload) *failure {
	message := fmt.Sprintf("%q on %q was answered with status %q", event, topic, reply.Status)
	if payload.Data != nil && !payload.Binary {
		message += ": " + oneLine(string(payload.Data))
	}
	return &failure{code: exitPushStatus, message: message, hint: "the channel's handle_in/3 said no: check the payload"}
}

// oneLine makes one short line of what a server sent.
func oneLine(text string) string {
	const limit = 300
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= limit {
		return text
	}
	cut := limit
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}
