package cmd

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/jsonstream"
)

const (
	// restGrace bounds how long a push that was ended goes on copying the rest of its input.
	restGrace = 3 * time.Second
	// restNotice is how long a push that has failed copies the rest of its input before it says so.
	restNotice = time.Second
)

// failedInputs is the file of --failed. It is written beside FILE and takes its place at the end, so that FILE may be the input: until
// then it is what it was.
type failedInputs struct {
	path string
	// temp is the name of what is written; empty if path is no regular file and is written itself.
	temp string
	file *os.File
	w    *bufio.Writer
	// values says that items are JSON values, with white space between them; bare that there is none yet behind the last one.
	values, bare bool
	// count is how many items were written; rest says that there may be more.
	count int
	rest  bool
}

// createFailed opens the file of --failed; values says that items are JSON values.
func createFailed(path string, values bool) (*failedInputs, error) {
	// A symbolic link stays one.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	f := &failedInputs{path: path, values: values}
	mode := os.FileMode(0o666) // less the umask, as by a redirection
	var err error
	switch info, statErr := os.Stat(path); {
	case statErr == nil && info.IsDir():
		err = errors.New("is a directory")
	case statErr == nil && !info.Mode().IsRegular():
		f.file, err = os.OpenFile(path, os.O_WRONLY, 0)
	default:
		if statErr == nil {
			mode = info.Mode().Perm()
		}
		f.temp = filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:8])
		f.file, err = os.OpenFile(f.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	}
	if err != nil {
		return nil, f.failure(err)
	}
	f.w = bufio.NewWriterSize(f.file, 64<<10)
	return f, nil
}

func (f *failedInputs) failure(err error) error {
	return &exit.Error{
		Code: exit.Write, Message: "cannot write " + f.path + " of --failed: " + exit.SystemText(err),
		Hint: "the inputs that were not acknowledged are not there: check the directory and the disk", Err: err,
	}
}

// add adds an item. Its error comes up in finish.
func (f *failedInputs) add(source []byte) {
	if len(source) > 0 {
		f.count++
		_, _ = f.Write(source)
		f.bare = f.values && source[len(source)-1] != '\n'
	}
}

// Write implements [io.Writer].
func (f *failedInputs) Write(p []byte) (int, error) {
	if f.bare && len(p) > 0 {
		f.bare = false
		if c := p[0]; c != '\n' && c != '\r' {
			_ = f.w.WriteByte('\n') // its error comes up in the next write
		}
	}
	return f.w.Write(p)
}

// finish adds the rest of the input and puts the file in its place. When ctx has ended, restGrace is left. An input that goes on after
// that, such as one without an end, is logged.
func (f *failedInputs) finish(ctx context.Context, in *pushInput, log *slog.Logger) error {
	copying, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(restGrace, stop)
	})()
	notice := time.AfterFunc(restNotice, func() {
		if ctx.Err() == nil {
			log.Warn("nothing more is sent, and the rest of " + in.name + " is copied to " + f.path + " until it ends; INT ends that")
		}
	})
	defer notice.Stop()
	rest := countingWriter{w: f}
	err := in.copyRest(copying, &rest)
	f.rest = rest.n > 0
	if f.bare {
		_, _ = f.Write([]byte{'\n'})
	}
	if err != nil && in.isFile() {
		f.discard()
		return &exit.Error{
			Code: exit.Read, Message: "the rest of " + in.name + " could not be copied to " + f.path + ", which is not changed: " + exit.SystemText(err),
			Hint: "the whole input is still in the file: push it again, what was acknowledged included", Err: err,
		}
	}
	if err := errors.Join(f.w.Flush(), f.file.Close()); err != nil {
		f.remove()
		return f.failure(err)
	}
	if f.temp != "" {
		if renamed := os.Rename(f.temp, f.path); renamed != nil {
			f.remove()
			return f.failure(renamed)
		}
	}
	if err != nil {
		return &exit.Error{
			Code: exit.Read, Message: "the rest of " + in.name + " is not in " + f.path + ": " + exit.SystemText(err),
			Hint: "what had been read and was not acknowledged is there", Err: err,
		}
	}
	return nil
}

// copyRest writes what next has not returned to w, until ctx ends; then it returns errStopped.
func (in *pushInput) copyRest(ctx context.Context, w io.Writer) error {
	in.reader.ctx, in.reader.wake = ctx, nil
	var err error
	if in.stream != nil {
		// It ends where the input was stopped, if it was.
		if _, err = io.Copy(w, in.stream.Rest()); errors.Is(err, errStopped) && ctx.Err() == nil {
			err = nil
		}
	}
	if err == nil {
		_, err = io.Copy(w, in.reader)
	}
	var read *jsonstream.ReadError
	if errors.As(err, &read) {
		err = read.Err
	}
	return err
}

// discard leaves FILE as it was.
func (f *failedInputs) discard() {
	_ = f.file.Close() // nothing of it is kept
	f.remove()
}

func (f *failedInputs) remove() {
	if f.temp != "" {
		_ = os.Remove(f.temp) // a file that is left over does no harm
	}
}

// isFile reports whether the input is a regular file, which still has what was read of it.
func (in *pushInput) isFile() bool {
	file := in.file
	if file == nil {
		file, _ = in.reader.r.(*os.File)
	}
	if file == nil {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode().IsRegular()
}

// A countingWriter counts what is written.
type countingWriter struct {
	w io.Writer
	n int64
}

// Write implements [io.Writer].
func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
