// Package control is how a running `phx serve` is talked to: HTTP and JSON on a Unix socket. It has the server, which passes each
// call on to a [Backend]; the client, which `phx ctl` is made of; and the socket between them.
//
// What a call answers is JSON in one line. What went wrong is {"error":{"message","hint","exit_code"}}, see [Error].
package control
