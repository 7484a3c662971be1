package phoenixtest_test

import (
	"testing"
	"time"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/realtime"
)

// A supabaseScenario is what the callbacks of Supabase's client see in a scenario of testdata/phoenix_js/realtime.mjs.
type supabaseScenario struct {
	config  realtime.Config
	prepare func(p *realtime.Project)
	want    []string
	// cue is a line of the client upon which something is done.
	cue string
	do  func(p *realtime.Project)
}

// TestSupabaseJavaScriptClient is to package realtime what TestJavaScriptClient is to Phoenix: @supabase/realtime-js sees from our server what it sees
// from Supabase. What it puts on the wire then is compared with testdata/phoenix_js/wire_realtime.
func TestSupabaseJavaScriptClient(t *testing.T) {
	t.Parallel()
	needNode(t)
	plays := map[string]*jsPlay{}
	for name, sc := range supabaseScenarios {
		if sc.config.JoinBackoff == 0 {
			sc.config.JoinBackoff = -1 // nothing waits without need
		}
		sc.config.ResubscribeAfter = 10 * time.Millisecond
		project := realtime.New(sc.config)
		if sc.prepare != nil {
			sc.prepare(project)
		}
		play := jsScenario{want: sc.want}
		if sc.cue != "" {
			play.cues = []cue{{sc.cue, func(*phoenixtest.Server) error { sc.do(project); return nil }}}
		}
		plays[name] = newJSPlay(t, play, project.App(), "/realtime/v1", phoenixtest.Cowboy)
	}
	playAll(t, "realtime.mjs", "wire_realtime", plays)
}

var supabaseScenarios = map[string]supabaseScenario{
	"broadcast": {
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","send","new_msg","ok"]`,
			`["a","room1","broadcast","größe",{}]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
			`["b","room1","SUBSCRIBED"]`,
			`["b","room1","broadcast","new_msg",{"body":"hi","list":[null,1.5,"é🙂"]}]`,
			`["b","send","größe","ok"]`,
			`["b","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"broadcast_self": {
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","send","new_msg","ok"]`,
			`["a","room1","broadcast","new_msg",{"body":"to all"}]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"broadcast_binary": {
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","send","raw","ok"]`,
			`["a","room1","broadcast","empty",{"bytes":[]}]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
			`["b","room1","SUBSCRIBED"]`,
			`["b","room1","broadcast","raw",{"bytes":[0,255,16,10]}]`,
			`["b","send","empty","ok"]`,
			`["b","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"broadcast_vsn1": {
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","send","new_msg","ok"]`,
			`["a","room1","broadcast","new_msg",{"body":"json"}]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
			`["b","room1","SUBSCRIBED"]`,
			`["b","room1","broadcast","new_msg",{"body":"text"}]`,
			`["b","send","raw","ok"]`,
			`["b","send","new_msg","ok"]`,
			`["b","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"broadcast_http": {
		want: []string{
			`["a","httpSend",{"success":true}]`,
			`["a","httpSend",{"success":true}]`,
			`["a","send","batch","ok"]`,
			`["b","room1","SUBSCRIBED"]`,
			`["b","room1","broadcast","single",{"body":"hi"}]`,
			`["b","room1","broadcast","bytes",{"bytes":[1,2]}]`,
			`["b","room1","broadcast","batch",{"body":"ho"}]`,
			`["b","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"broadcast_too_large": {
		config: realtime.Config{MaxPayload: 100},
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","send","new_msg","error"]`,
			`["a","send","new_msg","ok"]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
			`["b","room1","SUBSCRIBED"]`,
			`["b","room1","broadcast","new_msg",{"body":"x"}]`,
			`["b","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"broadcast_denied": {
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","send","new_msg","timed out"]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"presence": {
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","room1","sync",[]]`,
			`["a","room1","join","ann",[{"n":1}]]`,
			`["a","room1","sync",[["ann",[{"n":1}]]]]`,
			`["a","track","ok"]`,
			`["a","room1","join","bob",[{"n":2}]]`,
			`["a","room1","sync",[["ann",[{"n":1}]],["bob",[{"n":2}]]]]`,
			`["a","room1","join","ann",[{"n":3}]]`,
			`["a","room1","leave","ann",[{"n":1}]]`,
			`["a","room1","sync",[["ann",[{"n":3}]],["bob",[{"n":2}]]]]`,
			`["a","track","ok"]`,
			`["a","room1","leave","ann",[{"n":3}]]`,
			`["a","room1","sync",[["bob",[{"n":2}]]]]`,
			`["a","untrack","ok"]`,
			`["a","room1","leave","bob",[{"n":2}]]`,
			`["a","room1","sync",[]]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
			`["b","room1","SUBSCRIBED"]`,
			`["b","room1","join","ann",[{"n":1}]]`,
			`["b","room1","sync",[["ann",[{"n":1}]]]]`,
			`["b","room1","join","bob",[{"n":2}]]`,
			`["b","room1","sync",[["ann",[{"n":1}]],["bob",[{"n":2}]]]]`,
			`["b","track","ok"]`,
			`["b","room1","join","ann",[{"n":3}]]`,
			`["b","room1","leave","ann",[{"n":1}]]`,
			`["b","room1","sync",[["ann",[{"n":3}]],["bob",[{"n":2}]]]]`,
			`["b","room1","leave","ann",[{"n":3}]]`,
			`["b","room1","sync",[["bob",[{"n":2}]]]]`,
			`["b","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"postgres_changes": {
		want: []string{
			`["a","todos","SUBSCRIBED"]`,
			`["a","todos","system","postgres_changes","ok","Subscribed to PostgreSQL","todos"]`,
			`["a","todos","*","INSERT","public","todos",{"done":false,"id":1,"tags":["a"],"text":"buy milk"},{},null]`,
			`["a","todos","*","UPDATE","public","todos",{"id":2,"text":"buy oats"},{"id":2},null]`,
			`["a","todos","UPDATE","UPDATE","public","todos",{"id":2,"text":"buy oats"},{"id":2},null]`,
			`["a","todos","*","UPDATE","public","todos",{"id":3,"text":"buy rye"},{"id":3},null]`,
			`["a","todos","*","DELETE","public","todos",{},{"id":1},null]`,
			`["a","todos","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"postgres_changes_mismatch": {
		prepare: func(p *realtime.Project) { p.MisreportSubscriptions(true) },
		want: []string{
			`["a","todos","CLOSED"]`,
			`["a","todos","CHANNEL_ERROR","mismatch between server and client bindings for postgres changes"]`,
		},
	},
	"access_token": {
		want: []string{
			`["a","todos","SUBSCRIBED"]`,
			`["a","todos","system","postgres_changes","ok","Subscribed to PostgreSQL","todos"]`,
			`["a","todos","system","postgres_changes","ok","Subscribed to PostgreSQL","todos"]`,
			`["a","send","done","ok"]`,
			`["a","todos","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"access_token_callback": {
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"access_token_revoked": {
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","room1","system","system","error","You do not have permissions to read from this Channel topic: room1","room1"]`,
			`["a","room1","CLOSED"]`,
		},
	},
	"join_refused": {
		want: []string{
			`["a","room1","CHANNEL_ERROR","InvalidJWTToken: Token has expired N seconds ago"]`,
		},
	},
	"join_unauthorized": {
		want: []string{
			`["a","room1","CHANNEL_ERROR","Unauthorized: You do not have permissions to read from this Channel topic: room1"]`,
		},
	},
	"replay": {
		prepare: func(p *realtime.Project) {
			for n := range 4 {
				p.Send("room1", "stored", phoenixtest.JSON(phoenixtest.Map{"n": n}), true)
			}
			p.Send("room1", "raw", phoenixtest.Binary([]byte{1, 2, 3}), true)
		},
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","room1","broadcast","stored",{"n":2},{"id":"00000000-0000-4000-8000-000000000003","replayed":true}]`,
			`["a","room1","broadcast","stored",{"n":3},{"id":"00000000-0000-4000-8000-000000000004","replayed":true}]`,
			`["a","room1","broadcast","raw",{"bytes":[1,2,3]},{"id":"00000000-0000-4000-8000-000000000005","replayed":true}]`,
			`["a","room1","broadcast","live",{"n":5},{"id":"00000000-0000-4000-8000-000000000006"}]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"replication_ready": {
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","room1","system","system","ok","Replication connection established","room1"]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
	"drain": {
		cue: `["a","room1","SUBSCRIBED"]`,
		do:  (*realtime.Project).Drain,
		want: []string{
			`["a","room1","SUBSCRIBED"]`,
			`["a","room1","system","system","ok","Server requested disconnect",null]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1012"]`,
			`["a","room1","SUBSCRIBED"]`,
			`["a","room1","CHANNEL_ERROR","socket closed: 1005"]`,
		},
	},
}
