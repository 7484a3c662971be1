package phoenix

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A replay that cannot fail proves nothing: each frame that makes events is falsified in every way that has to show, one
// at a time, and each time the events must differ from the expected.
func TestTranscriptFalsifications(t *testing.T) {
	count := 0
	for _, file := range transcriptFiles(t) {
		for conn, lines := range readTranscript(t, file) {
			for i, made := range linesWithEvents(t, lines) {
				for what, changed := range falsifications(lines[i], made) {
					falsify := func(at int, data []byte, _ bool) []byte {
						if at == i {
							return changed
						}
						return data
					}
					p, err := replayLines(lines, falsify, map[string]int{})
					if err == nil && slices.Equal(p.expected, p.got) {
						t.Errorf("%s %s, line %d: not noticed: %s: %q", file, conn, i, what, changed)
					}
					count++
				}
			}
		}
	}
	t.Logf("%d falsifications", count)
	if count < 3000 {
		t.Errorf("only %d falsifications: the transcripts hold more than that", count)
	}
}

// linesWithEvents returns the server's data frames that make events, by their line, with the first event of each.
func linesWithEvents(t *testing.T, lines []*transcriptLine) map[int]string {
	t.Helper()
	made := map[int]string{}
	p := newTranscriptReplay(map[string]int{})
	for i, l := range lines {
		before := len(p.expected)
		if err := p.line(l); err != nil {
			t.Fatal(err)
		}
		if len(p.expected) > before && l.Dir == "server" && (l.Type == "text" || l.Type == "binary") {
			_, made[i], _ = strings.Cut(p.expected[before], ": ")
		}
	}
	return made
}

// falsifications are a frame falsified in all ways that have to change the event, of which made is the line; nil is a lost
// frame.
func falsifications(l *transcriptLine, made string) map[string][]byte {
	all := map[string][]byte{"the frame is lost": nil}
	data := l.bytes()
	if l.Type == "binary" {
		all["another payload"] = append(slices.Clone(data), '!')
		return all
	}
	kind, _, _ := strings.Cut(made, " ")
	change := func(what string, how func(f *rawFrame)) {
		f := readRawFrame(data)
		how(&f)
		all[what] = f.encode()
	}
	change("another topic", func(f *rawFrame) { f.Topic = json.RawMessage(`"room:elsewhere"`) })
	change("another event", func(f *rawFrame) { f.Event = json.RawMessage(`"elsewhat"`) })
	if kind != "heartbeat" && !readRawFrame(data).v1 {
		change("another join_ref", func(f *rawFrame) { f.JoinRef = json.RawMessage(`"12345"`) })
	}
	switch kind {
	case "heartbeat", "left":
		change("another ref", func(f *rawFrame) { f.JoinRef, f.Ref = json.RawMessage(`"12345"`), json.RawMessage(`"12345"`) })
	case "reply", "joined", "join":
		change("another ref", func(f *rawFrame) { f.Ref = json.RawMessage(`"12345"`) })
		change("another response", func(f *rawFrame) { f.Payload = f.reply("status") })
		change("another status", func(f *rawFrame) { f.Payload = f.reply("response") })
	case "message", "errored":
		change("another payload", func(f *rawFrame) { f.Payload = json.RawMessage(`{"falsified":1}`) })
	}
	if kind == "join" { // an error; any status but ok is one
		change("another status", func(f *rawFrame) {
			f.Payload = json.RawMessage(strings.Replace(string(f.Payload), `"status":"error"`, `"status":"ok"`, 1))
		})
	}
	return all
}

// A rawFrame is a text frame of the server, taken apart and no further.
type rawFrame struct {
	v1                                  bool
	JoinRef, Ref, Topic, Event, Payload json.RawMessage
}

func readRawFrame(data []byte) (f rawFrame) {
	if f.v1 = json.Unmarshal(data, &f) == nil; f.v1 {
		return f
	}
	if err := json.Unmarshal(data, &[]any{&f.JoinRef, &f.Ref, &f.Topic, &f.Event, &f.Payload}); err != nil {
		panic(fmt.Sprintf("%q: %v", data, err))
	}
	return f
}

func (f *rawFrame) encode() []byte {
	if f.v1 {
		return mustJSON(map[string]any{"topic": f.Topic, "event": f.Event, "payload": f.Payload, "ref": f.Ref})
	}
	return mustJSON([]any{f.JoinRef, f.Ref, f.Topic, f.Event, f.Payload})
}

// reply is the payload of a reply with everything changed but one key.
func (f *rawFrame) reply(keep string) json.RawMessage {
	var payload map[string]json.RawMessage
	if err := json.Unmarshal(f.Payload, &payload); err != nil {
		panic(fmt.Sprintf("%q: %v", f.Payload, err))
	}
	for key := range payload {
		if key != keep {
			payload[key] = json.RawMessage(`"falsified"`)
		}
	}
	return mustJSON(payload)
}
