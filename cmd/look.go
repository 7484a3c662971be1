package cmd

import (
	"bytes"

	"phx/cmd/config"
)

// A look is how JSON is shown: for programs as it is, for people indented and coloured. The look changes nothing but white
// space, colour and the spelling of control characters.
type look struct {
	indent, color bool
	// escape spells control characters as escapes, for terminals.
	escape bool
}

// newLook returns the look for the output, from the options, then the environment (no-color.org, bixense.com/clicolors),
// then whether it is a terminal.
func newLook(o config.Output, s *Streams) look {
	l := look{indent: s.OutTerminal, color: s.OutTerminal, escape: s.OutTerminal}
	switch {
	case o.Pretty:
		l.indent = true
	case o.Compact:
		l.indent = false
	}
	forced := s.env("CLICOLOR_FORCE")
	switch {
	case o.Color == config.ColorAlways:
		l.color = true
	case o.Color == config.ColorNever, s.env("NO_COLOR") != "":
		l.color = false
	case forced != "" && forced != "0":
		l.color = true
	case s.env("TERM") == "dumb":
		l.color = false
	}
	return l
}

// The colours of gojq, for those who know them from there.
const (
	colorReset  = "\x1b[0m"
	colorNull   = "\x1b[90m"
	colorBool   = "\x1b[33m"
	colorNumber = "\x1b[36m"
	colorString = "\x1b[32m"
	colorKey    = "\x1b[34;1m"
)

// append appends one valid JSON text and a line break.
func (l look) append(dst, text []byte) []byte {
	switch {
	case l.indent || l.color:
		p := painter{look: l, dst: dst}
		p.paint(text)
		dst = p.dst
	case l.escape:
		dst = appendEscapedJSON(dst, text)
	default:
		dst = append(dst, text...)
	}
	return append(dst, '\n')
}

// A painter writes one JSON text token by token. It copies tokens and decodes none, so that keys keep their order and numbers
// their spelling.
type painter struct {
	look
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
	if rest[0] == '}' || rest[0] == ']' {
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
