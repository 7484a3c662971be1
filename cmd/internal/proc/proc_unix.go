//go:build unix

package proc

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a signal may take to arrive, which it does before the call that sends it returns, or nearly so.
const patience = time.Second

// raise sends sig to the process and waits for it to die. It returns if the process cannot die of it.
func raise(sig syscall.Signal) {
	signal.Reset(sig)
	if signal.Ignored(sig) {
		return
	}
	if sig == syscall.SIGPIPE {
		raisePipe()
		return
	}
	if syscall.Kill(os.Getpid(), sig) == nil {
		time.Sleep(patience)
	}
}

// raisePipe dies of SIGPIPE. The runtime ignores one that is sent, but turns a write to a broken pipe as standard output into
// a real one.
func raisePipe() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	r.Close()
	if unix.Dup2(int(w.Fd()), unix.Stdout) == nil {
		os.NewFile(uintptr(unix.Stdout), "stdout").Write([]byte{'\n'})
	}
}

// waitHangup waits until the reader of f is gone, and reports that, or until the other end of wake is closed.
func waitHangup(f, wake *os.File) bool {
	// POLLHUP and POLLERR are reported whether asked for or not, except on macOS, which watches only what it is asked for.
	fds := []unix.PollFd{{Fd: descriptor(f), Events: unix.POLLHUP}, {Fd: descriptor(wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
		case err != nil || fds[1].Revents != 0:
			return false
		default:
			return fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		}
	}
}

// canWrite reports whether f takes something now without a wait.
func canWrite(f *os.File) bool {
	fds := []unix.PollFd{{Fd: descriptor(f), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return err != nil || n > 0 // an error is for the write to find
		}
	}
}

// descriptor returns f's file descriptor without the side effect of [os.File.Fd], which makes the file blocking for all who
// share it. That of a closed file is -1, which poll skips.
func descriptor(f *os.File) int32 {
	fd := int32(-1)
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(n uintptr) { fd = int32(n) })
	}
	return fd
}

// Inherited reports whether the file with that number was opened for us by whoever started the process, and may be written to; from
// then on no child inherits it. What the process has opened itself, its runtime included, is closed at exec, and so it is told apart.
func Inherited(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return false
	}
	mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || mode&unix.O_ACCMODE == unix.O_RDONLY {
		return false
	}
	unix.CloseOnExec(fd)
	return true
}

// IsJournal reports whether f is the stream to the systemd journal that the variable JOURNAL_STREAM names: its device and inode, with a
// colon between (systemd.exec(5)). A process that inherits the variable, and not the stream, has another one.
func IsJournal(f *os.File, journalStream string) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && fmt.Sprintf("%d:%d", stat.Dev, stat.Ino) == journalStream
}

// TryLock locks a file for this process, until it is closed, and reports false if another process has it locked.
func TryLock(f *os.File) bool {
	return !errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
