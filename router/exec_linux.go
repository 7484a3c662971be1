package router

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// unread returns how many bytes nobody has read yet of what was written to a pipe, whose other end
// need not be open any more.
func unread(pipe *os.File) int {
	n := 0
	if raw, err := pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	return n
}

// readEnd opens the other end of a pipe, to read back what nobody else has read; nil: it cannot be
// opened. To keep it open all the time would hide that the program has closed it.
func readEnd(pipe *os.File) *os.File {
	var end *os.File
	if raw, err := pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			// That O_NONBLOCK is given here makes reads of the file end with EAGAIN or at the end.
			if again, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(fd)), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
				end = os.NewFile(uintptr(again), "pipe")
			}
		})
	}
	return end
}
