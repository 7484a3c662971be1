package phoenix

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A modelTrace keeps the last steps of a run, to tell how it came to a failure.
type modelTrace struct {
	seed    uint64
	verbose bool
	steps   int
	lines   []traceLine
}

// A traceLine is put into words only if it is shown: nearly none are.
type traceLine struct {
	format string
	args   []any
}

func (l traceLine) String() string { return fmt.Sprintf(l.format, l.args...) }

// maxTraceLines bounds what a failure without -model.seed shows.
const maxTraceLines = 40

func (tr *modelTrace) add(format string, args ...any) {
	if !tr.verbose && len(tr.lines) >= 2*maxTraceLines {
		tr.lines = append(tr.lines[:0], tr.lines[maxTraceLines:]...)
	}
	tr.lines = append(tr.lines, traceLine{format, args})
}

func (tr *modelTrace) step(now time.Time, c cause) {
	tr.steps++
	tr.add("%v step %d: %v", traceTime(now), tr.steps, &c)
}

// String tells the input.
func (c *cause) String() string {
	switch {
	case c.frame != nil:
		return fmt.Sprintf("%s %v", c.name, c.frame)
	case c.push != nil:
		return fmt.Sprintf("%s %d %s", c.name, c.push.id, c.push.topic)
	case c.name == causePrepared:
		return fmt.Sprintf("%s %d, error %v", c.name, c.prepare, c.prepareErr)
	case c.err != nil:
		return fmt.Sprintf("%s %v, %d attempted", c.name, c.err, c.attempted)
	}
	return c.name + " " + c.topic
}

func (tr *modelTrace) event(e *Event) {
	tr.add("    event %d %s %T %+v join_ref %q ref %q push %d", e.Seq, e.Topic, e.Detail, e.Detail, e.JoinRef, e.Ref, e.push)
}

func (tr *modelTrace) frame(m *clientFrame) { tr.add("    frame %v", m) }

func (tr *modelTrace) fail(t testing.TB, format string, args ...any) {
	t.Helper()
	lines := tr.lines
	if !tr.verbose {
		lines = lines[max(0, len(lines)-maxTraceLines):]
	}
	var story strings.Builder
	for _, line := range lines {
		fmt.Fprintln(&story, line)
	}
	t.Fatalf("%s\nseed %d, step %d; again: go test ./phoenix -run '^TestModel$' -model.seed=%d\n%s",
		fmt.Sprintf(format, args...), tr.seed, tr.steps, tr.seed, story.String())
}

// A traceTime is a time of day in a trace.
type traceTime time.Time

func (t traceTime) String() string { return time.Time(t).Format("15:04:05.000000000") }

// A fromNow is a time in a failure: relative to the time of the step.
type fromNow struct{ t, now time.Time }

func (f fromNow) String() string {
	if f.t.IsZero() {
		return "never"
	}
	return f.t.Sub(f.now).String() + " from now"
}
