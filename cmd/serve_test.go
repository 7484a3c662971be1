package cmd

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
)

// The failure of a call has the code, the message and the hint that the commands join and push have for it.
func TestExplainAnswer(t *testing.T) {
	reply := func(status string) phoenix.Detail { return &phoenix.PushReply{Status: status} }
	binary := phoenix.Event{Topic: "room:a", Name: "x", Detail: reply("error"), Payload: phoenix.Binary([]byte{1})}
	unread := &phoenix.JoinError{Topic: "room:a", Reason: phoenix.JoinRefused, Err: &exit.Error{Code: exit.Read, Message: "cannot read token", Hint: "check it"}}
	refused := &phoenix.JoinError{Topic: "room:a", Reason: phoenix.JoinRefused, Response: phoenix.JSON(`{"reason":"no"}`)}
	for _, tt := range []struct {
		ev   phoenix.Event
		want *exit.Error
	}{
		{pushed("x", reply("ok"), `1`), nil},
		{pushed("", &phoenix.Joined{}, `{}`), nil},
		{pushed("", &phoenix.Left{}, ``), nil},
		{pushed("x", reply("no"), `{"n":1}`), &exit.Error{
			Code: exit.PushStatus, Message: `"x" on "room:a" was answered with status "no": {"n":1}`, Hint: "the channel's handle_in/3 said no: check the payload"}},
		{binary, &exit.Error{
			Code: exit.PushStatus, Message: `"x" on "room:a" was answered with status "error"`, Hint: "the channel's handle_in/3 said no: check the payload"}},
		{pushed("", unread, ``), &exit.Error{Code: exit.Read, Message: "cannot read token", Hint: "check it"}},
		{pushed("", refused, ``), &exit.Error{
			Code: exit.Join, Message: `cannot join "room:a": {"reason":"no"}`, Hint: "the channel's join/3 refused: check the topic and its params"}},
	} {
		got := explainAnswer(&tt.ev)
		if (got == nil) != (tt.want == nil) || got != nil && (got.Code != tt.want.Code || got.Message != tt.want.Message || got.Hint != tt.want.Hint) {
			t.Errorf("%v: got %+v, want %+v", tt.ev, got, tt.want)
		}
	}
}

// gated is a writer that stands still until it is opened.
type gated struct {
	open chan struct{}
	bytes.Buffer
}

func (g *gated) Write(p []byte) (int, error) {
	<-g.open
	return g.Buffer.Write(p)
}

func TestLogQueueHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gated{open: make(chan struct{})}
		q := newLogQueue(w, func(lost int) { fmt.Fprintf(w, "lost %d\n", lost) })
		q.limit = 20
		io.WriteString(q, "first\n")
		synctest.Wait() // it is being written
		for i := range 10 {
			fmt.Fprintf(q, "line %d\n", i)
		}
		if began := time.Now(); q.flush(time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("flush of a log that is not read: it says it was written, or took %v, not a minute", time.Since(began))
		}
		close(w.open)
		if !q.flush(time.Minute) {
			t.Error("not flushed although the log is read again")
		}
		io.WriteString(q, "last\n")
		if !q.flush(time.Minute) {
			t.Error("the last line is not flushed")
		}
		if got, want := w.String(), "first\nline 0\nline 1\nlost 8\nlast\n"; got != want {
			t.Errorf("written is %q, want %q", got, want)
		}
	})
}

func TestLogQueueKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gated{open: make(chan struct{})}
		close(w.open)
		q := newLogQueue(w, func(lost int) { t.Errorf("%d lines are lost", lost) })
		var want strings.Builder
		for i := range 1000 {
			fmt.Fprintf(q, "line %d\n", i)
			fmt.Fprintf(&want, "line %d\n", i)
		}
		if !q.flush(time.Minute) || w.String() != want.String() {
			t.Errorf("written is not what was logged, in order: %q", w.String())
		}
	})
}
