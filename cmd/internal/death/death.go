// Package death ends the process by a signal.
package death

import (
	"os"
	"syscall"
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
	os.Exit(128 + int(sig))
}
