package cmd

import (
	"log/slog"

	"phx/phoenix"
)

// logLifecycle logs an event of the connection or of a channel. Messages, the ends of pushes and who is present are output, and not
// logged.
func logLifecycle(log *slog.Logger, ev *phoenix.Event) {
	switch d := ev.Detail.(type) {
	case phoenix.Message, *phoenix.PushReply, *phoenix.PushTimeout, *phoenix.PushError,
		*phoenix.PresenceJoin, *phoenix.PresenceLeave, *phoenix.PresenceSync:
	case *phoenix.Connecting:
		log.Info("connecting", "uri", d.URI, "attempt", d.Attempt)
	case *phoenix.Connected:
		log.Info("connected", "took", d.Took, "session", ev.Session)
	case *phoenix.Disconnected:
		logDisconnected(log, d)
	case *phoenix.Reconnecting:
		log.Info("waiting to connect again", "delay", d.Delay, "attempt", d.Attempt, "max_attempts", d.MaxAttempts)
	case *phoenix.ReconnectExhausted:
		log.Info("no more attempts to connect", "attempts", d.Attempts)
	case *phoenix.Heartbeat:
		log.Debug("heartbeat", "rtt", d.RTT)
	case *phoenix.HeartbeatTimeout:
		log.Info("no answer to a heartbeat", "timeout", d.Timeout)
	default:
		logChannel(log.With("topic", ev.Topic), ev)
	}
}

func logDisconnected(log *slog.Logger, d *phoenix.Disconnected) {
	attrs := []any{"reason", string(d.Reason)}
	if d.Text != "" {
		attrs = append(attrs, "detail", oneLine(d.Text))
	}
	log.Info("disconnected", append(attrs, "will_reconnect", d.WillReconnect)...)
}

func logChannel(log *slog.Logger, ev *phoenix.Event) {
	switch d := ev.Detail.(type) {
	case *phoenix.Joining:
		log.Debug("joining", "attempt", d.Attempt)
	case *phoenix.Joined:
		if d.Rejoin {
			log.Info("joined again", "gap", d.Gap)
			return
		}
		log.Info("joined", "took", d.Took)
	case *phoenix.JoinError:
		log.Info("join failed", retryAttrs(d.Retry, "reason", string(d.Reason))...)
	case *phoenix.Left:
		log.Info("left")
	case *phoenix.Closed:
		log.Info("the server closed the channel", retryAttrs(d.Retry)...)
	case *phoenix.Errored:
		log.Info("the channel was lost", retryAttrs(d.Retry, "reason", string(d.Reason))...)
	}
}

func retryAttrs(r phoenix.Retry, attrs ...any) []any {
	if r.Will && r.In > 0 {
		attrs = append(attrs, "retry_in", r.In)
	}
	return attrs
}
