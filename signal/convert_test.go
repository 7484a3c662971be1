package signal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"phx/phoenix"
	"phx/signal"
)

// lineFormats are those that have whole signals.
var lineFormats = []signal.Format{signal.FormatSignal, signal.FormatCloudEvents, signal.FormatJido}

// TestConvert: what an encoder writes in one format is made what it writes in each other one.
func TestConvert(t *testing.T) {
	rows := allRows()
	strange := message("%\n", "\x00", phoenix.JSON(`{"metadata":{"a": 1.0},"phxtopic":"<&>"}`))
	strange.Ref, strange.JoinRef = "\u2028", " "
	large := message("t", "", phoenix.JSON(`"data"`))
	large.Session, large.Seq = math.MaxInt32+1, 10_000_000_000
	ofNothing := message("", "", phoenix.Binary([]byte{0, 0xff}))
	rows = append(rows, row{name: "broadcast", ev: *broadcast()}, row{name: "strange", ev: strange}, row{name: "large numbers", ev: large},
		row{name: "empty names", ev: ofNothing}, row{name: "percent", ev: message("100%", "50%25", phoenix.JSON(`{}`))})
	for _, epoch := range []uint64{0, 7, math.MaxInt32 + 1} {
		lines := map[string]map[signal.Format]string{}
		for _, f := range lineFormats {
			encoder := signal.NewEncoder(f, "backend")
			encoder.SetEpoch(epoch)
			for _, r := range rows {
				if lines[r.name] == nil {
					lines[r.name] = map[signal.Format]string{}
				}
				lines[r.name][f] = withoutID(encoder.Append(nil, &r.ev))
			}
			if lines["dropped"] == nil {
				lines["dropped"] = map[signal.Format]string{}
			}
			lines["dropped"][f] = withoutID(encoder.AppendDropped(nil, signal.Dropped{Count: 5, Policy: "drop-oldest", FirstSeq: 17, LastSeq: 30}, at))
		}
		for name, of := range lines {
			for from, line := range of { // from a format to itself, too: it was not taken for another one
				for to, want := range of {
					got, err := signal.Convert([]byte("x"), []byte(line), to)
					if err != nil || string(got) != "x"+want {
						t.Errorf("%s, %v to %v, %v:\ngot  %s\nwant %s", name, from, to, err, got[min(len(got), 1):], want)
					}
					// The same in another order, such as jq's.
					got, err = signal.Convert(nil, sorted(t, line), to)
					if err != nil || !bytes.Equal(sorted(t, string(got)), sorted(t, want)) {
						t.Errorf("%s, sorted, %v to %v, %v:\ngot  %s\nwant %s", name, from, to, err, got, want)
					}
				}
			}
		}
	}
}

// sorted returns a JSON text with its members sorted.
func sorted(t *testing.T, text string) []byte {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	sorted, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return sorted
}

// TestAppendCloudEvent: the line is the same again, after its attributes have been made text, as headers are.
func TestAppendCloudEvent(t *testing.T) {
	large := message("%\n", "e", phoenix.JSON(`{"a": 1.0}`))
	large.Session = math.MaxInt32 + 1
	for _, r := range append(allRows(), row{name: "large", ev: large}, row{name: "broadcast", ev: *broadcast()}) {
		line := signal.NewEncoder(signal.FormatCloudEvents, "backend").Append(nil, &r.ev)
		var members map[string]json.RawMessage
		if err := json.Unmarshal(line, &members); err != nil {
			t.Fatal(err)
		}
		attributes := map[string]string{"other": "x"}
		for name, value := range members {
			if name == "data" {
				continue
			}
			var text string
			if json.Unmarshal(value, &text) != nil {
				text = string(value)
			}
			attributes[name] = text
		}
		if got := signal.AppendCloudEvent(nil, attributes, members["data"]); string(got) != string(line) {
			t.Errorf("%s:\ngot  %s\nwant %s", r.name, got, line)
		}
	}
	if got := signal.AppendCloudEvent(nil, nil, nil); string(got) != "{}\n" {
		t.Errorf("nothing became %s", got)
	}
}

// TestEventOf: messages and the ends of pushes have an event, whatever the format.
func TestEventOf(t *testing.T) {
	for _, f := range lineFormats {
		encoder := signal.NewEncoder(f, "backend")
		for _, r := range allRows() {
			event, has := signal.EventOf(encoder.Append(nil, &r.ev))
			var want bool
			switch r.ev.Detail.(type) {
			case *phoenix.Message, *phoenix.PushReply, *phoenix.PushTimeout, *phoenix.PushError:
				want = true
			}
			if has != want || has && event != r.ev.Name {
				t.Errorf("%v, %s: event %q, %v", f, r.name, event, has)
			}
		}
	}
}

// TestConvertRefuses: payloads, CloudEvents of others and what is no JSON are no signals.
func TestConvertRefuses(t *testing.T) {
	for _, line := range []string{
		`{"n":1}`, `[1]`, `1`, `{"specversion":"1.0","id":"1","source":"s","type":"com.example","data":{}}`,
		`{"specversion":"1.0","id":"1","source":"s","type":"com.example","data":{},"metadata":{}}`,
		`{"specversion":"1.0.2","id":"1","source":"s","type":"phoenix.a.b.c","data":{}}`,
		`{"specversion":"2.0","type":"phoenix.a.b.c","data":{},"metadata":{}}`,
		`{"specversion":"1.0","type":"phoenix.a.b.c","metadata":{}}`,
	} {
		got, err := signal.Convert(nil, []byte(line), signal.FormatJido)
		if err == nil || strings.HasPrefix(line, "{") && !errors.Is(err, signal.ErrNoSignal) {
			t.Errorf("%s: %s, %v", line, got, err)
		}
	}
	if _, err := signal.Convert(nil, []byte(`{"specversion":"1.0","type":"phoenix.a.b.c","phxconnection":"a","sequence":"x","data":{}}`), signal.FormatJido); err == nil {
		t.Error("a sequence that is no number")
	}
}

// FuzzConvert: whatever a line is, it is refused, or made a line of each format that is the same again when it is converted back.
func FuzzConvert(f *testing.F) {
	for _, format := range lineFormats {
		encoder := signal.NewEncoder(format, "backend")
		encoder.SetEpoch(3)
		for _, r := range allRows() {
			f.Add(encoder.Append(nil, &r.ev))
		}
	}
	f.Add([]byte(`{"specversion":"1.0","type":"phoenix.a.b.c","phxconnection":"a","phxenc":"pct","subject":"%zz","data":{}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.ContainsAny(line, "\n\r") {
			line = bytes.TrimSuffix(line, []byte("\n"))
		}
		for _, to := range lineFormats {
			got, err := signal.Convert(nil, line, to)
			if err != nil {
				continue
			}
			if !json.Valid(got) || bytes.Count(got, []byte("\n")) != 1+bytes.Count(line, []byte("\n")) {
				t.Fatalf("%s became %s", line, got)
			}
			again, err := signal.Convert(nil, got, to)
			if err != nil || !bytes.Equal(again, got) {
				t.Fatalf("%s became %s, and then %s, %v", line, got, again, err)
			}
		}
	})
}
