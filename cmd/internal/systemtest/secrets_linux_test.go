package systemtest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"phx/cmd/phxtest"
)

// These tests give phx a secret at each place that takes one, in each way, have everything fail that can with a server that repeats what it
// was sent, and look for the secrets in all that comes out of phx.

// secretSlots are the places that take a secret. The value of each has a part of its own that is found nowhere else, and what is written
// differently in a URL, in JSON and in HTML.
var secretSlots = map[string]string{
	"token":      "tk7Wq9Zx2Rb/+=~",
	"header":     `hd5Vn3Kc8Ty"<&%`,
	"cookie":     "ck4Mz6Pd1Lw/+%",
	"param":      `pm8Gf2Xh7Js"&+é`,
	"query":      "qu3Bv9Nt5Ky+/é",
	"user":       "us6Rj4Cm8Wd:%",
	"password":   "pw2Hx7Qs9Vg@/é",
	"join":       `jn9Tb5Zk3Fm"<é`,
	"join_deep":  `jd4Yc8Wp6Dn\&`,
	"secret":     `sp7Ls3Gv5Xr"+é`,
	"on_join":    `oj7Rd2Pz5Cf"+é`,
	"arg":        `ag4Jt8Vw2Qe"+&`,
	"argjson":    `aj6Ns3Hk9Xb<"é`,
	"hook_pass":  "hp5Kw9Bd2Jt&/",
	"hook_query": "hq8Nf4Rz7Cx+",
	"hook_head":  `hh3Pv6Ms9Qy"=`,
	"hook_sign":  "hs6Xj2Tg8Lb/+",
	"nats_pass":  "np4Hd8Kw6Vz&/",
	"nats_token": "nt7Rb3Xq9Jc/+",
	"nats_pw":    "nw2Ls6Gt8Yf&+",
	"proxy_user": "px9Dq5Vh4Zn%",
	"proxy_pass": "pp4Wk8Yc3Gs@&",
}

// forms are what a server may make of what it was sent.
var forms = map[string]func(string) string{
	"plain":   func(s string) string { return s },
	"query":   url.QueryEscape,
	"path":    url.PathEscape,
	"hex":     func(s string) string { return hex.EncodeToString([]byte(s)) },
	"base64":  func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"inside":  func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte("x" + s + "yz")) },
	"further": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("xy" + s + "z")) },
	"JSON":    func(s string) string { quoted, _ := json.Marshal(s); return string(quoted[1 : len(quoted)-1]) },
	"Go":      func(s string) string { return strings.Trim(strconv.QuoteToASCII(s), `"`) },
}

// leaksIn returns which secrets are in text, and how.
func leaksIn(text string) []string {
	var found []string
	folded := strings.ToLower(text)
	for slot, value := range secretSlots {
		if strings.Contains(text, value[:11]) { // the part that no escape changes
			found = append(found, slot)
		}
		for name, form := range forms {
			written := strings.TrimRight(form(value), "=")
			switch name { // the characters at the ends have bits of what is beside it
			case "inside":
				written = written[2 : len(written)-4]
			case "further":
				written = written[3 : len(written)-3]
			case "hex":
				written = strings.ToLower(written)
			}
			if strings.Contains(text, written) || name == "hex" && strings.Contains(folded, written) {
				found = append(found, slot+" as "+name)
			}
		}
	}
	slices.Sort(found)
	return found
}

// TestLeaksIn looks for a secret with the eyes of the tests below.
func TestLeaksIn(t *testing.T) {
	if found := leaksIn(`{"token":"...","n":1000} ws://host/socket/websocket`); found != nil {
		t.Errorf("nothing leaks, and %v is found", found)
	}
	for slot, value := range secretSlots {
		for name, form := range forms {
			text := "a" + form(value) + "b"
			if name == "inside" || name == "further" {
				text = form(value)
			}
			if found := leaksIn(text); len(found) == 0 {
				t.Errorf("%s as %s is not found in %s", slot, name, text)
			}
		}
	}
}

// noLeak fails the test for each secret in what somebody got.
func noLeak(t *testing.T, what, text string) {
	t.Helper()
	if found := leaksIn(text); found != nil {
		t.Errorf("%s has secrets: %s\n%s", what, strings.Join(found, ", "), text)
	}
}

// A given is a directory with the secrets in files, and an environment with them.
type given struct {
	t       *testing.T
	dir     string
	environ []string
	// openArgs says that arguments are secrets, which no program can keep out of its command line.
	openArgs bool
	// onJoin says that the config has on_join.
	onJoin bool
}

// newGiven gives the secrets. In uri, the two %s are where the userinfo and the value of a query go; proxy is the address of one, if there is.
func newGiven(t *testing.T, uri, proxy string) *given {
	t.Helper()
	g := &given{t: t, dir: t.TempDir()}
	login := url.UserPassword(secretSlots["user"], secretSlots["password"]).String()
	g.environ = []string{
		phxtest.RaceOptions, "PATH=" + os.Getenv("PATH"), "HOME=" + g.dir, "XDG_RUNTIME_DIR=" + g.dir,
		"PHX_URI=" + fmt.Sprintf(uri, login, url.QueryEscape(secretSlots["query"])),
	}
	if proxy != "" {
		g.environ = append(g.environ, "GIVEN_PROXY="+g.proxy(proxy))
	}
	for slot, value := range secretSlots {
		g.write(slot, value)
	}
	return g
}

// proxy is the URL of a proxy at that address.
func (g *given) proxy(address string) string {
	return "http://" + url.UserPassword(secretSlots["proxy_user"], secretSlots["proxy_pass"]).String() + "@" + address
}

// variable is the name of the environment variable of a slot.
func variable(slot string) string { return "GIVEN_" + strings.ToUpper(slot) }

func (g *given) path(name string) string { return filepath.Join(g.dir, name) }

func (g *given) write(name, text string) string {
	g.t.Helper()
	if err := os.WriteFile(g.path(name), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return g.path(name)
}

// left is what phx has written: every file that is none of the given ones, its name first.
func (g *given) left() string {
	var text strings.Builder
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, entry := range entries {
		if _, ours := secretSlots[entry.Name()]; ours || !entry.Type().IsRegular() || strings.HasSuffix(entry.Name(), ".given") {
			continue
		}
		data, err := os.ReadFile(g.path(entry.Name()))
		if err == nil { // else it is gone meanwhile
			fmt.Fprintf(&text, "%s:\n%s\n", entry.Name(), data)
		}
	}
	return text.String()
}

// A phxRun is a phx that runs.
type phxRun struct {
	cmd            *exec.Cmd
	stdout, stderr phxtest.Watched
	ended          chan struct{}
}

// start starts phx, and looks at its command line.
func (g *given) start(args ...string) *phxRun {
	g.t.Helper()
	p := &phxRun{cmd: exec.Command(binary(g.t), args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = g.dir, g.environ, &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // it has ended, mostly
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
	if err != nil {
		g.t.Error(err)
	}
	if !g.openArgs {
		noLeak(g.t, "/proc/PID/cmdline", string(line))
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is no question here
		p.stdout.End()
		p.stderr.End()
		close(p.ended)
	}()
	return p
}

// await waits for something on stderr.
func (p *phxRun) await(t *testing.T, expr string) {
	t.Helper()
	if _, ok := p.stderr.Await(t.Context(), regexp.MustCompile(expr)); !ok {
		t.Errorf("the log does not tell of %q:\n%s", expr, p.stderr.String())
	}
}

// check waits for the end, and looks at all that came out.
func (p *phxRun) check(t *testing.T) {
	t.Helper()
	awaitEnd(t, p.ended)
	noLeak(t, "stderr", p.stderr.String())
	noLeak(t, "stdout", withoutData(p.stdout.String()))
}

// payloads are the data of messages and replies: they are the server's, and printed as they are.
var payloads = regexp.MustCompile(`(?m)^(.*"type":"phoenix\.push\.reply".*"payload":)\{.*\}(,"latency_ms".*)$`)

func withoutData(lines string) string { return payloads.ReplaceAllString(lines, "$1{}$2") }

// run runs phx to its end, looks at what came out, and returns stdout and stderr.
func (g *given) run(args ...string) string {
	g.t.Helper()
	p := g.start(args...)
	p.check(g.t)
	return p.stdout.String() + p.stderr.String()
}

// TestNoSecretComesOut has commands fail in all ways, with secrets from the environment and from files.
func TestNoSecretComesOut(t *testing.T) {
	for _, f := range failings {
		for _, format := range []string{"text", "json"} {
			t.Run(f.name+", "+format, func(t *testing.T) {
				t.Parallel()
				uri, proxy := f.start(t, "join", "join_deep")
				g := newGiven(t, uri, proxy)
				g.environ = append(g.environ, "PHX_AUTH_TOKEN="+secretSlots["token"])
				if proxy != "" {
					g.environ = append(g.environ, "HTTP_PROXY="+g.proxy(proxy))
				}
				args := append(slices.Clone(f.args), "-v", "--trace", "--log-format", format, "-H", "X-Key: @"+g.path("header"),
					"-H", "Cookie: @"+g.path("cookie"), "--param", "p=@"+g.path("param"))
				if f.args[0] != "connect" {
					args = append(args, "--join-params", "@"+g.write("join.given", `{"k":`+quote(secretSlots["join"])+`,"deep":[{"k":`+quote(secretSlots["join_deep"])+`}]}`))
				}
				if f.onJoin {
					args = append(args, "--on-join", "sync @"+g.write("on_join.given", `{"k":`+quote(secretSlots["on_join"])+`}`))
				}
				if f.args[0] == "listen" {
					args = append(args, "--resume", "since=.data.payload.id", "--resume-file", g.path("cursors"), "--ready-file", g.path("ready"))
				}
				p := g.start(args...)
				p.check(t)
				noLeak(t, "what is left", withoutData(g.left()))
				p.await(t, f.want)
			})
		}
	}
}

// inEnviron puts a secret into the environment, and returns the name of its variable.
func (g *given) inEnviron(slot string) string {
	g.environ = append(g.environ, variable(slot)+"="+secretSlots[slot])
	return variable(slot)
}

// secretWays are how a config file names a secret.
var secretWays = map[string]func(g *given, slot string) string{
	"variable": func(g *given, slot string) string { return `"${` + g.inEnviron(slot) + `}"` },
	"env":      func(g *given, slot string) string { return `{env: ` + g.inEnviron(slot) + `}` },
	"file":     func(g *given, slot string) string { return `{file: ` + quote(g.path(slot)) + `}` },
	"command":  func(g *given, slot string) string { return `{command: [cat, ` + quote(g.path(slot)) + `]}` },
}

// config writes a config file with all secrets, each named in that way. A URL has its own only by variables.
func (g *given) config(way, hook string) string {
	login := url.UserPassword("me", secretSlots["hook_pass"]).String()
	g.environ = append(g.environ, "GIVEN_HOOK="+strings.Replace(hook, "://", "://"+login+"@", 1)+"/?key="+url.QueryEscape(secretSlots["hook_query"]))
	from := func(slot string) string { return secretWays[way](g, slot) }
	onJoin := "[]"
	if g.onJoin {
		onJoin = `[{event: sync, payload: {k: "${` + g.inEnviron("on_join") + `}"}}]`
	}
	through := ""
	if strings.Contains(strings.Join(g.environ, "\n"), "GIVEN_PROXY=") {
		through = `    proxy: "${GIVEN_PROXY}"` + "\n"
	}
	return g.write("phx.yaml", `
connections:
  a:
    uri: "${PHX_URI}"
    auth_token: `+from("token")+`
    headers: {X-Key: `+from("header")+`, Cookie: `+from("cookie")+`}
    params: {p: `+from("param")+`}
    auto_join_channels:
      - topic: room:a
        params: {k: "${`+g.inEnviron("join")+`}", deep: [{k: "${`+g.inEnviron("join_deep")+`}"}]}
        secret_params: {s: `+from("secret")+`}
        resume: {since: .data.payload.id}
        on_join: `+onJoin+`
`+through+`    reconnect_after_msec: [1]
    rejoin_after_msec: [1]
    max_retries: 20
    connect_timeout_msec: 500
sinks:
  child: {exec: {command: [sh, -c, 'env > child.environ; exec cat > child.input']}}
  hook: {webhook: {url: "${GIVEN_HOOK}", headers: {X-Key: `+from("hook_head")+`}, secret: `+from("hook_sign")+`, max_retries: 1}}
routes: [{to: [stdout, child, hook]}]
state_dir: state
control: {socket: control.sock}
http: {listen: 127.0.0.1:0}
`)
}

// startHook starts a receiver that refuses every event by repeating the request, and fails the test for a secret in a body.
func startHook(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, _ := httputil.DumpRequest(r, false)
		body, _ := io.ReadAll(r.Body)
		noLeak(t, "the body of a webhook", withoutData(string(body)))
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(everything("hook_pass", "hook_query", "hook_head", "hook_sign") + string(request)))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestNoSecretComesOutOfServe has the connection of serve fail in all ways, with secrets from all that a config file can name.
func TestNoSecretComesOutOfServe(t *testing.T) {
	for i, f := range failings {
		if f.uri != "" || f.args[0] != "listen" {
			continue // a command of its own, or an error before anything begins
		}
		for j, way := range slices.Sorted(maps.Keys(secretWays)) {
			if testing.Short() && i%len(secretWays) != j {
				continue // make full runs each failure in each way
			}
			t.Run(f.name+", "+way, func(t *testing.T) {
				t.Parallel()
				uri, proxy := f.start(t, "join", "join_deep", "secret")
				g := newGiven(t, uri, proxy)
				g.onJoin = f.onJoin
				p := g.start("serve", "-f", g.config(way, startHook(t)), "-v", "--trace")
				p.await(t, f.want)
				if f.session != nil {
					sendSignal(t, p.cmd, syscall.SIGTERM)
				}
				p.check(t)
				noLeak(t, "what is left", withoutData(g.left()))
			})
		}
	}
}

// TestNoSecretComesOutOfControl asks a serve that is well for all that it tells, has its calls fail, and its process die.
func TestNoSecretComesOutOfControl(t *testing.T) {
	for way := range secretWays {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			f := &failing{session: friend}
			uri, _ := f.start(t, "join", "join_deep")
			g := newGiven(t, uri, "")
			config := g.config(way, startHook(t))
			g.environ = append(g.environ, "PHX_CONTROL="+g.path("control.sock"))
			p := g.start("serve", "-f", config, "-v", "--trace", "--ready-file", g.path("ready"))
			p.await(t, `phx: \S+ ready|phx: ready`)
			expect := func(want string, args ...string) {
				t.Helper()
				if got := g.run(args...); !regexp.MustCompile(want).MatchString(got) {
					t.Errorf("phx %s: no %q in %s", strings.Join(args, " "), want, got)
				}
			}
			expect(`room:a`, "ctl", "list")
			expect(`"connected"`, "ctl", "status", "a")
			expect(`with status`, "ctl", "push", "a", "room:a", "fail", "{}")
			params := g.write("params.given", `{"k":`+quote(secretSlots["join"])+`,"deep":`+quote(secretSlots["join_deep"])+`}`)
			expect(`join`, "ctl", "join", "a", "room:refused", "--params", "@"+params)
			expect(`joined`, "ctl", "join", "a", "room:late", "--params", "@"+params)
			expect(`left`, "ctl", "leave", "a", "room:late")
			expect(`left`, "ctl", "leave", "a", "room:a")
			expect(`joined`, "ctl", "join", "a", "room:other") // before which the params of both come once more
			expect(`backend|a:`, "config", "show", "-f", config)
			expect(`a`, "config", "show", "-f", config, "--json")
			metrics := regexp.MustCompile(`at=(\S+)`).FindStringSubmatch(p.stderr.String())
			if metrics == nil {
				t.Fatal("no address of the metrics")
			}
			for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
				noLeak(t, path, get(t, metrics[1]+path))
			}
			if way != "variable" && way != "env" { // what is broken below has them, serve and its children do not
				for _, slot := range []string{"token", "param", "header", "hook_sign"} {
					g.inEnviron(slot)
				}
			}
			for name, broken := range brokenConfigs {
				text, err := os.ReadFile(config)
				if err != nil {
					t.Fatal(err)
				}
				g.write("phx.yaml", strings.Replace(string(text), broken.old, broken.new, 1))
				if got := g.run("ctl", "reload"); !strings.Contains(got, "phx.yaml:") {
					t.Errorf("%s: %s", name, got)
				}
				g.run("config", "validate", "-f", config)
				g.run("connect", "-f", config, "-n", "a")
				g.write("phx.yaml", string(text))
			}
			noLeak(t, "what is there", withoutData(g.left()))
			sendSignal(t, p.cmd, syscall.SIGQUIT) // the Go runtime prints what every goroutine does, as for a panic
			p.check(t)
			p.await(t, "goroutine 1 ")
			if !strings.Contains(g.left(), "PATH=") {
				t.Error("the sink's program has no environment")
			}
		})
	}
}

// TestNoValueOfAVariableComesOut has every expression of a command fail on values of --arg and --argjson.
func TestNoValueOfAVariableComesOut(t *testing.T) {
	uri, _ := (&failing{session: friend}).start(t)
	for _, format := range []string{"text", "json"} {
		g := newGiven(t, uri, "")
		g.openArgs = true
		variables := []string{
			"--arg", "a", secretSlots["arg"], "--argjson", "j", `{"deep":[` + quote(secretSlots["argjson"]) + `]}`, "-v", "--log-format", format,
		}
		expect := func(want string, args ...string) {
			t.Helper()
			if got := g.run(append(args, variables...)...); !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("phx %s: no %q in %s", args, want, got)
			}
		}
		for _, expr := range []string{
			"error($a)", "error($j)", "$a.x", "$j.deep[0].x", "$a | tonumber", "$j | tojson | error", "{($a): 1} | .[0]", "[$a, $j] | implode",
			`"in \($a | @base64) and \($j.deep[0] | @uri)" | error`, "$ARGS.named | error", "$a | fromjson", "$a | test($j.deep[0] + \"(\")",
		} {
			expect("--jq failed on a record", "push", "room:a", "ev", "{}", "--trace", "-q", expr)
			expect("(?s)(--until failed.*--fail-on|--fail-on failed.*--until) failed", "listen", "room:a", "--lifecycle", "--until", expr, "--fail-on", expr, "--duration", "10ms")
		}
		for _, expr := range []string{"$a |", "$a | $nobody", "nofunction($j)", `$a as {"`} {
			expect("does not compile", "push", "room:a", "ev", "{}", "-q", expr)
			expect("does not compile", "ctl", "listen", "--where", expr)
		}
		// What serve logs of the expression of a subscription.
		p := g.start("serve", "-f", g.write("phx.yaml", "connections: {a: {uri: '${PHX_URI}', auto_join_channels: ['room:a']}}\ncontrol: {socket: control.sock}\nroutes: [{to: discard}]\n"), "-v")
		p.await(t, `phx: \S+ ready`)
		g.environ = append(g.environ, "PHX_CONTROL="+g.path("control.sock"))
		args := append([]string{"ctl", "listen", "--where", "error($a)", "--on-ready", binary(t) + " ctl push a room:a ev '{}'"}, variables...)
		subscriber := g.start(args...)
		p.await(t, "cannot tell whether a signal satisfies where")
		sendSignal(t, subscriber.cmd, syscall.SIGTERM)
		subscriber.check(t)
		sendSignal(t, p.cmd, syscall.SIGTERM)
		p.check(t)
	}
}

func get(t *testing.T, address string) string {
	t.Helper()
	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// brokenConfigs are what may be wrong in a config file beside a secret, or with one. Names, topics and patterns are for everybody to see.
var brokenConfigs = map[string]struct{ old, new string }{
	"a number":        {"max_retries: 20", `max_retries: "${` + variable("param") + `}"`},
	"times":           {"reconnect_after_msec: [1]", `reconnect_after_msec: ["${` + variable("param") + `}"]`},
	"a key":           {"max_retries: 20", `max_retries_: "${` + variable("param") + `}"`},
	"a choice":        {"max_retries: 20", `vsn: "${` + variable("token") + `}"`},
	"a bool":          {"max_retries: 20", `required: "${` + variable("token") + `}"`},
	"a URI":           {`uri: "${PHX_URI}"`, `uri: "${` + variable("token") + `}"`},
	"another scheme":  {`uri: "${PHX_URI}"`, `uri: "ftp://me:${` + variable("token") + `}@host/"`},
	"a list":          {"max_retries: 20", `tls: ["${` + variable("param") + `}"]`},
	"a line break":    {"headers: {", `headers: {X-Broken: "${` + variable("header") + `}\n1", `},
	"a secret's form": {"headers: {", `headers: {X-Broken: {file: ["${` + variable("header") + `}"]}, `},
	"YAML":            {"max_retries: 20", "max_retries: 20\n   x: [" + secretSlots["token"]},
	"a webhook":       {`url: "${GIVEN_HOOK}"`, `url: "${GIVEN_HOOK}", mode: "${` + variable("hook_sign") + `}"`},
	"an expression":   {"resume: {since: .data.payload.id}", `resume: {since: ".x == ${` + variable("param") + `}"}`},
}
