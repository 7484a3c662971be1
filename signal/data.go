package signal

import (
	"encoding/json"
	"time"

	"phx/phoenix"
)

// appendData appends the members of data that a template's head does not have, for an event of
// kind k. Members that do not apply are left out.
func appendData(dst []byte, k kind, ev *phoenix.Event) []byte {
	if ev.Socket > 0 && (k.ofConnection() || k.ofChannel()) {
		dst = appendInt(dst, "socket", ev.Socket)
	}
	switch {
	case k == kindMessage:
		if ev.Payload.Data == nil {
			return dst
		}
		return appendPayloadMember(dst, "payload", &ev.Payload)
	case k.ofPush():
		return appendPushData(dst, ev)
	case k.ofChannel():
		return appendChannelData(dst, ev)
	case k.ofPresence():
		return appendPresenceData(dst, ev)
	}
	return appendConnectionData(dst, ev)
}

func appendPushData(dst []byte, ev *phoenix.Event) []byte {
	switch d := ev.Detail.(type) {
	case *phoenix.PushReply:
		dst = appendText(dst, "status", d.Status)
		dst = appendAnswer(dst, "payload", &ev.Payload)
		dst = appendMillis(dst, "latency_ms", d.Latency)
		dst = appendMicros(dst, "latency_us", d.Latency)
		return appendIndex(dst, d.Index, d.OnJoin)
	case *phoenix.PushTimeout:
		dst = appendMillis(dst, "timeout_ms", d.Timeout)
		return appendIndex(dst, d.Index, d.OnJoin)
	case *phoenix.PushError:
		dst = appendText(dst, "reason", string(d.Reason))
		dst = appendText(dst, "delivered", string(d.Delivered))
		return appendIndex(dst, d.Index, d.OnJoin)
	}
	return dst
}

// appendIndex appends which push it was: one of the inputs, or one that each join brings.
func appendIndex(dst []byte, index int, onJoin bool) []byte {
	if onJoin {
		return appendBool(dst, "on_join", true)
	}
	return appendInt(dst, "index", index)
}

func appendConnectionData(dst []byte, ev *phoenix.Event) []byte {
	switch d := ev.Detail.(type) {
	case *phoenix.Connecting:
		dst = appendText(dst, "status", "connecting")
		dst = appendText(dst, "uri", d.URI)
		return appendInt(dst, "attempt", d.Attempt)
	case *phoenix.Connected:
		return appendConnected(dst, d, ev.Time)
	case *phoenix.Disconnected:
		return appendDisconnected(dst, d)
	case *phoenix.Reconnecting:
		dst = appendText(dst, "status", "connecting")
		dst = appendInt(dst, "attempt", d.Attempt)
		dst = appendInt(dst, "max_attempts", d.MaxAttempts)
		dst = appendMillis(dst, "delay_ms", d.Delay)
		return appendText(dst, "reason", string(d.Reason))
	case *phoenix.ReconnectExhausted:
		dst = appendText(dst, "status", "disconnected")
		dst = appendInt(dst, "attempts", d.Attempts)
		dst = appendInt(dst, "max_attempts", d.MaxAttempts)
		return appendText(dst, "reason", string(d.Reason))
	case *phoenix.Heartbeat:
		return appendMicros(dst, "rtt_us", d.RTT)
	case *phoenix.HeartbeatTimeout:
		return appendMillis(dst, "timeout_ms", d.Timeout)
	}
	return dst
}

func appendConnected(dst []byte, d *phoenix.Connected, at time.Time) []byte {
	dst = appendText(dst, "status", "connected")
	dst = appendText(dst, "timestamp", at.UTC().Format(timeLayout))
	dst = appendText(dst, "transport", string(d.Transport))
	dst = appendBool(dst, "reconnect", d.Reconnect)
	dst = appendMillis(dst, "connect_ms", d.Took)
	if d.Reconnect {
		dst = appendMillis(dst, "outage_ms", d.Outage)
	}
	if d.RTT == 0 {
		return dst
	}
	// Somebody measured: the stages of the dial are wanted, too.
	dst = appendMillis(dst, "dns_ms", d.Timings.DNS)
	dst = appendMillis(dst, "tcp_ms", d.Timings.TCP)
	if d.Timings.TLS != 0 {
		dst = appendMillis(dst, "tls_ms", d.Timings.TLS)
	}
	dst = appendMillis(dst, "upgrade_ms", d.Timings.Upgrade)
	return appendMicros(dst, "rtt_us", d.RTT)
}

func appendDisconnected(dst []byte, d *phoenix.Disconnected) []byte {
	dst = appendText(dst, "status", "disconnected")
	dst = appendText(dst, "reason", string(d.Reason))
	if d.Code != 0 {
		dst = appendInt(dst, "code", d.Code)
	}
	if d.HTTPStatus != 0 {
		dst = appendInt(dst, "http_status", d.HTTPStatus)
	}
	dst = appendText(dst, "detail", d.Text)
	dst = appendMillis(dst, "uptime_ms", d.Uptime)
	return appendBool(dst, "will_reconnect", d.WillReconnect)
}

func appendChannelData(dst []byte, ev *phoenix.Event) []byte {
	switch d := ev.Detail.(type) {
	case *phoenix.Joining:
		dst = appendBool(dst, "rejoin", d.Rejoin)
		return appendInt(dst, "attempt", d.Attempt)
	case *phoenix.Joined:
		dst = appendAnswer(dst, "response", &ev.Payload)
		dst = appendBool(dst, "rejoin", d.Rejoin)
		dst = appendMillis(dst, "join_ms", d.Took)
		if d.Rejoin {
			dst = appendMillis(dst, "gap_ms", d.Gap)
		}
		if d.Resumed != nil {
			dst = append(appendName(dst, "resumed"), d.Resumed...)
		}
		return dst
	case *phoenix.Live:
		return appendMillis(dst, "live_ms", d.Took)
	case *phoenix.Gap:
		dst = appendText(dst, "reason", string(d.Reason))
		return appendMillis(dst, "gap_ms", d.Gap)
	case *phoenix.JoinError:
		dst = appendText(dst, "reason", string(d.Reason))
		dst = appendAnswer(dst, "response", &ev.Payload)
		dst = appendInt(dst, "attempt", d.Attempt)
		return appendRetry(dst, d.Retry)
	case *phoenix.Left:
		return appendText(dst, "reason", "requested")
	case *phoenix.Closed:
		dst = appendText(dst, "reason", "phx_close")
		return appendRetry(dst, d.Retry)
	case *phoenix.Errored:
		dst = appendText(dst, "reason", string(d.Reason))
		dst = appendAnswer(dst, "response", &ev.Payload)
		return appendRetry(dst, d.Retry)
	}
	return dst
}

func appendPresenceData(dst []byte, ev *phoenix.Event) []byte {
	switch d := ev.Detail.(type) {
	case *phoenix.PresenceJoin:
		return appendPresenceChange(dst, &d.PresenceChange)
	case *phoenix.PresenceLeave:
		return appendPresenceChange(dst, &d.PresenceChange)
	case *phoenix.PresenceSync:
		return d.State.AppendJSON(appendName(dst, "state"))
	}
	return dst
}

func appendPresenceChange(dst []byte, c *phoenix.PresenceChange) []byte {
	dst = appendMetas(appendText(dst, "key", c.Key), c.Metas)
	if c.Fields != nil {
		dst = append(appendName(dst, "fields"), c.Fields...)
	}
	dst = appendInt(dst, "remaining", c.Remaining)
	if c.Update {
		dst = appendBool(dst, "update", true)
	}
	return dst
}

// appendMetas appends presences, each as the server wrote it.
func appendMetas(dst []byte, metas []json.RawMessage) []byte {
	dst = append(appendName(dst, "metas"), '[')
	for i, meta := range metas {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, meta...)
	}
	return append(dst, ']')
}

// appendAnswer appends what the server answered, if it did.
func appendAnswer(dst []byte, name string, p *phoenix.Payload) []byte {
	if p.Data == nil {
		return dst
	}
	return appendPayloadMember(append(dst, ','), name, p)
}

// appendRetry appends when the channel is joined again, if that is known.
func appendRetry(dst []byte, r phoenix.Retry) []byte {
	if !r.Will || r.In == 0 {
		return dst
	}
	return appendMillis(dst, "retry_in_ms", r.In)
}
