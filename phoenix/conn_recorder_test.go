package phoenix_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
)

// A recorder consumes a stream and keeps its events, also as lines that a test can compare: the time since the
// recorder was made, and what happened.
type recorder struct {
	t     *testing.T
	begun time.Time

	mu     sync.Mutex
	events []phoenix.Event
	lines  []string
}

// record consumes the stream to its end.
func record(t *testing.T, s *phoenix.Stream) *recorder {
	r := &recorder{t: t, begun: time.Now()}
	go func() {
		for e := range s.All(context.Background()) {
			r.mu.Lock()
			r.events = append(r.events, e.Clone())
			r.lines = append(r.lines, e.Time.Sub(r.begun).String()+" "+tell(e))
			r.mu.Unlock()
		}
	}()
	return r
}

// want compares the events since the last call of want or forget with lines.
func (r *recorder) want(lines ...string) {
	r.t.Helper()
	if got := r.take(); !slices.Equal(got, lines) {
		r.t.Errorf("got events\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(lines, "\n\t"))
	}
}

// forget drops the events so far.
func (r *recorder) forget() { r.take() }

func (r *recorder) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines, r.events = nil, nil
	return lines
}

// all returns the events since the last call of want or forget.
func (r *recorder) all() []phoenix.Event {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// details returns those of the recorder's events that are of type D.
func details[D phoenix.Detail](r *recorder) []D {
	var ds []D
	for _, e := range r.all() {
		if d, ok := e.Detail.(D); ok {
			ds = append(ds, d)
		}
	}
	return ds
}

// tell describes an event in a few words.
func tell(e *phoenix.Event) string {
	var text string
	switch d := e.Detail.(type) {
	case *phoenix.Connecting, *phoenix.Connected, *phoenix.Disconnected, *phoenix.Reconnecting, *phoenix.ReconnectExhausted,
		*phoenix.Heartbeat, *phoenix.HeartbeatTimeout:
		return tellLink(d)
	case *phoenix.PushReply:
		return fmt.Sprintf("push %d %s %s", d.Index, d.Status, e.Payload.Data)
	case *phoenix.PushTimeout:
		return fmt.Sprintf("push %d timeout", d.Index)
	case *phoenix.PushError:
		return fmt.Sprintf("push %d lost: %s, delivered: %s", d.Index, d.Reason, d.Delivered)
	case *phoenix.PresenceJoin, *phoenix.PresenceLeave, *phoenix.PresenceSync:
		text = tellPresence(d)
	case phoenix.Message:
		text = e.Name + " " + string(e.Payload.Data)
	default:
		text = tellChannel(e)
	}
	return e.Topic + " " + text
}

func tellLink(d phoenix.Detail) string {
	switch d := d.(type) {
	case *phoenix.Connecting:
		return fmt.Sprint("connecting ", d.Attempt)
	case *phoenix.Connected:
		if d.Reconnect {
			return fmt.Sprint("reconnected after ", d.Outage)
		}
		return "connected"
	case *phoenix.Disconnected:
		text := "disconnected " + string(d.Reason)
		if d.Code != 0 {
			text += fmt.Sprint(" ", d.Code)
		}
		if d.HTTPStatus != 0 {
			text += fmt.Sprint(" ", d.HTTPStatus)
		}
		return text
	case *phoenix.Reconnecting:
		return fmt.Sprintf("retry %d in %v", d.Attempt, d.Delay)
	case *phoenix.ReconnectExhausted:
		return fmt.Sprintf("exhausted after %d of %d", d.Attempts, d.MaxAttempts)
	case *phoenix.Heartbeat:
		return "heartbeat"
	}
	return "heartbeat_timeout"
}

func tellChannel(e *phoenix.Event) string {
	switch d := e.Detail.(type) {
	case *phoenix.Joining:
		return fmt.Sprint("joining ", d.Attempt)
	case *phoenix.Joined:
		if d.Rejoin {
			return fmt.Sprint("rejoined after ", d.Gap)
		}
		return "joined " + string(e.Payload.Data)
	case *phoenix.JoinError:
		return fmt.Sprintf("join_error %d %s%s", d.Attempt, d.Reason, tellRetry(d.Retry))
	case *phoenix.Left:
		return "left"
	case *phoenix.Closed:
		return "closed" + tellRetry(d.Retry)
	case *phoenix.Errored:
		return "errored " + string(d.Reason) + tellRetry(d.Retry)
	}
	return fmt.Sprintf("%T", e.Detail)
}

func tellRetry(r phoenix.Retry) string {
	switch {
	case !r.Will:
		return ""
	case r.In == 0:
		return ", retry"
	}
	return fmt.Sprintf(", retry in %v", r.In)
}
