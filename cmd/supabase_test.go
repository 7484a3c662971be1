package cmd

import (
	"strings"
	"testing"

	"phx/cmd/config"
	"phx/phoenix"
	"phx/phoenix/phoenixtest/realtime"
	"phx/phoenix/supabase"
)

// TestSupabaseJoinHints: each refusal that the server has is explained, and what is final is not said to pass.
func TestSupabaseJoinHints(t *testing.T) {
	dialect := supabase.New(supabase.Options{})
	for code, text := range realtime.Refusals {
		reason := code + ": " + text
		if strings.HasPrefix(code, "None") { // the server says no code
			reason = text
		}
		response, err := phoenix.Marshal(map[string]string{"reason": reason})
		if err != nil {
			t.Fatal(err)
		}
		failed := &phoenix.JoinError{Topic: "realtime:t", Reason: phoenix.JoinRefused, Response: response}
		hint := hintOfEvent(config.Supabase, &phoenix.Event{Detail: failed})
		if final := dialect.Refused("realtime:t", response) == phoenix.RefusalFinal; hint == "" || final && hint == passingHint {
			t.Errorf("%s: %q", reason, hint)
		}
		if other := hintOfEvent("", &phoenix.Event{Detail: failed}); other != "" {
			t.Errorf("without the profile: %q", other)
		}
	}
	for _, reason := range []phoenix.JoinReason{phoenix.JoinTimeout, phoenix.JoinUnmatchedTopic} {
		if hint := supabaseJoinHint(&phoenix.JoinError{Reason: reason}); hint == "" || strings.Contains(hint, "join/3") || strings.Contains(hint, "channel/2") {
			t.Errorf("%s: %q speaks of code that is not the user's", reason, hint)
		}
	}
}
