package phoenix

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What may be said of a server's words: every text of a server goes through a Redactor, which knows the secrets of the
// request, and then through Excerpt, before a person or a log gets it.

// minSecret is the default of Redactor.MinLength.
const minSecret = 8

// A Redactor replaces secrets in text, because servers like to repeat what they were sent. The zero Redactor and a nil one
// know none. Add, AddURL and AddHeader must not be called while another goroutine uses it; Redact may be.
type Redactor struct {
	// MinLength is the length in bytes from which on a value counts as a secret; shorter ones are found in any text. It is set
	// before the first Add. Default 8.
	MinLength int

	// spellings are the secrets as they may be written, longer ones first, because one may be part of another.
	spellings []string
}

// Add adds secrets.
func (r *Redactor) Add(secrets ...string) {
	shortest := r.MinLength
	if shortest <= 0 {
		shortest = minSecret
	}
	for _, secret := range secrets {
		for _, spelled := range spellingsOf(secret) {
			if len(spelled) >= shortest && !slices.Contains(r.spellings, spelled) {
				r.spellings = append(r.spellings, spelled)
			}
		}
	}
	slices.SortStableFunc(r.spellings, func(a, b string) int { return len(b) - len(a) })
}

// spellingsOf returns the forms in which a server may repeat a secret.
func spellingsOf(secret string) []string { return []string{secret, url.QueryEscape(secret)} }

// AddURL adds what may be secret in a URL: the values of its query, and the password.
func (r *Redactor) AddURL(text string) {
	u, err := url.Parse(text)
	if err != nil {
		return
	}
	for _, values := range u.Query() {
		r.Add(values...)
	}
	if password, ok := u.User.Password(); ok {
		r.Add(password)
	}
}

// AddHeader adds the values of a header, and each of their words: of "Bearer x" also x.
func (r *Redactor) AddHeader(header http.Header) {
	for _, values := range header {
		for _, value := range values {
			r.Add(value)
			r.Add(strings.Fields(value)...)
		}
	}
}

// Redact returns text with "..." in place of each secret.
func (r *Redactor) Redact(text string) string {
	if r == nil {
		return text
	}
	for _, secret := range r.spellings {
		text = strings.ReplaceAll(text, secret, "...")
	}
	return text
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
