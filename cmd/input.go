package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/jsonstream"
	"phx/cmd/internal/option"
	"phx/phoenix"
)

// maxInput is how large one payload from an input may be.
const maxInput = 1 << 30

// A pushItem is one input of push.
type pushItem struct {
	topic, event string
	// broadcast is the event within a push of the event broadcast; empty: the payload names it, or it is another push.
	broadcast string
	payload   phoenix.Payload
	// source is what the item is in the input: a JSON value, a line with its end, or all of it.
	source []byte
	// value is where in the input that is.
	value jsonstream.Value
}

// A pushInput is where payloads come from.
type pushInput struct {
	// next returns the next item, which the caller may keep, io.EOF, errStopped, or an [*exit.Error]: with the code Usage, item.source is
	// what has been consumed of a bad item. Unless goesOn, next must not be called after an error.
	next func() (item pushItem, err error)
	// skipBad has next consume the whole line of a bad item, so that it can be called again; stuck says that this was not possible.
	skipBad, stuck bool
	// stream reads JSON values or lines; nil for a binary payload.
	stream interface {
		Skip(w io.Writer) error
		Rest() io.Reader
	}
	reader *stoppableReader
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
	// broadcast is --broadcast-event.
	broadcast string
	// envelope says that the input names topic and event of each payload; log is told what is left out.
	envelope bool
	log      *slog.Logger
}

// broadcastOption declares --broadcast-event.
func (o *pushSource) broadcastOption() option.Option {
	return option.Option{Flag: "broadcast-event", Value: option.Text(&o.broadcast, ""), Example: "new_msg",
		Usage: "push each payload to Supabase as a broadcast of the event `NAME`, with broadcast as EVENT"}
}

// checkBroadcast refuses --broadcast-event for another push than a broadcast.
func (o *pushSource) checkBroadcast(event string) error {
	if o.broadcast != "" && event != eventBroadcast {
		return exit.Usagef(`for example: phx push realtime:room1 broadcast '{"a":1}' --broadcast-event `+o.broadcast,
			"--broadcast-event names the event within a broadcast, and EVENT is %s", event)
	}
	return nil
}

// eventBroadcast is the event of a push with another one in it.
const eventBroadcast = "broadcast"

// open opens the input.
func (o *pushSource) open(f *factory) (*pushInput, error) {
	if err := o.checkKind(); err != nil {
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
	case isFile && path == "":
		return nil, errNoName("PAYLOAD")
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
	in.reader = newStoppableReader(r)
	switch {
	case o.binary:
		in.next = in.whole(in.reader)
	case o.lines != "":
		lines := jsonstream.NewLines(in.reader, maxInput)
		in.stream, in.next = lines, in.items(lines.Next, func(item *pushItem, v jsonstream.Value) error {
			item.payload.Data = jsonstream.AppendWrapped(nil, o.lines, v.Raw)
			return nil
		})
	default:
		values := jsonstream.New(in.reader, maxInput)
		in.stream, in.next = values, in.items(values.Next, func(item *pushItem, _ jsonstream.Value) error {
			item.payload.Data = item.source
			return nil
		})
		if o.envelope {
			in.next = in.envelopes(values.Next, o.log)
		}
	}
	return in, nil
}

// untilDone runs f, which may block for ever, as the open of a pipe that nobody writes to does, and returns its error. When ctx ends
// before, it returns the cause, and what f does is of no use any more.
func untilDone(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errNoName refuses an @ that has no name of a file behind it.
func errNoName(of string) error {
	return exit.Usagef("for example: @payload.json", "%s has no name of a file behind @", of)
}

// items returns what reads values and makes an item of each.
func (in *pushInput) items(next func() (jsonstream.Value, error), fill func(*pushItem, jsonstream.Value) error) func() (pushItem, error) {
	return func() (pushItem, error) {
		v, err := next()
		if err != nil {
			return in.failed(err)
		}
		item := pushItem{source: bytes.Clone(v.Source), value: jsonstream.Value{Index: v.Index, Line: v.Line, Offset: v.Offset}}
		if err := fill(&item, v); err != nil {
			return item, in.errBad(item.place()+": "+err.Error(), err)
		}
		return item, nil
	}
}

// place says where in the input an item is.
func (item *pushItem) place() string {
	return fmt.Sprintf("value %d (line %d, byte %d)", item.value.Index, item.value.Line, item.value.Offset)
}

// failed makes an error of the input one for people. It skips a bad item if that is wanted.
func (in *pushInput) failed(err error) (item pushItem, _ error) {
	var syntax *jsonstream.SyntaxError
	var read *jsonstream.ReadError
	switch {
	case errors.Is(err, errStopped):
		return item, errStopped
	case errors.As(err, &read):
		return item, readFailure(in.name, read.Err)
	case !errors.As(err, &syntax):
		return item, err
	}
	if in.skipBad {
		var line limitedBuffer
		in.stuck = in.stream.Skip(&line) != nil
		item.source = line.data
	}
	return item, in.errBad(syntax.Error(), err)
}

// errBad is the error about a bad item.
func (in *pushInput) errBad(text string, err error) error {
	return &exit.Error{
		Code: exit.Usage, Message: "bad input in " + in.name + ": " + text, Err: err,
		Hint: "what came before it was sent; correct it, then send it and what follows",
	}
}

// goesOn reports whether next may be called after that error of it.
func (in *pushInput) goesOn(err error) bool {
	var bad *exit.Error
	return in.skipBad && !in.stuck && errors.As(err, &bad) && bad.Code == exit.Usage
}

// maxSkipped is how much of a bad line is kept.
const maxSkipped = maxInput

// A limitedBuffer takes a last write that goes beyond maxSkipped, and fails then: nothing of what was written is lost.
type limitedBuffer struct{ data []byte }

// Write implements [io.Writer].
func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	if len(b.data) > maxSkipped {
		return len(p), errors.New("the line is too long")
	}
	return len(p), nil
}

// errStopped ends the wait for input.
var errStopped = errors.New("the input is not read any more")

// A stoppableReader waits for another reader until a context ends: a read of a terminal or a pipe cannot be cut short. It does not read
// ahead.
type stoppableReader struct {
	r io.Reader
	// ctx ends a Read with errStopped. What is read then is returned by the next Read.
	ctx context.Context
	// beforeWait is called before a Read waits, unless it is nil; while it waits, woken is called when wake has a value.
	beforeWait func()
	wake       <-chan struct{}
	woken      func()

	buf, left []byte
	err       error
	reading   bool
	done      chan readResult
}

type readResult struct {
	n   int
	err error
}

func newStoppableReader(r io.Reader) *stoppableReader {
	return &stoppableReader{r: r, ctx: context.Background(), done: make(chan readResult, 1)}
}

// Read implements [io.Reader].
func (s *stoppableReader) Read(p []byte) (int, error) {
	if len(s.left) == 0 && s.err == nil && s.beforeWait != nil {
		s.beforeWait()
	}
	for len(s.left) == 0 && s.err == nil {
		if s.ctx.Err() != nil {
			return 0, errStopped
		}
		if !s.reading {
			if s.buf == nil {
				s.buf = make([]byte, 64<<10)
			}
			s.reading = true
			go func() {
				n, err := s.r.Read(s.buf)
				s.done <- readResult{n, err}
			}()
		}
		select {
		case result := <-s.done:
			s.left, s.err, s.reading = s.buf[:result.n], result.err, false
		case <-s.wake:
			s.woken()
		case <-s.ctx.Done():
		}
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	if n == 0 {
		return 0, s.err
	}
	return n, nil
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
func (in *pushInput) whole(r io.Reader) func() (pushItem, error) {
	taken := false
	return func() (item pushItem, err error) {
		if taken {
			return item, io.EOF
		}
		taken = true
		item.source, err = io.ReadAll(io.LimitReader(r, maxInput+1))
		switch {
		case errors.Is(err, errStopped):
			return item, errStopped
		case err != nil:
			return item, readFailure(in.name, err)
		case len(item.source) > maxInput:
			return item, exit.Usagef("send it in parts", "%s has more than the %d bytes that one payload may have", in.name, maxInput)
		case len(item.source) == 0:
			return item, io.EOF
		}
		item.payload = phoenix.Payload{Data: item.source, Binary: true}
		return item, nil
	}
}

// checkKind refuses ways to read the input that contradict each other.
func (o *pushSource) checkKind() error {
	const choose = "choose one of them"
	switch {
	case o.binary && o.lines != "":
		return exit.Usagef(choose, "--binary makes one payload of the whole input, --lines one of each line")
	case o.envelope && o.binary:
		return exit.Usagef("leave out --binary: the payload_base64 of an object is pushed as bytes",
			"--envelope reads objects that hold the payloads, --binary makes one payload of the whole input")
	case o.envelope && o.lines != "":
		return exit.Usagef(choose, "--envelope reads objects that hold the payloads, --lines makes a payload of each line")
	case o.envelope && o.broadcast != "":
		return exit.Usagef("leave out --broadcast-event: an object names it as broadcast_event", "--envelope reads objects that name their events")
	}
	return nil
}

// errLiteral refuses a PAYLOAD that is JSON, where the input is made into payloads by a flag.
func errLiteral(flag, made string) error {
	return exit.Usagef(fmt.Sprintf("give the %s on stdin, or as @FILE", made), "%s makes payloads of %s, and PAYLOAD is one already", flag, made)
}
