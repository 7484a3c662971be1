package phoenixtest_test

// jsJoins are about joins, and about the leave that takes one back.
var jsJoins = map[string]jsScenario{
	"join": {
		want: []string{
			`["a","open"]`,
			"[\"a\",\"room:echo\",\"join\",\"ok\",{\"params\":{\"a\":1,\"text\":\"é<&>\\n\u2028\"}}]",
			`["a","room:listreply","join","ok",[1,2,3]]`,
			`["a","room:echo","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","room:listreply","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"join_refused": {
		want: []string{
			`["a","open"]`,
			`["a","room:private","join","error",{"reason":"unauthorized"}]`,
			`["a","close",1000]`,
		},
	},
	"join_unmatched_topic": {
		want: []string{
			`["a","open"]`,
			`["a","nowhere:1","join","error",{"reason":"unmatched topic"}]`,
			`["a","close",1000]`,
		},
	},
	"join_crashed": {
		want: []string{
			`["a","open"]`,
			`["a","room:crashjoin","join","error",{"reason":"join crashed"}]`,
			`["a","close",1000]`,
		},
	},
	"join_refused_once": {
		want: []string{
			`["a","open"]`,
			`["a","room:flaky","join","error",{"attempt":1,"reason":"flaky"}]`,
			`["a","room:flaky","join","ok",{"attempt":2}]`,
			`["a","room:flaky","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"join_slow": {
		want: []string{
			`["a","open"]`,
			`["a","room:slowjoin","join","ok",{"slept":300}]`,
			`["a","room:slowjoin","ping","ok",{"a":1}]`,
			`["a","room:slowjoin","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"join_timeout": {
		want: []string{
			`["a","open"]`,
			`["a","room:slowjoin","join","timeout",{}]`,
			`["a","room:slowjoin","join","ok",{"slept":0}]`,
			`["a","room:slowjoin","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"join_slower_than_heartbeat": {
		want: []string{
			`["a","open"]`,
			`["a","room:slowjoin","error",{"source":"transport","reason":"heartbeat_timeout"}]`,
			`["a","open"]`,
			`["a","room:slowjoin","join","ok",{"slept":0}]`,
			`["a","room:slowjoin","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"leave": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","close","leave"]`,
			`["a","room:1","leave","ok",{}]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
}
