//go:build !unix

package proc

import (
	"os"
	"syscall"
)

func raise(syscall.Signal) {}

// waitHangup waits until the other end of wake is closed.
func waitHangup(_, wake *os.File) bool {
	wake.Read(make([]byte, 1))
	return false
}

// canWrite reports whether f takes something now without a wait. On this system that is not known, and the answer is yes.
func canWrite(*os.File) bool { return true }

// Inherited reports whether the file with that number was opened for us by whoever started the process. Here nobody can tell.
func Inherited(int) bool { return true }

// IsJournal reports whether f goes to the systemd journal, which is on Linux.
func IsJournal(*os.File, string) bool { return false }

// TryLock does nothing here.
func TryLock(*os.File) bool { return true }
