//go:build e2e

package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in e2eDir run the binary against testdata/phoenix_app, a real Phoenix server. scripts/e2e says what the
// environment tells them.

const e2eDir = "testdata/e2e"

// vsns are the wire formats that every script is run in. The query of the socket's URI chooses: the scripts need not.
var vsns = map[string]string{"vsn2": "", "vsn1": "?vsn=1.0.0"}

func TestE2E(t *testing.T) {
	needBinary(t)
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
	for name, query := range vsns {
		t.Run(name, func(t *testing.T) {
			e := &e2e{about: about, vsn: name, query: query}
			commands := maps.Clone(scriptCommands)
			commands["post"] = positive(cmdPost)
			commands["phoenix"] = positive(e.cmdPhoenix)
			testscript.Run(t, testscript.Params{
				Dir:                 e2eDir,
				Setup:               func(env *testscript.Env) error { return e.setUp(env, uri) },
				Condition:           e.condition,
				Cmds:                commands,
				RequireUniqueNames:  true,
				RequireExplicitExec: true,
			})
		})
	}
}

// An e2e is what the scripts of one wire format have in common.
type e2e struct {
	about      map[string]string
	vsn, query string
}

// setUp tells a script where the sockets are. ID is a word that no other script has, nor this one in another run: for topics
// and users.
func (e *e2e) setUp(env *testscript.Env, uri string) error {
	if err := setUpScript(env); err != nil {
		return err
	}
	for name, value := range e.addresses(uri) {
		env.Setenv(name, value)
	}
	env.Setenv("ID", strings.Join([]string{filepath.Base(env.WorkDir), e.vsn, filepath.Base(binDir)}, "-"))
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
