package phoenix

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"7": 7 * time.Second, " 7 ": 7 * time.Second, "0.5": time.Second / 2, "0": 0, "1e99": 24 * time.Hour, "99999999": 24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0, "Sat, 02 Jan 2027 03:00:00 GMT": 24 * time.Hour,
		"": -1, "-1": -1, "soon": -1, "NaN": -1, "inf": -1, "+3": -1,
	} {
		got, ok := ParseRetryAfter(http.Header{"Retry-After": {value}}, now)
		if !ok && got == 0 {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	if _, ok := ParseRetryAfter(http.Header{}, now); ok {
		t.Error("there is none, and it is found")
	}
}

func TestExcerpt(t *testing.T) {
	for text, want := range map[string]string{
		"": "", " a\r\n\tb\x00c ": "a b c", "\xffa": "a", "zoë": "zoë", "123456789": "12345678...", "1234567ë": "1234567...", "12345678 ": "12345678",
	} {
		if got := Excerpt(text, 8); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestRedactor(t *testing.T) {
	var r Redactor
	r.Add("hunter22+", "short", "")
	r.AddURL("ws://me:password1@h/socket?token=hunter22%2B3&n=1")
	r.AddHeader(http.Header{"Authorization": {"Bearer hunter33"}, "X-Env": {"prod"}})
	text := "hunter22%2B hunter22+3 hunter22%2B3 password1 Bearer hunter33 hunter33 short prod n=1 me"
	if got, want := r.Redact(text), "... ... ... ... ... ... short prod n=1 me"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	strict := Redactor{MinLength: 4}
	strict.Add("abcd", "abc")
	if got := strict.Redact("abcd abc"); got != "... abc" {
		t.Errorf("%s", got)
	}
	var none *Redactor
	if got := none.Redact(text) + (&Redactor{}).Redact(text); got != strings.Repeat(text, 2) {
		t.Errorf("without secrets: %s", got)
	}
}

func TestMarshalAndDecode(t *testing.T) {
	type note struct{ Body string }
	p, err := Marshal(note{"a<b>&\n"})
	if err != nil || string(p.Data) != `{"Body":"a<b>&\n"}` {
		t.Fatalf("%s, %v", p.Data, err)
	}
	var n note
	if err := (&Event{Payload: p}).Decode(&n); err != nil || n.Body != "a<b>&\n" {
		t.Errorf("%+v, %v", n, err)
	}
	if err := (&Reply{Payload: p}).Decode(&n); err != nil {
		t.Error(err)
	}
	if _, err := Marshal(func() {}); err == nil {
		t.Error("a function is a payload")
	}
	for _, p := range []Payload{{}, Binary(nil), JSON("{")} {
		if err := p.Decode(&n); err == nil {
			t.Errorf("%+v was decoded", p)
		}
	}
}
