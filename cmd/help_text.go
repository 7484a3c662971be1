package cmd

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/phoenix"
	"phx/signal"
)

// exampleConfig is the one in `phx help config`.
const exampleConfig = `defaults: {heartbeat_interval_msec: 15000}
connections:
  backend:
    uri: ${BACKEND_URL:-wss://example.com/socket}
    params: {user_id: "123", token: {file: /run/secrets/token}}
    auto_join_channels:
      - room:lobby
      - topic: "user:123"
        secret_params: {access_token: {command: [pass, show, backend]}}
        on_join: [{event: subscribe, payload: {to: all}}]
        resume: {since: .data.payload.id}
sinks:
  audit: {file: {path: signals.ndjson}}
  hook:
    webhook: {url: https://example.com/hook, secret: {env: HOOK_SECRET}}
    queue: 64MiB
routes:
  - {match: "phoenix.backend.**", event: "new_*", to: [stdout, hook]}
  - {match: "phoenix.connection.*", to: audit}
control: {socket: /run/phx/control.sock}
http: {listen: 127.0.0.1:9464}
`

// configHelp is the page of `phx help config`. The keys are those of the parser.
func configHelp(root *cobra.Command) *page {
	p, keys, settings := &page{}, config.DescribeKeys(), settingsByKey(root)
	p.paragraph("Config files of phx.")
	p.paragraph("A config file is YAML, or JSON, with named connections and, for `phx serve`, where their signals go. Commands " +
		"that connect take one connection of it. It is given by --config (-f) or $PHX_CONFIG; the default is " +
		"$XDG_CONFIG_HOME/phx/phx.yaml. Without a name (--connection, -n, $PHX_CONNECTION) it is the connection called " +
		"default, or the only one.")
	p.paragraph("What a flag says counts first, then a connection that was asked for with -n, the environment, a connection that " +
		"was not, the defaults of the file, and in the end what is built in. An unknown key is an error.")
	p.paragraph("`phx config validate` checks a file, `phx config show` prints what it comes to, `phx config schema` is for editors.")

	p.heading("Example")
	p.block(2, exampleConfig)
	p.paragraph("What follows is each key with its type, and with the flag and the variable that set the same. A dot stands for a map " +
		"in a map: tls.ca_file is written tls: {ca_file: ca.pem}. Defaults are those of `phx serve`.")

	p.heading("At the top")
	p.keys(keys.Top, settings)
	p.heading("A connection, and the defaults")
	p.keys(keys.Connection, settings)
	p.heading("A sink, of which it is one of file, exec, webhook, nats, stdout and discard")
	p.keys(keys.Sink, nil)
	p.heading("A route")
	p.keys(keys.Route, nil)
	p.heading("A source")
	p.keys(keys.Source, nil)
	p.heading("A secret: a text, or a map with one of these keys")
	p.paragraph("The values of auth_token, webhook.secret, nats.creds, nats.nkey, nats.password and nats.token are secrets, and so is each of params, secret_params and headers.")
	p.keys(keys.Secret, nil)

	p.heading("Variables")
	p.paragraph("In every text that is a value, variables of the environment are filled in, after the file was parsed.")
	p.blank()
	p.item(20, "${VAR}", "The variable, which must be set.")
	p.item(20, "${VAR:-default}", "The default, if the variable is not set, or empty.")
	p.item(20, "${VAR:?message}", "An error with the message, if the variable is not set, or empty.")
	p.item(20, "$$", "A dollar sign.")
	return p
}

// keys adds what there is to know about keys.
func (p *page) keys(keys []option.Key, settings map[string]string) {
	for _, key := range keys {
		text := key.About
		if key.Required {
			text += " It must be there."
		}
		if key.Default != nil {
			text += " Default: " + strings.ReplaceAll(strings.Trim(string(key.Default), `"`), ",", ", ") + "."
		}
		if flag := settings[key.Path]; flag != "" {
			text += " Also: " + flag + "."
		}
		p.entry(fmt.Sprintf("%-26s %s", key.Path, key.Type), text)
	}
}

// settingsByKey are the flags and variables that set what keys of a connection set, and those at the top.
func settingsByKey(root *cobra.Command) map[string]string {
	settings := map[string]string{}
	visitOptions(root, func(command string, o option.Option) {
		key := o.Key
		if command == "serve" && o.Flag == "control" {
			key = "control.socket" // it reads that key itself: options have keys of connections
		}
		if key == "" {
			return
		}
		settings[key] = "--" + o.Flag
		if o.Env != "" {
			settings[key] += ", $" + o.Env
		}
	})
	return settings
}

// A variable is one of the environment that no option declares.
type variable struct{ name, about string }

// otherVariables are what else phx reads, or has read for it.
var otherVariables = []variable{
	{"XDG_CONFIG_HOME", "Where the directory phx with the config file phx.yaml is, unless --config says otherwise. The default is $HOME/.config."},
	{"HOME", "Counts where XDG_CONFIG_HOME is not set."},
	{"XDG_RUNTIME_DIR", "Where the directory phx with the socket of phx serve is, control.sock, unless --control says otherwise."},
	{"TMPDIR", "Counts where XDG_RUNTIME_DIR is not set: the socket is in the directory phx-UID there. The default is /tmp."},
	{"HTTPS_PROXY", "URL of the proxy for wss and https, unless --proxy, or proxy in a config file, says otherwise. Webhooks go there, too."},
	{"HTTP_PROXY", "The same for ws and http."},
	{"NO_PROXY", "Hosts to connect to without a proxy, with commas between them. This machine is always one of them."},
	{"SSL_CERT_FILE", "File with the certificates (PEM) to trust, in place of the system's file. --cacert counts more; on Windows and macOS, this does not count."},
	{"SSL_CERT_DIR", "Directories with such files, with colons between them, in place of the system's. As for SSL_CERT_FILE."},
	{"NO_COLOR", "No colours, whatever the terminal can do, unless --color is always."},
	{"CLICOLOR_FORCE", "Colours, also where stdout is no terminal, unless it is 0. NO_COLOR and --color count more."},
	{"TERM", "A terminal that is dumb gets no colours."},
	{"NOTIFY_SOCKET", "Where phx serve tells systemd that it is ready, reloads or stops. Its children do not get it."},
	{"WATCHDOG_USEC", "How often systemd's watchdog wants to hear from phx serve, in microseconds. Its children do not get it."},
	{"WATCHDOG_PID", "Which process it wants to hear from. Its children do not get it."},
	{"JOURNAL_STREAM", "By it phx notices that stderr is the systemd journal: then lines of the log have no time of their own."},
	{"PATH", "Where the programs of secrets and of exec sinks are looked for."},
}

// exitCodesHelp is the page of `phx help exit-codes`, made of the one table.
func exitCodesHelp() *page {
	p := &page{}
	p.paragraph("Exit codes of phx. With several failures, that of the first counts.")
	p.blank()
	for _, row := range exit.Table {
		p.item(21, fmt.Sprintf("%3d  %s", row.Code, row.Name), row.Meaning)
	}
	p.paragraph("From 129 on, phx dies of the signal itself, and the shell shows 128 plus its number. As process 1, which no signal ends, it exits with that.")
	return p
}

// environmentHelp is the page of `phx help environment`. What has a flag is made of the options of all commands.
func environmentHelp(root *cobra.Command) *page {
	p := &page{}
	p.paragraph("Environment variables that phx reads. One that is empty counts as one that is not set.")
	p.paragraph("A flag counts before its variable, and so does a connection of a config file that was asked for with -n. A " +
		"connection that was not asked for, and the defaults of the file, count behind it. `phx serve` takes its connections from " +
		"its config file alone.")
	p.heading("Settings, in place of a flag")
	for _, v := range settingVariables(root) {
		p.item(variableColumn, v.name, v.about)
	}
	p.heading("Others")
	for _, v := range otherVariables {
		p.item(variableColumn, v.name, v.about)
	}
	p.paragraph("The variables of proxies may be written in small letters, too. A config file may refer to any other variable, as ${VAR} or {env: VAR}: see `phx help config`.")
	return p
}

// variableColumn is where the explanations of variables begin.
const variableColumn = 20

// settingVariables are those of the options, by name. What several commands have, the first explains.
func settingVariables(root *cobra.Command) []variable {
	found, commands := map[string]option.Option{}, map[string][]string{}
	visitOptions(root, func(command string, o option.Option) {
		if o.Env == "" {
			return
		}
		if _, ok := found[o.Env]; !ok {
			found[o.Env] = o
		}
		commands[o.Env] = append(commands[o.Env], command)
	})
	var list []variable
	for _, name := range slices.Sorted(maps.Keys(found)) {
		o := found[name]
		about := "--" + o.Flag + " of " + strings.Join(commands[name], ", ") + ": " + strings.ReplaceAll(o.Usage, "`", "") + "."
		list = append(list, variable{name, about})
	}
	return list
}

// formatAbout says what each format is for.
var formatAbout = map[signal.Format]string{
	signal.FormatSignal:      "The default in a pipe or a file. `phx help signals` explains it.",
	signal.FormatCloudEvents: "A CloudEvent 1.0, strictly: what is metadata elsewhere are extension attributes.",
	signal.FormatJido:        "As Jido.Signal decodes it: metadata is under extensions.",
	signal.FormatPayload:     "Only the payload of a message or a reply, or the response of a join; other signals print nothing.",
}

// textAbout says what text is for.
const textAbout = "For people, and may change: the local time, topic, event and payload, or what happened: behind * about the connection or a " +
	"channel, behind ! what failed or was lost, behind + - = who came, went and is present. Cut at the width of the terminal, unless --no-trim."

// textExample returns the example message as text.
func textExample() string {
	form := &textForm{width: func() int { return 0 }}
	line := signal.NewEncoder(signal.FormatSignal, "backend").Append(nil, &exampleMessage)
	return exampleClock + string(form.append(nil, bytes.TrimSuffix(line, []byte("\n")))[len(exampleClock):])
}

// exampleClock stands for the local time of the example.
const exampleClock = "12:00:06.123"

// exampleMessage is the message that the page shows in each format.
var exampleMessage = phoenix.Event{
	Time: time.Date(2026, 2, 7, 12, 0, 6, 123456000, time.UTC), Seq: 6, Session: 1,
	Topic: "room:lobby", Name: "new_msg", JoinRef: "3", Payload: phoenix.JSON(`{"body":"hi","n":1.0}`), Detail: &phoenix.Message{},
}

// exampleID stands for the id of an example, which is another one in each process.
const exampleID = "01952f0e-8a00-7000-8000-000000000006"

// A commandExample is a command, to be run against `phx demo`, with what it prints.
type commandExample struct{ command, output string }

// exampleColumn is where examples begin.
const exampleColumn = 8

// formattingExamples has one for each option of printing.
var formattingExamples = map[string]commandExample{
	"output":      {`phx push room:lobby echo '{"body":"hi"}' -o payload`, `{"body":"hi"}`},
	"jq":          {`phx push room:lobby echo '{"body":"hi"}' -q '[.subject, .data.status]'`, `["room:lobby","ok"]`},
	"arg":         {`phx push room:lobby echo '{"n":1}' --arg who me -q '[$who, .data.payload.n]'`, `["me",1]`},
	"argjson":     {`phx push room:lobby echo '{"n":1}' --argjson least 5 -q '.data.payload.n >= $least'`, `false`},
	"raw-output":  {`phx push room:lobby echo '{"body":"hi"}' -q .data.payload.body -r`, `hi`},
	"exit-status": {`phx push room:lobby echo '{"n":1}' -q '.data.payload.n > 5' -e || echo 'not yet'`, "false\nnot yet"},
	"no-trim":     {`phx push room:lobby echo '{"n":1}' -o text --no-trim | sed 's/.*  //'`, `{"n":1}`},
	"pretty":      {`phx push room:lobby echo '{"n":1.0}' -o payload --pretty`, "{\n  \"n\": 1.0\n}"},
	"compact":     {`phx push room:lobby echo '{"n":1.0}' -o payload --compact`, `{"n":1.0}`},
	"color":       {`phx push room:lobby echo '{"n":1.0}' -o payload --color never`, `{"n":1.0}`},
}

// formattingHelp is the page of `phx help formatting`.
func formattingHelp() *page {
	p := &page{}
	p.paragraph("How phx prints records.")
	p.paragraph("stdout has records and nothing else: one JSON text a line in a pipe or a file, always; on a terminal a line of text, unless " +
		"--output, --jq, --pretty or --compact asks for JSON. Which records there are, and their order, is the same. All else is on stderr.")
	p.heading("Options of the commands that print records")
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	option.NewSet((&outputOptions{}).Options()).Bind(flags)
	flags.VisitAll(p.option)
	p.paragraph("--jq sees what --output would print; --until, --fail-on and --where see the default format. They are in gojq's jq, see https://jqlang.org/manual; numbers keep their spelling unless they are calculated with. " +
		"The environment, files, modules and other records (env, $ENV, import, input) are not available. halt ends the command with 0, halt_error with its message on stderr and its code, 5 by default; " +
		"debug and stderr write to the log. A record on which an expression fails, or comes to no result within a second (and one more for each MiB of the record), is left out and counted, and the exit code is 5 in the end. `phx ctl` prints what phx serve answers, with the same options.")
	p.heading("Formats, each with the same message, indented")
	for i, name := range signal.Formats() {
		format := signal.Format(i)
		p.blank()
		p.item(15, name, formatAbout[format])
		p.block(exampleColumn, formatExample(format))
	}
	p.blank()
	p.item(15, formatText, textAbout)
	p.block(exampleColumn, textExample())
	return p
}

// option adds a flag with its example.
func (p *page) option(f *pflag.Flag) {
	name, text := flagHelp(f)
	p.entry(strings.TrimLeft(name, " "), text)
	example := formattingExamples[f.Name]
	p.block(exampleColumn, "$ "+example.command+"\n"+example.output+"\n")
}

// formatExample returns the example message in a format, indented.
func formatExample(format signal.Format) string {
	line := signal.NewEncoder(format, "backend").Append(nil, &exampleMessage)
	if _, behind, found := bytes.Cut(line, []byte(`"id":"`)); found {
		copy(behind, exampleID)
	}
	return string(jsonStyle{indent: true}.append(nil, bytes.TrimSuffix(line, []byte("\n"))))
}

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
	{"metadata.epoch", "With leases of phx serve: grows with each change of who runs the connection. Who has to be exact drops lower ones."},
	{"metadata.phoenix_topic", "The topic as it is."},
	{"metadata.phoenix_event", "The event as it is."},
	{"metadata.phoenix_ref", "The ref of the frame, where it had one."},
	{"metadata.phoenix_join_ref", "The join_ref of the frame, where it had one."},
	{"metadata.broadcast_event", "The event within a binary broadcast of Supabase Realtime."},
	{"metadata.session", "Counts the successful connects, from 1. Each of several sockets has its own."},
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
	{"phoenix.connection.connected", "status, timestamp, transport, reconnect, connect_ms, outage_ms, dns_ms, tcp_ms, tls_ms, upgrade_ms, rtt_us",
		"The socket is open, by the transport websocket or longpoll. outage_ms after an outage; what follows it, only of phx connect: the stages, and a first heartbeat."},
	{"phoenix.connection.disconnected", "status, reason, code, http_status, detail, uptime_ms, will_reconnect",
		"A session has ended, or a dial failed. code is that of the close frame, http_status that of a refusal, where there is one."},
	{"phoenix.connection.reconnecting", "status, attempt, max_attempts, delay_ms, reason", "The next dial waits for its time. max_attempts -1: no limit."},
	{"phoenix.connection.reconnect_exhausted", "status, attempts, max_attempts, reason", "There are no retries left."},
	{"phoenix.connection.heartbeat", "rtt_us", "A heartbeat was answered; only of phx connect --count."},
	{"phoenix.connection.heartbeat_timeout", "timeout_ms", "A heartbeat was not answered; the link is given up."},
	{"phoenix.channel.joining", "rejoin, attempt", "A join is sent."},
	{"phoenix.channel.joined", "response, rejoin, join_ms, gap_ms, resumed", "The join was accepted. gap_ms on a rejoin: how long messages may have been missed. resumed: the params that said from where to go on."},
	{"phoenix.channel.live", "live_ms", "With a profile: what was joined is complete, live_ms after the join was accepted."},
	{"phoenix.channel.gap", "reason, gap_ms", "With a profile: messages may have been missed for gap_ms, although the join stands."},
	{"phoenix.channel.join_error", "reason, response, attempt, retry_in_ms", "The join failed. retry_in_ms if it is tried again."},
	{"phoenix.channel.left", "reason", "We have left: reason is requested."},
	{"phoenix.channel.closed", "reason, retry_in_ms", "The server closed the channel: reason is phx_close. retry_in_ms if it is joined again."},
	{"phoenix.channel.errored", "reason, response, retry_in_ms", "The channel was lost. retry_in_ms if it is joined again and has a link."},
	{"phoenix.push.reply", "status, payload, payload_base64, latency_ms, latency_us, index, on_join", "The reply to a push. status is what the server sent, ok or another. " +
		"index counts the inputs of phx push from 0; a push of --on-join has on_join, true, instead."},
	{"phoenix.push.timeout", "timeout_ms, index, on_join", "No reply to a push came in time."},
	{"phoenix.push.error", "reason, delivered, index, on_join", "There can be no reply to a push any more."},
	{"phoenix.presence.join", "key, metas, fields, remaining, update", "Presences of a key came. These three only with presence: phx listen --presence."},
	{"phoenix.presence.leave", "key, metas, fields, remaining, update", "Presences of a key went."},
	{"phoenix.presence.sync", "state", "Who is present, after the joins and leaves of one message."},
	{"phoenix.signal.dropped", "count, policy, first_seq, last_seq, sink", "Signals were lost, because a reader or a sink was too slow; only what lost them gets this, and the sink of its on_loss, where sink names it."},
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
	phoenix.ReasonNoDescriptors, phoenix.ReasonLeaseLost,
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
			{string(phoenix.ErroredOnJoin), "we left it: a push of --on-join was refused, or not answered in time"},
			{string(phoenix.ErroredDisconnected), "the link was lost"},
		}},
		{"reason of a gap in a channel that is joined (phoenix.channel.gap)", []signalReason{
			{string(phoenix.GapResubscribed), "the server has subscribed anew to what feeds the channel"},
			{string(phoenix.GapReplay), "what the server replayed does not reach back to what had come before"},
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

// signalsHelp is the page of `phx help signals`.
func signalsHelp() *page {
	p := &page{}
	p.paragraph("Signals, the records that phx prints.")
	p.paragraph("A signal is one JSON object on one line. What follows is the default format, -o signal; the other formats " +
		"have the same in other places: see `phx help formatting`. New types, members and reasons may be added at any " +
		"time; those here stay what they are.")
	p.heading("Members")
	for _, m := range signalMembers {
		p.item(30, m.name, m.about)
	}
	p.heading("Types, each with its data")
	p.paragraph("data also has connection_name, but for messages; topic in signals of a channel, of presence and of a push; event in " +
		"those of a push; socket, a number from 1, in signals of a connection and of a channel, if the connection has so many channels that it has several sockets. Times are whole numbers, in milliseconds (_ms) or microseconds (_us). What is printed depends on the command: " +
		"phx listen prints signals of connections and channels with --lifecycle, phx serve all of them.")
	for _, t := range signalTypes {
		p.entry(t.name, t.data, t.about)
	}
	for _, group := range reasonGroups() {
		p.heading(strings.ToUpper(group.head[:1]) + group.head[1:])
		for _, reason := range group.reasons {
			p.item(22, reason.name, reason.about)
		}
	}
	p.heading("Bus topics, for routes with subscribe")
	p.item(52, "jido.protocol.phoenix.NAME", "every signal of a connection")
	p.item(52, "jido.protocol.phoenix.NAME.TOPIC", "those with a topic, spelled as in a type")
	return p
}
