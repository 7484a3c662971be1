package lease

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A mutant is a bug in one line of the core. from must occur exactly once in core.go, so that a mutant cannot rot unnoticed when the
// code changes.
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
	{"a lost session is not followed by another", "\tc.retryAt = min(c.retryAt, now)\n", "\tc.retryAt = now + time.Hour\n"},
	{"what goes on without the store keeps its epoch", "case ours:\n\t\t\tc.grant(now, l, l.known.Revision)\n", "case ours:\n\t\t\tl.orphan = false\n"},
}

// mutantSeeds are enough for the rarest mutant, several times over.
const mutantSeeds = "1500"

// TestModelCatchesMutants runs the model test against copies of the core that have a bug each: it has to fail for every one, and to
// pass for the core as it is.
func TestModelCatchesMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("the mutants are compiled one by one, which takes half a minute")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go tool to compile the mutants with")
	}
	m := mutation{goTool: goTool, slots: make(chan struct{}, 2)}
	var wait sync.WaitGroup
	for _, bug := range mutants {
		wait.Go(func() {
			out, err := m.run(t, bug)
			switch _, failure, found := strings.Cut(out, "--- FAIL: TestModel "); {
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

// A mutation runs the model test with the core replaced by the go tool's overlay.
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
	overlay := writeOverlay(t, bug)
	cmd := exec.CommandContext(ctx, m.goTool, "test", "-overlay="+overlay, "-vet=off", "-ldflags=-w", "-run=^TestModel$", ".", "-model.seeds="+mutantSeeds)
	combined, err := cmd.CombinedOutput()
	return string(combined), err
}

// writeOverlay writes the overlay of a mutant: its core, and no test files but that of the model, which keeps the compile short.
func writeOverlay(t *testing.T, bug mutant) string {
	dir, replace := t.TempDir(), map[string]string{}
	source, err := os.ReadFile("core.go")
	if err != nil {
		t.Error(err)
	}
	if n := strings.Count(string(source), bug.from); n != 1 {
		t.Errorf("the line of %q is found %d times: %s", bug.name, n, bug.from)
	}
	mutated := filepath.Join(dir, "core.go")
	if err := os.WriteFile(mutated, []byte(strings.Replace(string(source), bug.from, bug.to, 1)), 0o600); err != nil {
		t.Error(err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Error(err)
	}
	replace[filepath.Join(here, "core.go")] = mutated
	tests, _ := filepath.Glob("*_test.go") // the pattern is right
	for _, test := range tests {
		if test != "model_test.go" {
			replace[filepath.Join(here, test)] = ""
		}
	}
	data, _ := json.Marshal(map[string]any{"Replace": replace}) // strings
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Error(err)
	}
	return file
}
