package phoenix

import (
	"strings"
	"testing"

	"phx/cmd/phxtest/mutation"
)

// A mutant is a [mutation.Mutant] of the machine or the dealer.
type mutant struct {
	name, file, from, to string
}

var mutants = []mutant{
	{
		"a reply is dropped", "push.go",
		"p := m.pushes[string(f.ref)]\n", "p := m.pushes[string(f.ref)]\n\tif len(f.payload.Data)%7 == 0 {\n\t\treturn true\n\t}\n",
	},
	{
		"a reply ends the push of another topic", "push.go",
		"p == nil || p.Topic != string(f.topic) ||", "p == nil ||",
	},
	{
		"pushes are forgotten at the loss of the link", "link.go",
		"m.failAllPushes(now, reason, attempted, tooBig)", "_, _ = reason, tooBig",
	},
	{
		"pushes never written count as written", "push.go",
		"delivered(p.frame != 0 && p.frame <= attempted)", "delivered(p.frame != 0)",
	},
	{
		"pushes wait on when their channel crashes", "channel.go",
		"m.failPushes(now, c, push)", "_ = push",
	},
	{
		"a push has no timeout", "push.go",
		"m.answers.set(&p.timeout, m.answerTime(now).Add(p.Timeout))", "",
	},
	{
		"a queued push keeps the join_ref of an earlier join", "push.go",
		"p.channel.joinRef, moment{now, m.slept}\n", "p.channel.joinRef, moment{now, m.slept}\n\tif p.channel.joined && p.channel.retries > 0 {\n\t\tp.joinRef = \"1\"\n\t}\n",
	},
	{
		"a channel is joined twice", "channel.go",
		"if c.state != channelWaiting {", "if c.state != channelWaiting && (c.state != channelJoined || c.retries == 0) {",
	},
	{
		"a left channel is joined again", "channel.go",
		"m.giveUp(c)\n\tif again != nil", "if len(m.order) < 3 {\n\t\tm.giveUp(c)\n\t}\n\tif again != nil",
	},
	{
		"the timer of a left channel goes on", "channel.go",
		"\tc.timer.stop()\n\tc.renewal.stop()\n", "\tc.renewal.stop()\n",
	},
	{
		"a stale close closes the channel", "machine.go",
		"len(ref) > 0 && string(ref) != c.joinRef {", "c.joinRef == \"\" {",
	},
	{
		"the retries of joins are never counted", "channel.go",
		"c.retries++\n", "",
	},
	{
		"the retries of dials are never counted", "link.go",
		"m.link.retries++\n", "",
	},
	{
		"a session counts as stable when it opens", "link.go",
		"if m.link.longUp {", "if m.session > 0 {",
	},
	{
		"a close during a backoff is not told", "link.go",
		"m.emit(now, \"\", &Disconnected{Reason: m.link.closedFor()})", "",
	},
	{
		"pushes are forgotten when all ends at once", "link.go",
		"m.linkLost(now, nil, attempted)", "m.finish(nil)",
	},
	{
		"the sessions of a run are counted from one", "machine.go",
		"session:       c.sessions,", "",
	},
	{
		"the wait for a turn counts as dialing", "link.go",
		"now.Sub(m.link.dialedAt) - waited,", "now.Sub(m.link.dialedAt),",
	},
	{
		"a change of a channel is not told", "machine.go",
		"c.state = s\n\tm.out.changed = true\n", "c.state = s\n",
	},
	{
		"a push is not told as sent", "push.go",
		"m.out.sent = append(m.out.sent, sentPush{p.id, p.ref})", "",
	},
	{
		"an overdue heartbeat is not noticed", "link.go",
		"m.answers.set(&h.overdue, m.answerTime(now).Add(m.heartbeatTimeout))", "",
	},
	{
		"answers are missed while nothing is read", "machine.go",
		"m.answers.shift(now.Sub(m.pausedAt))", "",
	},
	{
		"the clock of every join runs", "channel.go",
		"m.joins = append(m.joins, sentJoin{c, c.joinRef})\n", "m.joins = append(m.joins, sentJoin{c, c.joinRef})\n\tm.answers.set(&c.timer, m.answerTime(now).Add(m.replyTimeout))\n",
	},
	{
		"a refusal ends a connection that was up", "link.go",
		"err.refusal() && !m.retryRefusals && !m.link.ready", "err.refusal() && !m.retryRefusals",
	},
	{
		"an outage has no end", "link.go",
		"case m.maxOutage > 0 && now.Sub(m.link.outage) >= m.maxOutage:", "case false:",
	},
	{
		"Retry-After has no jitter", "link.go",
		"err.RetryAfter+m.spread(err.RetryAfter/2)", "err.RetryAfter",
	},
	{
		"an answer is missed before what has arrived is read", "machine.go",
		"m.draining, m.out.drain = true, true", "m.fire(&m.answers, now)",
	},
	{
		"a gap begins when the loss of the link is noticed", "channel.go",
		"m.lostChannel(c, m.link.known)", "m.lostChannel(c, moment{now, m.slept})",
	},
	{
		"a gap begins when the crash of the channel is read", "channel.go",
		"missing := m.link.known", "missing := moment{f.at, m.slept}",
	},
	{
		"a gap is measured on a clock that stands still while the system is suspended", "machine.go",
		"now.Sub(a.at)+m.slept-a.slept", "now.Sub(a.at)",
	},
	{
		"a message that is under way is no sign of life", "link.go",
		"if u := m.underWay; !latest.After(now) && !u.since.IsZero() {", "if u := m.underWay; false && u.since.IsZero() {",
	},
	{
		"a part of any message is a sign of life", "link.go",
		"if latest = u.since.Add(minUnderWay); !latest.After(now) {", "{",
	},
	{
		"what a long poll session has joined is not left at its close", "link.go",
		"m.leaveAll()\n", "\n",
	},
	{
		"a session whose lease is lost is closed as any other", "link.go",
		"if m.phase == up || m.phase == closing {\n\t\tm.drop(nil)", "if m.phase == closing {\n\t\tm.drop(nil)",
	},
	{
		"a lease that is lost during a close waits for its end", "link.go",
		"if m.phase == up || m.phase == closing {\n\t\tm.drop(nil)", "if m.phase == up {\n\t\tm.drop(nil)",
	},
	{
		"what a WebSocket has joined is left at its close", "link.go",
		"if m.link.transport == TransportLongPoll {", "if m.phase == up {",
	},
	{
		"a join that is on its way is not taken back at the close of a long poll session", "channel.go",
		"if c.state == channelJoined || c.state == channelJoining {\n\t\t\tc.leaveRef", "if c.state == channelJoined {\n\t\t\tc.leaveRef",
	},
	{
		"a channel that was left for the close is lost by it", "channel.go",
		"if c.leaveRef != \"\" && !crash { // leaveAll", "if false {",
	},
	{
		"a channel that was left for the close does not crash", "channel.go",
		"if c.leaveRef != \"\" && !crash { // leaveAll", "if c.leaveRef != \"\" {",
	},
	{
		"the transport of the first session is that of all", "link.go",
		"m.link.transport = by\n", "m.link.transport = cmp.Or(m.link.transport, by)\n",
	},
	{
		"a channel that has to go to another socket leaves its pushes behind", "channel.go",
		"m.reset(c)\n\tm.failPushes(now, c, PushNotJoined)\n", "m.reset(c)\n",
	},
	{
		"a channel is sent to another socket although this one has none", "channel.go",
		"if held == 0 || m.phase != up {", "if m.phase != up {",
	},
	{
		"what a server has taught is forgotten", "dealer.go",
		"d.limit = r.held\n", "",
	},
	{
		"only the refused channel moves", "dealer.go",
		"moved = append(moved, s.m.releaseBeyond(now, d.limit)...)", "_ = s",
	},
	{
		"a socket that is closed because it is empty is given a channel", "dealer.go",
		"case s.retiring || s.m.phase == done ||", "case s.m.phase == done ||",
	},
	{
		"empty sockets stay open", "dealer.go",
		"case !now.Before(s.emptyUntil):", "case false:",
	},
	{
		"a socket that has ended for good is let be", "dealer.go",
		"case s.m.phase != done || d.closing:", "case s.m.phase != done || !s.retiring:",
	},
	{
		"the next socket is never opened", "dealer.go",
		"s.m.phase == idle && !d.sockets[i-1].m.link.upAt.IsZero()", "false && s == nil",
	},
	{
		"a connection is connected when its first socket is", "dealer.go",
		"badness(link) > badness(worst)", "false",
	},
	{
		"channels are told of socket by socket", "dealer.go",
		"slices.SortStableFunc(all.Channels, func(a, b ChannelStatus) int { return cmp.Compare(a.wanted, b.wanted) })", "_ = cmp.Compare[int]",
	},
}

// mutantSeeds are enough for the rarest mutant, several times over.
const mutantSeeds = "300"

// TestModelCatchesMutants runs the model tests on copies of the machine and of the dealer that have a bug each.
func TestModelCatchesMutants(t *testing.T) {
	var all []mutation.Mutant
	for _, m := range mutants {
		all = append(all, mutation.Mutant{Name: m.name, File: m.file, From: m.from, To: m.to})
	}
	mutation.Check(t, testing.Short(), mutation.Tests{
		Pattern: func(file string) string {
			switch file {
			case "":
				return "^TestModel(Dealer)?$"
			case "dealer.go":
				return "^TestModelDealer$"
			}
			return "^TestModel$"
		},
		// The model takes frames from the test of the codec.
		Needs: func(file string) bool {
			return strings.HasPrefix(file, "model_") && file != "model_mutants_test.go" || file == "codec_model_test.go"
		},
		Args: []string{"-model.seeds=" + mutantSeeds},
	}, all)
}
