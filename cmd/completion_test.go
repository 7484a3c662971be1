package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"phx/cmd/internal/exit"
)

func TestCompletionOfNames(t *testing.T) {
	env, end := startCtl(t, &ctlServer{})
	file := filepath.Join(t.TempDir(), "phx.yaml")
	if err := os.WriteFile(file, []byte("connections: {first: {}, second: {name: renamed}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	complete := func(args string, want ...string) {
		t.Helper()
		r := (&phxRun{env: env}).run(t.Context(), append([]string{"__complete"}, append(strings.Fields(args), "")...)...)
		if got, want := r.out.String(), strings.Join(append(want, ":4\n"), "\n"); got != want || r.code != exit.OK {
			t.Errorf("%s: exit code %d, %q, want %q", args, r.code, got, want)
		}
	}
	names := []string{"backend\tconnected", "other\tconnecting"}
	for _, verb := range []string{"status", "start", "stop", "restart", "remove", "join", "leave", "push"} {
		complete("ctl "+verb, names...)
	}
	complete("ctl sinks", "audit\tup", "hook\tfailing")
	complete("ctl sinks hook")
	complete("ctl stop backend")
	complete("ctl leave backend")
	complete("ctl start -f " + file)
	complete("ctl list")
	for _, command := range []string{"connect", "join", "push", "listen", "config show"} {
		complete(command+" -f "+file+" -n", "first", "renamed")
	}
	complete("listen -f " + file + ".none -n")
	end()
	complete("ctl stop")
}
