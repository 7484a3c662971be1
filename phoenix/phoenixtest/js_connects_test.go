package phoenixtest_test

// jsConnects are about the handshake, and about tokens.
var jsConnects = map[string]jsScenario{
	"recorded": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","tick","ok",{}]`,
			`["a","room:1","event","tick",{"i":1,"n":2}]`,
			`["a","room:1","event","tick",{"i":2,"n":2}]`,
			`["a","room:1","close","leave"]`,
			`["a","close",1000]`,
		},
		handshakes: true,
	},
	"auth_token": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","auth_token","a?b>c~=="]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"auth_token_not_taken": {
		want: []string{
			`["a","error","Server sent no subprotocol"]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_error"}]`,
			`["a","close",1006]`,
		},
		handshakes: true,
	},
	"refused": {
		want: []string{
			`["a","error","Unexpected server response: 403"]`,
			`["a","close",1006]`,
		},
		handshakes: true,
	},
}
