package cmd

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"phx/phoenix"
)

// refusalHints says what an HTTP status usually means when it comes from a Phoenix endpoint.
var refusalHints = map[int]string{
	200: "a web server answers there, and no socket: check the path in --uri (endpoint.ex: socket \"/socket\")",
	400: "is there a proxy between that does not pass an upgrade on?",
	401: "the socket's connect/3 wants other credentials: check --param and --auth-token-file",
	403: "the socket's connect/3 refused: check --param and --auth-token-file, then --vsn, then an Origin header",
	404: "there is no socket at this path: check the path in --uri (endpoint.ex: socket \"/socket\")",
	426: "the server wants another protocol than WebSocket 13 over HTTP/1.1: check the path in --uri",
	429: "too many connections: wait, then try again",
	502: "the proxy in front does not reach the server: is it up?",
	503: "the server is not ready: wait, then try again",
	504: "the proxy in front waits in vain for the server: is it up?",
}

// explainRefusal says what to do about an HTTP answer other than 101.
func explainRefusal(err *phoenix.LinkError, otherwise string) string {
	hint, ok := refusalHints[err.HTTPStatus]
	switch {
	case err.Location != "":
		return "a redirect is not followed: give --uri the address it points to, if that is a socket"
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
