package cmd

import (
	"context"
	"errors"
	"os"
	ossignal "os/signal"
	"syscall"
)

// endingSignals are the process signals that end a command.
var endingSignals = []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}

// interruptible returns a context that the first of the given signals ends, its cause a *killedError: the command leaves and
// closes, and then dies of the signal. A second one is immediate, by die. Signals that the process was started to ignore,
// as by nohup, stay ignored. stop ends the watch.
func interruptible(parent context.Context, die func(syscall.Signal), signals ...syscall.Signal) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	received := make(chan os.Signal, 2)
	for _, sig := range signals {
		if !ossignal.Ignored(sig) {
			ossignal.Notify(received, sig)
		}
	}
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for first := true; ; first = false {
			select {
			case sig := <-received:
				if !first {
					die(sig.(syscall.Signal))
					return
				}
				cancel(&killedError{sig.(syscall.Signal)})
			case <-stopped:
				return
			}
		}
	}()
	return ctx, func() {
		ossignal.Stop(received)
		close(stopped)
		<-done
		cancel(nil)
	}
}

// killed returns the signal that err says we are to die of.
func killed(err error) (syscall.Signal, bool) {
	if k := (*killedError)(nil); errors.As(err, &k) {
		return k.signal, true
	}
	return 0, false
}
