//go:build unix && !solaris && !aix

package router

import (
	"errors"
	"os"
	"syscall"
)

// lockSpool locks the file before anything is read from it, so that a file which another process writes to is not taken for a damaged
// one. bbolt locks the same open file once more, which changes nothing.
func lockSpool(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errSpoolBusy
	}
	return err
}
