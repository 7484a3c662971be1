package phoenixtest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
)

// falsifications are the recording with one thing about the server changed: a byte of a
// frame, a close code, an HTTP status, header or body, a line left out, two lines swapped.
func falsifications(recording []recorded) iter.Seq2[string, []recorded] {
	return func(yield func(string, []recorded) bool) {
		for i, r := range recording {
			if r.Dir != "server" {
				continue
			}
			for what, changed := range falsify(r) {
				if !yield(fmt.Sprintf("line %d: %s", i+1, what), slices.Replace(slices.Clone(recording), i, i+1, changed)) {
					return
				}
			}
			if !yield(fmt.Sprintf("line %d left out", i+1), slices.Delete(slices.Clone(recording), i, i+1)) {
				return
			}
			if j, ok := nextOther(recording, i); ok {
				swapped := slices.Clone(recording)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				if !yield(fmt.Sprintf("lines %d and %d swapped", i+1, j+1), swapped) {
					return
				}
			}
		}
	}
}

// nextOther is the next line of the server on the connection of line i, if it differs.
func nextOther(recording []recorded, i int) (int, bool) {
	for j := i + 1; j < len(recording); j++ {
		if r := recording[j]; r.Dir == "server" && r.conn() == recording[i].conn() {
			return j, serverLine(r) != serverLine(recording[i])
		}
	}
	return 0, false
}

// falsify changes one thing about a line of the server, in all ways that its type has.
func falsify(r recorded) map[string]recorded {
	variants := map[string]recorded{}
	add := func(what string, data any) {
		v := r
		v.Data, _ = json.Marshal(data) // strings, numbers and maps: no errors
		variants[what] = v
	}
	switch r.Type {
	case "text":
		add("another byte", otherByte(r.text()))
		compressed, longer := r, r
		compressed.RSV1 = !r.RSV1
		variants["the reserved bit"] = compressed
		if longer.Length++; r.Length > 0 {
			variants["another length"] = longer
		}
	case "binary", "pong":
		data, _ := base64.StdEncoding.DecodeString(r.text()) // it was replayed, so it is base64
		add("one byte more", base64.StdEncoding.EncodeToString(append(data, 1)))
		if len(data) > 0 {
			data[len(data)/2] ^= 1
			add("another byte", base64.StdEncoding.EncodeToString(data))
		}
	case "close":
		var c struct{ Code int }
		_ = json.Unmarshal(r.Data, &c) // no code is 0
		add("another code", map[string]any{"code": c.Code + 1})
	case "http":
		m := parseHTTP(r.Data)
		add("another status", m.with(func(m *httpMessage) { m.Status++ }))
		add("another body", m.with(func(m *httpMessage) { m.Body += "x" }))
		add("one header more", m.with(func(m *httpMessage) { m.Headers["x-more"] = "1" }))
		add("another header", m.with(func(m *httpMessage) { m.Headers["cache-control"] += "x" }))
	}
	return variants
}

// with is a changed copy.
func (m httpMessage) with(change func(*httpMessage)) httpMessage {
	m.Headers = maps.Clone(m.Headers)
	change(&m)
	return m
}

// volatile is what normalize takes away, and where a change must not be noticed.
var volatile = regexp.MustCompile(phxRefPattern.String() + "|" + peerPattern.String())

// otherByte changes the byte in the middle, or the next after it that is not volatile, of
// what is compared of a text.
func otherByte(text string) string {
	i := min(len(text), 200) / 2
	for _, span := range volatile.FindAllStringIndex(text, -1) {
		if span[0] <= i && i < span[1] {
			i = span[1]
		}
	}
	return text[:i] + string(rune(text[i]^1)) + text[i+1:]
}
