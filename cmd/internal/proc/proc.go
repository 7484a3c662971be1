// Package proc has what a command needs of the operating system: to die by a signal, to notice that the reader of its output
// has gone, to end without a half-written line, and to log to a stderr that is not read.
//
// A write to a pipe without a reader fails, but a program that waits for something to write finds out too late: the shell
// waits for it, although the program behind it has long gone.
package proc

import (
	"os"
	"sync"
	"syscall"

	"phx/cmd/internal/exit"
)

// Die ends the process by the signal itself, so that the parent sees a real death by it, and never returns. Where that
// cannot be, the process exits with 128 plus the signal's number, as a shell would have it: as process 1, which the kernel
// shields from the default action of signals; where the signal is ignored; and on systems without signals.
//
// It is for signals whose default action is to terminate without a core dump, such as HUP, INT, PIPE and TERM. Standard
// output is not usable any more while it runs, and deferred functions are not run.
func Die(sig syscall.Signal) {
	die(os.Getpid(), sig)
}

func die(pid int, sig syscall.Signal) {
	if pid != 1 {
		raise(sig)
	}
	os.Exit(int(exit.Killed(sig).Code))
}

// WatchReader returns a channel that is closed once nobody can read any more what is written to f, a pipe or a socket, and a
// function that ends the watch and returns when it has ended. Stop may be called more than once, by any goroutine; f must
// stay open until then.
//
// Where there is nothing to watch, the channel is nil: for other kinds of files, on systems without poll(2), and when no
// file descriptor is left. Then the next write finds out. A socket's reader has gone when the connection is closed, not when
// the peer has only ended its own side.
func WatchReader(f *os.File) (gone <-chan struct{}, stop func()) {
	nothing := func() {}
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return nil, nothing
	}
	wake, stopper, err := os.Pipe()
	if err != nil {
		return nil, nothing
	}
	hangup, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer wake.Close()
		if waitHangup(f, wake) {
			close(hangup)
		}
	}()
	return hangup, sync.OnceFunc(func() {
		stopper.Close()
		<-done
	})
}
