package cmd

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"phx/cmd/config"
	"phx/phoenix"
)

// TestEveryExitCode has, for every row of the table, errors that lead to it.
func TestEveryExitCode(t *testing.T) {
	link := func(stage phoenix.Stage, reason phoenix.Reason) error {
		return linkFailure("ws://host/socket", &phoenix.LinkError{Stage: stage, Reason: reason}, stage == phoenix.StageSession)
	}
	_, compileErr := compileFilter("--jq", ".[")
	errs := map[int][]error{
		exitOK:        {nil},
		exitFailure:   {errors.New("anything"), &failure{code: exitFailure}},
		exitUsage:     {usageError("", "wrong"), &config.UsageError{}},
		exitJQCompile: {compileErr},
		exitNoOutput:  {(&renderer{exitStatus: true}).result()},
		exitJQRun:     {(&renderer{jqErrors: 1}).result()},
		exitDNS:       {link(phoenix.StageDNS, phoenix.ReasonDNS)},
		exitConnect: {
			link(phoenix.StageTCP, phoenix.ReasonConnectRefused), link(phoenix.StageTCP, phoenix.ReasonUnreachable),
			link(phoenix.StageUpgrade, phoenix.ReasonReset), link(phoenix.StageUpgrade, phoenix.ReasonEOF),
			link(phoenix.StageUpgrade, phoenix.ReasonNotWebSocket), link(phoenix.StageTCP, "a reason of the future"),
		},
		exitRefused: {link(phoenix.StageUpgrade, phoenix.ReasonRefused), linkFailure("", &phoenix.LinkError{Reason: phoenix.ReasonRefused, HTTPStatus: 403}, true)},
		exitWrite:   {writeError(syscall.ENOSPC)},
		exitRead:    {&config.ReadError{Err: io.ErrUnexpectedEOF}, &phoenix.LinkError{Stage: phoenix.StageCredentials, Err: &config.ReadError{}}},
		exitTimeout: {
			link(phoenix.StageTCP, phoenix.ReasonTimeout), maxTimeError(time.Second), &phoenix.PushTimeout{},
			&phoenix.JoinError{Reason: phoenix.JoinTimeout}, pushTimeoutFailure("t", "e", &phoenix.PushTimeout{}),
		},
		exitTLS: {link(phoenix.StageTLS, phoenix.ReasonTLS)},
		exitLinkLost: {
			link(phoenix.StageSession, phoenix.ReasonEOF), link(phoenix.StageSession, phoenix.ReasonHeartbeatTimeout),
			linkFailure("", &phoenix.LinkError{Stage: phoenix.StageTCP, Reason: phoenix.ReasonConnectRefused}, true),
			pushFailure(&phoenix.PushError{Reason: phoenix.PushDisconnected}), &phoenix.PushError{Reason: phoenix.PushCancelled},
		},
		exitCertificate: {link(phoenix.StageTLS, phoenix.ReasonCertificate)},
		exitJoin:        {&phoenix.JoinError{Reason: phoenix.JoinRefused}, joinFailure(&phoenix.JoinError{Reason: phoenix.JoinUnmatchedTopic})},
		exitPushStatus:  {statusFailure("t", "e", &phoenix.PushReply{Status: "error"}, phoenix.Payload{})},
		exitChannel: {
			pushFailure(&phoenix.PushError{Reason: phoenix.PushChannelCrashed}), &phoenix.PushError{Reason: phoenix.PushChannelClosed},
			&phoenix.PushError{Reason: phoenix.PushNotJoined},
		},
		exitHangup:    {&killedError{syscall.SIGHUP}},
		exitInterrupt: {&killedError{syscall.SIGINT}},
		exitPipe:      {writeError(fmt.Errorf("write: %w", syscall.EPIPE))},
		exitTerminate: {&killedError{syscall.SIGTERM}},
	}
	for _, row := range exitCodes {
		if len(errs[row.code]) == 0 {
			t.Errorf("no error leads to exit code %d (%s)", row.code, row.name)
		}
		for _, err := range errs[row.code] {
			if got := exitCodeOf(err); got != row.code {
				t.Errorf("%v: exit code %d, want %d (%s)", err, got, row.code, row.name)
			}
			if err != nil && exitCodeOf(fmt.Errorf("wrapped: %w", err)) != row.code {
				t.Errorf("%v: another exit code when wrapped", err)
			}
		}
		delete(errs, row.code)
	}
	for code := range errs {
		t.Errorf("exit code %d is not in the table", code)
	}
}

func TestFirstFailureCounts(t *testing.T) {
	join := joinFailure(&phoenix.JoinError{Reason: phoenix.JoinRefused})
	push := pushFailure(&phoenix.PushError{Reason: phoenix.PushChannelCrashed})
	if got := exitCodeOf(errors.Join(join, push)); got != exitJoin {
		t.Errorf("exit code %d", got)
	}
	if got := exitCodeOf(errors.Join(push, join)); got != exitChannel {
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

func TestExitCodesHelp(t *testing.T) {
	help := exitCodesHelp()
	for _, row := range exitCodes {
		if want := fmt.Sprintf("%5d  %-12s  %s\n", row.code, row.name, row.meaning); !strings.Contains(help, want) {
			t.Errorf("help lacks %q", want)
		}
	}
}
