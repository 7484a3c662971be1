package cmd

import (
	"errors"
	"net"

	"phx/phoenix"
)

// networkHint says what to do about a server that could not be reached in another way than that of --uri.
func networkHint(err *phoenix.LinkError, otherwise string) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Net == "unix" && err.Stage == phoenix.StageTCP {
		return "start the server, or check the path given with --unix-socket"
	}
	return otherwise
}
