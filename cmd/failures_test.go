package cmd

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"phx/phoenix"
)

func TestLinkFailureMessages(t *testing.T) {
	tests := []struct {
		err   phoenix.LinkError
		wasUp bool
		want  string
		hint  string
	}{
		{phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused, Err: syscall.ECONNREFUSED}, false,
			"cannot connect to ws://h: nobody listens there (stage: tcp): connection refused", "start the server"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 403}, false,
			"cannot connect to ws://h: the server refused the upgrade (stage: upgrade): HTTP status 403", "connect/3 refused: check --param"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 404, Body: "not\n\nfound"}, false,
			"cannot connect to ws://h: the server refused the upgrade (stage: upgrade): HTTP status 404: not found", "does not name a socket"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 302, Location: "/login"}, false,
			"cannot connect to ws://h: the server refused the upgrade (stage: upgrade): HTTP status 302 to /login", "a redirect is not followed"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 502}, false,
			"cannot connect to ws://h: the server refused the upgrade (stage: upgrade): HTTP status 502", "does not reach the server"},
		{phoenix.LinkError{Stage: phoenix.StageUpgrade, Reason: phoenix.ReasonRefused, HTTPStatus: 418}, false,
			"cannot connect to ws://h: the server refused the upgrade (stage: upgrade): HTTP status 418", "server logs"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonTimeout}, false,
			"cannot connect to ws://h: it took too long (stage: tls)", "--connect-timeout"},
		{phoenix.LinkError{Stage: phoenix.StageSession, Reason: phoenix.ReasonClosedByRemote, Code: 1001}, true,
			"lost the link to ws://h: the server closed the connection: close code 1001", "server logs"},
		{phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused}, true,
			"lost the link to ws://h: nobody listens there (stage: tcp)", "start the server"},
		{phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonCertificate}, true,
			"cannot connect to ws://h: the certificate was not accepted (stage: tls)", "SSL_CERT_FILE"},
	}
	for _, tt := range tests {
		f := linkFailure("ws://h", &tt.err, tt.wasUp)
		if f.Error() != tt.want || !strings.Contains(f.Hint(), tt.hint) {
			t.Errorf("got %s\n    %s\nwant %s\n    %s", f.Error(), f.Hint(), tt.want, tt.hint)
		}
	}
}

func TestJoinFailureMessages(t *testing.T) {
	refused := &phoenix.JoinError{Topic: "room:a", Reason: phoenix.JoinRefused, Response: phoenix.JSON(`{"reason":"no"}`)}
	timeout := &phoenix.JoinError{Topic: "room:a", Reason: phoenix.JoinTimeout}
	full := &phoenix.JoinError{Topic: "room:a", Reason: phoenix.JoinTooManyChannels, Response: phoenix.Binary(nil)}
	for err, want := range map[*phoenix.JoinError]string{
		refused: `cannot join "room:a": {"reason":"no"}`,
		timeout: `cannot join "room:a": no answer in time`,
		full:    `cannot join "room:a": too_many_channels`,
	} {
		if f := joinFailure(err); f.Error() != want || f.Hint() == "" || !errors.Is(f, err) {
			t.Errorf("got %q, hint %q; want %q", f.Error(), f.Hint(), want)
		}
	}
}

func TestPushFailureMessages(t *testing.T) {
	no := pushFailure(&phoenix.PushError{Topic: "t", Name: "e", Reason: phoenix.PushDisconnected, Delivered: phoenix.DeliveredNo})
	unknown := pushFailure(&phoenix.PushError{Topic: "t", Name: "e", Reason: phoenix.PushChannelCrashed, Delivered: phoenix.DeliveredUnknown})
	if !strings.Contains(no.Hint(), "safe") || strings.Contains(unknown.Hint(), "safe") {
		t.Errorf("hints: %q, %q", no.Hint(), unknown.Hint())
	}
	late := pushTimeoutFailure("t", "e", &phoenix.PushTimeout{Timeout: time.Second})
	if want := `no reply to "e" on "t" in 1s`; late.Error() != want {
		t.Errorf("got %q", late.Error())
	}
	status := statusFailure("t", "e", &phoenix.PushReply{Status: "error"}, phoenix.JSON(`{"reason":"bad"}`))
	if want := `"e" on "t" was answered with status "error": {"reason":"bad"}`; status.Error() != want {
		t.Errorf("got %q", status.Error())
	}
}

func TestWriteError(t *testing.T) {
	if writeError(nil) != nil {
		t.Error("an error out of nothing")
	}
	err := writeError(&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC})
	if want := "cannot write the output: no space left on device"; err.Error() != want || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %q", err)
	}
	if sig, ok := killed(writeError(syscall.EPIPE)); !ok || sig != syscall.SIGPIPE {
		t.Errorf("a closed pipe leads to %v, %v", sig, ok)
	}
}

func TestOneLine(t *testing.T) {
	if got := oneLine(" <p>\r\n\tNo </p>\n"); got != "<p> No </p>" {
		t.Errorf("got %q", got)
	}
	long := oneLine(strings.Repeat("ä", 200))
	if want := strings.Repeat("ä", 150) + "..."; long != want {
		t.Errorf("got %q", long)
	}
	if odd := oneLine("x" + strings.Repeat("ä", 200)); !strings.HasSuffix(odd, "ä...") || strings.Contains(odd, "\ufffd") {
		t.Errorf("got %q", odd)
	}
}
