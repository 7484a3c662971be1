package cmd

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/phoenix"
	"phx/signal"
)

// helpText returns a page of phx help.
func helpText(t *testing.T, topic string) string {
	t.Helper()
	r := phx(t, "help", topic)
	r.want(t, exit.OK, "")
	return r.out.String()
}

// helpSection returns what stands under a heading of a page, up to the next one.
func helpSection(t *testing.T, topic, heading string) string {
	t.Helper()
	_, behind, found := strings.Cut(helpText(t, topic), "\n"+heading+":\n\n")
	if !found {
		t.Fatalf("help %s has no section %q", topic, heading)
	}
	if end := regexp.MustCompile(`(?m)^[A-Z].*:\n\n`).FindStringIndex(behind); end != nil {
		behind = behind[:end[0]]
	}
	return behind
}

// oneSpaced returns text with single spaces between its words, so that it does not matter how it is wrapped.
func oneSpaced(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestHelpPagesAreReadable(t *testing.T) {
	if len(helpTopics) != 5 {
		t.Errorf("%d topics", len(helpTopics))
	}
	for topic := range helpTopics {
		text := helpText(t, topic)
		for i, line := range strings.Split(text, "\n") {
			widest := usualWidth
			if strings.HasPrefix(line, strings.Repeat(" ", exampleColumn)+"$ ") {
				widest = maxPageWidth // a command is one line
			}
			if utf8.RuneCountInString(line) > widest || strings.TrimRight(line, " ") != line || strings.ContainsAny(line, "\t\x1b") {
				t.Errorf("help %s, line %d: %q", topic, i+1, line)
			}
		}
		if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") || strings.Contains(text, "\n\n\n") {
			t.Errorf("help %s has too few or too many blank lines", topic)
		}
	}
}

// TestHelpFormatting: what the examples of the options print is compared by a script.
func TestHelpFormatting(t *testing.T) {
	section := helpSection(t, "formatting", "Options of the commands that print records")
	examples := maps.Clone(formattingExamples)
	for _, o := range (&outputOptions{}).Options() {
		example, ok := examples[o.Flag]
		if !ok || !strings.Contains(section, "$ "+example.command+"\n") || !strings.Contains(section, "--"+o.Flag) {
			t.Errorf("--%s has no example", o.Flag)
		}
		if !strings.Contains(example.command, " --"+o.Flag) && !strings.Contains(example.command, " -"+o.Shorthand) {
			t.Errorf("the example of --%s does without it: %s", o.Flag, example.command)
		}
		delete(examples, o.Flag)
	}
	if len(examples) > 0 {
		t.Errorf("examples of options that there are not: %v", examples)
	}
	formats := helpSection(t, "formatting", "Formats, each with the same message, indented")
	for i, name := range signal.Formats() {
		if about := formatAbout[signal.Format(i)]; about == "" || !strings.Contains(oneSpaced(formats), name+" "+about) {
			t.Errorf("the format %s is not explained", name)
		}
	}
	if got := strings.Count(formats, `"n": 1.0`); got != len(signal.Formats()) || len(formatAbout) != got || !strings.Contains(formats, "  new_msg  {\"body\":\"hi\",\"n\":1.0}\n") {
		t.Errorf("%d formats with an example, %d explained, of %d", got, len(formatAbout), len(signal.Formats()))
	}
}

// TestHelpConfigHasEveryKey compares the page with the schema that is printed for editors.
func TestHelpConfigHasEveryKey(t *testing.T) {
	text := helpText(t, "config")
	words := strings.FieldsFunc(text, func(r rune) bool { return !strings.ContainsRune("_-", r) && (r < '0' || r > 'z') })
	var schema any
	if err := json.Unmarshal([]byte(phx(t, "config", "schema").out.String()), &schema); err != nil {
		t.Fatal(err)
	}
	keys := 0
	eachProperty(schema, func(name string, property map[string]any) {
		keys++
		if !slices.ContainsFunc(words, func(word string) bool { return word == name || strings.HasSuffix(word, "."+name) }) {
			t.Errorf("the page lacks the key %s", name)
		}
		about, _ := property["description"].(string)
		if !strings.Contains(oneSpaced(text), about) {
			t.Errorf("the page lacks what %s is about: %s", name, about)
		}
	})
	if keys < 50 {
		t.Errorf("found %d keys in the schema", keys)
	}
}

// eachProperty calls visit for each property that a schema has anywhere.
func eachProperty(schema any, visit func(name string, property map[string]any)) {
	switch schema := schema.(type) {
	case []any:
		for _, item := range schema {
			eachProperty(item, visit)
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for name, property := range properties {
			visit(name, property.(map[string]any))
		}
		for _, value := range schema {
			eachProperty(value, visit)
		}
	}
}

func TestHelpConfigHasEveryFlag(t *testing.T) {
	entries := strings.Split(helpText(t, "config"), "\n\n")
	flags := 0
	check := func(key, flag string) {
		if !slices.ContainsFunc(entries, func(entry string) bool {
			return strings.HasPrefix(entry, "  "+key+" ") && strings.HasSuffix(oneSpaced(entry), " Also: "+flag+".")
		}) {
			t.Errorf("the page lacks %s with %s", key, flag)
		}
	}
	visitOptions(newRootCmd(testFactory()), func(_ string, o option.Option) {
		if o.Key == "" {
			return
		}
		flags++
		want := "--" + o.Flag
		if o.Env != "" {
			want += ", $" + o.Env
		}
		check(o.Key, want)
	})
	if flags < 20 {
		t.Errorf("found %d flags with a key", flags)
	}
	check("control.socket", "--control, $PHX_CONTROL")
}

// TestHelpConfigExample takes the example from the page, as a reader would.
func TestHelpConfigExample(t *testing.T) {
	section := helpSection(t, "config", "Example")
	example, _, _ := strings.Cut(section, "\n\n")
	env := map[string]string{"HOOK_SECRET": "secret"}
	lookupEnv := func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
	findings, err := config.Validate("example", []byte(example), lookupEnv, compileWhere)
	if err != nil {
		t.Fatal(err)
	}
	if findings.Connections != 1 || findings.Sinks != 2 || findings.Routes != 2 {
		t.Errorf("%+v", findings)
	}
}

// TestHelpConfigVariables has the parser do what the page says of variables.
func TestHelpConfigVariables(t *testing.T) {
	section := helpSection(t, "config", "Variables")
	env := map[string]string{"VAR": "set", "EMPTY": ""}
	// What is shown is a config file again: a dollar sign is written as two.
	for reference, want := range map[string]string{"${VAR}": "set", "${VAR:-default}": "set", "${VAR:?message}": "set", "$$": "$$"} {
		if !strings.Contains(section, "  "+reference+" ") {
			t.Errorf("the page lacks %s", reference)
		}
		for _, variable := range []string{"VAR", "EMPTY", "UNSET"} {
			text := strings.ReplaceAll(reference, "VAR", variable)
			file := fmt.Sprintf("connections: {backend: {uri: 'ws://h/%s'}}", text)
			r := (&phxRun{stdin: file, env: env}).run(t.Context(), "config", "show", "-f", "-", "--json")
			wanted := want
			switch {
			case variable == "VAR" || reference == "$$":
			case reference == "${VAR:-default}":
				wanted = "default"
			case reference == "${VAR}" && variable == "EMPTY":
				wanted = ""
			default:
				if r.code != exit.Usage {
					t.Errorf("%s: exit code %d", text, r.code)
				}
				continue
			}
			if r.code != exit.OK || !strings.Contains(r.out.String(), `"ws://h/`+wanted+`"`) {
				t.Errorf("%s: exit code %d, %s", text, r.code, r.out.String())
			}
		}
	}
}

// foreignVariables are read by the libraries that phx is made of.
var foreignVariables = []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "PATH"}

// TestHelpEnvironmentIsWhole compares the page with the options of all commands, with what the help of commands speaks of, and
// with what the program's files look up.
func TestHelpEnvironmentIsWhole(t *testing.T) {
	root := newRootCmd(testFactory())
	read := map[string]bool{}
	for _, name := range foreignVariables {
		read[name] = true
	}
	visitOptions(root, func(command string, o option.Option) {
		if o.Env == "" {
			return
		}
		read[o.Env] = true
		if text := oneSpaced(helpSection(t, "environment", "Settings, in place of a flag")); !regexp.MustCompile(o.Env + ` --` + o.Flag + ` of [a-z, ]*\b` + command + `\b`).MatchString(text) {
			t.Errorf("the page does not say that %s is --%s of %s", o.Env, o.Flag, command)
		}
	})
	for name := range lookedUp(t) {
		read[name] = true
	}
	listed := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^  ([A-Z_]+) `).FindAllStringSubmatch(helpText(t, "environment"), -1) {
		if listed[found[1]] {
			t.Errorf("the page has %s twice", found[1])
		}
		listed[found[1]] = true
	}
	if got, want := slices.Sorted(maps.Keys(listed)), slices.Sorted(maps.Keys(read)); !slices.Equal(got, want) {
		t.Errorf("the page has\n%v\nand phx reads\n%v", got, want)
	}
	mentioned := regexp.MustCompile(`\$([A-Z_]{3,})`)
	eachCommand(root, func(c *cobra.Command) {
		texts := c.Long
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { texts += f.Usage })
		for _, found := range mentioned.FindAllStringSubmatch(texts, -1) {
			if !listed[found[1]] {
				t.Errorf("the help of %s speaks of $%s, which is not on the page", c.CommandPath(), found[1])
			}
		}
	})
}

func eachCommand(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, visit)
	}
}

// testFactory makes commands that are not run.
func testFactory() *factory { return &factory{streams: &Streams{}} }

// lookups are the functions that read a variable.
var lookups = []string{"LookupEnv", "lookupEnv", "Getenv", "env", "takeEnv"}

// lookedUp returns the variables that the files of the program look up by name.
func lookedUp(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, dir := range []string{".", "../phoenix", "../signal", "../router"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if path == "phxtest" { // of tests alone
				return filepath.SkipDir
			}
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err == nil {
				collectLookups(t, file, found)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !found["XDG_CONFIG_HOME"] || !found["NOTIFY_SOCKET"] {
		t.Fatalf("found %v: that cannot be all", found)
	}
	return found
}

func collectLookups(t *testing.T, file *ast.File, found map[string]bool) {
	t.Helper()
	constants := constantsOf(file)
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 || !slices.Contains(lookups, nameOf(call.Fun)) {
			return true
		}
		switch arg := call.Args[0].(type) {
		case *ast.BasicLit:
			name, err := strconv.Unquote(arg.Value)
			if err != nil {
				t.Fatal(err)
			}
			found[name] = true
		case *ast.Ident:
			if name, ok := constants[arg.Name]; ok {
				found[name] = true
			}
		}
		return true
	})
}

// constantsOf returns the constants of a file that are texts.
func constantsOf(file *ast.File) map[string]string {
	constants := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, value := range spec.Values {
			if literal, ok := value.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					constants[spec.Names[i].Name] = text
				}
			}
		}
		return true
	})
	return constants
}

// nameOf returns the last name of a function, also of one that is a member.
func nameOf(function ast.Expr) string {
	switch function := function.(type) {
	case *ast.Ident:
		return function.Name
	case *ast.SelectorExpr:
		return function.Sel.Name
	}
	return ""
}

// signalSamples are events of every kind, with all that they can have.
func signalSamples() []phoenix.Event {
	change := phoenix.PresenceChange{Fields: json.RawMessage(`{"n":1}`), Update: true}
	of := func(topic, name string, payload phoenix.Payload, detail phoenix.Detail) phoenix.Event {
		return phoenix.Event{Time: exampleMessage.Time, Seq: 1, Session: 1, Topic: topic, Name: name, Ref: "4", JoinRef: "3", Payload: payload, Detail: detail}
	}
	none, answer, binary := phoenix.Payload{}, phoenix.JSON(`{}`), phoenix.Binary(nil)
	again := phoenix.Retry{Will: true, In: 1}
	return []phoenix.Event{
		of("room:lobby", "new_msg", answer, &phoenix.Message{}),
		of("room:lobby", "new_msg", binary, &phoenix.Message{}),
		of("", "", none, &phoenix.Connecting{}),
		of("", "", none, &phoenix.Connected{Reconnect: true, RTT: 1, Timings: phoenix.Timings{TLS: 1}}),
		of("", "", none, &phoenix.Disconnected{Code: 1000, HTTPStatus: 403}),
		of("", "", none, &phoenix.Reconnecting{}),
		of("", "", none, &phoenix.ReconnectExhausted{}),
		of("", "", none, &phoenix.Heartbeat{}),
		of("", "", none, &phoenix.HeartbeatTimeout{}),
		of("room:lobby", "", none, &phoenix.Joining{}),
		of("room:lobby", "", answer, &phoenix.Joined{Rejoin: true, Resumed: json.RawMessage(`{}`)}),
		of("room:lobby", "", none, &phoenix.Live{}),
		of("room:lobby", "", none, &phoenix.Gap{}),
		of("room:lobby", "", answer, &phoenix.JoinError{Retry: again}),
		of("room:lobby", "", none, &phoenix.Left{}),
		of("room:lobby", "", none, &phoenix.Closed{Retry: again}),
		of("room:lobby", "", answer, &phoenix.Errored{Retry: again}),
		of("room:lobby", "new_msg", answer, &phoenix.PushReply{}),
		of("room:lobby", "new_msg", binary, &phoenix.PushReply{}),
		of("room:lobby", "new_msg", answer, &phoenix.PushReply{OnJoin: true}),
		of("room:lobby", "new_msg", none, &phoenix.PushTimeout{OnJoin: true}),
		of("room:lobby", "new_msg", none, &phoenix.PushError{OnJoin: true}),
		of("room:lobby", "new_msg", none, &phoenix.PushTimeout{}),
		of("room:lobby", "new_msg", none, &phoenix.PushError{}),
		of("room:lobby", "sync", answer, &phoenix.PushReply{OnJoin: true}),
		of("room:lobby", "sync", none, &phoenix.PushTimeout{OnJoin: true}),
		of("room:lobby", "sync", none, &phoenix.PushError{OnJoin: true}),
		of("room:lobby", "", none, &phoenix.PresenceJoin{PresenceChange: change}),
		of("room:lobby", "", none, &phoenix.PresenceLeave{PresenceChange: change}),
		of("room:lobby", "", none, &phoenix.PresenceSync{}),
	}
}

// typesOfSamples encodes every sample, and the one signal that is of no event, and returns the members of data by type.
func typesOfSamples(t *testing.T) map[string]map[string]bool {
	t.Helper()
	encoder := signal.NewEncoder(signal.FormatSignal, "backend")
	lines := encoder.AppendDropped(nil, signal.Dropped{Sink: "hook"}, exampleMessage.Time)
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
	page := regexp.MustCompile(`(?m)^  (phoenix\.\S+)\n((?: {6}[a-z0-9_, ]+\n)+)`).FindAllStringSubmatch(helpText(t, "signals"), -1)
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
	"Reason": "Reason of a link", "JoinReason": "Reason of a join", "ErrorReason": "Reason of a channel", "GapReason": "Reason of a gap", "PushReason": "Reason of a push",
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
	text := helpText(t, "signals")
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
	encoder := signal.NewEncoder(signal.FormatSignal, "backend")
	encoder.SetEpoch(1)
	ev := signalSamples()[0]
	ev.Broadcast = &phoenix.Broadcast{Event: "new_msg"}
	line := encoder.Append(nil, &ev)
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
