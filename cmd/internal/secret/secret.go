// Package secret reads texts that may be secret: tokens, params, headers, keys, certificates. They
// are literals, or come from a file, standard input or the output of a command, and are read when
// they are needed, so that they can be rotated.
//
// An error is an [*exit.Error], which never contains the text, or the cause of a context.
package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/strictyaml"
)

// A Source is a text that may change while the program runs: a literal, a file, standard input,
// or the output of a command. A command is run, and a regular file is read, anew each time, so
// that secrets can be rotated. Anything else (a pipe, /dev/fd/3, standard input) can be read once
// only, and its text is kept.
type Source struct {
	// Option is what errors call it.
	Option string
	// Of Literal, Path and Command, one says what it is; StdinPath is standard input.
	Literal string
	Path    string
	Command []string
	// Secret says that a file which others can read is warned of.
	Secret bool
	// At is where a config file says so; none for what comes from elsewhere.
	At strictyaml.Node

	warned sync.Once
	stdin  io.Reader
	once   sync.Once
	text   string
	err    error
}

// Parse parses text of an option: @FILE, @- for the standard input, or else a literal. Its error does not repeat the text.
func Parse(option, text string) (*Source, error) {
	path, ok := strings.CutPrefix(text, "@")
	switch {
	case !ok:
		return &Source{Option: option, Literal: text}, nil
	case path == "":
		return nil, errors.New("has no name of a file behind @")
	}
	return File(option, path), nil
}

// File is the source of a file's text; "-" is the standard input.
func File(option, path string) *Source { return &Source{Option: option, Path: path} }

// IsLiteral reports whether the text is that of the option itself.
func (s *Source) IsLiteral() bool { return s.Command == nil && s.Path == "" }

// Name is how messages call what is read.
func (s *Source) Name() string {
	if s.Command != nil {
		return "the output of the command for " + s.Option
	}
	return PathName(s.Path)
}

// Descriptors returns how many file descriptors it takes to read s.
func (s *Source) Descriptors() int {
	switch {
	case s == nil || s.IsLiteral():
		return 0
	case s.Command != nil:
		return 8 // its three standard files, two of them pipes; how it starts, and the process itself
	}
	return 1
}

// MostDescriptors returns how many file descriptors it takes to read sources one after the other.
func MostDescriptors(sources []*Source) int {
	most := 0
	for _, s := range sources {
		most = max(most, s.Descriptors())
	}
	return most
}

// A Reader reads sources for one owner.
type Reader struct {
	// Timeout bounds a command.
	Timeout time.Duration
	// Log gets how much commands write to stderr, and warnings about files of secrets; nil: nothing.
	Log *slog.Logger
}

func (r Reader) note(level slog.Level, message string, args ...any) {
	if r.Log != nil {
		r.Log.Log(context.Background(), level, message, args...)
	}
}

// Text returns the text of s as [Trim] leaves it. The error is an [*exit.Error] or the cause of
// ctx.
func (r Reader) Text(ctx context.Context, s *Source) (string, error) {
	switch {
	case s.Command != nil:
		ctx, cancel := context.WithTimeout(ctx, r.Timeout)
		defer cancel()
		return r.run(ctx, s)
	case s.Path == "":
		return Trim(s.Literal), nil
	}
	if s.Path != StdinPath {
		info, err := os.Stat(s.Path)
		if err != nil {
			return "", ReadError(s.Option, s.Path, err)
		}
		if s.Secret && OthersCanRead(info) {
			s.warned.Do(func() {
				r.note(slog.LevelWarn, "others can read the file of a secret: chmod o-r "+s.Path, "for", s.Option)
			})
		}
		if info.Mode().IsRegular() || info.IsDir() {
			return s.whole(os.ReadFile(s.Path))
		}
	}
	return s.textOnce(ctx)
}

func OthersCanRead(info os.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0
}

// textOnce reads what may keep us waiting, and what is gone once it is read.
func (s *Source) textOnce(ctx context.Context) (string, error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.once.Do(func() {
			if s.stdin != nil {
				s.text, s.err = s.whole(io.ReadAll(s.stdin))
				return
			}
			s.text, s.err = s.whole(os.ReadFile(s.Path))
		})
	}()
	select {
	case <-done:
		return s.text, s.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (s *Source) whole(data []byte, err error) (string, error) {
	if err != nil {
		return "", ReadError(s.Option, s.Path, err)
	}
	return Trim(string(data)), nil
}

// Trim returns text without a byte order mark at its beginning and line breaks at its end: editors,
// echo and copied lines add them.
func Trim(text string) string {
	const byteOrderMark = "\ufeff"
	return strings.TrimRight(strings.TrimPrefix(text, byteOrderMark), "\r\n")
}

// CheckVisible returns what is in text and cannot be seen, and where: a predicate. It says nothing
// else of the text. Tabs and the joiners that some scripts need are allowed where joiners is set.
func CheckVisible(text string, joiners bool) error {
	at := 0
	for _, r := range text {
		at++
		what := ""
		switch {
		case joiners && (r == '\t' || r == '\u200c' || r == '\u200d'):
		case r == 0:
			what = "a NUL"
		case r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029':
			what = "a line break"
		case r == '\t':
			what = "a tab"
		case unicode.IsControl(r):
			what = fmt.Sprintf("the control character %U", r)
		case unicode.Is(unicode.Cf, r):
			what = fmt.Sprintf("the invisible character %U", r)
		}
		if what != "" {
			return fmt.Errorf("has %s as character %d", what, at)
		}
	}
	return nil
}

// Visible reads a text in which everything can be seen; see [CheckVisible].
func (r Reader) Visible(ctx context.Context, s *Source, joiners bool) (string, error) {
	text, err := r.Text(ctx, s)
	if err != nil {
		return "", err
	}
	if err := CheckVisible(text, joiners); err != nil {
		return "", exit.Usagef("write the value again without it", "the value of %s %v, which is invisible", cmp.Or(s.Option, "the token"), err)
	}
	return text, nil
}

// ReadError is the error of a file, or of the standard input, that an option names.
func ReadError(option, path string, err error) error {
	return &exit.Error{
		Code: exit.Read, Err: err, Hint: "check that it exists and may be read",
		Message: fmt.Sprintf("cannot read %s for %s: %s", PathName(path), option, exit.SystemText(err)),
	}
}

const (
	// maxSecret bounds the output of a command in bytes.
	maxSecret = 1 << 20
	// commandGrace bounds how long a child of a command can hold its output open after its end.
	commandGrace = 100 * time.Millisecond
)

// run runs the command of s without a shell and returns its output without the last line breaks.
// It logs how much the command writes to stderr, and nothing of that, of stdout and of the
// arguments, which may all hold the secret. What its children print after its end does not count.
func (r Reader) run(ctx context.Context, s *Source) (string, error) {
	program := s.Command[0]
	command := exec.CommandContext(ctx, program, s.Command[1:]...)
	command.WaitDelay = commandGrace
	stdout, stderr := &limitedBuffer{limit: maxSecret}, new(limitedBuffer)
	command.Stdout, command.Stderr = stdout, stderr
	err := command.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err == nil && stdout.overflown {
		err = fmt.Errorf("it printed more than %d bytes", maxSecret)
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
	}
	if stderr.size > 0 {
		r.note(level, "the command of a secret wrote to stderr, which is not shown", "bytes", stderr.size, "command", program, "for", s.Option)
	}
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		cause := err
		if execErr := (*exec.Error)(nil); errors.As(err, &execErr) {
			cause = execErr.Err
		}
		return "", &exit.Error{
			Code: exit.Read, Err: err, Hint: "run it by hand: it has to print the secret and exit 0",
			Message: fmt.Sprintf("the command %s for %s failed: %v", program, s.Option, cause),
		}
	}
	return Trim(string(stdout.kept)), nil
}

// A limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct {
	kept      []byte
	limit     int
	size      int
	overflown bool
}

// Write implements [io.Writer]. It accepts everything, because a program may fail when its output
// is cut off.
func (b *limitedBuffer) Write(data []byte) (int, error) {
	b.size += len(data)
	room := b.limit - len(b.kept)
	if len(data) > room {
		b.overflown = true
	}
	b.kept = append(b.kept, data[:min(len(data), room)]...)
	return len(data), nil
}

// StdinPath is how an argument names the standard input.
const StdinPath = "-"

func PathName(path string) string {
	if path == StdinPath {
		return "standard input"
	}
	return path
}

// A Stdin gives standard input to the first who claims it: each of two readers would get a part.
type Stdin struct {
	r     io.Reader
	owner string
}

// NewStdin returns the claim on r.
func NewStdin(r io.Reader) *Stdin { return &Stdin{r: r} }

// Claim gives standard input to the option or argument of that name. A second claim is a usage
// error.
func (s *Stdin) Claim(name string) (io.Reader, error) {
	if s.owner != "" {
		return nil, exit.Usagef("give one of them a file: @FILE", "%s and %s both read standard input", s.owner, name)
	}
	s.owner = name
	return s.r, nil
}

// Claim claims the standard input, if that is what s reads.
func (s *Source) Claim(stdin *Stdin) (err error) {
	if s != nil && s.Path == StdinPath {
		s.stdin, err = stdin.Claim(s.Option)
	}
	return err
}

// A Named is a param or a header: a name and where its value is.
type Named struct {
	Name  string
	Value *Source
}

// CheckHeaderValue returns what is wrong with the value of a header: a predicate.
func CheckHeaderValue(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return errors.New("has a control character or a line break")
	}
	return nil
}

// Headers reads the values of headers.
func (r Reader) Headers(ctx context.Context, headers []Named) (http.Header, error) {
	header := http.Header{}
	for _, p := range headers {
		value, err := r.Text(ctx, p.Value)
		if err != nil {
			return nil, err
		}
		err = CheckHeaderValue(value)
		if err == nil {
			err = CheckVisible(value, true)
		}
		if err != nil {
			return nil, exit.Usagef("a header is a single line: check what is in "+p.Value.Name(), "the value of %s %v", p.Value.Option, err)
		}
		header.Add(p.Name, value)
	}
	return header, nil
}

// Required reads a text that must not be empty; what is the name of such a text.
func (r Reader) Required(ctx context.Context, s *Source, what string) (string, error) {
	text, err := r.Visible(ctx, s, false)
	if err == nil && text == "" {
		err = exit.Usagef("write the "+what+" to it, as one line", "there is no %s in %s", what, s.Name())
	}
	return text, err
}
