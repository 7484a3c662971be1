package jq

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"phx/phoenix/rawjson"
)

// plainExpressions have results that are read out of the text. Those of otherExpressions need gojq.
var (
	plainExpressions = []string{
		".", ".data.payload.id", ".metadata.phoenix_event", ".metadata.seq.a", `.data["odd key"]`, `."odd key"`, `."data".payload`, ".[0]", ".[-1]", ".[1].a", ".a[2][0]",
		".a?", ".a?.b", ".a.b?", ".[0]?", ".a[0]?.b?", ".data | .payload | .id", "(.a) | (.b.c)", "(.data | .payload).id | .",
		`.data.payload.id == 7`, `.n != 7`, `.n < 7`, `.n <= 1.5`, `.n > -3`, `.n >= 12345678901`, `.n == 1e2`, `.n < 0.1`, `7 < .n`, `"a" >= .s`,
		`.s == "é\n"`, `.s < "b"`, `.s > ""`, `.a == null`, `.a == true`, `.a <= false`, `null != .a`, `.a[0] == .5`,
		`.a == 1 and .b == 2`, `.a or .b`, `.a and (.b or .c == "x")`, `.a == 1 or .a == 2 or .b`, `.a | not`, `.a == 1 | not`,
		`select(.data.event == "new_msg")`, `select(.a)`, `select(.a == 1 and .b != "x")`, `select(.metadata.phoenix_event == "new_msg") | .data.payload`,
		`select(.a > 1) | select(.b) | .c`, `.data | select(.payload) | .payload.id`, `select(.a | not)`, `select(true)`, `select(empty)`,
		`.a // "none"`, `.a // .b`, `.a? // empty`, `.a // empty | .b`, `empty`, `1`, `"text"`, `null`, `-1`, `1.0`, `-0.5`, `1.0 == .a`,
		`.a == $text`, `.a < $number`, `select(.a == $text) | .b`, `$list`, `.a // $list`, `$number`, `1 as $x | .a == $x`, `"x" as $text | null as $b | select(.c == $text) | $b`,
		`{a, b: .c}`, `{at: .a, "odd key": .b.c?, "é\n": 1}`, `{a: .b, a: .a}`, `{z: {b: [.a], a}, a: .n}`, `{a: empty, b: .a.b}`, `{a: .a?.b, b: .b.c}`, `{}`, `{a: (.a | not)}`,
		`[.a, .b]`, `[.a, (.b | .c), empty, .n]`, `[.a?.b, .b]`, `[]`, `[[.a], {b}]`, `[.data.payload, .metadata.seq]`, `[.a, .b] | .[1]`, `{a} | .a`, `[.a] == 1`,
		`"\(.a)"`, `"a \(.a) \"\(.b)\" é\n\(.n)\(.s)"`, `"\([.a, .b])\({a})"`, `"\(.a?.b) x"`, `"\("\(.a)")"`, `"\(.a)" == "1"`, `select(.a) | {a} | "\(.)"`, `1 as $x | .a == $x`, `"x" as $a | null as $b | select(.a == $a) | $b`,
	}
	otherExpressions = []string{
		"..", ".[]", ".a[]", ".[1:2]", ".[1.5]", ".a??", ".[.a]", `.["a","b"]`, `."a\(1)"`, ".a, .b", ".a + 1", "-.a", ".a == .b", ".a == [1]", ".a == $list",
		".a as $x | $x", "def select(f): 1; select(.a)", "length", "keys", ".a.b[0]? | length", "[.a[]]", "{(.a): 1}", "{a: (1, 2)}", "[.a, .b][0]", "{a}.a", "\"\\(.[])\"", "\"a\" + .a", "{\"a\\(.n)\": 1}", "{$text}", ".a = 1", ".a |= .b", "select(.a, .b)",
		`.a | test("x")`, "1e1000", "123456789012345678901", "-(1)", "[1] as $x | 2", "[1] as [$x] | $x", "1 as $x ?// [$x] | $x", "if .a then .b else .c end", "try .a", "reduce .[] as $x (0; . + $x)",
		".data.payload | length", "select(.a) | keys", ".a | .b | tojson", "label $out | .a", ".[1e0]", "limit(1; .a)", "@json", "@base64 \"\\(.a)\"",
	}
	testVariables = []Variable{{"text", "x\u007fé\""}, {"number", json.Number("1.50")}, {"list", []any{1, "a"}}}
)

// plainTexts are inputs on which the difference is in the details.
var plainTexts = []string{
	`{"specversion":"1.0","type":"t","data":{"payload":{"id":7,"body":"hi"},"event":"new_msg","odd key":[]},"metadata":{"phoenix_event":"new_msg","seq":6}}`,
	`{"data":{"payload":{"id":1,"id":2},"event":"e"},"metadata":{"phoenix_event":"x","seq":{"a":1,"a":[]}}}`, `{"data":{"payload":"text"},"metadata":null}`,
	`{"data":{"payload_base64":"AP8="}}`, `{"data":{"payload":null}}`, `{"data":[]}`, `{"data":"text"}`, `{"data":{"payload":[1,2]}}`,
	`{"a":1,"a":{"b":2},"a":[3,[4],[[5]]]}`, `{"a":{"b":1},"a":3}`, `{"b":1,"a":{"d":1,"c":[{"z":1,"y":2,"z":3}],"é":2,"\u0064":4}}`,
	`{"\u0061":"escaped key","n":1.0}`, `{"a":"\u00e9\ud83d\ude00\ud800\udc00x\udead\/\b\f\n\r\t\u0000\u007f\\\""}`, "{\"a\":\"\x7f\"}", "{\"x\x7f\":1,\"x\":2}",
	`{"a":"\ud800","b":"\ud800\u0041","c":"\udc00\ud800"}`, `{"s":"é\n"}`, `{"s":"\u00e9\u000a"}`, `{"s":"b"}`, `{"s":""}`, `{"a":"x\u007fé\""}`,
	`{"n":7}`, `{"n":7.0}`, `{"n":70e-1}`, `{"n":-0}`, `{"n":-0.0}`, `{"n":12345678901234567890}`, `{"n":1e400}`, `{"n":-1e400}`, `{"n":100}`, `{"n":0.1}`,
	`{"n":9223372036854775807}`, `{"n":-9223372036854775808}`, `{"n":"7"}`, `{"n":[7]}`, `{"n":{"a":7}}`, `{"n":null}`, `{"n":true}`, `{"n":false}`,
	`{"a":1,"b":2,"c":"x"}`, `{"a":false,"b":null}`, `{"a":null}`, `{"a":true,"b":{"c":[]}}`, `{"a":{},"b":[]}`, `{}`, `[]`, `[null,{"a":"z"}]`, `[[1],{"a":2},3]`, `"text"`, `12`,
	`null`, `true`, "  {\n\t\"a\" : [ 1 , { } , [ ] ] ,\r\n \"b\" : { \"c\" : 2 } }  ", `[1,2`, `{"a":1,}`, `[1,]`, `{"a"1}`, `{"a":tru}`, ``, ` `, `{"a":1}x`, `nul`, `{"b":"`,
	`{"a":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`,
}

// oracle runs an expression as it is: decoded by encoding/json, run by gojq, written by gojq.
func oracle(code *gojq.Code, text []byte) (results string, failed bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var input any
	if !json.Valid(text) || decoder.Decode(&input) != nil {
		return "", true
	}
	var values []any
	for _, v := range testVariables {
		values = append(values, v.Value)
	}
	for iter := code.Run(input, values...); ; {
		value, ok := iter.Next()
		if !ok {
			return results, false
		}
		if err, isErr := value.(error); isErr {
			return results + err.Error(), true
		}
		result, err := gojq.Marshal(value)
		if err != nil {
			return results + err.Error(), true
		}
		results += string(result) + "\n"
	}
}

// A jsonSource is a Source of a text. It tells the value of a member metadata, and those that its members data and metadata have.
type jsonSource struct {
	text  []byte
	known map[string]map[string]json.RawMessage
	whole json.RawMessage // metadata
	asked int             // how often for the text
}

func (s *jsonSource) Text() []byte {
	s.asked++
	return s.text
}

func (s *jsonSource) Value(outer, inner string) (value []byte, known bool) {
	if inner == "" {
		return s.whole, outer == "metadata" && s.whole != nil
	}
	value, known = s.known[outer][inner]
	return value, known
}

// sourceOf returns the source of a text; nil: a source has no such text.
func sourceOf(text []byte) *jsonSource {
	members := uniqueMembers(text)
	if members == nil {
		return nil
	}
	s := &jsonSource{text: trim(text), known: map[string]map[string]json.RawMessage{}, whole: members["metadata"]}
	for key, value := range members {
		inner := uniqueMembers(value)
		if inner == nil && value[0] == '{' {
			return nil
		}
		if key == "data" || key == "metadata" {
			s.known[key] = inner
		}
	}
	return s
}

// uniqueMembers returns the members of an object, nil if the text is none, or has a key twice.
func uniqueMembers(text []byte) map[string]json.RawMessage {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') || !json.Valid(text) {
		return nil
	}
	members := map[string]json.RawMessage{}
	for decoder.More() {
		key, _ := decoder.Token()
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil || members[key.(string)] != nil {
			return nil
		}
		members[key.(string)] = value
	}
	return members
}

// ours runs an expression by a filter on a document, in each of its ways.
func ours(f *Filter, document Document) (results string, failed bool, complaint string) {
	err := f.Run(context.Background(), document, func(result []byte) error { results += string(result) + "\n"; return nil })
	if plain, known := f.Plain([]byte("before"), document); known {
		line := strings.TrimPrefix(string(plain), "before")
		if line != "" {
			line += "\n"
		}
		if err != nil || line != results {
			complaint = fmt.Sprintf("Plain: %q; Run: %q, %v", line, results, err)
		}
	}
	first, _, any := strings.Cut(results, "\n")
	matched, matchErr := f.Match(context.Background(), document)
	if want := any && first != "null" && first != "false"; matched != want || !any && (matchErr == nil) != (err == nil) {
		complaint = fmt.Sprintf("Match: %t, %v; Run: %q, %v", matched, matchErr, results, err)
	}
	if err != nil {
		results += err.Error()
	}
	return results, err != nil, complaint
}

// A pair is an expression compiled both ways.
type pair struct {
	filter *Filter
	code   *gojq.Code
}

func compilePair(expr string) (p pair, err error) {
	query, err := gojq.Parse(expr)
	if err != nil {
		return p, err
	}
	var names []string
	for _, v := range testVariables {
		names = append(names, "$"+v.Name)
	}
	if p.code, err = gojq.Compile(query, gojq.WithVariables(names)); err != nil {
		return p, err
	}
	p.filter, err = Compile(expr, Options{Variables: testVariables})
	return p, err
}

// compare fails unless both ways of an expression come to the same on a text, and on a source of that text.
func compare(t *testing.T, expr string, p pair, text []byte) {
	t.Helper()
	compareOn(t, expr, p, text, Document{Text: text})
	if source := sourceOf(text); source != nil {
		compareOn(t, expr, p, text, Document{Source: source})
	}
}

func compareOn(t *testing.T, expr string, p pair, text []byte, document Document) {
	t.Helper()
	want, wantFailed := oracle(p.code, text)
	got, gotFailed, complaint := ours(p.filter, document)
	// What is wrong with a text that is not JSON is told in other words.
	same := got == want || wantFailed && !json.Valid(text)
	if !same || gotFailed != wantFailed {
		t.Errorf("%s on %q (by a source: %t):\ngot  %q (failed: %t)\nwant %q (failed: %t)", expr, text, document.Source != nil, got, gotFailed, want, wantFailed)
	}
	if complaint != "" {
		t.Errorf("%s on %q: %s", expr, text, complaint)
	}
}

func TestPlainIsRecognised(t *testing.T) {
	for _, expr := range plainExpressions {
		p, err := compilePair(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
		} else if p.filter.plain == nil || p.filter.rest != nil {
			t.Errorf("%s is not plain", expr)
		}
	}
	for _, expr := range otherExpressions {
		p, err := compilePair(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
		} else if p.filter.plain != nil && p.filter.rest == nil {
			t.Errorf("%s is plain", expr)
		}
	}
}

func TestResultsAreThoseOfGojq(t *testing.T) {
	for _, expr := range append(plainExpressions, otherExpressions...) {
		p, err := compilePair(expr)
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		for _, text := range plainTexts {
			compare(t, expr, p, []byte(text))
		}
	}
}

// FuzzRun compares any expression on any text with gojq.
func FuzzRun(f *testing.F) {
	for i, expr := range append(plainExpressions, otherExpressions...) {
		f.Add(expr, []byte(plainTexts[i%len(plainTexts)]))
	}
	f.Fuzz(func(t *testing.T, expr string, text []byte) {
		if len(expr) > 200 || !utf8.Valid(text) || endless(expr) {
			return
		}
		p, err := compilePair(expr)
		if err != nil {
			return
		}
		compare(t, expr, p, text)
	})
}

// endless reports whether an expression may take for ever, or differ from run to run, or reach out.
func endless(expr string) bool {
	for _, word := range []string{
		"range", "repeat", "recurse", "until", "while", "limit", "def", "*", "..", "combinations", "reduce", "foreach", "walk", "now", "env", "ENV",
		"halt", "input", "debug", "stderr", "ARGS", "mktime", "splits", "gsub", "match", "test", "implode", "setpath", "|=", "ltrimstr", "infinite",
		"localtime", "strf", "first", "skip", "nth", "add", "paths", "pick", "exec", "error", "modulemeta", "builtins", "getpath", "=",
	} {
		if strings.Contains(expr, word) && !(word == "=" && isComparison(expr)) {
			return true
		}
	}
	return false
}

// isComparison reports whether each equals sign belongs to a comparison.
func isComparison(expr string) bool {
	for _, operator := range []string{"==", "!=", "<=", ">="} {
		expr = strings.ReplaceAll(expr, operator, " ")
	}
	return !strings.Contains(expr, "=")
}

// FuzzPlain compares each plain expression on any text with gojq.
func FuzzPlain(f *testing.F) {
	var pairs []pair
	for _, expr := range plainExpressions {
		p, err := compilePair(expr)
		if err != nil {
			f.Fatal(err)
		}
		pairs = append(pairs, p)
	}
	for i, text := range plainTexts {
		f.Add(uint8(i), []byte(text))
	}
	f.Fuzz(func(t *testing.T, i uint8, text []byte) {
		if !utf8.Valid(text) {
			return // no payload is, and encoding/json repairs it
		}
		n := int(i) % len(pairs)
		compare(t, plainExpressions[n], pairs[n], text)
	})
}

// FuzzDecode compares decode, appendValue and the normal form with encoding/json and gojq.
func FuzzDecode(f *testing.F) {
	for _, text := range plainTexts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) {
			return
		}
		value, err := decode(text)
		var want any
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		if valid := json.Valid(text); (err == nil) != valid || !valid {
			if (err == nil) != valid {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if err := decoder.Decode(&want); err != nil {
			t.Fatal(err)
		}
		written, err := gojq.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendValue(nil, value); !bytes.Equal(got, written) {
			t.Errorf("%q: written %q, want %q", text, got, written)
		}
		if gojq.Compare(value, want) != 0 {
			t.Errorf("%q: %v, want %v", text, value, want)
		}
		start, _ := rawjson.NextToken(text, 0)
		var n normalizer
		if got, _ := n.append(nil, text, start); !bytes.Equal(got, written) {
			t.Errorf("%q: normal form %q, want %q", text, got, written)
		}
	})
}

// A source is asked for its text only by an expression whose result needs more than it tells.
func TestTextIsAskedForIfNeeded(t *testing.T) {
	const text = `{"type":"t","data":{"payload":{"id":7},"event":"e"},"metadata":{"phoenix_event":"new_msg","seq":6}}`
	for expr, want := range map[string]int{
		".data.payload.id": 0, ".data.payload": 0, ".data | .payload": 0, ".metadata.phoenix_event": 0, ".metadata.seq == 6": 0, ".metadata": 0,
		`select(.metadata.phoenix_event == "other")`: 0, `select(.metadata.phoenix_event == "new_msg")`: 1, `select(.data.payload.id > 6) | .data.event`: 0,
		"not": 0, ". == 1": 1, ".": 1, ".type": 1, ".data.payload.id | length": 0, "length": 1, "[.data.payload, .metadata.seq]": 0, "{data}": 1, ".[0]": 2,
	} {
		f, err := Compile(expr, Options{})
		if err != nil {
			t.Fatal(err)
		}
		source := sourceOf([]byte(text))
		_ = f.Run(t.Context(), Document{Source: source}, func([]byte) error { return nil })
		if source.asked != want {
			t.Errorf("%s asks for the text %d times, want %d", expr, source.asked, want)
		}
	}
}

func TestPlainDoesNotAllocate(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector empties sync.Pool at random; without it the test runs")
	}
	text := []byte(plainTexts[0])
	for _, expr := range []string{
		".data.payload.id", ".data.payload", ".", `select(.metadata.phoenix_event == "new_msg") | .data.payload.body`, `.data.payload.id >= 7`,
		`.data.payload.id == 7.5`, `select(.data.event == "other")`,
	} {
		f, err := Compile(expr, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var line []byte
		allocations := testing.AllocsPerRun(100, func() {
			var known bool
			if line, known = f.Plain(line[:0], Document{Text: text}); !known {
				t.Errorf("%s is not known", expr)
			}
			if _, err := f.Match(context.Background(), Document{Text: text}); err != nil {
				t.Error(err)
			}
		})
		if allocations > 0 {
			t.Errorf("%s: %v allocations", expr, allocations)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	text := []byte(`{"specversion":"1.0","id":"01952f0e-8a00-7000-8000-000000000006","source":"/jidoka/phoenix/backend","type":"phoenix.backend.room_lobby.new_msg","subject":"room:lobby","time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json","data":{"payload":{"id":123456,"body":"hello, world, how are you","user":{"id":42}}},"metadata":{"connection_name":"backend","phoenix_topic":"room:lobby","phoenix_event":"new_msg","session":1,"seq":6}}`)
	for _, expr := range []string{
		".data.payload.body", `select(.metadata.phoenix_event == "other")`, ".", ".data.payload.body | length", "[.subject, .data.payload.body]",
		"{id: .data.payload.id, at: .time}", `"\(.subject): \(.data.payload.body)"`,
	} {
		b.Run(expr, func(b *testing.B) {
			f, err := Compile(expr, Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := f.Run(b.Context(), Document{Text: text}, func([]byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
