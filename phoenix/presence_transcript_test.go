package phoenix

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recordedPresence is what each client of the recording hears: alice is there, bob comes, updates his meta, alice comes a second
// time and leaves, bob's connection drops. A line is a message: who joins and leaves with how many metas, then who is there.
var recordedPresence = map[string][]string{
	`"a"`: {
		"+alice 1, alice 1",
		"+bob 1, alice 1, bob 1",
		"+bob 1, -bob 1, alice 1, bob 1",
		"+alice 1, alice 2, bob 1",
		"-alice 1, alice 1, bob 1",
		"-bob 1, alice 1",
	},
	`"b"`: {
		"+alice 1, +bob 1, alice 1, bob 1",
		"+bob 1, -bob 1, alice 1, bob 1",
		"+alice 1, alice 2, bob 1",
		"-alice 1, alice 1, bob 1",
	},
	`"a2"`: {
		"+alice 2, +bob 1, alice 2, bob 1",
	},
}

// What real servers were recorded to send, on Bandit and on Cowboy, in both wire formats.
func TestPresenceTranscripts(t *testing.T) {
	for _, dir := range []string{"v1", "v2", "cowboy/v1", "cowboy/v2"} {
		t.Run(dir, func(t *testing.T) {
			conns := readTranscript(t, filepath.Join("..", "testdata", "transcripts", filepath.FromSlash(dir), "presence.ndjson"))
			if len(conns) != len(recordedPresence) {
				t.Errorf("%d connections, want %d", len(conns), len(recordedPresence))
			}
			for conn, lines := range conns {
				if got := hearPresence(t, strings.HasSuffix(dir, "v1"), lines); !slices.Equal(got, recordedPresence[conn]) {
					t.Errorf("%s hears\n\t%s\nwant\n\t%s", conn, strings.Join(got, "\n\t"), strings.Join(recordedPresence[conn], "\n\t"))
				}
			}
		})
	}
}

// hearPresence gives a machine the presence messages of a connection, and tells what comes of each.
func hearPresence(t *testing.T, v1 bool, lines []*transcriptLine) (heard []string) {
	var c codec = codecV2{}
	if v1 {
		c = codecV1{}
	}
	for topic, joinRef := range recordedJoins(t, v1, lines) {
		m, now := upMachine(t, topic)
		m.codec, m.presence, m.presenceLimit = c, true, 1<<20
		m.channels[topic].joinRef = joinRef
		for _, l := range lines {
			if l.Dir != "server" || l.Type != "text" {
				continue
			}
			f := &frame{at: now}
			if err := c.scan(l.bytes(), false, f); err != nil {
				t.Fatal(err)
			}
			if !presenceFrame(f) {
				continue
			}
			if err := c.finish(f); err != nil {
				t.Fatal(err)
			}
			m.out = output{}
			m.received(now, f)
			if text := tellHeard(m.out.events); text != "" {
				heard = append(heard, text)
			}
			for _, n := range m.out.notes {
				t.Errorf("%s: %v", n.msg, n.args)
			}
		}
	}
	return heard
}

// recordedJoins are the topics that a client joined, with the join_ref of each.
func recordedJoins(t *testing.T, v1 bool, lines []*transcriptLine) map[string]string {
	joins := map[string]string{}
	for _, l := range lines {
		if l.Dir != "client" || l.Type != "text" {
			continue
		}
		var message struct{ Topic, Event, Ref string }
		var into any = &message
		if !v1 {
			into = &[]any{nil, &message.Ref, &message.Topic, &message.Event}
		}
		if err := json.Unmarshal(l.bytes(), into); err != nil {
			t.Fatal(err)
		}
		if message.Event == eventJoin {
			joins[message.Topic] = message.Ref
		}
	}
	return joins
}

func tellHeard(events []Event) string {
	var words []string
	for _, e := range events {
		switch d := e.Detail.(type) {
		case *PresenceJoin:
			words = append(words, fmt.Sprintf("+%s %d", d.Key, len(d.Metas)))
		case *PresenceLeave:
			words = append(words, fmt.Sprintf("-%s %d", d.Key, len(d.Metas)))
		case *PresenceSync:
			for key, metas := range d.State.All() {
				words = append(words, fmt.Sprintf("%s %d", key, len(metas)))
			}
		}
	}
	return strings.Join(words, ", ")
}
