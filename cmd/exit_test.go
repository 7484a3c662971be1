package cmd

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
)

// TestEveryExitCode has, for every row of the table, errors that lead to it.
func TestEveryExitCode(t *testing.T) {
	link := func(stage phoenix.Stage, reason phoenix.Reason) error {
		return linkFailure("ws://host/socket", &phoenix.LinkError{Stage: stage, Reason: reason}, stage == phoenix.StageSession)
	}
	_, compileErr := (&outputOptions{}).compileFilter("--jq", ".[", nil)
	errs := map[exit.Code][]error{
		exit.OK:        {nil},
		exit.Failure:   {errors.New("anything"), &exit.Error{Code: exit.Failure}},
		exit.Usage:     {exit.Usagef("", "wrong")},
		exit.JQCompile: {compileErr},
		exit.NoOutput:  {(&renderer{exitStatus: true}).result()},
		exit.JQRun:     {(&renderer{errors: recordErrors{count: 1}}).result()},
		exit.DNS:       {link(phoenix.StageDNS, phoenix.ReasonDNS)},
		exit.Connect: {
			link(phoenix.StageTCP, phoenix.ReasonConnectRefused), link(phoenix.StageTCP, phoenix.ReasonUnreachable),
			link(phoenix.StageUpgrade, phoenix.ReasonReset), link(phoenix.StageUpgrade, phoenix.ReasonEOF),
			link(phoenix.StageUpgrade, phoenix.ReasonNotWebSocket), link(phoenix.StageTCP, "a reason of the future"),
		},
		exit.Refused: {link(phoenix.StageUpgrade, phoenix.ReasonRefused), linkFailure("", &phoenix.LinkError{Reason: phoenix.ReasonRefused, HTTPStatus: 403}, false)},
		exit.Write:   {writeError(syscall.ENOSPC)},
		exit.Read:    {&exit.Error{Code: exit.Read}, &phoenix.LinkError{Stage: phoenix.StageCredentials, Err: &exit.Error{Code: exit.Read}}},
		exit.Timeout: {
			link(phoenix.StageTCP, phoenix.ReasonTimeout), maxTimeError(time.Second), &phoenix.PushTimeout{},
			&phoenix.JoinError{Reason: phoenix.JoinTimeout}, pushTimeoutFailure("t", "e", &phoenix.PushTimeout{}),
		},
		exit.TLS: {link(phoenix.StageTLS, phoenix.ReasonTLS)},
		exit.LinkLost: {
			link(phoenix.StageSession, phoenix.ReasonEOF), link(phoenix.StageSession, phoenix.ReasonHeartbeatTimeout),
			linkFailure("", &phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused}, true),
			// A refusal that comes later is another fact than the first.
			linkFailure("", &phoenix.LinkError{Reason: phoenix.ReasonRefused, HTTPStatus: 403}, true),
			linkFailure("", &phoenix.LinkError{Stage: phoenix.StageTLS, Reason: phoenix.ReasonCertificate}, true),
			pushFailure(&phoenix.PushError{Reason: phoenix.PushDisconnected}), &phoenix.PushError{Reason: phoenix.PushCancelled},
		},
		exit.Certificate: {link(phoenix.StageTLS, phoenix.ReasonCertificate)},
		exit.Join:        {&phoenix.JoinError{Reason: phoenix.JoinRefused}, joinFailure(&phoenix.JoinError{Reason: phoenix.JoinUnmatchedTopic})},
		exit.PushStatus:  {statusFailure("t", "e", &phoenix.PushReply{Status: "error"}, phoenix.Payload{})},
		exit.Channel: {
			pushFailure(&phoenix.PushError{Reason: phoenix.PushChannelCrashed}), &phoenix.PushError{Reason: phoenix.PushChannelClosed},
			&phoenix.PushError{Reason: phoenix.PushNotJoined},
		},
		exit.Hangup:    {exit.Killed(syscall.SIGHUP)},
		exit.Interrupt: {exit.Killed(syscall.SIGINT)},
		exit.Pipe:      {writeError(fmt.Errorf("write: %w", syscall.EPIPE))},
		exit.Terminate: {exit.Killed(syscall.SIGTERM)},
	}
	for _, row := range exit.Table {
		if len(errs[row.Code]) == 0 {
			t.Errorf("no error leads to exit code %d (%s)", row.Code, row.Name)
		}
		for _, err := range errs[row.Code] {
			if got := codeOf(err); got != row.Code {
				t.Errorf("%v: exit code %d, want %d (%s)", err, got, row.Code, row.Name)
			}
			if err != nil && codeOf(fmt.Errorf("wrapped: %w", err)) != row.Code {
				t.Errorf("%v: another exit code when wrapped", err)
			}
		}
		delete(errs, row.Code)
	}
	for code := range errs {
		t.Errorf("exit code %d is not in the table", code)
	}
}

func TestFirstFailureCounts(t *testing.T) {
	join := joinFailure(&phoenix.JoinError{Reason: phoenix.JoinRefused})
	push := pushFailure(&phoenix.PushError{Reason: phoenix.PushChannelCrashed})
	if got := codeOf(errors.Join(join, push)); got != exit.Join {
		t.Errorf("exit code %d", got)
	}
	if got := codeOf(errors.Join(push, join)); got != exit.Channel {
		t.Errorf("exit code %d", got)
	}
}

func TestEveryLinkReasonIsExplained(t *testing.T) {
	reasons := []phoenix.Reason{
		phoenix.ReasonDNS, phoenix.ReasonConnectRefused, phoenix.ReasonUnreachable, phoenix.ReasonTimeout, phoenix.ReasonTLS,
		phoenix.ReasonCertificate, phoenix.ReasonRefused, phoenix.ReasonNotWebSocket, phoenix.ReasonClosedByRemote,
		phoenix.ReasonClosedByUs, phoenix.ReasonReset, phoenix.ReasonEOF, phoenix.ReasonHeartbeatTimeout,
		phoenix.ReasonProtocolError, phoenix.ReasonMessageTooBig,
	}
	for _, reason := range reasons {
		if c := linkCauses[reason]; c.what == "" || c.hint == "" {
			t.Errorf("%s is not explained", reason)
		}
	}
}
