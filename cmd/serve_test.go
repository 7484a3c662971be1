package cmd

import (
	"testing"

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
			Code: exit.PushStatus, Message: `"x" on "room:a" was answered with status "no": {"n":1}`, Hint: "the channel's handle_in/3 refused the push: check the payload"}},
		{binary, &exit.Error{
			Code: exit.PushStatus, Message: `"x" on "room:a" was answered with status "error"`, Hint: "the channel's handle_in/3 refused the push: check the payload"}},
		{pushed("", unread, ``), &exit.Error{Code: exit.Read, Message: "cannot read token", Hint: "check it"}},
		{pushed("", refused, ``), &exit.Error{
			Code: exit.Join, Message: `cannot join "room:a": {"reason":"no"}`, Hint: "the channel's join/3 refused: check the topic and its params"}},
	} {
		got := explainAnswer("", &tt.ev)
		if (got == nil) != (tt.want == nil) || got != nil && (got.Code != tt.want.Code || got.Message != tt.want.Message || got.Hint != tt.want.Hint) {
			t.Errorf("%v: got %+v, want %+v", tt.ev, got, tt.want)
		}
	}
}
