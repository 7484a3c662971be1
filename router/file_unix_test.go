//go:build unix

package router_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"phx/router"
)

// A FIFO may have no reader yet, and one that stands still does not hold up the end.
func TestFileIsFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s, d := newSource(), router.NewFileDrain(path, nil)
	if err := d.Open(); err != nil {
		t.Errorf("Open of a FIFO without a reader: %v", err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0) // does not wait for a writer
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	s.put(t, 1, longLines(200)...)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := running(ctx, d, s.Queue)
	line, err := bufio.NewReaderSize(reader, 1000).ReadString('\n')
	if err != nil || len(line) != 1000 {
		t.Errorf("read %d bytes, %v", len(line), err)
	}
	cause := errors.New("cause")
	cancel(cause)
	if err := ended(); err != cause {
		t.Errorf("Run: %v, want %v", err, cause)
	}
	if n := s.origin.Delivered.Load(); n == 0 || n >= 200 || n+s.origin.Dropped.Load() != 200 {
		t.Errorf("%d records count as delivered and %d as dropped, of 200", n, s.origin.Dropped.Load())
	}
}
