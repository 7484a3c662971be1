package cmd

import (
	"errors"
	"syscall"

	"phx/cmd/internal/exit"
	"phx/phoenix"
)

// errPipe says that the reader of the output has gone.
var errPipe = exit.Killed(syscall.SIGPIPE)

// writeError makes the error of a failed write of the output.
func writeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE):
		return errPipe
	}
	hint := "check where stdout goes: is the disk full?"
	if errors.Is(err, syscall.EBADF) {
		hint = "stdout is closed: take >&- out, or write > /dev/null"
	}
	return &exit.Error{Code: exit.Write, Message: "cannot write the output: " + exit.SystemText(err), Hint: hint, Err: err}
}

// codeOf returns the exit code for err. With several errors joined, the first one's counts. It is the only place that gives the
// errors of package phoenix a code.
func codeOf(err error) exit.Code {
	if e := (*exit.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	var (
		link    *phoenix.LinkError
		join    *phoenix.JoinError
		timeout *phoenix.PushTimeout
		push    *phoenix.PushError
	)
	switch {
	case err == nil:
		return exit.OK
	case errors.As(err, &join):
		return codeOfJoin(join.Reason)
	case errors.As(err, &timeout):
		return exit.Timeout
	case errors.As(err, &push):
		return codeOfPush(push.Reason)
	case errors.As(err, &link):
		return explainLink(link, false).code
	}
	return exit.Failure
}

func codeOfJoin(reason phoenix.JoinReason) exit.Code {
	if reason == phoenix.JoinTimeout {
		return exit.Timeout
	}
	return exit.Join
}

func codeOfPush(reason phoenix.PushReason) exit.Code {
	switch reason {
	case phoenix.PushDisconnected, phoenix.PushCancelled:
		return exit.LinkLost
	}
	return exit.Channel
}

// hintOf returns what to do about err.
func hintOf(err error) string {
	if e := (*exit.Error)(nil); errors.As(err, &e) {
		return e.Hint
	}
	return ""
}
