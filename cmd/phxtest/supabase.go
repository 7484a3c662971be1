//go:build unix

package phxtest

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/realtime"
)

// cmdServeSupabase starts Supabase Realtime and what is around it, which supabase and server can play with:
//
//	serve-supabase [slow]
//
// SUPABASE_URL is that of the project, http://HOST:PORT, and SUPABASE_KEY a token of the role anon, as the supabase-js client takes them; PHX_URI is
// that of the socket. Unless it is slow, as Supabase is, it waits for nothing before a refusal, and not long before it says that it is subscribed.
func cmdServeSupabase(ts *testscript.TestScript, args []string) {
	s := &sceneOf(ts).servers
	config := realtime.Config{
		ConnectBackoff:   -1,
		JoinBackoff:      -1,
		SubscribeAfter:   -1,
		ResubscribeAfter: -1,
		RetryAfter:       100 * time.Millisecond,
	}
	switch {
	case s.phoenix != nil || len(args) > 1 || len(args) == 1 && args[0] != "slow":
		ts.Fatalf("usage, once a script: serve-supabase [slow]")
	case len(args) == 1:
		config = realtime.Config{}
	}
	project := realtime.New(config)
	server, err := phoenixtest.Listen(project.App(), phoenixtest.WithFlavor(phoenixtest.Cowboy))
	ts.Check(err)
	s.phoenix, s.project = server, project
	s.closers = append(s.closers, server.Close)
	ts.Setenv("PHX_URI", server.URL)
	ts.Setenv("SERVER_ADDR", server.Addr())
	ts.Setenv("SUPABASE_URL", "http://"+server.Addr())
	ts.Setenv("SUPABASE_KEY", realtime.NewToken("anon", time.Now().Add(24*time.Hour)))
}

// supabaseVerbs are what the command supabase can do.
var supabaseVerbs = map[string]struct {
	args int
	do   func(ts *testscript.TestScript, p *realtime.Project, args []string) error
}{
	// token ROLE SECONDS sets SUPABASE_TOKEN: a token that ends so many seconds from now on, or before.
	"token": {2, func(ts *testscript.TestScript, _ *realtime.Project, args []string) error {
		seconds, err := strconv.Atoi(args[1])
		ts.Setenv("SUPABASE_TOKEN", realtime.NewToken(args[0], time.Now().Add(time.Duration(seconds)*time.Second)))
		return err
	}},
	// refuse STATUS ERROR refuses further connections with {"error": ERROR}; accept takes them again.
	"refuse": {2, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		status, err := strconv.Atoi(args[0])
		p.RefuseConnects(status, args[1])
		return err
	}},
	"accept": {0, func(_ *testscript.TestScript, p *realtime.Project, _ []string) error {
		p.RefuseConnects(0, "")
		return nil
	}},
	// refuse-joins TOPIC CODE TIMES refuses the next joins of a topic, without realtime:, "" for all; -1 is always, 0 never.
	"refuse-joins": {3, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		times, err := strconv.Atoi(args[2])
		p.RefuseJoins(args[0], args[1], times)
		return err
	}},
	// broadcast, broadcast-text and send TOPIC EVENT JSON are a broadcast from outside: as kind 4, as text, and from the database as kind 4 with an id.
	// send is to the private topic, and can be replayed.
	"broadcast": {3, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		p.Broadcast(args[0], args[1], phoenixtest.RawJSON(args[2]), false)
		return nil
	}},
	"broadcast-text": {3, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		p.BroadcastText(args[0], args[1], phoenixtest.RawJSON(args[2]), false)
		return nil
	}},
	"send": {3, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		p.Send(args[0], args[1], phoenixtest.RawJSON(args[2]), true)
		return nil
	}},
	// broadcast-binary TOPIC EVENT HEX is a broadcast of bytes from outside, and send-binary one from the database.
	"broadcast-binary": {3, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		data, err := hex.DecodeString(args[2])
		p.Broadcast(args[0], args[1], phoenixtest.Binary(data), false)
		return err
	}},
	"send-binary": {3, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		data, err := hex.DecodeString(args[2])
		p.Send(args[0], args[1], phoenixtest.Binary(data), true)
		return err
	}},
	// change INSERT|UPDATE|DELETE TABLE JSON changes a row of the schema public; the row of a delete is what it was.
	"change": {3, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		change := realtime.Change{Type: args[0], Schema: "public", Table: args[1]}
		row := &change.Record
		if change.Type == "DELETE" {
			row = &change.Old
		}
		err := json.Unmarshal([]byte(args[2]), row)
		p.Change(change)
		return err
	}},
	// system TOPIC EXTENSION STATUS MESSAGE sends a system message; "" is all topics.
	"system": {4, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		p.System(args[0], args[1], args[2], args[3])
		return nil
	}},
	// shutdown TOPIC MESSAGE ends channels with a system message.
	"shutdown": {2, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		p.Shutdown(args[0], args[1])
		return nil
	}},
	// drain tells all channels, and closes all sockets with 1012.
	"drain": {0, func(_ *testscript.TestScript, p *realtime.Project, _ []string) error { p.Drain(); return nil }},
	// restart-postgres restarts the replication: clients miss changes, until they are told that they are subscribed again.
	"restart-postgres": {0, func(_ *testscript.TestScript, p *realtime.Project, _ []string) error { p.RestartPostgres(); return nil }},
	// fail-postgres MESSAGE TIMES lets the next subscriptions to Postgres fail; they are tried again.
	"fail-postgres": {2, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		times, err := strconv.Atoi(args[1])
		p.FailSubscriptions(args[0], false, times)
		return err
	}},
	// misreport has the replies of joins leave out a subscription to Postgres.
	"misreport": {0, func(_ *testscript.TestScript, p *realtime.Project, _ []string) error {
		p.MisreportSubscriptions(true)
		return nil
	}},
	// replication on|off is the replication connection, which a join may wait for.
	"replication": {1, func(_ *testscript.TestScript, p *realtime.Project, args []string) error {
		p.SetReplication(args[0] == "on")
		return nil
	}},
}

// cmdSupabase plays with the project that serve-supabase has started:
//
//	supabase VERB [ARG...]
func cmdSupabase(ts *testscript.TestScript, args []string) {
	project := sceneOf(ts).servers.project
	if project == nil || len(args) == 0 {
		ts.Fatalf("usage, after serve-supabase: supabase VERB [ARG...]")
	}
	verb, ok := supabaseVerbs[args[0]]
	if !ok || len(args)-1 != verb.args {
		ts.Fatalf("supabase cannot do this: %s", strings.Join(args, " "))
	}
	ts.Check(verb.do(ts, project, args[1:]))
}
