package cmd

import (
	"context"
	ossignal "os/signal"
	"syscall"
	"testing"
)

// kill sends a signal to the test itself, which has to be watching for it.
func kill(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

func TestFirstSignalEndsTheContextSecondIsImmediate(t *testing.T) {
	for _, sig := range endingSignals {
		died := make(chan syscall.Signal, 1)
		ctx, stop := interruptible(t.Context(), func(sig syscall.Signal) { died <- sig }, endingSignals...)
		kill(t, sig)
		<-ctx.Done()
		if got, ok := killed(context.Cause(ctx)); !ok || got != sig {
			t.Errorf("cause %v, want %v", context.Cause(ctx), sig)
		}
		kill(t, sig)
		if got := <-died; got != sig {
			t.Errorf("died of %v, want %v", got, sig)
		}
		stop()
	}
}

func TestStoppedWatchEndsItsContext(t *testing.T) {
	ctx, stop := interruptible(t.Context(), func(syscall.Signal) { t.Error("died") }, endingSignals...)
	stop()
	if ctx.Err() == nil {
		t.Error("the context goes on")
	}
	if _, ok := killed(context.Cause(ctx)); ok {
		t.Error("a stop counts as a signal")
	}
}

func TestIgnoredSignalStaysIgnored(t *testing.T) {
	ossignal.Ignore(syscall.SIGHUP)
	defer ossignal.Reset(syscall.SIGHUP)
	ctx, stop := interruptible(t.Context(), func(syscall.Signal) { t.Error("died") }, endingSignals...)
	defer stop()
	kill(t, syscall.SIGHUP)
	kill(t, syscall.SIGTERM)
	<-ctx.Done()
	if sig, _ := killed(context.Cause(ctx)); sig != syscall.SIGTERM {
		t.Errorf("ended by %v", sig)
	}
}
