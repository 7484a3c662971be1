package cmd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
)

// A cause explains a reason: the exit code, what happened, and what to do next.
type cause struct {
	code exit.Code
	what string
	hint string
}

// linkCauses has the cause for every reason of a link that failed.
var linkCauses = map[phoenix.Reason]cause{
	phoenix.ReasonDNS:              {exit.DNS, "the host name does not resolve", "check the host in --uri, and the network"},
	phoenix.ReasonConnectRefused:   {exit.Connect, "nobody listens there", "start the server, or check host and port in --uri"},
	phoenix.ReasonUnreachable:      {exit.Connect, "there is no way to the host", "check the host in --uri, and the network"},
	phoenix.ReasonTimeout:          {exit.Timeout, "it took too long", "check host and port in --uri, or allow more with --connect-timeout"},
	phoenix.ReasonTLS:              {exit.TLS, "the TLS handshake failed", "does the port speak TLS? a ws:// URI goes without"},
	phoenix.ReasonCertificate:      {exit.Certificate, "the certificate was not accepted", "check the host in --uri; --cacert FILE, or SSL_CERT_FILE, trusts a CA of your own"},
	phoenix.ReasonRefused:          {exit.Refused, "the server refused the upgrade", "see what the server logs about it"},
	phoenix.ReasonNotWebSocket:     {exit.Connect, "what answers there does not speak WebSocket", "check the port and the path in --uri"},
	phoenix.ReasonClosedByRemote:   {exit.Connect, "the server closed the connection", "see what the server logs about it"},
	phoenix.ReasonClosedByUs:       {exit.Connect, "we closed the connection", "try again"},
	phoenix.ReasonReset:            {exit.Connect, "the connection was reset", "check the port in --uri: does it want wss, or ws?"},
	phoenix.ReasonEOF:              {exit.Connect, "the server hung up", "check the port in --uri: does it want wss, or ws?"},
	phoenix.ReasonHeartbeatTimeout: {exit.Connect, "a heartbeat went unanswered", "check the network; --heartbeat-timeout allows more"},
	phoenix.ReasonProtocolError:    {exit.Connect, "the server sent what WebSocket does not allow", "check what stands between: a proxy?"},
	phoenix.ReasonMessageTooBig:    {exit.Connect, "a message of the server was too big", "allow more with --max-message"},
	phoenix.ReasonLeaseLost:        {exit.LinkLost, "another phx serve may run the connection", "see in `phx ctl list` who runs it"},
	phoenix.ReasonNoDescriptors:    {exit.Connect, "no file descriptor was left", "allow more: ulimit -n, or LimitNOFILE= of systemd"},
}

// explainLink says what a link's error means; wasUp: there was a session before, so the link was lost.
func explainLink(err *phoenix.LinkError, wasUp bool) cause {
	c, ok := linkCauses[err.Reason]
	if !ok {
		c = cause{exit.Connect, string(err.Reason), "see more with -v"}
	}
	switch {
	case err.Proxy != "", err.Stage == phoenix.StageProxy:
		c = explainProxy(err, c)
	case err.Reason == phoenix.ReasonRefused:
		c.hint = explainRefusal(err, c.hint)
	case err.Reason == phoenix.ReasonTLS, err.Reason == phoenix.ReasonCertificate:
		c.hint = tlsHint(err, c.hint)
	case err.Reason == phoenix.ReasonMessageTooBig && err.Code != 0:
		c.what = "a message was too big for the server"
		c.hint = sizeHint(err.Unanswered)
	case err.Silence > 0:
		c.hint = idleHint(err.Code, err.Silence, intervalFlag)
	case err.Stage == phoenix.StageSession && (err.Reason == phoenix.ReasonEOF || err.Reason == phoenix.ReasonReset):
		// The upgrade had succeeded: the port and the scheme are right.
		c.hint = "see the server's log: did it restart?"
		if err.Unanswered > phoenixFrame {
			c.hint = sizeHint(err.Unanswered)
		}
	default:
		c.hint = networkHint(err, c.hint)
	}
	if err.Proxy == "" {
		c = explainDial(err, c)
	}
	// A refusal of what was up before is the last failure of an outage, and no answer to what was asked.
	if wasUp || err.Stage == phoenix.StageSession {
		c.code = exit.LinkLost
	}
	return c
}

// phoenixFrame is how large a message a server of Phoenix takes unless it is told otherwise, in bytes (PROTOCOL.md, section 9).
const phoenixFrame = 10_000_000

// sizeHint says what to do about a message that is too large for the server.
func sizeHint(size int) string {
	if size > phoenixFrame {
		return fmt.Sprintf("Phoenix takes %d bytes a message, and one had %d: send less at once, or give the socket a larger max_frame_size (endpoint.ex)", phoenixFrame, size)
	}
	return "send less at once, or give the socket a larger max_frame_size (endpoint.ex)"
}

// idleHint says what to do about a server, or a proxy, that has ended a session with a close code, 0 being none, when nothing had been
// sent for a time. interval writes the option for a time between heartbeats.
func idleHint(code int, silence time.Duration, interval func(time.Duration) string) string {
	const bandit = 1002 // of 1000, which Cowboy sends, that is not certain: servers and proxies end with it, too (rule 13)
	unit := time.Second
	if silence < 4*time.Second {
		unit = 100 * time.Millisecond
	}
	option := interval((silence / 2).Truncate(unit))
	silence = silence.Round(100 * time.Millisecond)
	if code == bandit {
		return fmt.Sprintf("the server closes a socket on which nothing comes for %v: give %s", silence, option)
	}
	return fmt.Sprintf("did the server restart, or does it, or a proxy between, close what is idle for %v? then give %s", silence, option)
}

// intervalFlag and intervalKey write the time between heartbeats as commands take it, and as the config file of serve does.
func intervalFlag(d time.Duration) string { return fmt.Sprintf("--heartbeat-interval %v", d) }
func intervalKey(d time.Duration) string {
	return fmt.Sprintf("heartbeat_interval_msec: %d", d.Milliseconds())
}

// linkFailure is the failure of a link to address.
func linkFailure(address string, err *phoenix.LinkError, wasUp bool) *exit.Error {
	c := explainLink(err, wasUp)
	message := "cannot connect to " + address
	if c.code == exit.LinkLost {
		message = "lost the link to " + address
	}
	message += ": " + c.what
	if err.Stage != phoenix.StageSession {
		message += fmt.Sprintf(" (stage: %s)", err.Stage)
	}
	if detail := oneLine(err.Detail()); detail != "" {
		message += ": " + detail
	}
	switch {
	case err.HTTPStatus == http.StatusNotFound && !isPage(err.Body):
		c.hint = pathHint(address, c.hint)
	}
	return &exit.Error{Code: c.code, Message: message, Hint: c.hint, Err: err}
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
func joinFailure(err *phoenix.JoinError) *exit.Error {
	if err.Err != nil { // the params, which say themselves what is wrong with them
		return &exit.Error{Code: codeOf(err.Err), Message: err.Err.Error(), Hint: hintOf(err.Err), Err: err}
	}
	message := fmt.Sprintf("cannot join %q: ", err.Topic)
	switch {
	case err.Reason == phoenix.JoinTimeout:
		message += "no answer in time"
	case err.Said() != "":
		message += err.Said()
	default:
		message += string(err.Reason)
	}
	return &exit.Error{Code: codeOfJoin(err.Reason), Message: message, Hint: joinHints[err.Reason], Err: err}
}

// pushFailure is the failure of a push that can have no reply.
func pushFailure(err *phoenix.PushError) *exit.Error {
	f := &exit.Error{Code: codeOfPush(err.Reason), Message: err.Error(), Err: err,
		Hint: "it may have reached the server: check before you send it again"}
	switch {
	case err.TooBig, err.Reason == phoenix.PushDisconnected && err.Size > phoenixFrame:
		f.Hint = sizeHint(err.Size)
	case err.Delivered == phoenix.DeliveredNo:
		f.Hint = "it did not reach a channel: it is safe to send it again"
	}
	return f
}

// pushTimeoutFailure is the failure of a push without a reply.
func pushTimeoutFailure(topic, event string, err *phoenix.PushTimeout) *exit.Error {
	return &exit.Error{
		Code:    exit.Timeout,
		Message: fmt.Sprintf("no reply to %q on %q in %v", event, topic, err.Timeout),
		Hint:    "does the server's handle_in/3 reply to this event? allow more with --timeout",
		Err:     err,
	}
}

// statusFailure is the failure of a push that was answered with another status than ok.
func statusFailure(topic, event string, reply *phoenix.PushReply, payload phoenix.Payload) *exit.Error {
	message := fmt.Sprintf("%q on %q was answered with %s", event, topic, reply.Said(payload))
	return &exit.Error{Code: exit.PushStatus, Message: message, Hint: "the channel's handle_in/3 refused the push: check the payload"}
}

// oneLine returns an excerpt of what a server or a program said.
func oneLine(text string) string { return phoenix.Excerpt(text, 300) }

// refusalHints says what an HTTP status usually means when it comes from a Phoenix endpoint.
var refusalHints = map[int]string{
	200: "a web server answers there, and no socket: check the path in --uri (endpoint.ex: socket \"/socket\")",
	400: "is there a proxy between that does not pass an upgrade on?",
	401: "the socket's connect/3 wants other credentials: check --param and --auth-token-file",
	403: "the socket's connect/3 refused: check --param and --auth-token-file, then --vsn, then an Origin header",
	404: "there is no socket at this path: check the path in --uri (endpoint.ex: socket \"/socket\")",
	426: "the server wants another protocol than WebSocket 13 over HTTP/1.1: check the path in --uri",
	429: "too many connections: wait, then try again",
	413: tooLongHint,
	414: tooLongHint,
	431: tooLongHint,
	502: "the proxy in front does not reach the server: is it up?",
	503: "the server is not ready: wait, then try again",
	504: "the proxy in front waits in vain for the server: is it up?",
}

// tooLongHint is for a request that has too much in it.
const tooLongHint = "the token, a param or a header is too long for the server: send less, or let it take more"

// isPage reports whether the body of a refusal is a page of HTML, which neither connect/3 nor an endpoint of Phoenix without one
// answers.
func isPage(body string) bool {
	body = strings.ToLower(body)
	return strings.Contains(body, "<html") || strings.Contains(body, "<!doctype html")
}

// explainRefusal says what to do about an HTTP answer other than 101.
func explainRefusal(err *phoenix.LinkError, otherwise string) string {
	hint, ok := refusalHints[err.HTTPStatus]
	switch {
	case err.Location != "":
		return "a redirect is not followed: give --uri the address it points to, if that is a socket"
	case err.HTTPStatus == http.StatusForbidden && isPage(err.Body):
		return "a page of HTML is no answer of connect/3: does a proxy or a firewall in front refuse, or a login page answer?"
	case err.HTTPStatus == http.StatusNotFound && isPage(err.Body):
		return "a page of HTML comes from a proxy or another web server: check host and path in --uri, and where the proxy sends them"
	case err.HTTPStatus == http.StatusBadRequest && strings.Contains(strings.ToLower(err.Body), "too large"):
		return tooLongHint // nginx: Request Header Or Cookie Too Large
	case ok && err.RetryAfter > 0:
		return strings.Replace(hint, "wait,", fmt.Sprintf("wait %v (Retry-After),", err.RetryAfter.Round(time.Second)), 1)
	case ok:
		return hint
	case err.HTTPStatus >= 500:
		return "the server failed: see its log"
	}
	return otherwise
}

// pathHint says what is wrong with the path of an address where there is no socket, if that can be seen.
func pathHint(address, otherwise string) string {
	u, err := url.Parse(address)
	if err != nil {
		return otherwise
	}
	switch path := strings.TrimSuffix(u.Path, "/"); {
	case strings.HasSuffix(path, "/websocket/websocket"):
		return "the path in --uri has /websocket twice: leave it out, it is appended"
	case path == "" || path == "/websocket":
		return "the path in --uri does not name a socket: most are at /socket (endpoint.ex: socket \"/socket\")"
	}
	return otherwise
}

// timeoutHints says what a stage that took too long usually means.
var timeoutHints = map[phoenix.Stage]string{
	phoenix.StageCredentials: "reading the credentials took that long: is a file a pipe that nobody writes to?",
	phoenix.StageDNS:         "the name server does not answer: check the network",
	phoenix.StageTCP:         "nothing answers at host and port of --uri, not even to refuse: is there a firewall between?",
	phoenix.StageTLS:         "what listens there does not answer TLS: does the port speak it? a ws:// URI goes without",
	phoenix.StageUpgrade:     "what listens there takes the request and does not answer: does the port want wss://? is connect/3 slow?",
}

// spokenHints says what to do about a server that turned out to speak something else.
var spokenHints = map[phoenix.Protocol]string{
	phoenix.ProtocolTLS:   "the port speaks TLS: give --uri as wss://",
	phoenix.ProtocolHTTP:  "does the port speak TLS? it answers in plain HTTP: a ws:// URI goes without",
	phoenix.ProtocolHTTP2: "the server speaks HTTP/2 only, and WebSocket begins with HTTP/1.1: let it speak that, too, or check the port in --uri",
	phoenix.ProtocolSSH:   "an SSH server answers there: check the port in --uri",
	phoenix.ProtocolEcho:  "the server sends back what it is sent: check the port in --uri",
}

// explainDial refines what a failure means by the stage of the dial and by what answered.
func explainDial(err *phoenix.LinkError, c cause) cause {
	var dns *net.DNSError
	switch {
	case err.Stage == phoenix.StageCredentials && hintOf(err.Err) != "": // a file or a command, of which nothing has gone out yet
		c = cause{codeOf(err.Err), "the credentials cannot be had", hintOf(err.Err)}
	case err.Spoken != "":
		c.hint = spokenHints[err.Spoken]
	case err.Reason == phoenix.ReasonTimeout && timeoutHints[err.Stage] != "":
		c.hint = timeoutHints[err.Stage] + " --connect-timeout allows more"
	case errors.As(err, &dns) && !dns.IsNotFound:
		c.hint = "the name server failed: check the network, or try again"
	case errors.Is(err, phoenix.ErrSubprotocol):
		c.what = "the upgrade went wrong"
		c.hint = "that is a WebSocket server, and not one of Phoenix: check the port and the path in --uri"
	case errors.Is(err, phoenix.ErrHandshake):
		c.what = "the upgrade went wrong"
		c.hint = "check what stands between: does a proxy or a cache answer for the server?"
	}
	return c
}

// explainProxy says what a failure at a proxy means; c is what it means without one.
func explainProxy(err *phoenix.LinkError, c cause) cause {
	c.hint = "check --proxy, or HTTPS_PROXY and HTTP_PROXY in the environment; NO_PROXY names hosts to go to without"
	if err.Reason != phoenix.ReasonRefused {
		return c
	}
	c.what = "the proxy refused"
	switch {
	case err.HTTPStatus == http.StatusProxyAuthRequired:
		c.hint = "the proxy wants a user and a password: http://USER:PASSWORD@HOST:PORT in --proxy or HTTPS_PROXY"
	case err.HTTPStatus >= http.StatusInternalServerError:
		c.hint = "the proxy does not reach the server: check the host in --uri, or see the proxy's log"
	}
	return c
}

// networkHint says what to do about a server that could not be reached in another way than that of --uri.
func networkHint(err *phoenix.LinkError, otherwise string) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Net == "unix" && err.Stage == phoenix.StageTCP {
		return "start the server, or check the path given with --unix-socket"
	}
	return otherwise
}

// tlsHint says what to do about a failure of TLS or of a certificate.
func tlsHint(err *phoenix.LinkError, otherwise string) string {
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		alert     *net.OpError
	)
	switch {
	case errors.As(err, &host):
		return "check the host in --uri, or say with --server-name which name the certificate must have"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the server's certificate, or check this machine's clock"
	case errors.As(err, &authority):
		return "--cacert FILE, or SSL_CERT_FILE, trusts a CA of your own"
	case errors.As(err, &alert) && alert.Op == "remote error":
		return alertHint(alert)
	case err.Err != nil && strings.Contains(err.Err.Error(), "unsupported protocol version"):
		return oldTLSHint
	}
	return otherwise
}

// oldTLSHint is for a server that has no TLS that is safe.
const oldTLSHint = "the server speaks only TLS 1.1 or older, which is not safe any more: let it speak TLS 1.2"

// alertHint says what to do about what the server said of a handshake (RFC 8446, section 6). crypto/tls has no type for it that
// can be named, but its texts.
func alertHint(err error) string {
	const protocolVersion, unrecognizedName = tls.AlertError(70), tls.AlertError(112)
	switch text := err.Error(); {
	case strings.HasSuffix(text, protocolVersion.Error()):
		return oldTLSHint
	case strings.HasSuffix(text, unrecognizedName.Error()):
		return "the server does not know the host: check the host in --uri, or --server-name"
	}
	return "the server said so: does it want a client certificate? --cert and --key show one"
}
