package bridge_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"phx/cmd/internal/control"
	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

const oneConnection = "connections: {a: {uri: '${URI}'}}\n"

// hanging returns a stage with a connection a that hangs, because the log of its events does, until it is let go on.
func hanging(t *testing.T) (s *stage, goOn func()) {
	t.Helper()
	hangs, gate := make(chan struct{}, 100), make(chan struct{})
	s = newStage(t, phoenixtest.Demo(), oneConnection)
	s.logEvent = func(*phoenix.Event) {
		hangs <- struct{}{}
		<-gate
	}
	s.open()
	must(t, s.StartAll())
	<-hangs
	return s, func() { close(gate) }
}

// until waits for something that nothing tells of.
func (s *stage) until(enough func() bool) {
	s.t.Helper()
	for ctx := patient(s.t); !enough(); {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			s.t.Fatal("it does not happen")
		}
	}
}

// errorStatus returns the HTTP status that an error is answered with.
func errorStatus(err error) int {
	if e := (*control.Error)(nil); errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// Who removes a connection that hangs may give up. The removal is completed all the same, and the name is free then.
func TestRemovalOutlivesItsCaller(t *testing.T) {
	s, goOn := hanging(t)
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Remove(soon, "a"); errorStatus(err) != http.StatusGatewayTimeout {
		t.Errorf("Remove of a connection that hangs: %v", err)
	}
	s.reload("connections: {}\n") // which leaves it to that
	s.write(oneConnection)
	if err := s.Reload(t.Context()); errorStatus(err) != http.StatusGatewayTimeout {
		t.Errorf("a reload that wants the connection back meanwhile: %v", err)
	}
	goOn()
	s.until(func() bool { return s.Reload(t.Context()) == nil })
	s.await("a", control.StateConnected)
}

// A change that waits for a connection lets go when serve ends, and so does one that waits for its turn. Later ones are refused.
func TestShutdownWaitsForNoChange(t *testing.T) {
	s, goOn := hanging(t)
	s.write("connections: {}\n")
	const changes = 3
	ended := make(chan error, changes)
	for range changes {
		go func() { ended <- s.Reload(context.Background()) }()
	}
	s.until(func() bool {
		c, err := s.Connection(t.Context(), "a")
		return err == nil && c.Status == string(phoenix.StatusDisconnecting)
	})
	down := make(chan error)
	go func() { down <- s.Shutdown(context.Background()) }()
	late := 0
	for range changes {
		switch err := <-ended; errorStatus(err) {
		case http.StatusServiceUnavailable:
			late++
		case http.StatusGatewayTimeout:
		default:
			t.Errorf("a reload at the end: %v", err)
		}
	}
	if late != changes-1 {
		t.Errorf("%d changes came too late, want %d", late, changes-1)
	}
	_, err := s.Add(t.Context(), []byte(`{"name":"b","uri":"ws://127.0.0.1:1/socket"}`), "")
	if errorStatus(err) != http.StatusServiceUnavailable {
		t.Errorf("an addition at the end: %v", err)
	}
	goOn()
	must(t, <-down)
}
