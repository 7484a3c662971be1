package phoenix

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"mime/quotedprintable"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"phx/cmd/phxtest/mutation"
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
	r.Add("hunter22+", "")
	r.AddURL("ws://me:password1@h/socket?token=hunter22%2B3&n=1&aBareToken&vsn=2.0.0")
	r.AddHeader(http.Header{
		"Authorization": {"Bearer hunter33"}, "X-Env": {"prod"}, "Cookie": {`sid=c%2Fook; lang="de-AT"`},
		"Proxy-Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("joe:pa:55"))},
	})
	r.AddJSON([]byte(`{"code":471100,"ms":1000,"deep":[{"name":"Söder"}],"on":true,"off":"false"}`))
	for _, c := range []struct{ text, want string }{
		{"hunter22%2B hunter22+3 hunter22%2B3 hunter22%2b3", "... ... ... ..."},
		{"password1 Bearer hunter33, Bearer HUNTER33", "... ..., ..."},
		{"wrong user me: some message", "wrong user ...: some message"},
		{"product 11 1 vsn=2.0.0", "...uct 11 ... vsn=2.0.0"},
		{"token=aBareToken sid=c/ook sid=c%2Fook de-at", "token=... sid=... ... ..."},
		{"joe pa:55 am9lOnBhOjU1 name of pin, on", "... ... ... name of pin, on"},
		{`{"slept":1000,"on":true,"ok":false}`, `{"slept":1000,"on":true,"ok":false}`},
		{`{"code":471100,"name":"S\u00f6der","x":"S%C3%B6der S&ouml;der S\xc3\xb6der"}`, `{"code":...,"name":"...","x":"... ... ..."}`},
		{"hex 68756e7465723333, \x00hunter33\xff.", "hex ..., \x00...\xff."},
		{"cut off: hunter3", "cut off: ..."},
		{"cut off: S%C3%B6%6", "cut off: ..."},
		{"cut off by the server: hunt... and passw…", "cut off by the server: ...... and ...…"},
		{"base64url.bearer.phx." + base64.RawStdEncoding.EncodeToString([]byte("hunter33")), "base64url.bearer.phx...."},
		{"all: " + base64.URLEncoding.EncodeToString([]byte("?token=hunter33&x")), "all: ..."},
		{"100% of it & more \\ as it is", "100% of it & more \\ as it is"},
	} {
		if got := r.Redact(c.text); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.text, got, c.want)
		}
	}
	text := "hunter33"
	var none *Redactor
	if got := none.Redact(text) + (&Redactor{}).Redact(text); got != strings.Repeat(text, 2) {
		t.Errorf("without secrets: %s", got)
	}
	if got := r.Excerpt("so it is: hunter33", 14); got != "so it is: ..." {
		t.Errorf("excerpt %q", got)
	}
}

func TestRedactJSON(t *testing.T) {
	var r Redactor
	r.Add("hunter22", "471100", `a"b\c`)
	r.addBasic("us:er:pa:ss")
	for _, c := range []struct{ data, want string }{
		{`{"reason":"no hunter22 here","n":471100,"list":[471100, 1.0, true],"hunter22":null}`,
			`{"reason":"no ... here","n":"...","list":["...", 1.0, true],"...":null}`},
		{`"hunter22"`, `"..."`}, {`471100`, `"..."`}, {` [ 12345678901234567890 ] `, ` [ 12345678901234567890 ] `},
		{`{"a":"a\"b\\c","u":"\u0068unter22","half":"\ud83d\ude00"}`, `{"a":"...","u":"...","half":"\ud83d\ude00"}`},
		{`["us:er","pa:ss","us","er:pa:ss"]`, `["...","...","...","..."]`},
		{`{"bytes":[104,117,110,116,101,114,50,50]}`, `{"bytes":["...","...","...","...","...","...","...","..."]}`},
		{``, ``},
	} {
		got := string(r.RedactJSON([]byte(c.data)))
		if got != c.want || got != "" && !json.Valid([]byte(got)) {
			t.Errorf("%s: %s\nwant %s", c.data, got, c.want)
		}
	}
	data := []byte(`{"reason":"unauthorized"}`)
	if got := r.RedactJSON(data); &got[0] != &data[0] {
		t.Error("a value without a secret was copied")
	}
}

// What RedactJSON makes of JSON is JSON, and has no secret left in plain.
func FuzzRedactJSON(f *testing.F) {
	f.Add(`{"a":"hunter22","b":[471100,"x\"y"]}`, "hunter22")
	f.Add(`["\ud83d\ude00\\",-1.5e3]`, `\`)
	f.Add(`{"\u0068unter22":{}}`, "471100")
	f.Fuzz(func(t *testing.T, data, secret string) {
		if !json.Valid([]byte(data)) || len(data) > 1000 || len(secret) > 100 {
			return
		}
		var r Redactor
		r.Add(secret)
		got := r.RedactJSON([]byte(data))
		if !json.Valid(got) {
			t.Errorf("%q without %q is no JSON: %q", data, secret, got)
		}
		if len(secret) > shortSecret && !strings.Contains(`"...`, secret) && !strings.ContainsAny(secret, " {}[]:,\t\r\n\"") && strings.Contains(string(got), secret) {
			t.Errorf("%q without %q: %q", data, secret, got)
		}
	})
}

// What was shown to a server in an earlier dial or join is kept from being seen for as long as it may repeat that, and not for ever.
func TestPastSecrets(t *testing.T) {
	var s shownSecrets
	request := func(token string) *Redactor { return &Redactor{secrets: []string{token}} }
	s.dialing(request("token-one"))
	s.joining("room:a", JSON(`{"k":"param-one"}`), nil)
	s.joining("room:a", JSON(`{"k":"param-two"}`), nil)
	s.dialing(request("token-two"))
	s.left("room:a")
	s.joining("room:b", JSON(`{"k":"param-three"}`), nil)
	const all = "token-one token-two param-one param-two param-three"
	if got := s.all().Redact(all); got != "... ... ... ... ..." {
		t.Errorf("of all that was shown, this is left: %s", got)
	}
	if got := s.of("room:a").Redact(all); got != "... ... ... ... param-three" {
		t.Errorf("of what was shown for one topic, this is left: %s", got)
	}
	for range 3 { // the same again is nothing new
		s.dialing(request("token-two"))
		s.joining("room:b", JSON(`{"k":"param-three"}`), nil)
	}
	if len(s.past) != 3 {
		t.Errorf("past are %v", s.past)
	}
	push := []Push{{Payload: JSON(`{"k":"pushed-one"}`)}}
	s.joining("room:d", JSON("{}"), push)
	s.joining("room:d", JSON("{}"), append(push, Push{Payload: JSON(`{"k":"pushed-two"}`)}))
	if got := s.of("room:d").Redact("pushed-one pushed-two param-three"); got != "... ... param-three" {
		t.Errorf("of what was pushed at joins, this is left: %s", got)
	}
	if got := s.ofPushes().Redact("pushed-one pushed-two param-three"); got != "... ... param-three" {
		t.Errorf("of what is pushed at joins, this is left: %s", got)
	}
	for i := range 2 * maxPast {
		s.joining("room:c", JSON(fmt.Sprintf(`{"k":"param-%d"}`, i)), nil)
	}
	if len(s.past) != maxPast || s.all().Redact("param-one param-63 param-62") != "param-one ... ..." {
		t.Errorf("%d are past", len(s.past))
	}
}

// encodings are what a server may do with a secret on its way back. None of this is what Redactor finds it by.
var encodings = map[string]func(rng *rand.Rand, s string) string{
	"as it is":  func(_ *rand.Rand, s string) string { return s },
	"query":     func(_ *rand.Rand, s string) string { return url.QueryEscape(s) },
	"path":      func(_ *rand.Rand, s string) string { return url.PathEscape(s) },
	"lower hex": func(_ *rand.Rand, s string) string { return eachByte(s, "%%%02x") },
	"upper hex": func(_ *rand.Rand, s string) string { return eachByte(s, "%%%02X") },
	"some percent": func(rng *rand.Rand, s string) string {
		var out string
		for i := range len(s) {
			if s[i] == '%' || rng.IntN(3) == 0 {
				out += fmt.Sprintf("%%%02X", s[i])
			} else {
				out += s[i : i+1]
			}
		}
		return out
	},
	"JSON": func(_ *rand.Rand, s string) string {
		quoted, _ := json.Marshal(s)
		return strings.Trim(string(quoted), `"`)
	},
	"JSON in JSON": func(_ *rand.Rand, s string) string {
		once, _ := json.Marshal(s)
		twice, _ := json.Marshal(string(once))
		return string(twice)
	},
	"UTF-16": func(_ *rand.Rand, s string) string {
		var out string
		for _, unit := range utf16.Encode([]rune(s)) {
			out += fmt.Sprintf(`\u%04x`, unit)
		}
		return out
	},
	"Go":            func(_ *rand.Rand, s string) string { return strconv.QuoteToASCII(s) },
	"HTML":          func(_ *rand.Rand, s string) string { return html.EscapeString(s) },
	"HTML of a URL": func(_ *rand.Rand, s string) string { return html.EscapeString("?a=1&b=" + url.QueryEscape(s)) },
	"entities": func(rng *rand.Rand, s string) string {
		var out string
		for _, r := range s {
			out += fmt.Sprintf([]string{"&#%d;", "&#x%x;", "&#X%X;"}[rng.IntN(3)], r)
		}
		return out
	},
	"hex":            func(_ *rand.Rand, s string) string { return fmt.Sprintf("%x", s) },
	"base64":         func(_ *rand.Rand, s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"raw base64":     func(_ *rand.Rand, s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) },
	"URL base64":     func(_ *rand.Rand, s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
	"raw URL base64": func(_ *rand.Rand, s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 of more": func(rng *rand.Rand, s string) string {
		if len(s) <= shortSecret {
			return s
		}
		return base64.StdEncoding.EncodeToString([]byte("xyz"[:rng.IntN(4)] + s + "xyz"[:rng.IntN(4)]))
	},
	"escaped base64": func(_ *rand.Rand, s string) string {
		return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s)))
	},
	"base64 of base64": func(rng *rand.Rand, s string) string {
		if len(s) <= shortSecret {
			return s
		}
		once := base64.RawStdEncoding.EncodeToString([]byte("xyz"[:rng.IntN(4)] + s))
		return base64.StdEncoding.EncodeToString([]byte("base64url.bearer.phx."[rng.IntN(3):] + once))
	},
	"base32":       func(_ *rand.Rand, s string) string { return base32.StdEncoding.EncodeToString([]byte(s)) },
	"query, twice": func(_ *rand.Rand, s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"quoted-printable": func(_ *rand.Rand, s string) string {
		var out strings.Builder
		w := quotedprintable.NewWriter(&out)
		_, _ = w.Write([]byte(s))
		_ = w.Close()
		return out.String()
	},
	"octal":        func(_ *rand.Rand, s string) string { return eachByte(s, `\%03o`) },
	"ANSI C":       func(_ *rand.Rand, s string) string { return eachByte(s, `\x%02X`) },
	"Elixir bytes": func(_ *rand.Rand, s string) string { return "<<" + listed(s, "%d", ", ") + ">>" },
	"Go bytes":     func(_ *rand.Rand, s string) string { return fmt.Sprint([]byte(s)) },
	"hex dump":     func(rng *rand.Rand, s string) string { return listed(s, "%02x", []string{" ", ":", "-"}[rng.IntN(3)]) },
	"C bytes":      func(_ *rand.Rand, s string) string { return listed(s, "0x%02X", ", ") },
	"escape()": func(_ *rand.Rand, s string) string {
		var out string
		for _, unit := range utf16.Encode([]rune(s)) {
			out += fmt.Sprintf("%%u%04X", unit)
		}
		return out
	},
	"bare entities": func(_ *rand.Rand, s string) string {
		var out string
		for _, r := range s {
			out += fmt.Sprintf("&#%d", r)
		}
		return out
	},
	"UTF-16 bytes": func(_ *rand.Rand, s string) string {
		var out string
		for _, unit := range utf16.Encode([]rune(s)) {
			if unit > 0x7f || len(s) <= shortSecret { // ASCII is where it can be read
				return s
			}
			out += string([]byte{byte(unit), 0})
		}
		return out
	},
	"Latin-1": func(_ *rand.Rand, s string) string {
		var out []byte
		for _, r := range s {
			if r > 0xff {
				return s
			}
			out = append(out, byte(r))
		}
		return string(out)
	},
	"folded": func(rng *rand.Rand, s string) string {
		if len(s) <= shortSecret {
			return s
		}
		at := 1 + rng.IntN(len(s)-1)
		if s[at] == ' ' { // which nobody can tell from one that belongs to the fold
			return s
		}
		return s[:at] + []string{"\r\n ", "\n", "\u200b"}[rng.IntN(3)] + s[at:]
	},
	"wrapped base64": func(_ *rand.Rand, s string) string {
		if len(s) <= shortSecret {
			return s
		}
		var out string
		for encoded := base64.StdEncoding.EncodeToString([]byte(s)); encoded != ""; {
			n := min(len(encoded), 5)
			out, encoded = out+encoded[:n]+"\r\n", encoded[n:]
		}
		return strings.TrimSpace(out)
	},
}

// listed writes each byte of s, and the separator between them.
func listed(s, format, separator string) string {
	var all []string
	for i := range len(s) {
		all = append(all, fmt.Sprintf(format, s[i]))
	}
	return strings.Join(all, separator)
}

func eachByte(s, format string) string {
	var out string
	for i := range len(s) {
		out += fmt.Sprintf(format, s[i])
	}
	return out
}

// Random secrets, encoded at random, in a text that stays as it is, and cut off at its end.
func TestNoSecretComesBack(t *testing.T) {
	// Capitals and digits that the words around have not.
	alphabets := []string{"QXZ0123456789", "QZJ+/=&%<>\"'\\ ;", "QZJÄßé漢😀", "QZ-_.~"}
	seeds := uint64(300)
	if mutation.RaceDetector() { // which takes fifteen times as long, and has nothing to find here
		seeds = 60
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 9))
		alphabet := []rune(alphabets[rng.IntN(len(alphabets))])
		secret := "Q" // at its ends are no spaces, which a header loses
		for range rng.IntN(14) {
			secret += string(alphabet[rng.IntN(len(alphabet))])
		}
		secret += "Z"
		var r Redactor
		switch rng.IntN(4) {
		case 0:
			r.Add(secret)
		case 1:
			r.AddURL("ws://h/socket?n=&t=" + url.QueryEscape(secret))
		case 2:
			r.AddHeader(http.Header{"X-Api-Key": {secret}})
		case 3:
			quoted, _ := json.Marshal(map[string]any{"token": []string{secret}})
			r.AddJSON(quoted)
		}
		for name, encode := range encodings {
			encoded := encode(rng, secret)
			text := "<p>no " + encoded + " here</p>"
			got := r.Redact(text)
			if strings.Contains(got, encoded) || !strings.HasPrefix(got, "<p>no ") || !strings.HasSuffix(got, " here</p>") || len(got) > len(text)+3 {
				t.Errorf("seed %d, %s of %q: %q became %q", seed, name, secret, text, got)
			}
			if len(encoded) > 10 && len([]rune(secret)) > 8 && name != "HTML of a URL" {
				cut := encoded[:len(encoded)*4/5+rng.IntN(len(encoded)/5)]
				if got := r.Redact("no " + cut); leaks(got, cut) {
					t.Errorf("seed %d, %s of %q: %q became %q", seed, name, secret, cut, got)
				}
			}
		}
		if got := r.Redact("..." + secret[len(secret)/2:] + " was it"); len(secret) > 9 && !strings.Contains(secret, "..") && leaks(got, secret[len(secret)/2:]) {
			t.Errorf("seed %d, the end of %q: %q", seed, secret, got)
		}
		if t.Failed() {
			return
		}
	}
}

// A server that splits a secret over two texts, or quotes a part of it, gives none of it away that is worth much.
func TestPartsOfASecret(t *testing.T) {
	const head, claims, mac = "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
	var r Redactor
	r.Add(head+"."+claims+"."+mac, "hunter22")
	for _, c := range []struct{ text, want string }{
		{"cannot decode " + claims + ", says jose", "cannot decode ..., says jose"},
		{"wrong signature " + mac[:40] + " of it", "wrong signature ... of it"},
		{"wrong signature " + hex.EncodeToString([]byte(mac))[20:] + " of it", "wrong signature ... of it"},
		{"this is your token: hunt", "this is your token: ..."},
		{"unter22, and this was the rest of it", "..., and this was the rest of it"},
		{"it ended with ...er22, as far as we know", "it ended with ......, as far as we know"},
	} {
		if got := r.Redact(c.text); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.text, got, c.want)
		}
	}
}

// A long text is looked at in pieces, and its secrets are found where they are cut in two.
func TestRedactALongText(t *testing.T) {
	var r Redactor
	r.Add("hunter22")
	for before := maxRedacted - 9; before <= maxRedacted+1; before++ {
		text := strings.Repeat("-", before) + "hunter22" + strings.Repeat("-", maxRedacted)
		if got := r.Redact(text); strings.Trim(got, "-.") != "" {
			t.Errorf("behind %d bytes %s is left", before, strings.Trim(got, "-"))
		}
	}
	if got := r.Excerpt(strings.Repeat(" ", 64<<20), 8); got != "" {
		t.Errorf("excerpt %q", got)
	}
}

// leaks reports whether a text that ended in cut still has most of it.
func leaks(text, cut string) bool { return strings.Contains(text, cut[:len(cut)/2+1]) }

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
