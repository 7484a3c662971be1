package phoenixtest_test

import (
	"testing"

	"phx/phoenix/phoenixtest"
)

// jsLosses are about the end of a channel or a link, and what keeps one alive.
var jsLosses = map[string]jsScenario{
	"crash": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","error",{"reason":"channel_crash"}]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","ping","ok",{"after":"crash"}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"close": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:2","join","ok",{}]`,
			`["a","room:1","stop_reply","ok",{}]`,
			`["a","room:1","close",{}]`,
			`["a","room:2","ping","ok",{}]`,
			`["a","room:2","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"kick": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1001]`,
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","ping","ok",{"after":"kick"}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"drop": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1006]`,
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"restart": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1012]`,
			`["a","error","ECONNREFUSED"]`,
			`["a","close",1006]`,
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
		cues: []cue{{joined, stop}, {refused, startAgain}},
	},
	"heartbeat": {
		want: []string{
			`["a","open"]`,
			`["a","heartbeat","ok"]`,
			`["a","heartbeat","ok"]`,
			`["a","close",1000]`,
		},
	},
	"heartbeat_timeout": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","error",{"source":"transport","reason":"heartbeat_timeout"}]`,
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
		cues: []cue{{joined, blackHole}},
	},
}

const (
	joined  = `["a","room:1","join","ok",{}]`
	refused = `["a","error","ECONNREFUSED"]`
)

func stop(_ *testing.T, srv *phoenixtest.Server) { srv.Stop() }

func startAgain(t *testing.T, srv *phoenixtest.Server) {
	t.Helper()
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
}

func blackHole(_ *testing.T, srv *phoenixtest.Server) { srv.BlackHole() }
