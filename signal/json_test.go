package signal

import (
	"encoding/json"
	"testing"
)

func FuzzAppendString(f *testing.F) {
	f.Add("plain")
	f.Add("\"\\\x00\x1f\n\r\t\x7f\u0080\u2028<>&\xff\xc3é")
	f.Fuzz(func(t *testing.T, s string) {
		text := appendString(nil, s)
		var got string
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		if want := string([]rune(s)); got != want {
			t.Errorf("%q came back as %q", want, got)
		}
	})
}
