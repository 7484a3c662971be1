package cmd

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
)

// Each way in which a dial fails has an exit code, and a hint of its own.
func TestDialFailureHints(t *testing.T) {
	refused := func(status int) phoenix.LinkError {
		return phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: status}
	}
	timeout := func(stage phoenix.Stage) phoenix.LinkError {
		return phoenix.LinkError{Stage: stage, Reason: phoenix.ReasonTimeout}
	}
	spoken := func(p phoenix.Protocol) phoenix.LinkError {
		return phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonNotWebSocket, Spoken: p}
	}
	moved := refused(308)
	moved.Location = "https://elsewhere.test/socket"
	wait, later := refused(429), refused(503)
	wait.RetryAfter, later.RetryAfter = 7*time.Second, time.Minute
	for _, tt := range []struct {
		err  phoenix.LinkError
		code int
		hint string
	}{
		{refused(200), exitRefused, "a web server"},
		{refused(400), exitRefused, "a proxy"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 400, Spoken: phoenix.ProtocolTLS}, exitRefused, "wss://"},
		{refused(401), exitRefused, "--auth-token-file"},
		{refused(403), exitRefused, "then --vsn, then an Origin header"},
		{refused(404), exitRefused, "check the path"},
		{refused(426), exitRefused, "another protocol"},
		{refused(429), exitRefused, "too many connections: wait, then"},
		{wait, exitRefused, "wait 7s (Retry-After), then"},
		{refused(500), exitRefused, "see its log"},
		{refused(502), exitRefused, "the proxy in front"},
		{later, exitRefused, "wait 1m0s (Retry-After), then"},
		{moved, exitRefused, "a redirect is not followed"},
		{timeout(phoenix.StageCredentials), exitTimeout, "a pipe"},
		{timeout(phoenix.StageDNS), exitTimeout, "the name server"},
		{timeout(phoenix.StageTCP), exitTimeout, "a firewall"},
		{timeout(phoenix.StageTLS), exitTimeout, "does the port speak it?"},
		{timeout(phoenix.StageUpgrade), exitTimeout, "connect/3 slow? --connect-timeout allows more"},
		{spoken(phoenix.ProtocolTLS), exitConnect, "wss://"},
		{spoken(phoenix.ProtocolHTTP2), exitConnect, "HTTP/2 only"},
		{spoken(phoenix.ProtocolSSH), exitConnect, "SSH"},
		{spoken(phoenix.ProtocolEcho), exitConnect, "sends back"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonTLS, Spoken: phoenix.ProtocolHTTP}, exitTLS, "ws:// URI"},
		{phoenix.LinkError{Stage: phoenix.StageDNS, Reason: phoenix.ReasonDNS, Err: &net.DNSError{IsNotFound: true}}, exitDNS, "check the host"},
		{phoenix.LinkError{Stage: phoenix.StageDNS, Reason: phoenix.ReasonDNS, Err: &net.DNSError{}}, exitDNS, "the name server failed"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonNotWebSocket, Err: fmt.Errorf("%w: x", phoenix.ErrSubprotocol)}, exitConnect, "not one of Phoenix"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonNotWebSocket, Err: phoenix.ErrHandshake}, exitConnect, "a cache"},
	} {
		f := linkFailure("ws://h/socket", &tt.err, false)
		if f.code != tt.code || !strings.Contains(f.hint, tt.hint) {
			t.Errorf("%+v: exit code %d, hint %q; want %d, %q", tt.err, f.code, f.hint, tt.code, tt.hint)
		}
		if stage := fmt.Sprintf(" (stage: %s)", tt.err.Stage); !strings.Contains(f.message, stage) {
			t.Errorf("%q does not name its stage, %s", f.message, tt.err.Stage)
		}
	}
}

func TestPathHints(t *testing.T) {
	for address, want := range map[string]string{
		"ws://h/socket":                     "else",
		"ws://h/socket/websocket":           "else",
		"ws://h/socket/websocket/websocket": "twice",
		"ws://h":                            "most are at /socket",
		"ws://h/":                           "most are at /socket",
		"ws://h/websocket":                  "most are at /socket",
		":":                                 "else",
	} {
		if got := pathHint(address, "else"); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// A session that ends before its first heartbeat is answered may be one of another kind of server.
func TestNotPhoenix(t *testing.T) {
	overdue := linkFailure("ws://h/socket", &phoenix.LinkError{Stage: phoenix.StageSession, Reason: phoenix.ReasonHeartbeatTimeout}, true)
	err := notPhoenix("ws://h/socket", overdue)
	if want := "connected to ws://h/socket, but nothing answers a heartbeat"; err.Error() != want {
		t.Errorf("got %q", err)
	}
	if exitCodeOf(err) != exitLinkLost || !strings.Contains(hintOf(err), "--heartbeat-timeout") {
		t.Errorf("exit code %d, hint %q", exitCodeOf(err), hintOf(err))
	}
	closed := linkFailure("ws://h/socket", &phoenix.LinkError{Stage: phoenix.StageSession, Reason: phoenix.ReasonClosedByRemote, Code: 1003}, true)
	err = notPhoenix("ws://h/socket", closed)
	want := "connected to ws://h/socket, but before a heartbeat was answered: the server closed the connection: close code 1003"
	if err.Error() != want || exitCodeOf(err) != exitLinkLost {
		t.Errorf("got %q, exit code %d", err, exitCodeOf(err))
	}
	for _, other := range []error{
		errors.New("x"),
		linkFailure("ws://h", &phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused}, true),
	} {
		if got := notPhoenix("ws://h", other); got != other {
			t.Errorf("%v became %v", other, got)
		}
	}
}
