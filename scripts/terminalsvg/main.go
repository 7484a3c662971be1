//go:build unix

// Command terminalsvg draws what commands print on a terminal:
//
//	terminalsvg COLUMNS COMMAND... > picture.svg
//
// Each COMMAND is run by sh in a pseudo-terminal of so many columns, one after the other, and shown behind a prompt. What differs from run
// to run is replaced: times of day count up from 12:00:00, and each duration is a fixed one, so that the picture is the same each time.
package main

import (
	"errors"
	"fmt"
	"html"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/creack/pty"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "terminalsvg:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) < 2 {
		return errors.New("usage: terminalsvg COLUMNS COMMAND [COMMAND]...: the width of the terminal, then what is typed into it")
	}
	columns, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil {
		return err
	}
	var screen strings.Builder
	for _, command := range args[1:] {
		output, err := runInTerminal(command, uint16(columns))
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		fmt.Fprintf(&screen, "\x1b[1;32m$\x1b[0m \x1b[1m%s\x1b[0m\n%s\n", command, output)
	}
	_, err = io.WriteString(out, draw(steady(strings.TrimRight(screen.String(), "\n")), int(columns)))
	return err
}

// runInTerminal returns what the command prints, whatever its exit code is.
func runInTerminal(command string, columns uint16) (string, error) {
	cmd := exec.Command("sh", "-c", command)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "TZ=UTC")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: columns, Rows: 50})
	if err != nil {
		return "", err
	}
	defer terminal.Close()
	output, err := io.ReadAll(terminal)
	if err != nil && !errors.Is(err, syscall.EIO) { // EIO is how a pseudo-terminal ends on Linux
		return "", err
	}
	var failed *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &failed) {
		return "", err
	}
	return strings.ReplaceAll(string(output), "\r\n", "\n"), nil
}

var (
	clockPattern    = regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`)
	durationPattern = regexp.MustCompile(`(?:\d+(?:\.\d+)?|<1) m?s\b`)
	addressPattern  = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	tickPattern     = regexp.MustCompile(`"n":(\x1b\[[0-9;]*m)?\d+`)
)

// steady replaces what differs from run to run.
func steady(text string) string {
	seconds, ticks := 0, 0
	text = clockPattern.ReplaceAllStringFunc(text, func(string) string {
		seconds++
		return fmt.Sprintf("12:00:%02d.000", seconds)
	})
	text = tickPattern.ReplaceAllStringFunc(text, func(tick string) string {
		ticks++
		return strings.TrimRight(tick, "0123456789") + strconv.Itoa(ticks)
	})
	text = durationPattern.ReplaceAllString(text, "0.4 ms")
	return addressPattern.ReplaceAllString(text, "127.0.0.1:4000")
}

// Sizes in pixels: of a cell, and of the frame around the text.
const (
	cellWidth  = 8.4
	lineHeight = 19
	margin     = 18
	titleBar   = 34
)

const (
	background = "#1e2127"
	foreground = "#d7dae0"
)

// palette has the colours 30 to 37 and 90 to 97.
var palette = map[int]string{
	30: "#5c6370", 31: "#e06c75", 32: "#98c379", 33: "#e5c07b", 34: "#61afef", 35: "#c678dd", 36: "#56b6c2", 37: foreground,
	90: "#7f848e", 91: "#e06c75", 92: "#98c379", 93: "#e5c07b", 94: "#61afef", 95: "#c678dd", 96: "#56b6c2", 97: "#ffffff",
}

// draw returns the picture of a text with escape sequences for colours.
func draw(text string, columns int) string {
	lines := strings.Split(text, "\n")
	width := int(float64(columns)*cellWidth) + 2*margin
	height := len(lines)*lineHeight + titleBar + margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, height, width, height)
	b.WriteString("<!-- made by scripts/screenshot from a real run -->\n<title>phx in a terminal</title>\n")
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="8" fill="%s"/>`+"\n", background)
	for i, colour := range []string{"#e06c75", "#e5c07b", "#98c379"} {
		fmt.Fprintf(&b, `<circle cx="%d" cy="18" r="6" fill="%s"/>`+"\n", margin+6+i*20, colour)
	}
	fmt.Fprintf(&b, `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="%s" xml:space="preserve">`+"\n",
		foreground)
	var style textStyle
	for i, line := range lines {
		drawLine(&b, &style, line, titleBar+margin/2+i*lineHeight+lineHeight/2)
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

var escapePattern = regexp.MustCompile("\x1b\\[([0-9;]*)m")

// drawLine writes each run of one style as a text of its own, at the place and of the width that its cells have, whatever the font is.
func drawLine(b *strings.Builder, style *textStyle, line string, y int) {
	column := 0
	write := func(run string) {
		if text := strings.TrimSpace(run); text != "" {
			indent := utf8.RuneCountInString(run) - utf8.RuneCountInString(strings.TrimLeft(run, " "))
			fmt.Fprintf(b, `<text x="%.1f" y="%d" textLength="%.1f" lengthAdjust="spacingAndGlyphs"%s>%s</text>`+"\n",
				margin+float64(column+indent)*cellWidth, y, float64(utf8.RuneCountInString(text))*cellWidth, style, html.EscapeString(text))
		}
		column += utf8.RuneCountInString(run)
	}
	at := 0
	for _, found := range escapePattern.FindAllStringSubmatchIndex(line, -1) {
		write(line[at:found[0]])
		style.set(line[found[2]:found[3]])
		at = found[1]
	}
	write(line[at:])
}

// A textStyle is what escape sequences have set.
type textStyle struct {
	bold, dim bool
	colour    string
}

// set takes the numbers of an escape sequence.
func (s *textStyle) set(numbers string) {
	for number := range strings.SplitSeq(numbers, ";") {
		n, _ := strconv.Atoi(number) // nothing is 0
		switch {
		case n == 0:
			*s = textStyle{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.dim = true
		case n == 22:
			s.bold, s.dim = false, false
		case n == 39:
			s.colour = ""
		case palette[n] != "":
			s.colour = palette[n]
		}
	}
}

// String returns the attributes of an element.
func (s *textStyle) String() string {
	attributes := ""
	if s.colour != "" {
		attributes += fmt.Sprintf(` fill="%s"`, s.colour)
	}
	if s.bold {
		attributes += ` font-weight="bold"`
	}
	if s.dim {
		attributes += ` opacity="0.6"`
	}
	return attributes
}
