package phoenix

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// What may be said of a server's words: every text of a server goes through a Redactor, which knows the secrets of the
// request, and then through Excerpt, before a person or a log gets it.

// A Redactor replaces secrets in text, because servers like to repeat what they were sent. The zero Redactor and a nil one
// know none. Add, AddURL, AddHeader and AddJSON must not be called while another goroutine uses it; Redact may be.
//
// A secret of four bytes or more is found everywhere, a shorter one where it stands as a word of its own: of a text
// without the digit 1 nothing would be left to read. One of less than four bytes without a letter or a digit is none.
// Upper and lower case are the same.
//
// A secret is found as it is, and in what may become of it: escaped for a URL, JSON, HTML or a string of a program,
// several times over, in hexadecimal digits, and in base64, alone or as part of something longer. The beginning of a
// secret is found, too, where the text or an ellipsis cuts it off, and anywhere if it is long.
type Redactor struct {
	secrets []string
}

// Add adds secrets.
func (r *Redactor) Add(secrets ...string) {
	for _, secret := range secrets {
		if secret != "" && !slices.Contains(r.secrets, secret) {
			r.secrets = append(r.secrets, secret)
		}
	}
}

// AddURL adds what may be secret in a URL: userinfo, the values of its query, and names there that have no value. The
// version of the wire format is none.
func (r *Redactor) AddURL(text string) {
	u, err := url.Parse(text)
	if err != nil {
		return
	}
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case name == "vsn" && len(value) == len("2.0.0"):
			continue
		case value == "":
			value = name
		}
		r.Add(value)
		if plain, err := url.QueryUnescape(value); err == nil {
			r.Add(plain)
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		r.addBasic(u.User.Username() + ":" + password)
	}
}

// addBasic adds the user:password of Basic authentication: both, each, and as it is sent.
func (r *Redactor) addBasic(both string) {
	user, password, _ := strings.Cut(both, ":")
	r.Add(both, user, password)
}

// AddHeader adds the values of a header, and each of their words: of "Bearer x" also x, of a cookie what stands behind the
// "=", of Basic authentication the user and the password. The name of a scheme of authentication is no secret.
func (r *Redactor) AddHeader(header http.Header) {
	for name, values := range header {
		for _, value := range values {
			r.Add(value)
			words := strings.FieldsFunc(value, func(c rune) bool { return unicode.IsSpace(c) || c == ',' || c == ';' })
			if len(words) > 1 && strings.HasSuffix(name, "Authorization") {
				if basic, err := base64.StdEncoding.DecodeString(words[1]); err == nil && strings.EqualFold(words[0], "Basic") {
					r.addBasic(string(basic))
				}
				words = words[1:]
			}
			for _, word := range words {
				r.Add(word)
				if _, of, ok := strings.Cut(word, "="); ok {
					of = strings.Trim(of, `"`)
					r.Add(of)
					if plain, err := url.PathUnescape(of); err == nil {
						r.Add(plain)
					}
				}
			}
		}
	}
}

// AddJSON adds the texts and numbers in a JSON value, however deep, and no names.
func (r *Redactor) AddJSON(data []byte) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) == nil {
		r.addValue(value)
	}
}

func (r *Redactor) addValue(value any) {
	switch v := value.(type) {
	case string:
		r.Add(v)
	case json.Number:
		r.Add(v.String())
	case []any:
		for _, item := range v {
			r.addValue(item)
		}
	case map[string]any:
		for _, item := range v {
			r.addValue(item)
		}
	}
}

// The lengths in bytes that decide what is found.
const (
	// shortSecret is the length up to which a secret has to be a word of its own.
	shortSecret = 3
	// minCutOff is how much of a secret is found where the text is cut off, unless half of it is less.
	minCutOff = 3
	// minBeginning is how much of the beginning of a secret is found anywhere.
	minBeginning = 12
)

// maxLayers is how often a secret may have been escaped.
const maxLayers = 3

// escapes are how escapes begin: those of a URL, of HTML, and of the strings of JSON and of programs. Each is undone by itself:
// a text is rarely escaped in two ways at once, and what one way leaves alone can look like another.
const escapes = `%&\`

// Redact returns text with "..." in place of each secret.
func (r *Redactor) Redact(text string) string {
	if r == nil || len(r.secrets) == 0 || text == "" {
		return text
	}
	spellings := r.spellings()
	hidden := make([]bool, len(text))
	layers := []*layer{newLayer(text)}
	seen := map[string]bool{text: true}
	for len(layers) > 0 {
		l := layers[0]
		layers = layers[1:]
		for _, s := range spellings {
			l.hide(s, hidden)
		}
		for _, sign := range escapes {
			if next := l.unescaped(sign); next != nil && !seen[next.text] {
				seen[next.text] = true
				layers = append(layers, next)
			}
		}
	}
	var out strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			out.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			out.WriteString("...")
		}
	}
	return out.String()
}

// A spelling is a way to write a secret, folded.
type spelling struct {
	text string
	// word says that it has to stand alone; encoded, that what it stands in is to be hidden with it: the characters of
	// base64 around it have bits of it.
	word, encoded bool
}

// spellings returns how the secrets may be written, but for what Redact unescapes.
func (r *Redactor) spellings() []spelling {
	var all []spelling
	seen := map[spelling]bool{}
	add := func(s spelling) {
		if s.text = fold(s.text); !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
	}
	for _, secret := range r.secrets {
		for _, text := range []string{secret, strings.TrimSpace(secret)} {
			word := len(text) <= shortSecret
			if word && !strings.ContainsFunc(text, isWordRune) {
				continue
			}
			add(spelling{text: text, word: word})
			add(spelling{text: hex.EncodeToString([]byte(text)), word: word})
			for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				if word {
					add(spelling{text: e.EncodeToString([]byte(text)), word: true})
					continue
				}
				for before := range 3 {
					add(spelling{text: insideBase64(e, text, before), encoded: true})
				}
			}
		}
	}
	return all
}

// insideBase64 returns the characters that text always has within the base64 of something longer, in which it begins at
// a byte of which the rest by 3 is before.
func insideBase64(e *base64.Encoding, text string, before int) string {
	encoded := e.EncodeToString([]byte(strings.Repeat("x", before) + text))
	if before > 0 {
		encoded = encoded[before+1:]
	}
	if (before+len(text))%3 != 0 {
		encoded = encoded[:len(encoded)-1]
	}
	return encoded
}

// fold makes one text of those that differ in upper and lower case, and of a space in the two ways a URL has for it. It
// is as long as text.
func fold(text string) string {
	folded := []byte(text)
	for i, c := range folded {
		switch {
		case c == '+':
			folded[i] = ' '
		case 'A' <= c && c <= 'Z':
			folded[i] = c + ('a' - 'A')
		}
	}
	return string(folded)
}

func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// isBase64 reports whether c can be in base64 of either alphabet.
func isBase64(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("+/-_", c) >= 0
}

// A layer is a text that was unescaped some times.
type layer struct {
	text string
	// folded is text, folded byte for byte.
	folded string
	// from and to are where each byte of text comes from in the text of the first layer.
	from, to []int
	// depth is how often it was unescaped; size is that of the text of the first layer.
	depth, size int
}

func newLayer(text string) *layer {
	l := &layer{size: len(text)}
	for i := range len(text) {
		l.add(text[i:i+1], i, i+1)
	}
	l.text, l.folded = text, fold(text)
	return l
}

func (l *layer) add(text string, from, to int) {
	for range len(text) {
		l.from, l.to = append(l.from, from), append(l.to, to)
	}
}

// unescaped returns the layer without the escapes that begin with sign, or nil if there is none or may be no more.
func (l *layer) unescaped(sign rune) *layer {
	if l.depth == maxLayers || !strings.ContainsRune(l.text, sign) {
		return nil
	}
	next := &layer{depth: l.depth + 1, size: l.size}
	var text strings.Builder
	for i := 0; i < len(l.text); {
		plain, n := l.text[i:i+1], 1
		if rune(l.text[i]) == sign {
			plain, n = unescape(l.text[i:])
		}
		next.add(plain, l.from[i], l.to[i+n-1])
		text.WriteString(plain)
		i += n
	}
	next.text, next.folded = text.String(), fold(text.String())
	return next
}

// hide marks where a spelling is.
func (l *layer) hide(s spelling, hidden []bool) {
	key := s.text[:min(len(s.text), minBeginning)]
	for at := 0; ; {
		i := strings.Index(l.folded[at:], key)
		if i < 0 {
			break
		}
		i += at
		end := i + commonPrefix(l.folded[i:], s.text)
		at = i + 1
		if s.word && !l.isWord(i, end) {
			continue
		}
		l.mark(s, i, end, hidden)
	}
	if s.word {
		return
	}
	l.hideCutOff(s, len(l.text), hidden)
	for _, dots := range []string{"...", "…"} {
		for at := 0; ; {
			i := strings.Index(l.text[at:], dots)
			if i < 0 {
				break
			}
			l.hideCutOff(s, at+i, hidden)
			at += i + len(dots)
		}
	}
}

// hideCutOff marks the beginning of a spelling that ends at end.
func (l *layer) hideCutOff(s spelling, end int, hidden []bool) {
	for n := min(len(s.text)-1, end); n >= min(minCutOff, (len(s.text)+1)/2); n-- {
		if strings.HasSuffix(l.folded[:end], s.text[:n]) {
			l.mark(s, end-n, end, hidden)
			return
		}
	}
}

// mark marks what the bytes from i to end come from, and around it what belongs to the same base64.
func (l *layer) mark(s spelling, i, end int, hidden []bool) {
	if s.encoded {
		for i > 0 && isBase64(l.text[i-1]) {
			i--
		}
		for end < len(l.text) && (isBase64(l.text[end]) || l.text[end] == '=') {
			end++
		}
	}
	first, last := l.from[i], l.to[end-1]
	if end == len(l.text) {
		last = l.size // with an escape that is cut off
	}
	for j := first; j < last; j++ {
		hidden[j] = true
	}
}

// isWord reports whether no letter or digit is beside the bytes from i to end.
func (l *layer) isWord(i, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(l.text[:i])
	after, _ := utf8.DecodeRuneInString(l.text[end:])
	return !isWordRune(before) && !isWordRune(after)
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// unescape returns what the escape that text begins with stands for, and how many bytes it has; its first character, if it
// is none. One that the end of the text cuts off stands for nothing.
func unescape(text string) (string, int) {
	const maxEntity = 32
	switch text[0] {
	case '%':
		if r, n := hexRune(text[1:], 2, 2); n > 0 {
			return string([]byte{byte(r)}), 1 + n
		}
		if isCutOff(text, 2) {
			return "", len(text)
		}
	case '&':
		end := strings.IndexByte(text[:min(len(text), maxEntity)], ';')
		if end > 0 {
			if plain := html.UnescapeString(text[:end+1]); plain != text[:end+1] {
				return plain, end + 1
			}
		} else if rest := strings.TrimPrefix(text[1:], "#"); isCutOff("&"+rest, maxEntity) {
			return "", len(text)
		}
	case '\\':
		return unescapeBackslash(text)
	}
	return text[:1], 1
}

// unescapeBackslash is unescape for the strings of JSON and of programs.
func unescapeBackslash(text string) (string, int) {
	if len(text) == 1 {
		return "", 1
	}
	if i := strings.IndexByte("nrtbfv0", text[1]); i >= 0 {
		return "\n\r\t\b\f\v\x00"[i : i+1], 2
	}
	switch c := text[1]; {
	case c == 'u' || c == 'x' || c == 'U':
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		if rest, ok := strings.CutPrefix(text[2:], "{"); ok {
			if r, n := hexRune(rest, 1, 6); n > 0 && strings.HasPrefix(rest[n:], "}") {
				return string(r), 4 + n
			}
		}
		r, n := hexRune(text[2:], digits, digits)
		switch {
		case n == 0 && isCutOff(text[1:], digits):
			return "", len(text)
		case n == 0:
			return text[:1], 1
		case c == 'x':
			return string([]byte{byte(r)}), 2 + n
		case utf16.IsSurrogate(r):
			rest := text[2+n:]
			if low, m := hexRune(strings.TrimPrefix(rest, `\u`), 4, 4); m > 0 {
				return string(utf16.DecodeRune(r, low)), 2 + n + 2 + m
			}
			if len(rest) < 2 || strings.HasPrefix(rest, `\u`) && isCutOff(rest[1:], 4) {
				return "", len(text)
			}
		}
		return string(r), 2 + n
	case c < utf8.RuneSelf && !isWordRune(rune(c)):
		return text[1:2], 2
	}
	return text[:1], 1
}

// hexRune reads least to most hexadecimal digits, and returns how many there are; 0: too few.
func hexRune(text string, least, most int) (rune, int) {
	n := 0
	for n < min(len(text), most) && strings.IndexByte("0123456789abcdefABCDEF", text[n]) >= 0 {
		n++
	}
	if n < least {
		return 0, 0
	}
	r, _ := strconv.ParseUint(text[:n], 16, 32)
	return rune(r), n
}

// isCutOff reports whether behind its first character text has less than n letters and digits, and then ends.
func isCutOff(text string, n int) bool {
	return len(text) <= n && !strings.ContainsFunc(text[1:], func(r rune) bool { return !isWordRune(r) })
}

// Excerpt returns an excerpt of text, as the function of this name does, without secrets.
func (r *Redactor) Excerpt(text string, limit int) string { return Excerpt(r.Redact(text), limit) }

// Excerpt makes one line of text, for people: each run of white space and of characters that cannot be printed is a space. Of a
// line of more than limit bytes it returns the first ones, whole characters, and "...".
func Excerpt(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return text
}

// maxRetryAfter bounds what a server may ask for: a wrong date must not silence a client for ever.
const maxRetryAfter = 24 * time.Hour

// ParseRetryAfter returns how long the Retry-After of an HTTP answer asks to wait from now on (RFC 9110, section 10.2.3): a
// number of seconds, which may have a fraction, or a date. A date in the past is 0; it is 24 hours at most. False: there is none,
// or it is neither.
func ParseRetryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseFloat(value, 64); err == nil && value[0]-'0' <= 9 { // no sign, no NaN
		return time.Duration(min(seconds, maxRetryAfter.Seconds()) * float64(time.Second)), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(0, at.Sub(now)), maxRetryAfter), true
}
