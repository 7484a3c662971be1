//go:build e2e

package systemtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"phx/cmd/phxtest"
)

// The scripts in e2eDir run the binary against testdata/phoenix_app, a real Phoenix server. scripts/e2e says what the
// environment tells them.

const e2eDir = root + "/testdata/e2e"

// vsns are the wire formats that every script is run in, and transports the transports. The query of the socket's URI chooses the one, and the
// environment the other: the scripts need not.
var (
	vsns       = map[string]string{"vsn2": "", "vsn1": "?vsn=1.0.0"}
	transports = []string{"websocket", "longpoll"}
)

func TestE2E(t *testing.T) {
	uri := os.Getenv("PHX_E2E_URI")
	if uri == "" {
		server, err := startPhoenix("0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			server.kill()
			if t.Failed() {
				t.Logf("the server said:\n%s", &server.stdout)
			}
		})
		uri = server.uri
	}
	about, err := askHealth(uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the server: Phoenix %s on %s (Bandit %s, Cowboy %s), Elixir %s, OTP %s",
		about["phoenix"], about["adapter"], about["bandit"], about["cowboy"], about["elixir"], about["otp"])
	for _, transport := range strings.Fields(cmp.Or(os.Getenv("PHX_E2E_TRANSPORTS"), strings.Join(transports, " "))) {
		t.Run(transport, func(t *testing.T) { testE2E(t, uri, about, transport) })
	}
}

// testE2E runs the scripts by one transport.
func testE2E(t *testing.T, uri string, about map[string]string, transport string) {
	for name, query := range vsns {
		t.Run(name, func(t *testing.T) {
			e := &e2e{about: about, vsn: name, query: query, transport: transport, run: filepath.Base(filepath.Dir(binary(t)))}
			params, err := phxtest.Params(e2eDir)
			if err != nil {
				t.Fatal(err)
			}
			setUp := params.Setup
			params.Setup = func(env *testscript.Env) error { return errors.Join(setUp(env), e.setUp(env, uri)) }
			params.Condition = e.condition
			params.Cmds["post"] = phxtest.Positive(cmdPost)
			params.Cmds["phoenix"] = phxtest.Positive(e.cmdPhoenix)
			testscript.Run(t, params)
		})
	}
}

// An e2e is what the scripts of one wire format have in common.
type e2e struct {
	about      map[string]string
	vsn, query string
	transport  string
	run        string // another word in each run of the tests
}

// setUp tells a script where the sockets are. ID is a word that no other script has, nor this one in another run: for topics
// and users.
func (e *e2e) setUp(env *testscript.Env, uri string) error {
	for name, value := range e.addresses(uri) {
		env.Setenv(name, value)
	}
	env.Setenv("ID", strings.Join([]string{filepath.Base(env.WorkDir), e.vsn, e.transport, e.run}, "-"))
	env.Setenv("PHX_TRANSPORT", e.transport)
	env.Setenv("NL", "\n")
	own := &ownPhoenix{}
	env.Values[ownPhoenixKey{}] = own
	env.Defer(own.close)
	return nil
}

// addresses are the variables that depend on the server: its sockets, see testdata/phoenix_app, and where post goes.
func (e *e2e) addresses(uri string) map[string]string {
	base := strings.TrimSuffix(uri, "/socket")
	return map[string]string{
		"PHX_URI":   base + "/socket" + e.query,
		"PLAIN_URI": base + "/plain" + e.query,
		"IDLE_URI":  base + "/idle" + e.query,
		"HTTP":      httpOf(base),
	}
}

func httpOf(uri string) string { return "http" + strings.TrimPrefix(uri, "ws") }

// condition knows the wire format, the web server, and whether scripts can have a server of their own.
func (e *e2e) condition(name string) (bool, error) {
	switch name {
	case "vsn1":
		return e.vsn == name, nil
	case "longpoll":
		return e.transport == name, nil
	case "own":
		return os.Getenv("PHX_E2E_START") != "", nil
	case "bandit", "cowboy":
		return e.about["adapter"] == name, nil
	}
	return false, fmt.Errorf("there is no condition %s", name)
}

// askHealth returns the versions of the server.
func askHealth(uri string) (about map[string]string, err error) {
	base, isSocket := strings.CutSuffix(uri, "/socket")
	if !isSocket {
		return nil, fmt.Errorf("%s is not the address of the socket at /socket", uri)
	}
	response, err := http.Get(httpOf(base) + "/health")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&about); err != nil {
		return nil, fmt.Errorf("/health, which testdata/phoenix_app has: %s, %w", response.Status, err)
	}
	return about, nil
}

// cmdPost has the server do something that no client asks for:
//
//	post /broadcast|/disconnect JSON
func cmdPost(ts *testscript.TestScript, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: post PATH JSON")
	}
	response, err := http.Post(ts.Getenv("HTTP")+args[0], "application/json", bytes.NewBufferString(args[1]))
	ts.Check(err)
	ts.Check(response.Body.Close())
	if response.StatusCode != http.StatusOK {
		ts.Fatalf("the server answered %s", response.Status)
	}
}

// startPatience is how long a server may take to be ready: the first time it is compiled, with all of Phoenix.
const startPatience = 10 * time.Minute

// A phoenixServer is a process of testdata/phoenix_app.
type phoenixServer struct {
	cmd    *exec.Cmd
	uri    string
	stdout phxtest.Watched
	ended  chan struct{}
}

var readyPattern = regexp.MustCompile(`(?m)^ready (ws://\S+)$`)

// startPhoenix starts the server with PHX_E2E_START, and returns when it is ready. Port "0" is a free one.
func startPhoenix(port string) (*phoenixServer, error) {
	start := os.Getenv("PHX_E2E_START")
	if start == "" {
		return nil, errors.New("neither PHX_E2E_URI nor PHX_E2E_START is set; see scripts/e2e")
	}
	s := &phoenixServer{cmd: exec.Command("sh", "-c", start), ended: make(chan struct{})}
	s.cmd.Dir = root + "/testdata/phoenix_app"
	s.cmd.Env = append(os.Environ(), "PORT="+port)
	// Signals are for the server, whatever has started it.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, stdoutW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stdout, s.cmd.Stderr = stdoutW, stdoutW
	err = s.cmd.Start()
	stdoutW.Close()
	if err != nil {
		stdout.Close()
		return nil, err
	}
	go func() {
		// The shell may be gone while the server that it has started still has something to say.
		s.stdout.ReadAll(stdout)
		_ = s.cmd.Wait() // it is asked to end, and how it does is its own affair
		close(s.ended)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	match, ready := s.stdout.Await(ctx, readyPattern)
	if !ready {
		s.kill()
		return nil, fmt.Errorf("the server did not get ready: %s\n%s", start, &s.stdout)
	}
	s.uri = match[1]
	return s, nil
}

// port is where the server listens.
func (s *phoenixServer) port() string {
	u, err := url.Parse(s.uri)
	if err != nil {
		return "0"
	}
	return u.Port()
}

// end sends a signal, and waits until the server is gone.
func (s *phoenixServer) end(sig syscall.Signal) error {
	if err := syscall.Kill(-s.cmd.Process.Pid, sig); err != nil {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(phxtest.Patience):
		return fmt.Errorf("the server survived %v", sig)
	}
}

func (s *phoenixServer) kill() {
	_ = s.end(syscall.SIGKILL) // it fails when there is no process any more
}

// An ownPhoenix is the server of one script, which may end without harm to the others.
type ownPhoenix struct {
	server *phoenixServer
	// port stays the same, so that clients find the next server where the last one was.
	port string
}

type ownPhoenixKey struct{}

func (o *ownPhoenix) close() {
	if o.server != nil {
		o.server.kill()
	}
}

// cmdPhoenix plays with a server of the script's own:
//
//	phoenix start|stop|kill
//
// After start, the addresses are those of that server. stop is what a deployment does.
func (e *e2e) cmdPhoenix(ts *testscript.TestScript, args []string) {
	own := ts.Value(ownPhoenixKey{}).(*ownPhoenix)
	switch {
	case len(args) == 1 && args[0] == "start" && own.server == nil:
		own.start(ts)
		for name, value := range e.addresses(own.server.uri) {
			ts.Setenv(name, value)
		}
	case len(args) == 1 && args[0] == "stop" && own.server != nil:
		own.end(ts, syscall.SIGTERM)
	case len(args) == 1 && args[0] == "kill" && own.server != nil:
		own.end(ts, syscall.SIGKILL)
	default:
		ts.Fatalf("usage: phoenix start; then phoenix stop|kill")
	}
}

func (o *ownPhoenix) start(ts *testscript.TestScript) {
	port := o.port
	if port == "" {
		port = "0"
	}
	server, err := startPhoenix(port)
	ts.Check(err)
	o.server, o.port = server, server.port()
}

func (o *ownPhoenix) end(ts *testscript.TestScript, sig syscall.Signal) {
	server := o.server
	o.server = nil
	ts.Check(server.end(sig))
}
