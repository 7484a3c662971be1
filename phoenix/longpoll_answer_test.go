package phoenix

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// readPollAnswer reads an answer as a session does.
func readPollAnswer(r io.Reader, scratch int) (messages []string, status int, err error) {
	a := newPollAnswer(r, &http.Response{}, 16)
	for {
		more, _, err := a.next()
		if err != nil || !more {
			return messages, a.status, err
		}
		var text []byte
		for p := make([]byte, scratch); ; {
			n, err := a.Read(p)
			text = append(text, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				return messages, a.status, err
			}
		}
		messages = append(messages, string(text))
	}
}

// FuzzPollAnswer compares what is read of an answer, in pieces of any size, with what encoding/json makes of it.
func FuzzPollAnswer(f *testing.F) {
	for _, text := range []string{
		`{"messages":["[null,null,\"room:1\",\"e\",{}]","\u0001\u00e9\ud83d\ude00\ud83d\n\/"],"status":200,"token":"a\"b"}`,
		` { "status" : 204 , "messages" : [ ] , "x" : null } `, `{"status":410}`, `{}`, `{"messages":["a","b"`, `{"messages":[1]}`,
		`{"messages":["\ud83dx","\udead\ud83d\ude00"],"status":200}`,
	} {
		f.Add(text, uint8(3))
	}
	f.Fuzz(func(t *testing.T, text string, scratch uint8) {
		size := int(scratch) + 1
		messages, status, err := readPollAnswer(strings.NewReader(text), size)
		again, statusAgain, errAgain := readPollAnswer(iotest.OneByteReader(strings.NewReader(text)), 1)
		if !slices.Equal(messages, again) || status != statusAgain || (err == nil) != (errAgain == nil) {
			t.Fatalf("%q %d %v, in single bytes %q %d %v", messages, status, err, again, statusAgain, errAgain)
		}
		var want struct {
			Messages []string `json:"messages"`
			Status   int      `json:"status"`
		}
		if !utf8.ValidString(text) || json.Unmarshal([]byte(text), &want) != nil || err != nil {
			return // one is stricter than the other about what Phoenix does not send
		}
		if strings.Count(text, "messages")+strings.Count(strings.ToLower(text), "status") > 2 || strings.Contains(text, `\u`) && strings.Contains(text, "MESS") {
			return // of names given twice, or in other letters, encoding/json makes something else
		}
		if slices.ContainsFunc([]rune(text), func(r rune) bool { return r == 'ſ' || r == 'K' }) || !strings.Contains(text, `"messages"`) || !strings.Contains(text, `"status"`) {
			return
		}
		if !slices.Equal(messages, want.Messages) && len(messages)+len(want.Messages) > 0 || status != want.Status {
			t.Errorf("read %q %d, want %q %d", messages, status, want.Messages, want.Status)
		}
	})
}
