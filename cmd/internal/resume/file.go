package resume

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/proc"
)

// A file is a resume file, which keeps values over restarts. Each save replaces it as a whole. It is locked while it is open, and so is
// its replacement, so that two processes cannot write it.
type file struct {
	path, connection string
	content          content
	// locked is the file at path.
	locked *os.File
}

// content is what is in a file.
type content struct {
	Format      string            `json:"format"`
	Connections map[string]topics `json:"connections"`
}

// format names what is in a file, and its version.
const format = "phx-resume-1"

// openFile opens the file at path, or makes it, for the values of a connection.
func openFile(path, connection string) (*file, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, exit.Usagef("name a file that is not there yet, or one that an earlier run has left", "the resume file %s is a pipe or a device", path)
	}
	f := &file{path: path, connection: connection, content: content{Format: format, Connections: map[string]topics{}}}
	for {
		locked, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			// A file that cannot be saved is an error before anything is connected.
			if err := f.save(f.text(topics{})); err != nil {
				return nil, &exit.Error{Code: exit.Write, Message: err.Error(), Err: err, Hint: "check that the directory exists and may be written to"}
			}
			return f, nil
		}
		if err != nil {
			return nil, readError(path, err)
		}
		if !proc.TryLock(locked) {
			locked.Close()
			return nil, exit.Usagef("give each phx a file of its own", "the resume file %s is in use by another phx", path)
		}
		if f.locked = locked; f.current() == nil {
			break
		}
		locked.Close() // it was replaced meanwhile
	}
	text, err := io.ReadAll(f.locked)
	if err != nil {
		f.close()
		return nil, readError(path, err)
	}
	if err := f.parse(text); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func readError(path string, err error) error {
	return &exit.Error{Code: exit.Read, Message: "cannot read the resume file " + path + ": " + exit.SystemText(err), Err: err,
		Hint: "check that it may be read"}
}

// parse takes the text of a file.
func (f *file) parse(text []byte) error {
	const hint = "restore it from a copy, or remove it: then the messages since the last save are missed"
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var c content
	err := decoder.Decode(&c)
	if err == nil && decoder.More() {
		err = errors.New("something follows")
	}
	switch {
	case !bytes.Contains(text[:min(len(text), 64)], []byte(`"format":"phx-resume-`)):
		return exit.Usagef("name another file, or remove this one", "%s is not a resume file of phx", f.path)
	case err != nil:
		return exit.Usagef(hint, "the resume file %s is damaged: %v", f.path, err)
	case c.Format != format:
		return exit.Usagef("use the phx that wrote it, or remove it", "the resume file %s is of another version of phx: its format is %s", f.path, c.Format)
	}
	maps.DeleteFunc(c.Connections, func(_ string, of topics) bool { return of == nil })
	maps.Copy(f.content.Connections, c.Connections)
	return nil
}

// values returns those of the connection.
func (f *file) values() topics {
	values := topics{}
	for topic, params := range f.content.Connections[f.connection] {
		values[topic] = maps.Clone(params)
	}
	return values
}

// text returns the text of the file with values.
func (f *file) text(values topics) []byte {
	f.content.Connections[f.connection] = values
	text, err := json.Marshal(f.content)
	if err != nil {
		panic("resume: a value is no JSON: " + err.Error())
	}
	return append(text, '\n')
}

// current returns an error if another file than the one that is locked is at the path.
func (f *file) current() error {
	ours, err := f.locked.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(f.path); err == nil && !os.SameFile(ours, there) {
		return errors.New("another process has replaced it")
	}
	return nil
}

// save replaces the file: it has the old text or the new one, even after a power failure.
func (f *file) save(text []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot save the resume file %s: %s", f.path, exit.SystemText(err))
		}
	}()
	if f.locked != nil {
		if err := f.current(); err != nil {
			return err
		}
	}
	next, err := os.OpenFile(f.path+".next", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = next.Write(text)
	proc.TryLock(next) // it is new: no other process has it open
	if err = errors.Join(err, next.Sync()); err == nil {
		err = os.Rename(next.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, next.Close(), os.Remove(next.Name()))
	}
	f.close()
	f.locked = next
	return nil
}

// String implements place.
func (f *file) String() string { return f.path }

// close closes the file, which unlocks it.
func (f *file) close() {
	if f.locked != nil {
		f.locked.Close()
		f.locked = nil
	}
}
