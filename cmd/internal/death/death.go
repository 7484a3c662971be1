// Package death ends the process by a signal.
package death

import (
	"os"
	"syscall"
)

// Die ends the process by the signal itself, so that the parent sees a real death by it (exit status 128+n in a shell),
// and never returns. Where that cannot be, the process exits with 128+n: as process 1, which the kernel shields from the
// default action of signals, where the signal is ignored, and on systems without signals.
//
// Only signals whose default action is to terminate make sense, without a core dump: HUP, INT, PIPE, TERM. Nothing that was
// deferred is run.
func Die(sig syscall.Signal) {
	if os.Getpid() != 1 {
		raise(sig)
	}
	os.Exit(128 + int(sig))
}
