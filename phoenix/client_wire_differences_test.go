package phoenix_test

import (
	"fmt"
	"slices"
	"strings"
)

// A wireDifference is one between what the official client and ours put on the wire. Rules and sections are PROTOCOL.md's.
type wireDifference struct {
	what, why string
	// in are the scenarios in which it shows; nil: wherever rewrite finds it.
	in []string
	// rewrite makes the official client's connections ours, each a list of lines.
	rewrite func(wire [][]string) [][]string
}

// wireDifferences are all there are. They are applied in this order.
var wireDifferences = []wireDifference{
	{
		what:    "refs count from 1, and have no holes",
		why:     "Any numbers do that are not used twice (rule 1). The official client's callbacks take one, too.",
		rewrite: renumber,
	},
	{
		what:    "a close has code 1000",
		why:     "It says that we are done (RFC 6455, section 7.4.1); without a code the server is told nothing.",
		rewrite: replaceIn("close without a code", `close 1000 ""`),
	},
	{
		what:    "a link found dead by its heartbeat is dropped without a close frame",
		why:     "Nobody is there to read it. The official client waits for the answer, 1.5 s, before it comes back.",
		in:      []string{"heartbeat_timeout"},
		rewrite: remove(`close 1000 "heartbeat timeout"`),
	},
	{
		what: "a join that is slower than the heartbeats is waited for",
		why: "It holds up the answers to heartbeats, and so proves nothing before its own timeout (rule 10). The official client " +
			"drops a link that is alive. Heartbeats go on: the server counts only what it hears (rule 17).",
		in:      []string{"join_slower_than_heartbeat"},
		rewrite: waitForJoin,
	},
	{
		what:    "a channel that the server closed is joined again",
		why:     "We did not ask for its end, so it is wanted still; the official client takes it for the end.",
		in:      []string{"close"},
		rewrite: each(rejoinClosed),
	},
	{
		what:    "a server that takes no auth token is not left",
		why:     "It answers without a subprotocol, which is no error (rule 24). ws, as browsers do, fails the handshake.",
		in:      []string{"auth_token_not_taken"},
		rewrite: insertAfter("Upgrade: websocket", `text ["1","1","room:1","phx_join",{}]`, `close 1000 ""`),
	},
	{
		what:    "an auth token is encoded as the bytes that it is",
		why:     "btoa reads it as Latin-1: the server's token would not be the text that was given, outside of ASCII.",
		in:      []string{"recorded"},
		rewrite: replaceIn("base64url.bearer.phx.dPZr", "base64url.bearer.phx.dMO2aw"),
	},
	{
		what:    "subprotocols have a space between them",
		why:     "gorilla/websocket writes them so; both are right by RFC 9110, section 5.6.1.",
		rewrite: replaceIn("Sec-Websocket-Protocol: phoenix,", "Sec-Websocket-Protocol: phoenix, "),
	},
	{
		what:    "compression is not offered",
		why:     "The server compresses for whoever offers it (section 1): that is for the user to ask for.",
		rewrite: remove("Sec-Websocket-Extensions: permessage-deflate; client_max_window_bits"),
	},
	{
		what:    "there is a User-Agent",
		why:     "net/http writes one; servers log it.",
		in:      []string{"recorded", "refused", "auth_token_not_taken"},
		rewrite: insertAfter("Upgrade: websocket", "User-Agent: Go-http-client/1.1"),
	},
	{
		what:    "a space in the query is a +",
		why:     "net/url writes it so, and the server reads both as a space (section 1).",
		in:      []string{"recorded"},
		rewrite: replaceIn("v%20w", "v+w"),
	},
	{
		what:    "a control character in a topic has no short form",
		why:     "Both forms are the same text (RFC 8259, section 7). Payloads go out as they were given.",
		in:      []string{"odd_topic"},
		rewrite: replaceIn(`\t\n\u0001`, `\u0009\u000a\u0001`),
	},
}

// apply makes the official client's connections in a scenario ours, as far as d goes.
func (d wireDifference) apply(scenario string, wire [][]string) [][]string {
	if d.in != nil && !slices.Contains(d.in, scenario) {
		return wire
	}
	return d.rewrite(wire)
}

// each rewrites the lines of each connection.
func each(rewrite func(lines []string) []string) func(wire [][]string) [][]string {
	return func(wire [][]string) [][]string {
		var rewritten [][]string
		for _, lines := range wire {
			rewritten = append(rewritten, rewrite(slices.Clone(lines)))
		}
		return rewritten
	}
}

// replaceIn replaces the first old of each line.
func replaceIn(old, replacement string) func(wire [][]string) [][]string {
	return each(func(lines []string) []string {
		for i := range lines {
			lines[i] = strings.Replace(lines[i], old, replacement, 1)
		}
		return lines
	})
}

func remove(line string) func(wire [][]string) [][]string {
	return each(func(lines []string) []string {
		return slices.DeleteFunc(lines, func(l string) bool { return l == line })
	})
}

func insertAfter(line string, more ...string) func(wire [][]string) [][]string {
	return each(func(lines []string) []string {
		if i := slices.Index(lines, line); i >= 0 {
			return slices.Insert(lines, i+1, more...)
		}
		return lines
	})
}

// rejoinClosed inserts a join after the push upon which the server closes the channel; the ref behind it is one more.
func rejoinClosed(lines []string) []string {
	i := slices.Index(lines, `text ["1","3","room:1","stop_reply",{}]`)
	lines[i+1] = strings.Replace(lines[i+1], `"4"`, `"5"`, 1)
	return slices.Insert(lines, i+1, `text ["4","4","room:1","phx_join",{}]`)
}

// waitForJoin stays with the first connection: a heartbeat every 300 ms of the 4 s that the join takes.
func waitForJoin(wire [][]string) [][]string {
	lines := slices.Clone(wire[0][:2]) // the request and the join
	for ref := range 13 {
		lines = append(lines, fmt.Sprintf(`text [null,"%d","phoenix","heartbeat",{}]`, ref+2))
	}
	return [][]string{append(lines, `close 1000 ""`)}
}
