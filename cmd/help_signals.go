package cmd

import (
	"strings"

	"phx/phoenix"
)

// A signalMember is one of a signal, and a path where it is in metadata.
type signalMember struct{ name, about string }

// signalMembers are those of a message that has all of them, in their order.
var signalMembers = []signalMember{
	{"specversion", "1.0: a signal is built like a CloudEvent."},
	{"id", "A UUID (version 7). The same event has the same id in every format and output."},
	{"source", "/jidoka/phoenix/NAME, with the name of the connection."},
	{"type", "What happened: see below."},
	{"subject", "The topic as it is; left out where there is none."},
	{"time", "When the frame was received: UTC, with six decimals."},
	{"datacontenttype", "application/json"},
	{"data", "An object: see below. A payload in it is as the server wrote it."},
	{"metadata.connection_name", "The name of the connection: --name, or that in the config file."},
	{"metadata.phoenix_topic", "The topic as it is."},
	{"metadata.phoenix_event", "The event as it is."},
	{"metadata.phoenix_ref", "The ref of the frame, where it had one."},
	{"metadata.phoenix_join_ref", "The join_ref of the frame, where it had one."},
	{"metadata.session", "Counts the successful connects, from 1."},
	{"metadata.seq", "Numbers the signals of a connection from 1, those that a filter takes out included."},
}

// A signalType is a type of signals. Its data is what they have besides the members of all of its class.
type signalType struct {
	name, data, about string
}

// messageType stands for the types of messages, which have the server's words in them.
const messageType = "phoenix.NAME.TOPIC.EVENT"

var signalTypes = []signalType{
	{messageType, "payload, payload_base64", "A message of the server. In topic and event, all but A-Z, a-z, 0-9, - and _ is _. " +
		"A binary payload is payload_base64."},
	{"phoenix.connection.connecting", "status, uri, attempt", "A dial begins."},
	{"phoenix.connection.connected", "status, timestamp, reconnect, connect_ms, outage_ms, dns_ms, tcp_ms, tls_ms, upgrade_ms, rtt_us",
		"The socket is open. outage_ms after an outage; what follows it, only of phx connect: the stages, and a first heartbeat."},
	{"phoenix.connection.disconnected", "status, reason, code, http_status, detail, uptime_ms, will_reconnect",
		"A session has ended, or a dial failed. code is that of the close frame, http_status that of a refusal, where there is one."},
	{"phoenix.connection.reconnecting", "status, attempt, max_attempts, delay_ms, reason", "The next dial waits for its time. max_attempts -1: no limit."},
	{"phoenix.connection.reconnect_exhausted", "status, attempts, max_attempts, reason", "There are no retries left."},
	{"phoenix.connection.heartbeat", "rtt_us", "A heartbeat was answered; only of phx connect --count."},
	{"phoenix.connection.heartbeat_timeout", "timeout_ms", "A heartbeat was not answered; the link is given up."},
	{"phoenix.channel.joining", "rejoin, attempt", "A join is sent."},
	{"phoenix.channel.joined", "response, rejoin, join_ms, gap_ms", "The join was accepted. gap_ms on a rejoin: how long messages may have been missed."},
	{"phoenix.channel.join_error", "reason, response, attempt, retry_in_ms", "The join failed. retry_in_ms if it is tried again."},
	{"phoenix.channel.left", "reason", "We have left: reason is requested."},
	{"phoenix.channel.closed", "reason, retry_in_ms", "The server closed the channel: reason is phx_close. retry_in_ms if it is joined again."},
	{"phoenix.channel.errored", "reason, response, retry_in_ms", "The channel was lost. retry_in_ms if it is joined again and has a link."},
	{"phoenix.push.reply", "status, payload, payload_base64, latency_ms, index", "The reply to a push. status is what the server sent, ok or another. " +
		"index counts the inputs of phx push from 0."},
	{"phoenix.push.timeout", "timeout_ms, index", "No reply to a push came in time."},
	{"phoenix.push.error", "reason, delivered, index", "There can be no reply to a push any more."},
	{"phoenix.presence.join", "key, metas", "Presences of a key came. These three only with presence: phx listen --presence."},
	{"phoenix.presence.leave", "key, metas", "Presences of a key went."},
	{"phoenix.presence.sync", "state", "Who is present, after the joins and leaves of one message."},
	{"phoenix.signal.dropped", "count, policy, first_seq, last_seq", "Signals were lost, because a reader or a sink was too slow; only what lost them gets this."},
}

// A reasonGroup is what one member of data can be.
type reasonGroup struct {
	head    string
	reasons []signalReason
}

type signalReason struct{ name, about string }

// linkReasons are the reasons of links, in the order in which things happen.
var linkReasons = []phoenix.Reason{
	phoenix.ReasonDNS, phoenix.ReasonConnectRefused, phoenix.ReasonUnreachable, phoenix.ReasonTimeout, phoenix.ReasonTLS,
	phoenix.ReasonCertificate, phoenix.ReasonRefused, phoenix.ReasonNotWebSocket, phoenix.ReasonClosedByRemote, phoenix.ReasonClosedByUs,
	phoenix.ReasonReset, phoenix.ReasonEOF, phoenix.ReasonHeartbeatTimeout, phoenix.ReasonProtocolError, phoenix.ReasonMessageTooBig,
}

// reasonGroups are all the reasons there are.
func reasonGroups() []reasonGroup {
	ofLink := make([]signalReason, len(linkReasons))
	for i, reason := range linkReasons {
		ofLink[i] = signalReason{string(reason), linkCauses[reason].what}
	}
	return []reasonGroup{
		{"reason of a link that failed or was lost (phoenix.connection.*)", ofLink},
		{"reason of a join that failed (phoenix.channel.join_error)", []signalReason{
			{string(phoenix.JoinRefused), "the channel's join/3 refused, and response says more; or a secret for it could not be read"},
			{string(phoenix.JoinTimeout), "no answer came in time"},
			{string(phoenix.JoinUnmatchedTopic), "the socket has no channel for the topic"},
			{string(phoenix.JoinCrashed), "the channel's join/3 crashed"},
			{string(phoenix.JoinTooManyChannels), "the connection has as many channels as the server allows"},
		}},
		{"reason of a channel that was lost (phoenix.channel.errored)", []signalReason{
			{string(phoenix.ErroredCrash), "the channel's process crashed"},
			{string(phoenix.ErroredUnmatchedTopic), "the server knows nothing of the join any more"},
			{string(phoenix.ErroredDisconnected), "the link was lost"},
		}},
		{"reason of a push that can have no reply (phoenix.push.error)", []signalReason{
			{string(phoenix.PushDisconnected), "the link was lost, or there is none"},
			{string(phoenix.PushChannelCrashed), "the channel's process crashed"},
			{string(phoenix.PushChannelClosed), "the server closed the channel"},
			{string(phoenix.PushNotJoined), "the topic is not joined"},
			{string(phoenix.PushUnmatchedTopic), "the server knows nothing of the join any more"},
			{string(phoenix.PushCancelled), "we left, or closed, before it came"},
		}},
		{"delivered, of such a push", []signalReason{
			{string(phoenix.DeliveredNo), "it has reached no channel: it is safe to send it again"},
			{string(phoenix.DeliveredUnknown), "it was sent, and may have been handled"},
		}},
	}
}

// signalsHelp is the text of `phx help signals`.
func signalsHelp() string {
	p := &page{}
	p.say("Signals, the records that phx prints.")
	p.say("A signal is one JSON object on one line. What follows is the default format, -o signal; the other formats " +
		"have the same in other places: see `phx help formatting`. New types, members and reasons may be added at any " +
		"time; those here stay what they are.")
	p.head("Members")
	for _, m := range signalMembers {
		p.item(30, m.name, m.about)
	}
	p.head("Types, each with its data")
	p.say("data also has connection_name, but for messages; topic in signals of a channel, of presence and of a push; event in " +
		"those of a push. Times are whole numbers, in milliseconds (_ms) or microseconds (_us). What is printed depends on the command: " +
		"phx listen prints signals of connections and channels with --lifecycle, phx serve all of them.")
	for _, t := range signalTypes {
		p.gap()
		p.WriteString("  " + t.name + "\n")
		p.wrap(6, t.data)
		p.wrap(6, t.about)
	}
	for _, group := range reasonGroups() {
		p.head(strings.ToUpper(group.head[:1]) + group.head[1:])
		for _, reason := range group.reasons {
			p.item(22, reason.name, reason.about)
		}
	}
	p.head("Bus topics, for routes with subscribe")
	p.item(52, "jido.protocol.phoenix.NAME", "every signal of a connection")
	p.item(52, "jido.protocol.phoenix.NAME.TOPIC", "those with a topic, spelled as in a type")
	return p.String()
}
