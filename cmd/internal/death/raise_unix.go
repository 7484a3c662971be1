//go:build unix

package death

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a signal may take to arrive, which it does before the call that sends it returns, or nearly so.
const patience = time.Second

// raise sends sig to the process and waits for it to die. It returns if the process cannot die of it.
func raise(sig syscall.Signal) {
	signal.Reset(sig)
	if signal.Ignored(sig) {
		return
	}
	if sig == syscall.SIGPIPE {
		raisePipe()
		return
	}
	if syscall.Kill(os.Getpid(), sig) == nil {
		time.Sleep(patience)
	}
}

// raisePipe dies of SIGPIPE. The runtime ignores one that is sent, but turns a write to a broken pipe as standard output into
// a real one.
func raisePipe() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	r.Close()
	if unix.Dup2(int(w.Fd()), unix.Stdout) == nil {
		os.NewFile(uintptr(unix.Stdout), "stdout").Write([]byte{'\n'})
	}
}
