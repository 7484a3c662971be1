package router

import (
	"context"
	"errors"
	"testing"
	"time"
)

// The delay grows with each failure and begins anew after progress, and is never shorter than what
// was asked for.
func TestRetryDelays(t *testing.T) {
	refused := errors.New("refused")
	ms := time.Millisecond
	attempts := []struct {
		failure     *failure
		least, most time.Duration
	}{
		{&failure{err: refused}, 50 * ms, 100 * ms},
		{&failure{err: refused}, 100 * ms, 200 * ms},
		{&failure{err: refused, atLeast: time.Minute}, time.Minute, time.Minute},
		{&failure{err: refused}, 400 * ms, 800 * ms},
		{&failure{err: refused, progress: true}, 50 * ms, 100 * ms},
		{&failure{err: refused}, 100 * ms, 200 * ms},
		{nil, 0, 0},
	}
	i := -1
	err := retry(t.Context(), func() *failure {
		i++
		return attempts[i].failure
	}, func(err error, delay time.Duration) error {
		if a := attempts[i]; err != refused || delay < a.least || delay > a.most {
			t.Errorf("after attempt %d: waits %v because of %v, want %v to %v", i, delay, err, a.least, a.most)
		}
		return nil
	})
	if err != nil || i != len(attempts)-1 {
		t.Errorf("retry: %v after %d attempts", err, i+1)
	}
}

func TestRetryEnds(t *testing.T) {
	cause, refused, given := errors.New("cause"), errors.New("refused"), errors.New("given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	for _, test := range []struct {
		name    string
		attempt func() *failure
		want    error
	}{
		{"a final failure", func() *failure { return &failure{err: refused, final: true} }, refused},
		{"wait fails", func() *failure { return &failure{err: refused} }, given},
		{"ctx ends", func() *failure { cancel(cause); return &failure{err: refused, final: true} }, cause},
	} {
		if err := retry(ctx, test.attempt, func(error, time.Duration) error { return given }); err != test.want {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}
