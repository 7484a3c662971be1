package cmd

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode"
	"unicode/utf8"

	"phx/cmd/internal/exit"
	"phx/signal"
)

// A jsonStyle is how JSON is printed: for programs as it is, for people indented and coloured. It changes nothing but white
// space, colour and the spelling of control characters.
type jsonStyle struct {
	indent, color bool
	// escape spells control characters as escapes, for terminals.
	escape bool
}

// newJSONStyle returns the style of the output, from the options, then the environment, then whether it is a terminal.
func newJSONStyle(o outputOptions, streams *Streams) jsonStyle {
	s := jsonStyle{indent: streams.OutTerminal, color: streams.coloured(o.Color, streams.OutTerminal), escape: streams.OutTerminal}
	switch {
	case o.Pretty:
		s.indent = true
	case o.Compact:
		s.indent = false
	}
	return s
}

// Colours and styles that can be read on light and dark backgrounds, whatever the sixteen colours of the terminal are: no black, white
// or grey, one of which is the background somewhere.
const (
	colorReset   = "\x1b[0m"
	colorFaint   = "\x1b[2m"
	colorError   = "\x1b[31m"
	colorWarning = "\x1b[33m"
	colorNull    = colorFaint
	colorBool    = "\x1b[35m"
	colorNumber  = "\x1b[36m"
	colorString  = "\x1b[32m"
	colorKey     = "\x1b[34;1m"
)

// append appends one valid JSON text and a line break.
func (s jsonStyle) append(dst, text []byte) []byte {
	switch {
	case s.indent || s.color:
		p := painter{jsonStyle: s, dst: dst}
		p.paint(text)
		dst = p.dst
	case s.escape:
		dst = appendEscapedJSON(dst, text)
	default:
		dst = append(dst, text...)
	}
	return append(dst, '\n')
}

// A painter writes one JSON text, or the beginning of one, token by token. It copies tokens and decodes none, so that keys keep their order
// and numbers their spelling.
type painter struct {
	jsonStyle
	dst []byte
	// open is the brackets that are open.
	open []byte
	// wantKey says that the next string is an object's key.
	wantKey bool
}

func (p *painter) paint(text []byte) {
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
		case '{', '[':
			i += p.enter(text[i:])
		case '}', ']':
			p.open = p.open[:len(p.open)-1]
			p.newline()
			p.dst = append(p.dst, c)
			i++
		case ',':
			p.dst = append(p.dst, c)
			p.newline()
			p.wantKey = p.open[len(p.open)-1] == '{'
			i++
		case ':':
			p.colon()
			i++
		default:
			n := tokenLen(text[i:])
			p.scalar(text[i : i+n])
			i += n
		}
	}
}

// enter writes an opening bracket, or both of an empty pair, and returns how much of text that was.
func (p *painter) enter(text []byte) int {
	rest := bytes.TrimLeft(text[1:], " \t\r\n")
	if len(rest) > 0 && (rest[0] == '}' || rest[0] == ']') {
		p.dst = append(p.dst, text[0], rest[0])
		return len(text) - len(rest) + 1
	}
	p.dst = append(p.dst, text[0])
	p.open = append(p.open, text[0])
	p.wantKey = text[0] == '{'
	p.newline()
	return 1
}

func (p *painter) newline() {
	if !p.indent {
		return
	}
	p.dst = append(p.dst, '\n')
	for range p.open {
		p.dst = append(p.dst, "  "...)
	}
}

func (p *painter) colon() {
	p.dst = append(p.dst, ':')
	if p.indent {
		p.dst = append(p.dst, ' ')
	}
	p.wantKey = false
}

func (p *painter) scalar(token []byte) {
	if p.color {
		p.dst = append(p.dst, p.colorOf(token[0])...)
	}
	if p.escape {
		p.dst = appendEscapedJSON(p.dst, token)
	} else {
		p.dst = append(p.dst, token...)
	}
	if p.color {
		p.dst = append(p.dst, colorReset...)
	}
}

// colorOf returns the colour of a scalar that begins with c.
func (p *painter) colorOf(c byte) string {
	switch c {
	case '"':
		if p.wantKey {
			return colorKey
		}
		return colorString
	case 'n':
		return colorNull
	case 't', 'f':
		return colorBool
	}
	return colorNumber
}

// tokenLen returns the length of the string, number or word that text begins with.
func tokenLen(text []byte) int {
	if text[0] != '"' {
		if end := bytes.IndexAny(text, ",:]} \t\r\n"); end >= 0 {
			return end
		}
		return len(text)
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// appendVisible appends text with everything in it that a terminal could take for a command, or a reader for something
// else than it is, as an escape: control characters, invisible ones, bytes that are not UTF-8. Runes of keep stay as they
// are.
func appendVisible(dst []byte, text string, keep ...rune) []byte {
next:
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		char := text[:size]
		text = text[size:]
		for _, k := range keep {
			if r == k {
				dst = append(dst, char...)
				continue next
			}
		}
		if strconv.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			dst = append(dst, char...)
			continue
		}
		quoted := strconv.AppendQuote(nil, char)
		dst = append(dst, quoted[1:len(quoted)-1]...)
	}
	return dst
}

// isControl reports whether a terminal may take r for a command: C0, DEL and C1.
func isControl(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }

// deceives reports whether r makes a line look like another one: what controls the direction of text, and the line breaks of Unicode.
func deceives(r rune) bool {
	return r == '\u2028' || r == '\u2029' || r > utf8.RuneSelf && unicode.Is(unicode.Bidi_Control, r)
}

// appendEscapedJSON appends a JSON text with its control characters, and those that deceive, escaped, which only strings can hold, and line
// breaks and tabs between tokens turned into spaces. What the text means stays the same.
func appendEscapedJSON(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case !isControl(r) && !deceives(r):
			dst = append(dst, text[:size]...)
		case r < ' ':
			dst = append(dst, ' ')
		default:
			dst = append(dst, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		}
		text = text[size:]
	}
	return dst
}

// A signalView converts signals of a running phx serve: from the format that goes over the socket to what is printed, and to the
// default format, which conditions are about.
type signalView struct{ format signal.Format }

func newSignalView(format signal.Format) *signalView { return &signalView{format} }

// wire is the format that goes over the socket. A payload alone does not name its signal.
func (v *signalView) wire() signal.Format {
	if v.format == signal.FormatPayload {
		return signal.FormatSignal
	}
	return v.format
}

// shown returns what is printed of a line, nothing if it has nothing that the format prints.
func (v *signalView) shown(line []byte) ([]byte, error) {
	if v.format != signal.FormatPayload {
		return line, nil
	}
	var s struct {
		Type string
		Data struct {
			Payload        json.RawMessage
			PayloadBase64  json.RawMessage `json:"payload_base64"`
			Response       json.RawMessage
			ResponseBase64 json.RawMessage `json:"response_base64"`
		}
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return nil, errStrangeSignal(err)
	}
	texts := []json.RawMessage{s.Data.Payload, s.Data.PayloadBase64}
	if s.Type == "phoenix.channel.joined" || s.Type == "phoenix.channel.join_error" {
		texts = []json.RawMessage{s.Data.Response, s.Data.ResponseBase64}
	}
	for _, text := range texts {
		if text != nil {
			return text, nil
		}
	}
	return nil, nil
}

// plain returns the signal of a line in the default format, and its seq.
func (v *signalView) plain(line []byte) (text []byte, seq uint64, err error) {
	text = line
	if v.wire() != signal.FormatSignal {
		if text, err = signal.Convert(nil, line, signal.FormatSignal); err != nil {
			return nil, 0, errStrangeSignal(err)
		}
	}
	var s struct{ Metadata struct{ Seq uint64 } }
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, 0, errStrangeSignal(err)
	}
	return text, s.Metadata.Seq, nil
}

// errStrangeSignal says that a line is no signal.
func errStrangeSignal(err error) error {
	return &exit.Error{
		Code: exit.Failure, Message: "phx serve sent a line that is no signal: " + err.Error(),
		Hint: "check that phx serve and phx ctl are of one version: phx version",
	}
}
