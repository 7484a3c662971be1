package lease

import (
	"testing"

	"phx/cmd/phxtest/mutation"
)

// A mutant is a [mutation.Mutant] of the core.
type mutant struct{ name, from, to string }

var mutants = []mutant{
	{"a lost acknowledgement is read as a loss", "\t\ts.conflict = now\n", "\t\tc.lose(now, true)\n\t\treturn\n"},
	{"a renewal counts from its answer", "\t\tc.confirm(r.session.Number, revision)\n", "\t\ts.sent[r.session.Number] = now\n\t\tc.confirm(r.session.Number, revision)\n"},
	{"a renewal that is found counts from now", "\t\tc.confirm(own.Number, own.Revision)\n", "\t\ts.sent[own.Number] = now\n\t\tc.confirm(own.Number, own.Revision)\n"},
	{"a session counts for longer than it is kept", "sent+c.ttl*9/10", "sent+c.ttl*5/4"},
	{"a change that is told is believed without a look", "\tc.readSoon(now)\n\tc.proceed(now)\n}\n\n// stopped", "\tfor id := range c.view.Sessions {\n\t\tif c.session != nil && id != c.session.id {\n\t\t\tdelete(c.view.Sessions, id)\n\t\t\tbreak\n\t\t}\n\t}\n\tc.proceed(now)\n}\n\n// stopped"},
	{"nothing is read unless a change is told", "c.reading, c.asked, c.readAt = true, now, now+c.tick()", "c.reading, c.asked, c.readAt = true, now, now+time.Hour"},
	{"an old snapshot is believed", "if view.Revision < c.highest || !here {", "if !here {"},
	{"a claim waits for nobody", "return c.viewAt >= c.joined+c.tick() ||", "return true ||"},
	{"what was given back is used again", "case ours && l.known.Revision > l.ended && l.wanted:", "case ours && l.wanted:"},
	{"what was stopped is not given back", "\t\tc.claim(now, l, l.wanted && c.suits(now, l.name))\n", ""},
	{"what lives is free", "return l.known.Revision == 0 || !lives ||", "return l.known.Revision == 0 || true || !lives ||"},
	{"nobody suits best", "score(name, e.Instance) > own {\n\t\t\treturn true", "score(name, e.Instance) > own {\n\t\t\treturn false"},
	{"nothing moves", "now >= c.changed+c.tick() && c.better(", "false && c.better("},
	{"a claim is granted that an earlier session made", "ours := l.known.Session == c.session.id\n", "ours := l.known.Session == c.session.id || c.former[l.known.Session]\n"},
	{"a claim without an answer was not made", "l.doubt, l.doubted = now, true", "l.known.Revision++"},
	{"a gap ends when the session of the owner was written", "return owner.At\n", "return owner.Created + c.ttl.Milliseconds()/10\n"},
	{"a gap begins at the claim", "\tcase l.known.Session == \"\":\n\t\treturn l.known.Since\n", "\tcase l.known.Session == \"\":\n\t\treturn l.known.Created\n"},
	{"what was down is not said", "case seen && isDown && down.Since != 0:\n\t\treturn down.Since", "case seen && isDown && down.Since != 0:\n\t\treturn owner.At"},
	{"a loss is not noticed in time", "now >= s.until && !c.onward {", "now >= s.until+c.ttl/2 && !c.onward {"},
	{"what was dropped is forgotten when a renewal is answered late", "\tif s := c.session; s != nil {\n\t\tc.lose(now, now >= s.expires)\n\t\tc.proceed(now)\n", "\tif s := c.session; s != nil && false {\n\t\tc.lose(now, now >= s.expires)\n\t\tc.proceed(now)\n"},
	{"a lost session is not followed by another", "\tc.retryAt = min(c.retryAt, now)\n", "\tc.retryAt = now + time.Hour\n"},
	{"a session that the store does not remove stays", "\tc.reap(now)\n", ""},
	{"a session is removed before it was seen not to be renewed", "now < max(c.lively[id]+ttl+c.tick(), c.reapAt[id])", "now < c.reapAt[id]"},
	{"what goes on without the store keeps its epoch", "case ours:\n\t\t\tc.grant(now, l, l.known.Revision)\n", "case ours:\n\t\t\tl.orphan = false\n"},
}

// mutantSeeds are enough for the rarest mutant.
const mutantSeeds = "1500"

// TestModelCatchesMutants runs the model test on copies of the core that have a bug each.
func TestModelCatchesMutants(t *testing.T) {
	var all []mutation.Mutant
	for _, m := range mutants {
		all = append(all, mutation.Mutant{Name: m.name, File: "core.go", From: m.from, To: m.to})
	}
	mutation.Check(t, testing.Short(), mutation.Tests{
		Pattern: func(string) string { return "^TestModel$" },
		Needs:   func(file string) bool { return file == "model_test.go" },
		Args:    []string{"-model.seeds=" + mutantSeeds},
	}, all)
}
