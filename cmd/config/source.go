package config

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/strictyaml"
)

// A source is a text that may change while the program runs: a literal, a file, standard input,
// or the output of a command. A command is run, and a regular file is read, anew each time, so
// that secrets can be rotated. Anything else (a pipe, /dev/fd/3, standard input) can be read once
// only, and its text is kept.
type source struct {
	// option is what errors call it.
	option string
	// Of literal, path and command, one says what it is.
	literal string
	path    string
	command []string
	// secret says that a file which others can read is warned of.
	secret bool
	// at is where a config file says so; none for what comes from elsewhere.
	at strictyaml.Node

	warned sync.Once
	stdin  io.Reader
	once   sync.Once
	text   string
	err    error
}

// newSource parses text of an option: @FILE, @- for the standard input, or else a literal.
func newSource(option, text string) *source {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		return newFileSource(option, path)
	}
	return &source{option: option, literal: text}
}

// newFileSource is the source of a file's text; "-" is the standard input.
func newFileSource(option, path string) *source { return &source{option: option, path: path} }

// isLiteral reports whether the text is that of the option itself.
func (s *source) isLiteral() bool { return s.command == nil && s.path == "" }

// name is how messages call what is read.
func (s *source) name() string {
	if s.command != nil {
		return "the output of the command for " + s.option
	}
	return pathName(s.path)
}

// canonical says where the text comes from, and nothing about where that is said.
func (s *source) canonical() any {
	switch {
	case s == nil:
		return nil
	case s.command != nil:
		return []any{"command", s.command}
	case s.path != "":
		return []any{"file", s.path}
	}
	return []any{"text", strconv.QuoteToASCII(s.literal)} // which tells texts apart that are no UTF-8
}

const secretHint = "right ones: a text, {env: VARIABLE}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"

// secretKeys are those of a map that says where a secret is.
var secretKeys = []Option{
	{Key: "env", Value: described("text", wordShape), About: "Name of an environment variable, which must be set."},
	{Key: "file", Value: described("text", wordShape), About: "File with the secret, read again each time; a relative path begins beside the config file."},
	{Key: "command", Value: described("list of texts", commandShape), About: "Program with its arguments that prints the secret, run again each time, without a shell."},
}

// tokenKind is a file by its flag, the token itself by its variable, and any secret by its key.
var tokenKind = Kind[*source]{Name: "secret", Schema: refTo("secret"), Show: maskedSecret, Canonical: canonicalSource,
	Parse: fileKind("--auth-token-file").Parse,
	Env:   func(text string) (*source, error) { return &source{literal: text}, nil },
	Read: func(key string, n strictyaml.Node) (*source, error) {
		s, err := readSecret(key, n)
		if err == nil && s.isLiteral() && s.literal == "" { // ${TOKEN:-}: without TOKEN, none
			s = nil
		}
		return s, err
	}}

// signingKind is a key to sign with, a secret that is not empty.
var signingKind = Kind[*source]{Name: "secret", Schema: refTo("key"), Show: maskedSecret, Canonical: canonicalSource,
	Read: func(key string, n strictyaml.Node) (*source, error) {
		s, err := readSecret(key, n)
		if err != nil || !s.isLiteral() {
			return s, err
		}
		if s.literal == "" {
			return nil, n.Errorf(secretHint, "the secret is empty")
		}
		encoded, isEncoded := strings.CutPrefix(s.literal, "whsec_")
		if _, err := base64.StdEncoding.DecodeString(encoded); isEncoded && err != nil {
			return nil, n.Errorf("copy all of it, or take another key, which does not begin with whsec_", "what follows whsec_ is not base64")
		}
		return s, nil
	}}

// readSecret reads a text, {env: V}, {file: F} or {command: [...]}.
func readSecret(key string, n strictyaml.Node) (*source, error) {
	s := &source{option: sourceName(key, n), at: n, secret: true}
	if !n.IsMap() {
		var err error
		s.literal, err = n.Text()
		return s, err
	}
	list, err := n.Fields()
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, n.Errorf(secretHint, "this has %d keys, and should have one of env, file and command", len(list))
	}
	value := list[0].Value
	s.at = value
	switch list[0].Name {
	case "env":
		s.literal, err = readVariable(value)
	case "file":
		if s, err = readFile(key+".file", value); err == nil {
			s.secret = true
		}
	case "command":
		s.command, err = readCommand(value, secretHint)
	default:
		err = list[0].Key.Errorf(secretHint, "the key %q is not known here", list[0].Name)
	}
	return s, err
}

// readVariable reads a variable at once: the environment of a process stays as it is.
func readVariable(n strictyaml.Node) (string, error) {
	name, err := n.Text()
	if err != nil {
		return "", err
	}
	value, _ := n.Lookup(name)
	if value == "" {
		return "", n.Errorf("set it", "the variable %s is not set, or empty", name)
	}
	return value, nil
}

// readFile reads the path of a file beside the config file.
func readFile(key string, n strictyaml.Node) (*source, error) {
	path, err := n.Text()
	if err == nil && path == "" {
		err = n.Errorf("give the name of a file", "%s is empty", key)
	}
	if err != nil {
		return nil, err
	}
	return &source{option: sourceName(key, n), at: n, path: n.Beside(path)}, nil
}

// sourceName is how errors call the value of a key.
func sourceName(key string, n strictyaml.Node) string { return key + " (" + n.Position() + ")" }

// readCommand reads a program and its arguments. A program with a slash is relative to the config
// file; any other is found by PATH.
func readCommand(n strictyaml.Node, hint string) ([]string, error) {
	items, err := n.Items()
	if err != nil {
		return nil, err
	}
	words := make([]string, len(items))
	for i, item := range items {
		if words[i], err = item.Text(); err != nil {
			return nil, err
		}
	}
	if len(words) == 0 || words[0] == "" {
		return nil, n.Errorf(hint, "there is no program in this list")
	}
	if strings.ContainsRune(words[0], os.PathSeparator) {
		words[0] = n.Beside(words[0])
	}
	return words, nil
}

// A reader reads sources for one owner.
type reader struct {
	// timeout bounds a command.
	timeout time.Duration
	// log gets what commands write to stderr, and warnings about files of secrets; nil: nothing.
	log *slog.Logger
}

func (r reader) note(level slog.Level, message string, args ...any) {
	if r.log != nil {
		r.log.Log(context.Background(), level, message, args...)
	}
}

// text returns the text of s, without the line break at the end of a file. The error is an
// [*exit.Error] or the cause of ctx.
func (r reader) text(ctx context.Context, s *source) (string, error) {
	switch {
	case s.command != nil:
		ctx, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		return r.run(ctx, s)
	case s.path == "":
		return s.literal, nil
	}
	if s.path != stdinPath {
		info, err := os.Stat(s.path)
		if err != nil {
			return "", readError(s.option, s.path, err)
		}
		if s.secret && othersCanRead(info) {
			s.warned.Do(func() {
				r.note(slog.LevelWarn, "others can read the file of a secret: chmod o-r "+s.path, "for", s.option)
			})
		}
		if info.Mode().IsRegular() || info.IsDir() {
			return s.whole(os.ReadFile(s.path))
		}
	}
	return s.textOnce(ctx)
}

func othersCanRead(info os.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0
}

// textOnce reads what may keep us waiting, and what is gone once it is read.
func (s *source) textOnce(ctx context.Context) (string, error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.once.Do(func() {
			if s.stdin != nil {
				s.text, s.err = s.whole(io.ReadAll(s.stdin))
				return
			}
			s.text, s.err = s.whole(os.ReadFile(s.path))
		})
	}()
	select {
	case <-done:
		return s.text, s.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (s *source) whole(data []byte, err error) (string, error) {
	if err != nil {
		return "", readError(s.option, s.path, err)
	}
	return trimLineBreak(string(data)), nil
}

func trimLineBreak(text string) string {
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
}

// readError is the error of a file, or of the standard input, that an option names.
func readError(option, path string, err error) error {
	return &exit.Error{
		Code: exit.Read, Err: err, Hint: "check that it exists and may be read",
		Message: fmt.Sprintf("cannot read %s for %s: %s", pathName(path), option, exit.SystemText(err)),
	}
}

const (
	// maxSecret bounds the output of a command in bytes, maxStderr what is logged of its stderr.
	maxSecret = 1 << 20
	maxStderr = 4 << 10
	// commandGrace bounds how long a child of a killed command can hold its output open.
	commandGrace = 100 * time.Millisecond
)

// run runs the command of s without a shell and returns its output without the last line break.
// It logs stderr, but neither stdout nor the arguments, which may hold the secret.
func (r reader) run(ctx context.Context, s *source) (string, error) {
	program := s.command[0]
	command := exec.CommandContext(ctx, program, s.command[1:]...)
	command.WaitDelay = commandGrace
	stdout, stderr := &limitedBuffer{limit: maxSecret}, &limitedBuffer{limit: maxStderr}
	command.Stdout, command.Stderr = stdout, stderr
	err := command.Run()
	if err == nil && stdout.overflown {
		err = fmt.Errorf("it printed more than %d bytes", maxSecret)
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
	}
	for line := range strings.Lines(string(stderr.kept)) {
		r.note(level, strings.TrimRight(line, "\r\n"), "command", program, "for", s.option)
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
			Message: fmt.Sprintf("the command %s for %s failed: %v", program, s.option, cause),
		}
	}
	return trimLineBreak(string(stdout.kept)), nil
}

// A limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct {
	kept      []byte
	limit     int
	overflown bool
}

// Write implements [io.Writer]. It accepts everything, because a program may fail when its output
// is cut off.
func (b *limitedBuffer) Write(data []byte) (int, error) {
	room := b.limit - len(b.kept)
	if len(data) > room {
		b.overflown = true
	}
	b.kept = append(b.kept, data[:min(len(data), room)]...)
	return len(data), nil
}

// stdinPath is how an argument names the standard input.
const stdinPath = "-"

func pathName(path string) string {
	if path == stdinPath {
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

// claim claims the standard input, if that is what s reads.
func (s *source) claim(stdin *Stdin) (err error) {
	if s != nil && s.path == stdinPath {
		s.stdin, err = stdin.Claim(s.option)
	}
	return err
}
