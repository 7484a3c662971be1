// Package ops is how a running `phx serve` is watched from outside: metrics, health and readiness over HTTP, and
// notifications for systemd. It asks a [Source] when it is asked itself, and costs connections nothing meanwhile.
package ops
