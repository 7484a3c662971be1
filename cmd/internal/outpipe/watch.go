// Package outpipe notices that the reader of an output has gone while nothing is being written to it.
//
// A write to a pipe without a reader fails, but a program that waits for something to write finds out too late: the shell
// waits for it, although the program behind it has long gone.
package outpipe

import (
	"os"
	"sync"
)

// Watch returns a channel that is closed once nobody can read any more what is written to f, a pipe or a socket, and a
// function that ends the watch and returns when it has ended. Stop may be called more than once, by any goroutine; f must
// stay open until then.
//
// Where there is nothing to watch, the channel is nil: for other kinds of files, on systems without poll(2), and when no
// file descriptor is left. Then the next write finds out. A socket's reader has gone when the connection is closed, not when
// the peer has only ended its own side.
func Watch(f *os.File) (gone <-chan struct{}, stop func()) {
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
