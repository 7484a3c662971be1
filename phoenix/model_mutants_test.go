package phoenix

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A mutant is a bug in one line of the machine or the dealer. from must occur exactly once in its file, so that a mutant cannot rot
// unnoticed when the code changes.
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
		"m.forget(c)\n\tif again != nil", "if len(m.order) < 3 {\n\t\tm.forget(c)\n\t}\n\tif again != nil",
	},
	{
		"the timer of a left channel goes on", "channel.go",
		"\tc.timer.stop()\n\tc.settled.stop()\n", "\tc.settled.stop()\n",
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

// TestModelCatchesMutants runs the model test against copies of the machine that have a bug each: it has to fail for
// every one, and to pass for the machine as it is.
func TestModelCatchesMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("the mutants are compiled one by one, which takes half a minute")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go tool to compile the mutants with")
	}
	m := mutation{goTool: goTool, slots: make(chan struct{}, 2)}
	if out, err := m.run(t, mutant{}); err != nil {
		t.Fatalf("the model test fails without a mutation: %v\n%s", err, out)
	}
	var wait sync.WaitGroup
	for _, bug := range mutants {
		wait.Go(func() {
			out, err := m.run(t, bug)
			switch _, failure, found := strings.Cut(out, "--- FAIL: TestModel"); {
			case err == nil:
				t.Errorf("not caught: %s", bug.name)
			case !found:
				t.Errorf("%s: not a failure of the model test: %v\n%s", bug.name, err, out)
			default:
				verdict, _, _ := strings.Cut(strings.TrimSpace(failure[strings.Index(failure, "\n")+1:]), "\n")
				t.Logf("%s: caught: %s", bug.name, verdict)
			}
		})
	}
	wait.Wait()
}

// A mutation runs the model test with files of the package replaced by the go tool's overlay.
type mutation struct {
	goTool string
	// slots bounds the runs at once.
	slots chan struct{}
}

func (m *mutation) run(t *testing.T, bug mutant) (out string, err error) {
	m.slots <- struct{}{}
	defer func() { <-m.slots }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	overlay, err := writeOverlay(t.TempDir(), bug)
	if err != nil {
		return "", err
	}
	run := "^TestModel(Dealer)?$"
	switch bug.file {
	case "":
	case "dealer.go":
		run = "^TestModelDealer$"
	default:
		run = "^TestModel$"
	}
	cmd := exec.CommandContext(ctx, m.goTool, "test", "-overlay="+overlay, "-vet=off", "-ldflags=-w", "-run="+run, ".", "-model.seeds="+mutantSeeds)
	combined, err := cmd.CombinedOutput()
	return string(combined), err
}

// writeOverlay writes the overlay of a mutant: its changed file, and no test files but those of the model test and the one
// that it takes frames from, which keeps the compile short.
func writeOverlay(dir string, bug mutant) (file string, err error) {
	replace := map[string]string{}
	tests, err := filepath.Glob("*_test.go")
	if err != nil {
		return "", err
	}
	here, err := filepath.Abs(".")
	if err != nil {
		return "", err
	}
	for _, test := range tests {
		if !strings.HasPrefix(test, "model_") && test != "codec_model_test.go" {
			replace[filepath.Join(here, test)] = ""
		}
	}
	if bug.file != "" {
		mutated := filepath.Join(dir, bug.file)
		if err := mutate(bug, mutated); err != nil {
			return "", err
		}
		replace[filepath.Join(here, bug.file)] = mutated
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, data, 0o600)
}

// mutate writes the file of bug with its bug to path.
func mutate(bug mutant, path string) error {
	source, err := os.ReadFile(bug.file)
	if err != nil {
		return err
	}
	if n := strings.Count(string(source), bug.from); n != 1 {
		return &rottenMutant{bug, n}
	}
	return os.WriteFile(path, []byte(strings.Replace(string(source), bug.from, bug.to, 1)), 0o600)
}

// A rottenMutant is one whose line has changed.
type rottenMutant struct {
	mutant
	found int
}

func (e *rottenMutant) Error() string {
	return "its line is found " + strconv.Itoa(e.found) + " times in " + e.file + ": " + e.from
}
