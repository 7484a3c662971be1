//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package proc_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"phx/cmd/internal/proc"
)

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// isGone reports whether the channel is closed, without waiting.
func isGone(gone <-chan struct{}) bool {
	select {
	case <-gone:
		return true
	default:
		return false
	}
}

func TestReaderOfPipeGoes(t *testing.T) {
	r, w := pipe(t)
	gone, stop := proc.WatchReader(w)
	defer stop()
	if _, err := w.WriteString("the reader may be slow\n"); err != nil {
		t.Fatal(err)
	}
	if isGone(gone) {
		t.Error("the reader is said to be gone while it is there")
	}
	r.Close()
	<-gone
}

func TestReaderHasGoneBefore(t *testing.T) {
	r, w := pipe(t)
	r.Close()
	gone, stop := proc.WatchReader(w)
	<-gone
	stop()
}

// A full pipe is not one without a reader.
func TestFullPipe(t *testing.T) {
	r, w := pipe(t)
	fd := int(w.Fd()) // which makes it blocking
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for page := make([]byte, 4096); ; {
		if _, err := unix.Write(fd, page); err == unix.EAGAIN {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	gone, stop := proc.WatchReader(w)
	stop()
	if isGone(gone) {
		t.Error("the reader of a full pipe is said to be gone")
	}
	gone, stop = proc.WatchReader(w)
	defer stop()
	r.Close()
	<-gone
}

func TestReaderOfSocketGoes(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	gone, stop := proc.WatchReader(ours)
	defer stop()
	theirs.Close()
	<-gone
}

func TestReaderOfConnectionGoes(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	output, err := server.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	gone, stop := proc.WatchReader(output)
	defer stop()
	if err := client.(*net.TCPConn).SetLinger(0); err != nil { // closes by a reset
		t.Fatal(err)
	}
	client.Close()
	<-gone
}

func TestStop(t *testing.T) {
	r, w := pipe(t)
	gone, stop := proc.WatchReader(w)
	stop()
	stop()
	r.Close()
	if isGone(gone) {
		t.Error("a stopped watch goes on")
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("the pipe still has a reader")
	}
}

// Files that have no reader are not watched.
func TestNothingToWatch(t *testing.T) {
	regular, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer regular.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_, closed := pipe(t)
	closed.Close()
	for _, f := range []*os.File{regular, null, closed} {
		gone, stop := proc.WatchReader(f)
		stop()
		if gone != nil {
			t.Errorf("%s is watched", f.Name())
		}
	}
}
