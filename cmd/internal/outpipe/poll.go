//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package outpipe

import (
	"os"

	"golang.org/x/sys/unix"
)

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

// descriptor returns f's file descriptor without the side effect of [os.File.Fd], which makes the file blocking for all who
// share it. That of a closed file is -1, which poll skips.
func descriptor(f *os.File) int32 {
	fd := int32(-1)
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(n uintptr) { fd = int32(n) })
	}
	return fd
}
