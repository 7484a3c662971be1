package phoenixtest_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

var updateWire = flag.Bool("update", false, "write what the official JavaScript clients put on the wire to testdata/phoenix_js")

// A jsScenario is what the callbacks of the official client see in a scenario of testdata/phoenix_js, one
// client after the other, and what is done to the server meanwhile.
type jsScenario struct {
	want []string
	cues []cue
	// handshakes also logs headers, and what was refused. Such a scenario cannot stop the server.
	handshakes bool
}

// A cue is a line of the client upon which something is done; each is waited for after the one before.
type cue struct {
	line string
	do   func(srv *phoenixtest.Server) error
}

// jsScenarios are all scenarios.
func jsScenarios() map[string]jsScenario {
	all := map[string]jsScenario{}
	for _, some := range []map[string]jsScenario{jsConnects, jsJoins, jsMessages, jsLosses, jsLongPolls} {
		maps.Copy(all, some)
	}
	return all
}

// TestJavaScriptClient lets the judge be judged: the official client sees from our server what it sees from Phoenix. What
// it puts on the wire then is compared with testdata/phoenix_js/wire, which our own client is compared with.
//
// A scenario mostly waits. So one process of node plays all of them at the same time, each against a server of its own.
func TestJavaScriptClient(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short; make full runs it")
	}
	t.Parallel()
	needNode(t)
	plays := map[string]*jsPlay{}
	for name, sc := range jsScenarios() {
		plays[name] = newJSPlay(t, sc, peer.App(), "/socket", phoenixtest.Bandit)
	}
	playAll(t, "main.mjs", "wire", plays)
}

// playAll lets node play scenarios, by a file of phoenixJS that knows just these, and checks each: what the callbacks have seen, and what was put on the
// wire, which is kept in a directory of phoenixJS.
func playAll(t *testing.T, main, wire string, plays map[string]*jsPlay) {
	t.Helper()
	names, wait := startNode(t, main, plays)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(plays)), slices.Sorted(slices.Values(names))); diff != "" {
		t.Errorf("the scenarios here (-) and of %s (+) differ:\n%s", main, diff)
	}
	for name, play := range plays {
		t.Run(name, func(t *testing.T) { play.check(t, filepath.Join(phoenixJS, wire, name+".txt")) })
	}
	if err := wait(); err != nil {
		t.Error(err)
	}
}

// pollWindow is short, so that a session that was left ends soon.
const pollWindow = 500 * time.Millisecond

// A jsPlay is a scenario that is being played.
type jsPlay struct {
	jsScenario
	srv  *phoenixtest.Server
	wire wireLog
	url  *url.URL // what the clients connect to

	lines chan string   // what the clients print; closed when node has ended
	over  chan struct{} // closed behind the last line; then the rest may be read
	ended bool          // the scenario was played to its end
	saw   []string
	err   error // of the cues
}

// newJSPlay prepares a scenario, with a server of its own; path is where clients connect to.
func newJSPlay(t *testing.T, sc jsScenario, app phoenixtest.App, path string, flavor phoenixtest.Flavor) *jsPlay {
	t.Helper()
	p := &jsPlay{jsScenario: sc, lines: make(chan string), over: make(chan struct{})}
	p.srv = phoenixtest.NewServer(app, phoenixtest.WithTap(p.wire.tap), phoenixtest.WithPollWindow(pollWindow), phoenixtest.WithFlavor(flavor))
	t.Cleanup(p.srv.Close)
	p.url = &url.URL{Scheme: "ws", Host: p.srv.Addr(), Path: path}
	if sc.handshakes {
		front := httptest.NewServer(p.wire.handshakes(p.srv))
		t.Cleanup(front.Close)
		p.url.Host = front.Listener.Addr().String()
	}
	return p
}

// follow collects what the clients print and acts on the cues.
func (p *jsPlay) follow() {
	defer close(p.over)
	for line := range p.lines {
		if line == "end" {
			p.ended = true
			return
		}
		p.saw = append(p.saw, line)
		if len(p.cues) > 0 && line == p.cues[0].line {
			p.err = errors.Join(p.err, p.cues[0].do(p.srv))
			p.cues = p.cues[1:]
		}
	}
}

// check waits for the end of the scenario and compares.
func (p *jsPlay) check(t *testing.T, wireFile string) {
	<-p.over
	if p.err != nil {
		t.Error(p.err)
	}
	if len(p.cues) > 0 {
		t.Errorf("did not see %s", p.cues[0].line)
	}
	if diff := cmp.Diff(p.want, byClient(p.saw)); diff != "" {
		t.Errorf("callbacks expected (-) and seen (+):\n%s", diff)
	}
	if !p.ended {
		t.Fatal("node ended before the scenario")
	}
	ctx, cancel := context.WithTimeout(t.Context(), nodeTimeout)
	defer cancel()
	if err := p.srv.Await(ctx, func(s phoenixtest.Stats) bool { return s.Open == 0 }); err != nil {
		t.Fatal(err)
	}
	p.wire.compare(t, wireFile, *updateWire)
}

// byClient sorts lines by the client that printed them: between two there is no order.
func byClient(lines []string) []string {
	client := func(line string) string {
		name, _, _ := strings.Cut(line, ",")
		return name
	}
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(client(a), client(b)) })
	return lines
}

// phoenixJS is where the official JavaScript client is installed, and the scenarios that it plays are.
const phoenixJS = "../../testdata/phoenix_js"

// nodeTimeout is how long all scenarios together may take on a machine that is busy; otherwise they take five seconds.
const nodeTimeout = 3 * time.Minute

// needNode sees to it that node can run the client.
func needNode(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		lacking(t, err.Error())
	}
	if err := install(); err != nil {
		lacking(t, err.Error())
	}
}

// install installs what the lock file says, once.
var install = sync.OnceValue(func() error {
	if done, err := installed(); done || err != nil {
		return err
	}
	npm := exec.Command("npm", "ci")
	npm.Dir = phoenixJS
	if output, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, output)
	}
	return nil
})

// lacking ends a test that cannot run here. In CI, where everything is there, that is a failure.
func lacking(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip("THE OFFICIAL JAVASCRIPT CLIENTS WERE NOT RUN: " + what)
}

// installed tells whether npm has installed what the lock file says. scripts/test asks the same.
func installed() (bool, error) {
	want, err := os.Stat(filepath.Join(phoenixJS, "package-lock.json"))
	if err != nil {
		return false, err
	}
	// npm writes it when everything else is there.
	got, err := os.Stat(filepath.Join(phoenixJS, "node_modules", ".package-lock.json"))
	return err == nil && got.ModTime().After(want.ModTime()), nil
}

// startNode lets node play scenarios by a file of phoenixJS, and returns the names of all that it could play. wait returns when it has ended.
func startNode(t *testing.T, main string, plays map[string]*jsPlay) (names []string, wait func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), nodeTimeout)
	t.Cleanup(cancel)
	args := []string{filepath.Join(phoenixJS, main)}
	byHost := map[string]*jsPlay{}
	for name, p := range plays {
		args = append(args, name, p.url.String())
		byHost[p.url.Host] = p
	}
	cmd := exec.CommandContext(ctx, "node", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(stdout)
	scanner.Scan() // without a line, there are no names, and an error from wait
	names = strings.Fields(scanner.Text())
	for _, p := range plays {
		go p.follow()
	}
	var stray []string
	ended := make(chan error, 1)
	go func() {
		for scanner.Scan() {
			host, line, _ := strings.Cut(scanner.Text(), " ")
			p := byHost[host]
			if p == nil {
				stray = append(stray, scanner.Text())
				continue
			}
			select {
			case p.lines <- line:
			case <-p.over:
			}
		}
		for _, p := range plays {
			close(p.lines)
		}
		ended <- cmd.Wait()
	}()
	return names, func() error {
		if err := <-ended; err != nil || len(stray) > 0 {
			return fmt.Errorf("node: %v, context: %v, lines of no scenario: %q\n%s", err, ctx.Err(), stray, &stderr)
		}
		return nil
	}
}

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

// jsLongPolls are about long poll.
var jsLongPolls = map[string]jsScenario{
	"longpoll": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","ping","ok",{"a":1,"list":[null,true,"é\"\\\n"]}]`,
			`["a","room:1","event","hello",{"from":"server"}]`,
			`["a","room:1","push_event","ok",{}]`,
			`["a","room:1","event","new_msg",{"body":"to all"}]`,
			`["a","room:1","new_msg","ok",{}]`,
			`["a","room:1","binary_len","ok",{"len":3}]`,
			`["a","room:1","batch",50]`,
			`["a","room:1","batch",100]`,
			`["a","room:1","batch",150]`,
			`["a","room:1","batch",200]`,
			`["a","room:1","batch",250]`,
			`["a","room:1","close","leave"]`,
			`["a","room:1","leave","ok",{}]`,
			`["a","close",1005]`,
		},
	},
	"longpoll_auth_token": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","whoami","a?b>c~==","longpoll"]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1005]`,
		},
	},
	"longpoll_kick": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","error",410]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_error"}]`,
			`["a","close",3410]`,
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","ping","ok",{"after":"kick"}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1005]`,
		},
	},
}

// oddTopic is a topic that is hard to quote, as JSON.stringify quotes it.
const oddTopic = `"room: \"\\/\t\n\u0001` + "\u007f\u2028" + `é😀<&>"`

// jsMessages are about what goes over a joined channel.
var jsMessages = map[string]jsScenario{
	"push": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","ping","ok",{"a":1,"list":[null,true,"é\"\\"]}]`,
			`["a","room:1","ping","ok",{}]`,
			`["a","room:1","fail","error",{"reason":"nope"}]`,
			`["a","room:1","custom_status_payload","custom_status",{"a":1}]`,
			`["a","room:1","list_payload","ok",[1,2,3]]`,
			`["a","room:1","text_payload","ok","text"]`,
			`["a","room:1","null_payload","ok",null]`,
			`["a","room:1","noreply","timeout",{}]`,
			`["a","room:1","event","hello",{"from":"server"}]`,
			`["a","room:1","push_event","ok",{}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"push_pipelined": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","delayed","ok",{"ms":0}]`,
			`["a","room:1","delayed","ok",{"ms":50}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
	"broadcast": {
		want: []string{
			`["a","open"]`,
			`["a","room:1","join","ok",{}]`,
			`["a","room:1","event","new_msg",{"body":"to all"}]`,
			`["a","room:1","new_msg","ok",{}]`,
			`["a","room:1","event","new_msg",{"body":"to others"}]`,
			`["a","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
			`["b","open"]`,
			`["b","room:1","join","ok",{}]`,
			`["b","room:1","event","new_msg",{"body":"to all"}]`,
			`["b","room:1","new_msg_from","ok",{}]`,
			`["b","room:1","error",{"source":"transport","reason":"connection_closed"}]`,
			`["b","close",1000]`,
		},
	},
	"binary": {
		want: []string{
			`["a","open"]`,
			`["a","room:é","join","ok",{}]`,
			`["a","room:é","binary_echo","ok",{"bytes":[0,10,34,128,255]}]`,
			`["a","room:é","binary_echo","ok",{"bytes":[]}]`,
			`["a","room:é","binary_error","error",{"bytes":[1]}]`,
			`["a","room:é","binary_len","ok",{"len":3}]`,
			`["a","room:é","event","bin",{"bytes":[9,8,7]}]`,
			`["a","room:é","binary_push","ok",{}]`,
			`["a","room:é","event","bin",{"bytes":[171,171]}]`,
			`["a","room:é","binary_broadcast","ok",{}]`,
			`["a","room:é","event","new_msg",{"bytes":[5,6]}]`,
			`["a","room:é","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
			`["b","open"]`,
			`["b","room:é","join","ok",{}]`,
			`["b","room:é","event","bin",{"bytes":[171,171]}]`,
			`["b","room:é","event","new_msg",{"bytes":[5,6]}]`,
			`["b","room:é","error",{"source":"transport","reason":"connection_closed"}]`,
			`["b","close",1000]`,
		},
	},
	"presence": {
		want: []string{
			`["a","open"]`,
			`["a","presence:lobby","join","ok",{}]`,
			`["a","presence:lobby","onJoin","alice",[],["online on node"]]`,
			`["a","presence:lobby","onJoin","alice",["online on node"],["online on node"]]`,
			`["a","presence:lobby","onSync",[["alice",["online on node"]]]]`,
			`["a","presence:lobby","onJoin","bob",[],["online on node"]]`,
			`["a","presence:lobby","onSync",[["alice",["online on node"]],["bob",["online on node"]]]]`,
			`["a","presence:lobby","onJoin","bob",["online on node"],["away on node"]]`,
			`["a","presence:lobby","onLeave","bob",["away on node"],["online on node"]]`,
			`["a","presence:lobby","onSync",[["alice",["online on node"]],["bob",["away on node"]]]]`,
			`["a","presence:lobby","onLeave","bob",[],["away on node"]]`,
			`["a","presence:lobby","onSync",[["alice",["online on node"]]]]`,
			`["a","presence:lobby","error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
			`["b","open"]`,
			`["b","presence:lobby","join","ok",{}]`,
			`["b","presence:lobby","onJoin","alice",[],["online on node"]]`,
			`["b","presence:lobby","onJoin","bob",[],["online on node"]]`,
			`["b","presence:lobby","onJoin","bob",["online on node"],["online on node"]]`,
			`["b","presence:lobby","onSync",[["alice",["online on node"]],["bob",["online on node"]]]]`,
			`["b","presence:lobby","update_meta","ok",{}]`,
			`["b","presence:lobby","onJoin","bob",["online on node"],["away on node"]]`,
			`["b","presence:lobby","onLeave","bob",["away on node"],["online on node"]]`,
			`["b","presence:lobby","onSync",[["alice",["online on node"]],["bob",["away on node"]]]]`,
			`["b","presence:lobby","error",{"source":"transport","reason":"connection_closed"}]`,
			`["b","close",1000]`,
		},
	},
	"odd_topic": {
		want: []string{
			`["a","open"]`,
			`["a",` + oddTopic + `,"join","ok",{}]`,
			`["a",` + oddTopic + `,"event",` + oddTopic + `,{}]`,
			`["a",` + oddTopic + `,"push_event","ok",{}]`,
			`["a",` + oddTopic + `,"error",{"source":"transport","reason":"connection_closed"}]`,
			`["a","close",1000]`,
		},
	},
}

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

func stop(srv *phoenixtest.Server) error {
	srv.Stop()
	return nil
}

func startAgain(srv *phoenixtest.Server) error { return srv.Start() }

func blackHole(srv *phoenixtest.Server) error {
	srv.BlackHole()
	return nil
}

// A wireLog collects what clients put on the wire: for each connection, in order, its request and its frames, a line each.
type wireLog struct {
	mu    sync.Mutex
	conns []*wireConn
}

// A wireConn is the log of one connection.
type wireConn struct {
	conn    *phoenixtest.Conn // nil: not accepted, or not yet
	closing bool              // the server has sent a close frame
	lines   []string
}

// answered marks a client's close frame that answers one of the server.
const answered = " in answer"

// tap logs a client's frame. It is for [phoenixtest.WithTap].
func (l *wireLog) tap(f phoenixtest.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.of(f.Conn)
	if !f.FromClient {
		c.closing = c.closing || byte(f.Opcode) == opcodes["close"]
		return
	}
	c.lines = append(c.lines, frameLine(f, c.closing))
}

func frameLine(f phoenixtest.Frame, closing bool) string {
	switch byte(f.Opcode) {
	case opcodes["text"]:
		return "text " + string(f.Data)
	case opcodes["binary"]:
		return fmt.Sprintf("binary %q", f.Data)
	case opcodes["close"]:
		if closing {
			return closeLine(f.Data) + answered
		}
		return closeLine(f.Data)
	}
	return fmt.Sprintf("opcode %d %q", f.Opcode, f.Data)
}

// of finds the log of a connection, or begins it.
func (l *wireLog) of(conn *phoenixtest.Conn) *wireConn {
	for _, c := range l.conns {
		if c.conn == conn {
			return c
		}
	}
	if n := len(l.conns); n > 0 && l.conns[n-1].conn == nil {
		l.conns[n-1].conn = conn // its request was logged by handshakes
		return l.conns[n-1]
	}
	uri, err := url.Parse(conn.Info().URI)
	if err != nil {
		panic(err) // unreachable: it was parsed before
	}
	c := &wireConn{conn: conn, lines: []string{"GET " + uri.RequestURI()}}
	l.conns = append(l.conns, c)
	return c
}

// handshakes is srv with a log of the requests, refused ones included, and their headers.
func (l *wireLog) handshakes(srv *phoenixtest.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.conns = append(l.conns, &wireConn{lines: requestLines(r.Method, r.URL.RequestURI(), r.Header)})
		l.mu.Unlock()
		srv.ServeHTTP(w, r)
	})
}

// requestLines are a request and its headers, sorted, without the one that is never twice the same.
func requestLines(method, uri string, header http.Header) []string {
	lines := []string{method + " " + uri}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if name == "Sec-Websocket-Key" {
			continue
		}
		for _, value := range header[name] {
			lines = append(lines, name+": "+value)
		}
	}
	return lines
}

// String is a paragraph for each connection.
func (l *wireLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var paragraphs []string
	for _, c := range l.conns {
		paragraphs = append(paragraphs, strings.Join(c.lines, "\n")+"\n")
	}
	return strings.Join(paragraphs, "\n")
}

// compare compares the log with the file of a scenario, where the tests of our client find it, or writes that.
func (l *wireLog) compare(t *testing.T, file string, update bool) {
	t.Helper()
	got := l.String()
	if update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The server waits a moment for an answer to its close frame. On a busy machine one may come later, and is not seen.
	if diff := cmp.Diff(withoutAnswers(string(want)), withoutAnswers(got)); diff != "" {
		t.Errorf("%s (-) and what is on the wire (+) differ; -update writes it:\n%s", file, diff)
	}
}

func withoutAnswers(wire string) string {
	var lines []string
	for line := range strings.Lines(wire) {
		if !strings.HasSuffix(line, answered+"\n") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// TestJavaScriptTranscript compares what the installed client put on the wire with what was recorded on a real Phoenix.
func TestJavaScriptTranscript(t *testing.T) {
	var want []string
	for _, r := range readRecording(t, transcripts+"/clients/phoenix-js-1.8.16.ndjson") {
		switch {
		case r.Dir != "client":
		case r.Type == "http":
			m, header := parseHTTP(r.Data), http.Header{}
			for name, value := range m.Headers {
				header.Set(name, value)
			}
			header.Del("Host") // net/http keeps it elsewhere
			want = append(want, requestLines(m.Method, m.Path, header)...)
		case r.Type == "text":
			want = append(want, "text "+r.text())
		case r.Type == "close":
			want = append(want, closeLine(r.payload()))
		}
	}
	file := filepath.Join(phoenixJS, "wire", "recorded.txt")
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")); diff != "" {
		t.Errorf("the recording (-) and %s (+) differ:\n%s", file, diff)
	}
}
