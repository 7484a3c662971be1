package cmd

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The width of a page of help: that of the terminal, between these bounds. Text without a terminal, and a terminal that does not
// tell, have [usualWidth].
const (
	minPageWidth = 40
	maxPageWidth = 100
)

// pageWidth returns how many columns a page of help has.
func (s *Streams) pageWidth() int {
	if !s.OutTerminal || s.OutWidth == nil {
		return usualWidth
	}
	return min(max(s.OutWidth(), minPageWidth), maxPageWidth)
}

// A page is a text of help before it is known where it is read: its parts become text of some width, or a manual page.
type page struct {
	parts []part
	// dense says that there is no blank line below a heading.
	dense bool
	// apart says that a blank line is above the next item.
	apart bool
}

// A part is a piece of a page.
type part struct {
	kind partKind
	// apart says that a blank line is above it.
	apart bool
	// indent is where a block begins, or what explains an item.
	indent int
	name   string
	texts  []string
}

type partKind int

const (
	partParagraph partKind = iota
	partHeading
	partSubheading
	// partBlock is lines as they are.
	partBlock
	// partItem is a name with its explanation beside it.
	partItem
	// partEntry is a name with its explanations below it.
	partEntry
)

// paragraph adds a paragraph.
func (p *page) paragraph(text string) {
	p.parts = append(p.parts, part{kind: partParagraph, apart: true, texts: []string{text}})
}

// prose adds paragraphs, which blank lines divide. Those that are indented stay as they are.
func (p *page) prose(text string) {
	for paragraph := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		if strings.HasPrefix(paragraph, " ") {
			p.block(0, paragraph)
			continue
		}
		p.paragraph(paragraph)
	}
}

// heading adds the heading of a section.
func (p *page) heading(text string) {
	p.parts = append(p.parts, part{kind: partHeading, apart: true, name: text})
}

// subheading adds the heading of a part of a section. Only manual pages have them.
func (p *page) subheading(text string) {
	p.parts = append(p.parts, part{kind: partSubheading, name: text})
}

// block adds lines as they are, further to the right.
func (p *page) block(indent int, text string) {
	p.parts = append(p.parts, part{kind: partBlock, apart: true, indent: indent, texts: []string{text}})
}

// item adds what is explained on the same line from column at on, where the name leaves room, or else on the lines below.
func (p *page) item(at int, name, text string) {
	p.parts = append(p.parts, part{kind: partItem, apart: p.apart, indent: at, name: name, texts: []string{text}})
	p.apart = false
}

// blank makes sure that a blank line is above what comes next.
func (p *page) blank() { p.apart = true }

// entry adds what is explained on the lines below, each text on lines of its own, with a blank line above.
func (p *page) entry(name string, texts ...string) {
	p.parts = append(p.parts, part{kind: partEntry, apart: true, name: name, texts: texts})
}

// entryIndent is where the explanations of an entry begin.
const entryIndent = 6

// text returns the page as text of a width. A word that is longer, and a block, may be wider.
func (p *page) text(width int) string {
	var b strings.Builder
	previous := part{kind: -1}
	for _, part := range p.parts {
		belowHeading := previous.kind == partHeading
		if b.Len() > 0 && (part.apart || belowHeading) && !(belowHeading && p.dense) {
			b.WriteByte('\n')
		}
		switch part.kind {
		case partParagraph:
			wrap(&b, 0, width, part.texts[0])
		case partHeading:
			b.WriteString(part.name + ":\n")
		case partBlock:
			for line := range strings.Lines(strings.TrimSuffix(part.texts[0], "\n") + "\n") {
				b.WriteString(strings.Repeat(" ", part.indent) + line)
			}
		case partItem:
			const margin = 2
			var lines strings.Builder
			wrap(&lines, part.indent, width, part.texts[0])
			if margin+utf8.RuneCountInString(part.name)+margin > part.indent {
				fmt.Fprintf(&b, "  %s\n%s", part.name, lines.String())
				break
			}
			fmt.Fprintf(&b, "  %-*s%s", part.indent-margin, part.name, lines.String()[part.indent:])
		case partEntry:
			b.WriteString("  " + part.name + "\n")
			for _, text := range part.texts {
				wrap(&b, entryIndent, width, text)
			}
		}
		previous = part
	}
	return b.String()
}

// wrap writes words, indented, on as many lines as they need. There are only single spaces between them.
func wrap(b *strings.Builder, indent, width int, text string) {
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
			b.WriteString(strings.Repeat(" ", indent))
			column = indent
		case column+1+utf8.RuneCountInString(word) > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += utf8.RuneCountInString(word)
	}
	b.WriteByte('\n')
}

// roff returns the page as the body of a manual page, for the man macros of groff.
func (p *page) roff() string {
	var b strings.Builder
	for _, part := range p.parts {
		switch part.kind {
		case partParagraph:
			b.WriteString(".PP\n" + roffText(part.texts[0]))
		case partHeading:
			b.WriteString(".SH " + roffQuoted(strings.ToUpper(part.name)) + "\n")
		case partSubheading:
			b.WriteString(".SS " + roffQuoted(part.name) + "\n")
		case partBlock:
			b.WriteString(".PP\n.nf\n")
			for line := range strings.Lines(strings.TrimSuffix(part.texts[0], "\n") + "\n") {
				b.WriteString(roffLine(line))
			}
			b.WriteString(".fi\n")
		case partItem, partEntry:
			b.WriteString(".TP\n\\fB" + roffEscapes.Replace(part.name) + "\\fR\n")
			for i, text := range part.texts {
				if i > 0 {
					b.WriteString(".br\n")
				}
				b.WriteString(roffText(text))
			}
		}
	}
	return b.String()
}

// roffText returns words as lines of running text.
func roffText(text string) string {
	var b strings.Builder
	wrap(&b, 0, maxPageWidth, text)
	var lines strings.Builder
	for line := range strings.Lines(b.String()) {
		lines.WriteString(roffLine(line))
	}
	return lines.String()
}

// roffEscapes are the characters that groff would take for something else, or for typographic ones.
var roffEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`)

// roffLine returns a line of text that groff takes as it is. A dot at its beginning would be a request.
func roffLine(line string) string {
	line = roffEscapes.Replace(line)
	if strings.HasPrefix(line, ".") {
		line = `\&` + line
	}
	return line
}

// roffQuoted returns the argument of a request.
func roffQuoted(text string) string { return `"` + roffEscapes.Replace(text) + `"` }
