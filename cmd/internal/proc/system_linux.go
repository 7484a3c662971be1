package proc

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// pipeBuf is how many bytes a pipe takes as a whole or not at all: PIPE_BUF of Linux.
const pipeBuf = 4096

// Pieces returns a function that says how many of size bytes the next write to w may have, so that it is taken as a whole or not at
// all, also when the process ends while the write waits: a pipe that nobody reads takes a part of a large one. An empty pipe takes as much
// as it holds. For other kinds of files there is no such bound.
func Pieces(w io.Writer) func(size int) int {
	whole := func(size int) int { return size }
	f, ok := w.(*os.File)
	if !ok {
		return whole
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return whole
	}
	fd := int(descriptor(f))
	room, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		room = pipeBuf
	}
	return func(size int) int {
		if size <= pipeBuf {
			return size
		}
		if unread, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err == nil && unread == 0 {
			return min(size, max(room, pipeBuf))
		}
		return pipeBuf
	}
}

// stdoutClosed is set by the entry of the process, where there is one of ours.
var stdoutClosed uint32

// StdoutClosed reports whether the process was started with a closed standard output, as by >&- in a shell. The runtime opens /dev/null in
// its place, and writes to that succeed. It is known on amd64 and arm64; elsewhere the answer is no.
func StdoutClosed() bool { return stdoutClosed != 0 }
