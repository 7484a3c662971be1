package phoenix

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"iter"
	"net/http"
	"net/url"
	"regexp"
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
// without the digit 1 nothing would be left to read. One of less than four bytes without a letter or a digit is none, and
// neither are true, false and null. Upper and lower case are the same.
//
// A secret is found as it is, and in what may become of it: escaped for a URL, JSON, HTML, mail or a string of a program,
// several times over, as a list of bytes, in Latin-1, in hexadecimal digits, base32 and base64, alone or as part of
// something longer, and broken into lines. A part of a secret is found where the text or an ellipsis cuts it off, and
// anywhere if it is long.
type Redactor struct {
	secrets []string
}

// Add adds secrets.
func (r *Redactor) Add(secrets ...string) {
	for _, secret := range secrets {
		switch {
		case secret == "", secret == "true", secret == "false", secret == "null", slices.Contains(r.secrets, secret):
		default:
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

// addBasic adds the user:password of Basic authentication: both, and each. There may be further colons in either.
func (r *Redactor) addBasic(both string) {
	r.Add(both)
	for colon := range places(both, ":") {
		r.Add(both[:colon], both[colon+1:])
	}
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

// AddJSON adds the texts in a JSON value, however deep, and the numbers that are as long as a one-time code; a shorter one is a size, a time
// or a version, and hidden it would take those from what is to be read. Names are none.
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
		if text := v.String(); len(text) >= secretDigits {
			r.Add(text)
		}
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
	// secretDigits is the length from which a JSON number is a secret.
	secretDigits = 6
	// shortSecret is the length up to which a secret has to be a word of its own.
	shortSecret = 3
	// minCutOff is how much of a secret is found where the text is cut off, unless half of it is less.
	minCutOff = 3
	// blockSize is how much of the beginning of a secret is found anywhere. Elsewhere in it twice as much is needed: its
	// blocks of this size are looked for.
	blockSize = 12
	// maxRedacted is about how much of a text is looked at at once. Each layer takes some times as much memory.
	maxRedacted = 32 << 10
	// redactedTwice is how much of it is looked at once more with what follows.
	redactedTwice = 4 << 10
)

// maxLayers is how often a secret may have been escaped.
const maxLayers = 3

// escapes are how escapes begin: those of a URL, of HTML, of the strings of JSON and of programs, and of mail
// (quoted-printable). Each is undone by itself: a text is rarely escaped in two ways at once, and what one way leaves alone can
// look like another.
const escapes = `%&\=`

// What lists of bytes look like, decimal as Elixir and Go show them, and hexadecimal as in a dump.
var (
	decimalList = regexp.MustCompile(`\b[0-9]{1,3}(?:[,; ]+[0-9]{1,3})+\b(?:[,; ]+$)?`)
	hexList     = regexp.MustCompile(`(?i)\b(?:0x)?(?:[0-9a-f]{2})+(?:[,;: -]+(?:0x)?(?:[0-9a-f]{2})+)+(?:\b(?:[,;: -]+(?:0x?)?[0-9a-f]?$)?|[0-9a-f]$)`)
	// lineBreak is what breaks a word into lines, what nobody sees, and the end of a text within a character.
	lineBreak = regexp.MustCompile(`(?:[^\PC\n\r]|(?:\r\n?|\n)[ \t]*)+|\x{FFFD}+$`)
)

// Redact returns text with "..." in place of each secret.
func (r *Redactor) Redact(text string) string {
	hidden := r.find(text)
	if hidden == nil {
		return text
	}
	return string(appendRedacted(nil, text, hidden))
}

// RedactJSON returns a JSON value with "..." in place of each secret in its strings, and instead of a number that is one. It is data itself if
// there is none.
func (r *Redactor) RedactJSON(data []byte) []byte {
	text := string(data)
	hidden := r.find(text)
	if !slices.Contains(hidden, true) {
		return data
	}
	const whole = `"..."`
	var out []byte
	for at := 0; at < len(text); {
		end := at + 1
		switch c := text[at]; {
		case strings.IndexByte("{}[]:, \t\r\n", c) >= 0:
			out = append(out, c)
		case c == '"':
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			redacted := append(appendRedacted([]byte{'"'}, text[at+1:end-1], hidden[at+1:end-1]), '"')
			if !json.Valid(redacted) { // an escape was cut in two
				redacted = []byte(whole)
			}
			out = append(out, redacted...)
		default:
			for end < len(text) && strings.IndexByte("{}[]:, \t\r\n", text[end]) < 0 {
				end++
			}
			if slices.Contains(hidden[at:end], true) {
				out = append(out, whole...)
			} else {
				out = append(out, text[at:end]...)
			}
		}
		at = end
	}
	return out
}

// find returns which bytes of text belong to secrets; nil: none.
func (r *Redactor) find(text string) []bool {
	if r == nil || len(r.secrets) == 0 || text == "" {
		return nil
	}
	spellings := r.spellings()
	hidden := make([]bool, len(text))
	for at := 0; at < len(text); at += maxRedacted {
		end := min(at+maxRedacted+redactedTwice, len(text))
		hideSecrets(text[at:end], spellings, hidden[at:end])
	}
	return hidden
}

// appendRedacted appends text with "..." in place of what is hidden of it.
func appendRedacted(dst []byte, text string, hidden []bool) []byte {
	for i := range len(text) {
		switch {
		case !hidden[i]:
			dst = append(dst, text[i])
		case i == 0 || !hidden[i-1]:
			dst = append(dst, "..."...)
		}
	}
	return dst
}

// hideSecrets marks which bytes of text belong to secrets.
func hideSecrets(text string, spellings []spelling, hidden []bool) {
	layers := []*layer{newLayer(text)}
	seen := map[string]bool{text: true}
	for len(layers) > 0 {
		l := layers[0]
		layers = layers[1:]
		for _, s := range spellings {
			l.hide(s, hidden)
		}
		for _, next := range l.decoded() {
			if !seen[next.text] {
				seen[next.text] = true
				layers = append(layers, next)
			}
		}
	}
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
			if latin1, ok := inLatin1(text); ok {
				add(spelling{text: latin1, word: word})
			}
			for _, c := range codes {
				if word {
					add(spelling{text: strings.TrimRight(c.encode([]byte(text)), "="), word: true})
					continue
				}
				for before := range c.group {
					once := c.inside(text, before)
					add(spelling{text: once, encoded: true})
					if c.bits != base64Bits {
						continue
					}
					for beforeThat := range c.group { // base64 of what has base64 in it, such as a subprotocol with a token
						add(spelling{text: c.inside(once, beforeThat), encoded: true})
					}
				}
			}
		}
	}
	return all
}

// inLatin1 returns text in ISO 8859-1, if it can be written so.
func inLatin1(text string) (string, bool) {
	var latin1 []byte
	for _, r := range text {
		if r > unicode.MaxLatin1 {
			return "", false
		}
		latin1 = append(latin1, byte(r))
	}
	return string(latin1), true
}

const base64Bits = 6

// A code writes bytes in characters of so many bits each, group bytes at a time.
type code struct {
	encode      func([]byte) string
	bits, group int
}

// codes are those in which secrets are found. Upper and lower case are folded.
var codes = []code{
	{hex.EncodeToString, 4, 1},
	{base32.StdEncoding.EncodeToString, 5, 5},
	{base64.StdEncoding.EncodeToString, base64Bits, 3},
	{base64.URLEncoding.EncodeToString, base64Bits, 3},
}

// inside returns the characters that text always has within the code of something longer, in which it begins before bytes
// behind the beginning of a group.
func (c code) inside(text string, before int) string {
	encoded := c.encode([]byte(strings.Repeat("x", before) + text))
	return encoded[(8*before+c.bits-1)/c.bits : 8*(before+len(text))/c.bits]
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
	// blocks is where each block of folded begins; nil until it is asked for.
	blocks map[string][]int
}

func newLayer(text string) *layer {
	l := &layer{text: text, folded: fold(text), size: len(text)}
	for i := range len(text) {
		l.from, l.to = append(l.from, i), append(l.to, i+1)
	}
	return l
}

// decoded returns the layers that each way to undo one kind of escapes makes of this one. There may be no more.
func (l *layer) decoded() []*layer {
	if l.depth == maxLayers {
		return nil
	}
	var all []*layer
	for _, sign := range []byte(escapes) {
		if strings.IndexByte(l.text, sign) >= 0 {
			all = append(all, l.rewritten(func(at int) (string, int) {
				if l.text[at] != sign {
					return l.text[at : at+1], 1
				}
				return unescape(l.text[at:])
			}))
		}
	}
	for _, form := range []struct {
		re    *regexp.Regexp
		first func(found string, atEnd bool) (plain string, n int)
	}{
		{decimalList, func(list string, atEnd bool) (string, int) { return firstOfList(list, "0123456789", atEnd) }},
		{hexList, func(list string, atEnd bool) (string, int) { return firstOfList(list, hexDigits, atEnd) }},
		{lineBreak, func(found string, _ bool) (string, int) { return "", len(found) }},
	} {
		if found := form.re.FindAllStringIndex(l.text, -1); found != nil {
			all = append(all, l.rewritten(func(at int) (string, int) {
				for len(found) > 0 && at >= found[0][1] {
					found = found[1:]
				}
				if len(found) == 0 || at < found[0][0] {
					return l.text[at : at+1], 1
				}
				return form.first(l.text[at:found[0][1]], found[0][1] == len(l.text))
			}))
		}
	}
	return all
}

// rewritten returns the layer in which step has replaced the bytes at each place: it returns by what, and how many they are.
func (l *layer) rewritten(step func(at int) (plain string, n int)) *layer {
	next := &layer{depth: l.depth + 1, size: l.size}
	var text strings.Builder
	for at := 0; at < len(l.text); {
		plain, n := step(at)
		for range len(plain) {
			next.from, next.to = append(next.from, l.from[at]), append(next.to, l.to[at+n-1])
		}
		text.WriteString(plain)
		at += n
	}
	next.text = text.String()
	next.folded = fold(next.text)
	return next
}

// firstOfList returns the bytes that the first number of a list stands for, and how much of the list that is, with what is
// between it and the next number. A decimal number is one byte, a hexadecimal one has two digits a byte. A number that the end of
// the text may have cut off stands for nothing.
func firstOfList(list, digits string, atEnd bool) (string, int) {
	rest := strings.TrimPrefix(list, "0x")
	number := rest[:len(rest)-len(strings.TrimLeft(rest, digits))]
	next := strings.TrimLeft(rest[len(number):], "x,;: -")
	length := len(list) - len(next)
	if digits == hexDigits {
		plain, _ := hex.DecodeString(number)
		return string(plain), length
	}
	v, err := strconv.ParseUint(number, 10, 8)
	if err != nil || atEnd && number == rest {
		return "", length
	}
	return string([]byte{byte(v)}), length
}

// hide marks where a spelling is.
func (l *layer) hide(s spelling, hidden []bool) {
	if len(s.text) <= blockSize {
		for i := range places(l.folded, s.text) {
			if end := i + len(s.text); !s.word || l.isWord(i, end) {
				l.mark(s, i, end, hidden)
			}
		}
	}
	for at := 0; at+blockSize <= len(s.text); at += blockSize {
		for _, i := range l.block(s.text[at : at+blockSize]) {
			before := commonSuffix(l.folded[:i], s.text[:at])
			length := before + commonPrefix(l.folded[i:], s.text[at:])
			if at == 0 || length >= 2*blockSize-1 || length == len(s.text) {
				l.mark(s, i-before, i-before+length, hidden)
			}
		}
	}
	if s.word {
		return
	}
	l.hideBeginning(s, len(l.text), hidden)
	// The first word of a text is more often like an end by chance than its last one is like a beginning.
	l.hideEnd(s, 0, len(s.text)/2+1, hidden)
	for _, dots := range []string{"...", "…"} {
		for i := range places(l.text, dots) {
			l.hideBeginning(s, i, hidden)
			l.hideEnd(s, i+len(dots), minCutOff+1, hidden)
		}
	}
}

// block returns where a block is in folded.
func (l *layer) block(text string) []int {
	if l.blocks == nil {
		l.blocks = map[string][]int{}
		for i := range len(l.folded) - blockSize + 1 {
			l.blocks[l.folded[i:i+blockSize]] = append(l.blocks[l.folded[i:i+blockSize]], i)
		}
	}
	return l.blocks[text]
}

// places yields where part is in text.
func places(text, part string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at := 0; ; at++ {
			i := strings.Index(text[at:], part)
			if i < 0 || !yield(at+i) {
				return
			}
			at += i
		}
	}
}

// hideBeginning marks the beginning of a spelling that ends at end.
func (l *layer) hideBeginning(s spelling, end int, hidden []bool) {
	for n := min(len(s.text)-1, end); n >= min(minCutOff, (len(s.text)+1)/2); n-- {
		if strings.HasSuffix(l.folded[:end], s.text[:n]) {
			l.mark(s, end-n, end, hidden)
			return
		}
	}
}

// hideEnd marks at least so much of the end of a spelling that begins at start.
func (l *layer) hideEnd(s spelling, start, least int, hidden []bool) {
	for n := min(len(s.text)-1, len(l.text)-start); n >= max(least, minCutOff); n-- {
		if strings.HasPrefix(l.folded[start:], s.text[len(s.text)-n:]) {
			l.mark(s, start, start+n, hidden)
			return
		}
	}
}

// mark marks what the bytes from i to end come from, and around it what belongs to the same base64.
func (l *layer) mark(s spelling, i, end int, hidden []bool) {
	if s.encoded {
		// A line break that was taken out ends it.
		for i > 0 && isBase64(l.text[i-1]) && l.to[i-1] == l.from[i] {
			i--
		}
		for end < len(l.text) && (isBase64(l.text[end]) || l.text[end] == '=') && l.to[end-1] == l.from[end] {
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

func commonSuffix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

var (
	bareEntity  = regexp.MustCompile(`^&#(?:[0-9]+|[xX][0-9a-fA-F]+);?`)
	octalDigits = regexp.MustCompile(`^(?:[0-3][0-7]{2}|[0-7]{1,2})`)
)

// unescape returns what the escape that text begins with stands for, and how many bytes it has; its first character, if it
// is none. One that the end of the text cuts off stands for nothing.
func unescape(text string) (string, int) {
	const maxEntity = 32
	switch text[0] {
	case '%':
		if strings.HasPrefix(text, "%u") { // JavaScript's escape
			return unescapeUTF16(text, "%u")
		}
		if r, n := hexRune(text[1:], 2, 2); n > 0 {
			return string([]byte{byte(r)}), 1 + n
		}
		if isCutOff(text, 2) {
			return "", len(text)
		}
	case '=':
		if r, n := hexRune(text[1:], 2, 2); n > 0 {
			return string([]byte{byte(r)}), 1 + n
		}
		if rest := strings.TrimPrefix(text[1:], "\r"); strings.HasPrefix(rest, "\n") { // the line goes on
			return "", len(text) - len(rest) + 1
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
		}
		if digits := bareEntity.FindString(text); digits != "" && len(digits) < len(text) {
			return html.UnescapeString(digits), len(digits)
		}
		if rest := strings.TrimPrefix(text[1:], "#"); isCutOff("&"+rest, maxEntity) {
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
	if i := strings.IndexByte("nrtbfv", text[1]); i >= 0 {
		return "\n\r\t\b\f\v"[i : i+1], 2
	}
	if octal := octalDigits.FindString(text[1:]); octal != "" {
		v, _ := strconv.ParseUint(octal, 8, 8)
		return string([]byte{byte(v)}), 1 + len(octal)
	}
	switch c := text[1]; {
	case c == 'u' && !strings.HasPrefix(text[2:], "{"):
		return unescapeUTF16(text, `\u`)
	case c == 'u' || c == 'x' || c == 'U':
		digits := map[byte]int{'x': 2, 'U': 8}[c]
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
		}
		return string(r), 2 + n
	case c < utf8.RuneSelf && !isWordRune(rune(c)):
		return text[1:2], 2
	}
	return text[:1], 1
}

// unescapeUTF16 is unescape for a prefix of two bytes and four digits, twice for a rune that has two units.
func unescapeUTF16(text, prefix string) (string, int) {
	const digits, length = 4, 6
	r, n := hexRune(text[2:], digits, digits)
	switch {
	case n == 0 && isCutOff(text[1:], digits):
		return "", len(text)
	case n == 0:
		return text[:1], 1
	case utf16.IsSurrogate(r):
		rest := text[length:]
		if low, m := hexRune(strings.TrimPrefix(rest, prefix), digits, digits); m > 0 && strings.HasPrefix(rest, prefix) {
			return string(utf16.DecodeRune(r, low)), 2 * length
		}
		if len(rest) < len(prefix) || strings.HasPrefix(rest, prefix) && isCutOff(rest[1:], digits) {
			return "", len(text)
		}
	}
	return string(r), length
}

const hexDigits = "0123456789abcdefABCDEF"

// hexRune reads least to most hexadecimal digits, and returns how many there are; 0: too few.
func hexRune(text string, least, most int) (rune, int) {
	n := 0
	for n < min(len(text), most) && strings.IndexByte(hexDigits, text[n]) >= 0 {
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
func (r *Redactor) Excerpt(text string, limit int) string {
	return Excerpt(r.Redact(text[:min(len(text), maxRedacted)]), limit)
}

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
