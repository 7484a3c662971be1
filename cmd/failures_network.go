package cmd

import (
	"errors"
	"net"
	"net/http"

	"phx/phoenix"
)

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
