package cloudeventstest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"phx/phoenix"
)

// details has one of each kind.
var details = []phoenix.Detail{
	&phoenix.Message{},
	&phoenix.Connecting{}, &phoenix.Connected{}, &phoenix.Disconnected{}, &phoenix.Reconnecting{}, &phoenix.ReconnectExhausted{},
	&phoenix.Heartbeat{}, &phoenix.HeartbeatTimeout{},
	&phoenix.Joining{}, &phoenix.Joined{}, &phoenix.Live{}, &phoenix.Gap{}, &phoenix.JoinError{}, &phoenix.Left{}, &phoenix.Closed{}, &phoenix.Errored{},
	&phoenix.PushReply{}, &phoenix.PushTimeout{}, &phoenix.PushError{},
	&phoenix.PresenceJoin{}, &phoenix.PresenceLeave{}, &phoenix.PresenceSync{},
}

// TestDetailsAreAll reads package phoenix, so that an event which is added there is not forgotten here.
func TestDetailsAreAll(t *testing.T) {
	known := map[string]bool{}
	for _, detail := range details {
		known[reflect.Indirect(reflect.ValueOf(detail)).Type().Name()] = true
	}
	files, err := filepath.Glob("../../phoenix/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range file.Decls {
			method, ok := declared.(*ast.FuncDecl)
			if !ok || method.Recv == nil || method.Name.Name != "detail" {
				continue
			}
			found++
			receiver := method.Recv.List[0].Type
			if pointer, ok := receiver.(*ast.StarExpr); ok {
				receiver = pointer.X
			}
			if detail := receiver.(*ast.Ident).Name; !known[detail] {
				t.Errorf("phoenix.%s is not among the details", detail)
			}
		}
	}
	if found != len(details) {
		t.Errorf("found %d details in package phoenix, know %d", found, len(details))
	}
}

// strangeStrings are what a topic, an event or a ref may be.
var strangeStrings = []string{
	"", "room:lobby", "a b", " ", "\u00a0\u2003", " a ", "%", "100%", "%41", "%zz", "é😀", `"quoted\"`, "<&>", "\u2028", "+", "/?#[]@!$&'()*,;=",
	"\x00", "\n", "a\r\nb", "\t", "\x1f%", "\x7f", "\u0080", "\u009f", "\u00ad", "\ufeff", "\ufffd",
	"\ufdd0", "\ufdef", "\ufffe", "\uffff%25", "\U0001fffe", "\U0010ffff", "\U0010fffd",
	"\xff", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", strings.Repeat("z%\n", 3000),
}

// payloads are what a server may send. One thing is missing: a number beyond float64, such as 1e400. It is JSON, and phx passes it on
// as it came, but the SDK's parser loses its place in the line when it skips one.
var payloads = []phoenix.Payload{
	{},
	phoenix.JSON(`{}`), phoenix.JSON(`{"body":"hi"}`), phoenix.JSON(`null`), phoenix.JSON(`[]`), phoenix.JSON(`""`), phoenix.JSON(`false`),
	phoenix.JSON(`{"z":1.0,"a":-0,"a":12345678901234567890,"e":1E2,"f":-1e-400,"":{"":0}}`), phoenix.JSON(`-1.5e+308`),
	phoenix.JSON(`"<&>\u0041\/\ud800\u0000 \ud83d\ude00` + "\u007f\u2028\uffff" + `"`),
	phoenix.JSON(` { "a" : [ 1 ,` + "\t" + `2 ] } `),
	phoenix.JSON(strings.Repeat("[", 1000) + strings.Repeat("]", 1000)),
	{Data: []byte("{\r\n  \"b\": [1,\n2],\r\"a\":\"\\n\"\n}"), Broken: true},
	phoenix.Binary(nil), phoenix.Binary([]byte{0xfb, 0xff, 0}),
}

// newEvent returns a random event of the kind of detail.
func newEvent(r *rand.Rand, detail phoenix.Detail) phoenix.Event {
	ev := phoenix.Event{
		Time:    time.Unix(r.Int64N(1<<33), r.Int64N(1e9)),
		Seq:     r.Uint64() >> r.IntN(64),
		Session: randomInt(r),
		Topic:   randomString(r),
		Name:    randomString(r),
		Ref:     randomString(r),
		JoinRef: randomString(r),
		Payload: payloads[r.IntN(len(payloads))],
		Detail:  detail,
	}
	if typ := reflect.TypeOf(detail); typ.Kind() == reflect.Pointer {
		filled := reflect.New(typ.Elem())
		fill(r, filled.Elem())
		ev.Detail = filled.Interface().(phoenix.Detail)
	}
	return ev
}

// fill sets what is exported of v, and what that has, to random values.
func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				fill(r, field)
			}
		}
	case reflect.String:
		v.SetString(randomString(r))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int:
		v.SetInt(int64(randomInt(r)))
	case reflect.Int64: // a duration
		v.SetInt(r.Int64()>>r.IntN(64) - 1000)
	}
}

// randomInt returns a number that is not negative, small or large.
func randomInt(r *rand.Rand) int { return r.IntN(math.MaxInt) >> r.IntN(63) }

// randomString returns a strange string or one of random runes and bytes.
func randomString(r *rand.Rand) string {
	if r.IntN(2) == 0 {
		return strangeStrings[r.IntN(len(strangeStrings))]
	}
	var b strings.Builder
	for range r.IntN(8) {
		switch r.IntN(3) {
		case 0:
			b.WriteByte(byte(r.IntN(256)))
		case 1:
			b.WriteRune(r.Int32N(0x110000))
		default:
			b.WriteRune(' ' + r.Int32N('~'-' '))
		}
	}
	return b.String()
}
