//go:build unix && !linux

package serve

import "syscall"

// restrictSocket does nothing: where a socket has no mode, its file gets one from the umask.
func restrictSocket(int) {}

// restrictFiles makes files private that are made until undo is called, those of other goroutines, too.
func restrictFiles() (undo func()) {
	old := syscall.Umask(0o177)
	return func() { syscall.Umask(old) }
}
