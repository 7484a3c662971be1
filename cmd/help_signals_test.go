package cmd

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"phx/phoenix"
	"phx/signal"
)

// signalSamples are events of every kind, with all that they can have.
func signalSamples() []phoenix.Event {
	of := func(topic, name string, payload phoenix.Payload, detail phoenix.Detail) phoenix.Event {
		return phoenix.Event{Time: exampleMessage.Time, Seq: 1, Session: 1, Topic: topic, Name: name, Ref: "4", JoinRef: "3", Payload: payload, Detail: detail}
	}
	none, answer, binary := phoenix.Payload{}, phoenix.JSON(`{}`), phoenix.Binary(nil)
	again := phoenix.Retry{Will: true, In: 1}
	return []phoenix.Event{
		of("room:lobby", "new_msg", answer, phoenix.Message{}),
		of("room:lobby", "new_msg", binary, phoenix.Message{}),
		of("", "", none, &phoenix.Connecting{}),
		of("", "", none, &phoenix.Connected{Reconnect: true, RTT: 1, Timings: phoenix.Timings{TLS: 1}}),
		of("", "", none, &phoenix.Disconnected{Code: 1000, HTTPStatus: 403}),
		of("", "", none, &phoenix.Reconnecting{}),
		of("", "", none, &phoenix.ReconnectExhausted{}),
		of("", "", none, &phoenix.Heartbeat{}),
		of("", "", none, &phoenix.HeartbeatTimeout{}),
		of("room:lobby", "", none, &phoenix.Joining{}),
		of("room:lobby", "", answer, &phoenix.Joined{Rejoin: true}),
		of("room:lobby", "", answer, &phoenix.JoinError{Retry: again}),
		of("room:lobby", "", none, &phoenix.Left{}),
		of("room:lobby", "", none, &phoenix.Closed{Retry: again}),
		of("room:lobby", "", answer, &phoenix.Errored{Retry: again}),
		of("room:lobby", "new_msg", answer, &phoenix.PushReply{}),
		of("room:lobby", "new_msg", binary, &phoenix.PushReply{}),
		of("room:lobby", "new_msg", none, &phoenix.PushTimeout{}),
		of("room:lobby", "new_msg", none, &phoenix.PushError{}),
		of("room:lobby", "", none, &phoenix.PresenceJoin{}),
		of("room:lobby", "", none, &phoenix.PresenceLeave{}),
		of("room:lobby", "", none, &phoenix.PresenceSync{}),
	}
}

// typesOfSamples encodes every sample, and the one signal that is of no event, and returns the members of data by type.
func typesOfSamples(t *testing.T) map[string]map[string]bool {
	t.Helper()
	encoder := signal.NewEncoder(signal.FormatSignal, "backend")
	lines := encoder.AppendDropped(nil, signal.Dropped{}, exampleMessage.Time)
	for _, ev := range signalSamples() {
		lines = encoder.Append(lines, &ev)
	}
	types := map[string]map[string]bool{}
	for line := range strings.Lines(string(lines)) {
		var s struct {
			Type string         `json:"type"`
			Data map[string]any `json:"data"`
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(s.Type, "phoenix.backend.") {
			s.Type = messageType
		}
		if types[s.Type] == nil {
			types[s.Type] = map[string]bool{}
		}
		for member := range s.Data {
			types[s.Type][member] = true
		}
	}
	return types
}

// commonMembers are those of data that the page gives for a class of types at once.
func commonMembers(typ string) []string {
	switch {
	case typ == messageType:
		return nil
	case strings.HasPrefix(typ, "phoenix.push."):
		return []string{"connection_name", "topic", "event"}
	case strings.HasPrefix(typ, "phoenix.channel."), strings.HasPrefix(typ, "phoenix.presence."):
		return []string{"connection_name", "topic"}
	}
	return []string{"connection_name"}
}

// TestHelpSignalsHasEveryType compares the page with what is printed for an event of every kind.
func TestHelpSignalsHasEveryType(t *testing.T) {
	printed := typesOfSamples(t)
	page := regexp.MustCompile(`(?m)^  (phoenix\.\S+)\n((?: {6}[a-z0-9_, ]+\n)+)`).FindAllStringSubmatch(helpPage(t, "signals"), -1)
	for _, found := range page {
		members, ok := printed[found[1]]
		if !ok {
			t.Errorf("no signal has the type %s", found[1])
			continue
		}
		delete(printed, found[1])
		want := commonMembers(found[1])
		for member := range strings.SplitSeq(oneSpaced(found[2]), ", ") {
			want = append(want, member)
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(members)); !slices.Equal(got, want) {
			t.Errorf("%s: data has %v, the page says %v", found[1], got, want)
		}
	}
	if len(printed) > 0 {
		t.Errorf("the page lacks %v", slices.Sorted(maps.Keys(printed)))
	}
}

// TestSignalSamplesAreAll reads package phoenix, so that a kind of event that is added there is not forgotten here.
func TestSignalSamplesAreAll(t *testing.T) {
	covered := map[string]bool{}
	for _, ev := range signalSamples() {
		typ := reflect.TypeOf(ev.Detail)
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		covered[typ.Name()] = true
	}
	found := 0
	for _, file := range phoenixFiles(t) {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "detail" {
				continue
			}
			found++
			receiver := f.Recv.List[0].Type
			if star, ok := receiver.(*ast.StarExpr); ok {
				receiver = star.X
			}
			if name := nameOf(receiver); !covered[name] {
				t.Errorf("there is no sample of phoenix.%s", name)
			}
		}
	}
	if found != len(covered) {
		t.Errorf("%d kinds of events, and %d samples", found, len(covered))
	}
}

func phoenixFiles(t *testing.T) []*ast.File {
	t.Helper()
	names, err := filepath.Glob("../phoenix/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// reasonTypes are the types of package phoenix whose constants the page explains, by the beginning of the heading there.
var reasonTypes = map[string]string{
	"Reason": "Reason of a link", "JoinReason": "Reason of a join", "ErrorReason": "Reason of a channel", "PushReason": "Reason of a push",
	"Delivered": "Delivered",
}

// TestHelpSignalsHasEveryReason compares the page with the constants of package phoenix.
func TestHelpSignalsHasEveryReason(t *testing.T) {
	constants := map[string][]string{}
	for _, file := range phoenixFiles(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || reasonTypes[nameOf(spec.Type)] == "" {
				return true
			}
			for i, value := range spec.Values {
				if text, err := strconv.Unquote(value.(*ast.BasicLit).Value); err == nil && spec.Names[i].IsExported() {
					constants[nameOf(spec.Type)] = append(constants[nameOf(spec.Type)], text)
				}
			}
			return true
		})
	}
	text := helpPage(t, "signals")
	for typ, heading := range reasonTypes {
		full := regexp.MustCompile(`(?m)^` + heading + `.*:$`).FindString(text)
		section := helpSection(t, "signals", strings.TrimSuffix(full, ":"))
		var listed []string
		for _, found := range regexp.MustCompile(`(?m)^  ([a-z_]+) +\S`).FindAllStringSubmatch(section, -1) {
			listed = append(listed, found[1])
		}
		want := constants[typ]
		slices.Sort(listed)
		slices.Sort(want)
		if len(want) == 0 || !slices.Equal(listed, want) {
			t.Errorf("%s: the page has %v, package phoenix %v", typ, listed, want)
		}
	}
}

// TestHelpSignalsHasEveryMember compares the members of a signal with those of a message that has all of them.
func TestHelpSignalsHasEveryMember(t *testing.T) {
	line := signal.NewEncoder(signal.FormatSignal, "backend").Append(nil, &signalSamples()[0])
	var members []string
	decoder := json.NewDecoder(strings.NewReader(string(line)))
	for depth, path := 0, ""; decoder.More() || depth > 0; {
		tok, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		name, isText := tok.(string)
		switch {
		case tok == json.Delim('{'):
			depth++
			continue
		case tok == json.Delim('}'):
			depth--
			path = ""
			continue
		case !isText:
			t.Fatalf("%v where a name should be", tok)
		}
		if name == "metadata" {
			path = "metadata."
			continue
		}
		members = append(members, path+name)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	section, listed := helpSection(t, "signals", "Members"), []string(nil)
	for _, found := range regexp.MustCompile(`(?m)^  (\S+)`).FindAllStringSubmatch(section, -1) {
		listed = append(listed, found[1])
	}
	if !slices.Equal(listed, members) {
		t.Errorf("the page has\n%v\nand a message\n%v", listed, members)
	}
}
