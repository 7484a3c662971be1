package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/jsonstream"
)

var errEmpty = errors.New("is empty")

// maxInput is how large one payload from an input may be.
const maxInput = 1 << 30

// A pushInput is where payloads come from.
type pushInput struct {
	// next returns the next payload, which the caller may keep, or io.EOF.
	next func() ([]byte, error)
	// binary says that payloads are bytes; else they are JSON.
	binary bool
	// name is what the input is called in messages.
	name string
	file *os.File
}

// A pushSource is what the command line says about the input.
type pushSource struct {
	// payload is the argument; given says that there is one.
	payload string
	given   bool
	lines   string
	binary  bool
}

// open opens the input.
func (o *pushSource) open(f *factory) (*pushInput, error) {
	if err := o.checkBinary(); err != nil {
		return nil, err
	}
	in := &pushInput{binary: o.binary}
	var r io.Reader
	path, isFile := strings.CutPrefix(o.payload, "@")
	switch {
	case !o.given || o.payload == "-" || isFile && path == "-":
		stdin, err := o.openStdin(f)
		if err != nil {
			return nil, err
		}
		r, in.name = stdin, "standard input"
	case isFile:
		file, err := os.Open(path)
		if err != nil {
			return nil, readFailure(path, err)
		}
		r, in.name, in.file = file, path, file
	case o.lines != "":
		return nil, errLiteral("--lines", "lines")
	case o.binary:
		return nil, errLiteral("--binary", "bytes")
	default:
		if err := checkPayload(o.payload); err != nil {
			return nil, err
		}
		r, in.name = strings.NewReader(o.payload), "PAYLOAD"
	}
	switch {
	case o.binary:
		in.next = in.whole(r)
	case o.lines != "":
		in.next = in.lines(jsonstream.NewLines(r, maxInput), o.lines)
	default:
		in.next = in.values(jsonstream.New(r, maxInput))
	}
	return in, nil
}

// checkPayload refuses an argument that is not JSON before anything is dialed.
func checkPayload(text string) error {
	values := jsonstream.New(strings.NewReader(text), maxInput)
	for {
		_, err := values.Next()
		switch syntax := (*jsonstream.SyntaxError)(nil); {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &syntax):
			return &exit.Error{
				Code: exit.Usage, Message: "bad input in PAYLOAD: " + syntax.Error(), Err: err,
				Hint: `PAYLOAD is JSON, for example '{"body":"hello"}' or '"hello"'; @FILE and - read it, --lines KEY takes text`,
			}
		case err != nil:
			return err
		}
	}
}

func (o *pushSource) openStdin(f *factory) (io.Reader, error) {
	if f.streams.InTerminal && !o.given {
		return nil, exit.Usagef("give it as an argument, or pipe it in; - reads the terminal", "there is no PAYLOAD, and stdin is a terminal")
	}
	return f.stdin.Claim("the payload")
}

func (in *pushInput) values(r *jsonstream.Reader) func() ([]byte, error) {
	return func() ([]byte, error) {
		v, err := r.Next()
		return bytes.Clone(v.Raw), in.explain(err)
	}
}

func (in *pushInput) lines(r *jsonstream.Lines, key string) func() ([]byte, error) {
	return func() ([]byte, error) {
		line, err := r.Next()
		if err != nil {
			return nil, in.explain(err)
		}
		return jsonstream.AppendWrapped(nil, key, line.Raw), nil
	}
}

// explain makes an error of the input one for people.
func (in *pushInput) explain(err error) error {
	var syntax *jsonstream.SyntaxError
	var read *jsonstream.ReadError
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return err
	case errors.As(err, &syntax):
		return &exit.Error{
			Code: exit.Usage, Message: "bad input in " + in.name + ": " + syntax.Error(), Err: err,
			Hint: "what came before it was sent; mend it, and send it and what follows",
		}
	case errors.As(err, &read):
		return readFailure(in.name, read.Err)
	}
	return err
}

func (in *pushInput) close() {
	if in.file != nil {
		_ = in.file.Close()
	}
}

// errNoInput says that there was nothing to push.
func (in *pushInput) errNoInput() error {
	hint := "give a JSON value, for example {}"
	if in.binary {
		hint = "give at least one byte"
	}
	return exit.Usagef(hint, "%s is empty: there is nothing to push", in.name)
}

// readFailure is the failure of reading an input.
func readFailure(name string, err error) error {
	return &exit.Error{Code: exit.Read, Message: "cannot read " + name + ": " + exit.SystemText(err), Hint: "check that it is there and may be read", Err: err}
}

// whole makes one payload of all that r has.
func (in *pushInput) whole(r io.Reader) func() ([]byte, error) {
	taken := false
	return func() ([]byte, error) {
		if taken {
			return nil, io.EOF
		}
		taken = true
		data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
		switch {
		case err != nil:
			return nil, readFailure(in.name, err)
		case len(data) > maxInput:
			return nil, exit.Usagef("send it in parts", "%s has more than the %d bytes that one payload may have", in.name, maxInput)
		case len(data) == 0:
			return nil, io.EOF
		}
		return data, nil
	}
}

// checkBinary refuses what --binary cannot be combined with.
func (o *pushSource) checkBinary() error {
	if o.binary && o.lines != "" {
		return exit.Usagef("choose one of them", "--binary makes one payload of the whole input, --lines one of each line")
	}
	return nil
}

// errLiteral refuses a PAYLOAD that is JSON, where the input is made into payloads by a flag.
func errLiteral(flag, made string) error {
	return exit.Usagef(fmt.Sprintf("give the %s on stdin, or as @FILE", made), "%s makes payloads of %s, and PAYLOAD is one already", flag, made)
}
