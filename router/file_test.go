package router_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/router"
)

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if string(got) != want {
		t.Errorf("%s has %q, want %q", filepath.Base(path), got, want)
	}
}

func TestFileIsAppended(t *testing.T) {
	for _, test := range []struct{ before, after string }{
		{"", "a\nb\n"},
		{"old\n", "old\na\nb\n"},
		{"old\ncut o", "old\ncut o\na\nb\n"}, // a crash, or somebody else
	} {
		path := filepath.Join(t.TempDir(), "signals")
		if test.before != "" {
			if err := os.WriteFile(path, []byte(test.before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := newSource()
		s.put(t, 1, "a", "b")
		s.CloseInput(nil)
		if err := router.NewFileDrain(path, nil).Run(t.Context(), s.Queue); err != nil {
			t.Errorf("Run: %v", err)
		}
		wantFile(t, path, test.after)
		s.wantCounted(t, 2, 0)
	}
}

func TestFileIsOpenedEarly(t *testing.T) {
	d := router.NewFileDrain(filepath.Join(t.TempDir(), "no", "file"), nil)
	if err := d.Open(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of a file without a directory: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("Close of what is not open: %v", err)
	}
	d.Reopen() // nobody is interested
	if err := router.NewFileDrain(t.TempDir(), nil).Open(); err == nil {
		t.Error("a directory can be opened")
	}
	path := filepath.Join(t.TempDir(), "signals")
	d = router.NewFileDrain(path, nil)
	for range 2 {
		if err := d.Open(); err != nil {
			t.Errorf("Open: %v", err)
		}
	}
	wantFile(t, path, "")
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// After a rotation the rest goes to the new file, which is there even when there is no rest.
func TestFileIsRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "signals")
		s, d := newSource(), router.NewFileDrain(path, nil)
		ended := running(t.Context(), d, s.Queue)
		s.put(t, 1, "a")
		synctest.Wait()
		for i, name := range []string{".1", ".2"} {
			if err := os.Rename(path, path+name); err != nil {
				t.Fatal(err)
			}
			if i == 1 { // until it is told, it stays with the file it has
				s.put(t, 2, "b")
				synctest.Wait()
			}
			d.Reopen()
			synctest.Wait()
			wantFile(t, path, "")
		}
		s.put(t, 3, "c")
		s.CloseInput(nil)
		if err := ended(); err != nil {
			t.Errorf("Run: %v", err)
		}
		wantFile(t, path+".1", "a\n")
		wantFile(t, path+".2", "b\n")
		wantFile(t, path, "c\n")
		s.wantCounted(t, 3, 0)
	})
}

// A file that is moved or removed is noticed within a second, also while there is nothing to write.
func TestFileIsGone(t *testing.T) {
	for name, remove := range map[string]func(path string) error{
		"removed": os.Remove,
		"moved":   func(path string) error { return os.Rename(path, path+".1") },
		"exchanged": func(path string) error {
			if err := os.WriteFile(path+".new", []byte("cut o"), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "signals")
				s, d := newSource(), router.NewFileDrain(path, nil)
				ended := running(t.Context(), d, s.Queue)
				s.put(t, 1, "a")
				synctest.Wait()
				if err := remove(path); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				want := ""
				if name == "exchanged" {
					want = "cut o"
				}
				wantFile(t, path, want)
				s.put(t, 2, "b")
				s.CloseInput(nil)
				if err := ended(); err != nil {
					t.Errorf("Run: %v", err)
				}
				if name == "exchanged" {
					want += "\n"
				}
				wantFile(t, path, want+"b\n")
				s.wantCounted(t, 2, 0)
			})
		})
	}
}

// What was opened early may be rotated, or written by somebody else, before it is used.
func TestFileChangesBeforeItIsUsed(t *testing.T) {
	for name, test := range map[string]struct {
		change func(path string) error
		want   string
	}{
		"rotated": {func(path string) error { return os.Rename(path, path+".1") }, "a\n"},
		"written": {func(path string) error { return os.WriteFile(path, []byte("old\ncut o"), 0o600) }, "old\ncut o\na\n"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "signals")
			d := router.NewFileDrain(path, nil)
			if err := d.Open(); err != nil {
				t.Fatal(err)
			}
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			s := newSource()
			s.put(t, 1, "a")
			s.CloseInput(nil)
			if err := d.Run(t.Context(), s.Queue); err != nil {
				t.Errorf("Run: %v", err)
			}
			wantFile(t, path, test.want)
		})
	}
}

// A directory that is missing for a while loses nothing, and is logged once.
func TestFileComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, book := newLog()
		dir := filepath.Join(t.TempDir(), "mount")
		s, d := newSource(), router.NewFileDrain(filepath.Join(dir, "signals"), log)
		ended := running(t.Context(), d, s.Queue)
		synctest.Wait()
		d.Reopen()
		synctest.Wait()
		wantContains(t, "the log", book.String(), "level=ERROR", "cannot write the file", "no such file")
		s.put(t, 1, "a")
		s.CloseInput(nil)
		synctest.Wait()
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := ended(); err != nil {
			t.Errorf("Run: %v", err)
		}
		wantFile(t, filepath.Join(dir, "signals"), "a\n")
		logged := book.String()
		wantContains(t, "the log", logged, "can be written again")
		wantLacks(t, "the log", logged, "ERROR")
	})
}

func TestFileEndsWithItsContext(t *testing.T) {
	s := newSource()
	s.put(t, 1, "a", "b")
	d := router.NewFileDrain(filepath.Join(t.TempDir(), "no", "file"), nil)
	if err := d.Run(canceled, s.Queue); !errors.Is(err, canceled.Err()) {
		t.Errorf("Run: %v", err)
	}
	s.wantCounted(t, 0, 2)
}

func longLines(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = strings.Repeat("x", 999)
	}
	return lines
}
