package router

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// A FileDrain is a [Drain] that appends records to a file. The file may be rotated: renamed or
// removed, which is noticed within a second, or at once by [FileDrain.Reopen]; or truncated. When
// the file cannot be written, the drain tries again until it can, while records wait in the queue.
// A record counts as delivered when all of it is in the file that was there. A file has whole lines
// only: a line that was cut off, by a full disk, is completed, or it is truncated and written whole
// to the next file, and to the same one if that was truncated or another writer has gone on there.
type FileDrain struct {
	path string
	log  *slog.Logger
	open func(path string) (outputFile, error)

	mu     sync.Mutex
	reopen context.CancelFunc // ends current

	// What follows belongs to the goroutine that runs the drain.

	current context.Context // ends with the next call of Reopen, and when the drain has to end
	file    outputFile      // nil: to be opened
	// partial is how many bytes of an unfinished line of ours are at the end of the file, and size
	// the size of the file then.
	partial int
	size    int64
	// checked is when the file at the path was looked at.
	checked time.Time
	// untouched: the end of the file is not examined yet. unfinished: it is an unfinished line of
	// another writer, one that crashed perhaps.
	untouched, unfinished bool
	// outage lasts from the first failed write to the next good one.
	outage outage
}

// NewFileDrain returns a drain that appends to the file at path. log may be nil.
func NewFileDrain(path string, log *slog.Logger) *FileDrain {
	log = orDiscard(log).With("path", path)
	return &FileDrain{path: path, log: log, open: openOutput, outage: outage{log: log, level: slog.LevelError}}
}

// An outputFile is what a FileDrain needs of an [os.File]. The tests have others, on disks that
// are full or fail.
type outputFile interface {
	io.WriteCloser
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	SetWriteDeadline(t time.Time) error
}

// filePermissions are those of a new file, less the umask, as of one that a shell redirects to. A
// user who wants to keep signals from other users sets the umask, as for any log file.
const filePermissions = 0o644

// openOutput opens the file at path. It does not wait for the reader of a FIFO: without one the
// error is ENXIO.
func openOutput(path string) (outputFile, error) {
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		flags |= syscall.O_NONBLOCK
	}
	return os.OpenFile(path, flags, filePermissions)
}

// Open implements [Opener]: it opens the file, and creates it, so that a wrong path is found
// before anything was received.
func (d *FileDrain) Open() error {
	err := d.ensureOpen()
	if errors.Is(err, syscall.ENXIO) {
		return nil // a reader may come later
	}
	return err
}

// Close closes the file of a drain that was opened and is not going to run.
func (d *FileDrain) Close() error {
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file = nil
	return err
}

// Reopen implements [Reopener]: what comes from now on is written to the file that then is at the
// path. The old one is closed.
func (d *FileDrain) Reopen() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reopen != nil {
		d.reopen()
	}
}

// Run implements [Drain].
func (d *FileDrain) Run(ctx context.Context, q *Queue) error {
	d.renew(ctx)
	defer d.Reopen() // ends the context
	defer d.abandon()
	if d.moved() {
		d.abandon() // It was rotated between Open and Run.
	}
	for {
		looking, cancel := context.WithTimeoutCause(d.current, checkEvery, errLook)
		c, err := q.Take(looking)
		cancel()
		switch {
		case err == errLook:
			d.look()
		case err == nil:
			n, err := d.write(ctx, q, c.Bytes())
			if err != nil {
				q.ReleaseFirst(c, c.recordsIn(n))
				return err
			}
			q.Release(c)
		case err == io.EOF:
			return nil
		case d.replaced(ctx): // There is nothing to write, but a new file is expected at once.
			if err := d.ensureOpen(); err != nil {
				d.logFailure(err)
			}
		default:
			return err
		}
	}
}

// checkEvery is how often it is checked whether the file is still the one at the path.
const checkEvery = 500 * time.Millisecond

// look gives up a file that is not the one at the path any more, and opens that: also while there
// is nothing to write, somebody expects it.
func (d *FileDrain) look() {
	d.checked = time.Now()
	if d.moved() {
		d.log.Info("the file was moved or removed; it is opened again")
		d.abandon()
	}
	if err := d.ensureOpen(); err != nil && !errors.Is(err, syscall.ENXIO) {
		d.logFailure(err)
	}
}

// renew makes the next call of Reopen noticed.
func (d *FileDrain) renew(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reopen != nil {
		d.reopen()
	}
	d.current, d.reopen = context.WithCancel(ctx)
}

// replaced reports whether Reopen was called, and then gives up the file.
func (d *FileDrain) replaced(ctx context.Context) bool {
	if d.current.Err() == nil || ctx.Err() != nil {
		return false
	}
	d.renew(ctx)
	d.abandon()
	return true
}

// write writes p, which consists of whole lines, and tries until it succeeds or ctx ends. Then it
// returns the cause, and the first n bytes are written, which are whole lines.
func (d *FileDrain) write(ctx context.Context, q *Queue, p []byte) (n int, err error) {
	err = retry(ctx, func() *failure {
		if !d.replaced(ctx) && time.Since(d.checked) >= checkEvery {
			d.look()
		}
		d.checkPartial()
		written, err := d.append(ctx, p[n+d.partial:])
		d.partial += written
		whole := wholeLines(p[n : n+d.partial])
		n += whole
		d.partial -= whole
		if err == nil {
			q.attempted(attemptWritten, nil)
			d.outage.over("the file can be written again")
			return nil
		}
		q.attempted(attemptFailed, err)
		d.keepSize()
		return &failure{err: err, progress: whole > 0}
	}, func(err error, delay time.Duration) error {
		d.logFailure(err)
		until := time.Now().Add(delay)
		for left := delay; left > 0 && d.current.Err() == nil && !d.changed(); left = time.Until(until) {
			_ = pause(d.current, min(left, checkEvery)) // Reopen may help; it ends the pause.
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d.checkFile()
		return nil
	})
	return n, err
}

// append writes p to the file and returns how many bytes of it are there.
func (d *FileDrain) append(ctx context.Context, p []byte) (n int, err error) {
	if err := d.ensureOpen(); err != nil {
		return 0, err
	}
	// The reader of a FIFO may stand still. Writes to other files cannot be interrupted, and need
	// not.
	file := d.file
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	if d.untouched {
		d.untouched, d.unfinished = false, endsInLine(d.path, file)
	}
	if d.unfinished {
		if _, err := file.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		d.unfinished = false
	}
	n, err = file.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// ensureOpen opens the file if it is not open.
func (d *FileDrain) ensureOpen() error {
	if d.file != nil {
		return nil
	}
	file, err := d.open(d.path)
	if err != nil {
		return err
	}
	d.file = file
	d.untouched, d.unfinished = true, false
	return nil
}

// endsInLine reports whether the last line of the file, which is also at path, has no line break.
func endsInLine(path string, file outputFile) bool {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	reader, err := os.Open(path) // file cannot be read: that would need another permission
	if err != nil {
		return false
	}
	defer reader.Close()
	var last [1]byte
	_, err = reader.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// keepSize remembers the size of the file, at the end of which an unfinished line of ours may be.
func (d *FileDrain) keepSize() {
	if d.file == nil {
		return
	}
	if info, err := d.file.Stat(); err == nil {
		d.size = info.Size()
	}
}

// changed reports whether somebody has moved, removed or truncated the file, which may help.
func (d *FileDrain) changed() bool {
	if d.file == nil {
		return false
	}
	info, err := d.file.Stat()
	return err == nil && info.Mode().IsRegular() && (info.Size() < d.size || d.moved())
}

// checkPartial forgets an unfinished line of ours that is not at the end of the file any more,
// because that was truncated or another writer has gone on: it is written whole.
func (d *FileDrain) checkPartial() {
	if d.partial == 0 || d.file == nil {
		return
	}
	if info, err := d.file.Stat(); err == nil && info.Mode().IsRegular() && (info.Size() != d.size || d.size < int64(d.partial)) {
		d.partial = 0
		d.untouched = true
	}
}

func (d *FileDrain) logFailure(err error) {
	d.outage.failed("cannot write the file; signals wait while it is tried again", "error", err)
}

// checkFile abandons a file that is not the one at the path any more, or not a regular one, in
// which nothing can be completed.
func (d *FileDrain) checkFile() {
	if d.file == nil {
		return
	}
	if info, err := d.file.Stat(); err != nil || !info.Mode().IsRegular() || d.moved() {
		d.abandon()
	}
}

// moved reports whether there is a regular file, and it is not, or no longer, the one at the path.
func (d *FileDrain) moved() bool {
	if d.file == nil {
		return false
	}
	info, err := d.file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	named, err := os.Stat(d.path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, named)
}

// abandon closes the file. It truncates an unfinished line of ours, unless another writer has
// appended to it.
func (d *FileDrain) abandon() {
	if d.file == nil {
		return
	}
	if info, err := d.file.Stat(); d.partial > 0 && err == nil && info.Mode().IsRegular() && info.Size() == d.size {
		_ = d.file.Truncate(d.size - int64(d.partial))
	}
	d.partial = 0
	if err := d.file.Close(); err != nil && !d.outage.on {
		d.log.Warn("the file could not be closed; its end may be missing", "error", err)
	}
	d.file = nil
}
