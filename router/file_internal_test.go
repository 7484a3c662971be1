package router

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A tightDisk is a file on a disk that has room for so many bytes.
type tightDisk struct {
	*os.File
	room, fails *atomic.Int64
}

func (d tightDisk) Write(p []byte) (int, error) {
	fitting := p[:min(int64(len(p)), d.room.Load())]
	n, err := d.File.Write(fitting)
	d.room.Add(int64(-n))
	if err == nil && n < len(p) {
		d.fails.Add(1)
		err = syscall.ENOSPC
	}
	return n, err
}

// A happening changes the world of a drain. cancel ends the drain.
type happening func(d *FileDrain, path string, room *atomic.Int64, cancel func())

// onTightDisk puts two lines to a drain whose disk has no room for the second half of the second,
// and lets something happen when the drain has noticed. It returns the directory, the counters and
// the drain's error when that has ended.
func onTightDisk(t *testing.T, happens happening) (dir string, o *Origin, err error) {
	t.Helper()
	dir = t.TempDir()
	path := filepath.Join(dir, "signals")
	synctest.Test(t, func(t *testing.T) {
		var room, fails atomic.Int64
		room.Store(int64(len("first\nsec")))
		d := NewFileDrain(path, nil)
		d.open = func(path string) (outputFile, error) {
			file, err := openOutput(path)
			return tightDisk{file.(*os.File), &room, &fails}, err
		}
		q := NewQueue(1<<20, DropOldest, func(dst []byte, _ Loss) []byte { return dst })
		o = NewOrigin("backend")
		c := q.ChunkOf(o)
		c.Commit(append(c.Buffer(), "first\n"...), 1)
		c.Commit(append(c.Buffer(), "second\n"...), 2)
		if err := q.Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		q.CloseInput(nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error)
		go func() { ended <- d.Run(ctx, q) }()
		synctest.Wait()
		if n := fails.Load(); n != 1 {
			t.Errorf("%d writes have failed, want one before the pause", n)
		}
		happens(d, path, &room, cancel)
		err = <-ended
	})
	return dir, o, err
}

func wantText(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s has %q, %v, want %q", filepath.Base(path), got, err, want)
	}
}

func TestFullDiskThatGetsRoom(t *testing.T) {
	dir, o, err := onTightDisk(t, func(_ *FileDrain, _ string, room *atomic.Int64, _ func()) { room.Store(100) })
	wantText(t, filepath.Join(dir, "signals"), "first\nsecond\n")
	if err != nil || o.Delivered.Load() != 2 {
		t.Errorf("Run: %v, %d delivered", err, o.Delivered.Load())
	}
}

// Whichever way the file is replaced, the old one keeps whole lines, and the new one gets the
// whole of the line that was cut.
func TestFullDiskAndAnotherFile(t *testing.T) {
	for name, replace := range map[string]func(d *FileDrain, path string) error{
		"moved and reopened": func(d *FileDrain, path string) error {
			defer d.Reopen()
			return os.Rename(path, path+".old")
		},
		"moved": func(_ *FileDrain, path string) error { return os.Rename(path, path+".old") },
		"exchanged": func(_ *FileDrain, path string) error {
			if err := os.Rename(path, path+".old"); err != nil {
				return err
			}
			return os.WriteFile(path, nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, o, err := onTightDisk(t, func(d *FileDrain, path string, room *atomic.Int64, _ func()) {
				if err := replace(d, path); err != nil {
					t.Error(err)
				}
				room.Store(int64(len("second"))) // and then there is none again
				go func() {
					synctest.Wait()
					room.Store(100)
				}()
			})
			if err != nil || o.Delivered.Load() != 2 {
				t.Errorf("Run: %v, %d delivered", err, o.Delivered.Load())
			}
			wantText(t, filepath.Join(dir, "signals.old"), "first\n")
			wantText(t, filepath.Join(dir, "signals"), "second\n")
		})
	}
}

// A file that is truncated to get room, or in which another writer has gone on, has whole records of
// ours, and gets them within a second.
func TestFullDiskAndTruncated(t *testing.T) {
	for name, test := range map[string]struct {
		change func(path string) error
		want   string
	}{
		"truncated": {func(path string) error { return os.Truncate(path, 0) }, "second\n"},
		"cut":       {func(path string) error { return os.Truncate(path, 3) }, "fir\nsecond\n"},
		"gone on": {func(path string) error {
			return os.WriteFile(path, []byte("first\nsec!\n"), 0o600)
		}, "first\nsec!\nsecond\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, o, err := onTightDisk(t, func(_ *FileDrain, path string, room *atomic.Int64, _ func()) {
				time.Sleep(20 * time.Second) // now the next attempt is far away
				synctest.Wait()
				if err := test.change(path); err != nil {
					t.Error(err)
				}
				room.Store(100)
				if name != "gone on" {
					time.Sleep(time.Second)
					synctest.Wait()
					wantText(t, path, test.want)
				}
			})
			if err != nil || o.Delivered.Load() != 2 {
				t.Errorf("Run: %v, %d delivered", err, o.Delivered.Load())
			}
			wantText(t, filepath.Join(dir, "signals"), test.want)
		})
	}
}

func TestFullDiskUntilTheEnd(t *testing.T) {
	dir, o, err := onTightDisk(t, func(_ *FileDrain, _ string, _ *atomic.Int64, cancel func()) { cancel() })
	wantText(t, filepath.Join(dir, "signals"), "first\n")
	if err != context.Canceled || o.Delivered.Load() != 1 || o.Dropped.Load() != 1 {
		t.Errorf("Run: %v, %d delivered, %d dropped", err, o.Delivered.Load(), o.Dropped.Load())
	}
}

// What somebody else has written behind our unfinished line is theirs.
func TestFullDiskAndSomebodyElse(t *testing.T) {
	dir, _, _ := onTightDisk(t, func(_ *FileDrain, path string, _ *atomic.Int64, cancel func()) {
		other, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = other.WriteString("!\n")
		other.Close()
		cancel()
	})
	wantText(t, filepath.Join(dir, "signals"), "first\nsec!\n")
}

func TestOutputLines(t *testing.T) {
	var printed strings.Builder
	l := &lineLogger{log: textLog(&printed)}
	for _, text := range []string{"on", "e\ntwo\r\n", "\n", strings.Repeat("x", 3000), strings.Repeat("y", 3000) + "\nend\xff"} {
		if n, err := l.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	}
	l.flush()
	l.flush()
	want := "one|two||" + strings.Repeat("x", 3000) + strings.Repeat("y", maxOutputLine-3000) + "…|end\uFFFD|"
	if printed.String() != want {
		t.Errorf("logged %q", printed.String())
	}
}

// textLog logs messages alone, each with a '|' behind it.
func textLog(w *strings.Builder) *slog.Logger {
	return slog.New(slog.NewTextHandler(messages{w}, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key != slog.MessageKey {
			return slog.Attr{}
		}
		return a
	}}))
}

type messages struct{ to *strings.Builder }

func (m messages) Write(p []byte) (int, error) {
	text := strings.TrimSuffix(strings.TrimPrefix(string(p), "msg="), "\n")
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	m.to.WriteString(text + "|")
	return len(p), nil
}
