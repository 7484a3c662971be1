package endpoint

import "testing"

func TestMaskURL(t *testing.T) {
	for text, want := range map[string]string{
		"ws://h":                 "ws://h",
		"ws://u@h/a%2Fb":         "ws://***@h/a%2Fb",
		"ws://u:p@h":             "ws://***:***@h",
		"ws://h?a=1&b=2&vsn=2&c": "ws://h?a=***&b=***&vsn=2&***",
		"ws://h\x7f":             "***",
	} {
		if got := MaskURL(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
