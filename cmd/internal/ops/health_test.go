package ops

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestHealth(t *testing.T) {
	problem := errors.New("a problem")
	for _, want := range []error{nil, problem} {
		h := NewHealth(&fakeSource{alive: func(context.Context) error { return want }})
		for range 2 { // the end of a check makes room for the next
			if err := h.Check(t.Context()); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
	}
}

// TestHealthOfWhoDoesNotAnswer: the answer comes after a second, and all who ask wait for one and the same.
func TestHealthOfWhoDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		release := make(chan struct{})
		h := NewHealth(&fakeSource{alive: func(context.Context) error {
			asked.Add(1)
			<-release // and does not heed its context
			return nil
		}})
		for range 3 {
			begin := time.Now()
			if err := h.Check(t.Context()); !errors.Is(err, errStuck) {
				t.Errorf("got %v, want %v", err, errStuck)
			}
			if took := time.Since(begin); took != time.Second {
				t.Errorf("the answer took %v", took)
			}
		}
		if got := asked.Load(); got != 1 {
			t.Errorf("the source was asked %d times while it did not answer", got)
		}
		close(release)
		synctest.Wait()
		if err := h.Check(t.Context()); err != nil || asked.Load() != 2 {
			t.Errorf("after it answered again: %v, asked %d times, want nil and 2", err, asked.Load())
		}
	})
}

// TestHealthOfWhoDoesNotWait: who goes away takes no answer from others.
func TestHealthOfWhoDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth(&fakeSource{alive: func(ctx context.Context) error {
			select {
			case <-time.After(answerTime / 2):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		impatient, cancel := context.WithTimeout(t.Context(), answerTime/4)
		defer cancel()
		first := make(chan error, 1)
		go func() { first <- h.Check(impatient) }()
		synctest.Wait() // the impatient one asks first
		if err := h.Check(t.Context()); err != nil {
			t.Errorf("the patient one got %v", err)
		}
		if err := <-first; err == nil {
			t.Error("the impatient one got an answer that was not there yet")
		}
	})
}
