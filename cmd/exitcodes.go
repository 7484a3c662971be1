package cmd

import "fmt"

// The exit codes. Once released, a code keeps its meaning.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitJQCompile   = 3
	exitNoOutput    = 4
	exitJQRun       = 5
	exitDNS         = 6
	exitConnect     = 7
	exitRefused     = 22
	exitWrite       = 23
	exitRead        = 26
	exitTimeout     = 28
	exitTLS         = 35
	exitLinkLost    = 56
	exitCertificate = 60
	exitJoin        = 64
	exitPushStatus  = 65
	exitChannel     = 66
	exitHangup      = 129
	exitInterrupt   = 130
	exitPipe        = 141
	exitTerminate   = 143
)

// An exitCode is one row of the table that `phx help exit-codes` prints.
type exitCode struct {
	code    int
	name    string
	meaning string
}

// exitCodes is every exit code there is.
var exitCodes = []exitCode{
	{exitOK, "ok", "done, condition met"},
	{exitFailure, "failure", "with -e, the last value was false or null; anything that has no code of its own"},
	{exitUsage, "usage", "wrong option, argument or input"},
	{exitJQCompile, "jq_compile", "the jq expression does not compile"},
	{exitNoOutput, "no_output", "with -e, nothing was printed"},
	{exitJQRun, "jq_run", "the jq expression failed on a record; the others were printed"},
	{exitDNS, "dns", "the host name does not resolve"},
	{exitConnect, "connect", "the connection failed"},
	{exitRefused, "refused", "the server refused the upgrade; its HTTP status and body are in the message"},
	{exitWrite, "write", "the output cannot be written"},
	{exitRead, "read", "an input cannot be read"},
	{exitTimeout, "timeout", "no connection, join or reply in time, or --max-time has passed"},
	{exitTLS, "tls", "the TLS handshake failed"},
	{exitLinkLost, "link_lost", "the link was lost: retries are exhausted, or a push or heartbeat unanswered"},
	{exitCertificate, "certificate", "the server's certificate was not accepted"},
	{exitJoin, "join", "a join was refused"},
	{exitPushStatus, "push_status", "a push, or the first heartbeat, was answered with another status than ok"},
	{exitChannel, "channel", "a channel crashed, or the server closed it, and it was not joined again"},
	{exitHangup, "SIGHUP", "ended by HUP"},
	{exitInterrupt, "SIGINT", "ended by INT"},
	{exitPipe, "SIGPIPE", "the reader of the output has gone"},
	{exitTerminate, "SIGTERM", "ended by TERM"},
}

// exitCodesHelp is the text of `phx help exit-codes`.
func exitCodesHelp() string {
	text := "Exit codes of phx. With several failures, that of the first counts.\n\n"
	for _, row := range exitCodes {
		text += fmt.Sprintf("%5d  %-12s  %s\n", row.code, row.name, row.meaning)
	}
	return text + "\nFrom 129 on, phx dies of the signal itself, and the shell shows 128 plus its number.\n"
}
