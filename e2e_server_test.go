//go:build e2e

package main_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// startPatience is how long a server may take to be ready: the first time it is compiled, with all of Phoenix.
const startPatience = 10 * time.Minute

// A phoenixServer is a process of testdata/phoenix_app.
type phoenixServer struct {
	cmd    *exec.Cmd
	uri    string
	stdout watched
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
	s.cmd.Dir = "testdata/phoenix_app"
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
		s.stdout.readAll(stdout)
		_ = s.cmd.Wait() // it is asked to end, and how it does is its own affair
		close(s.ended)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	match, ready := s.stdout.await(ctx, readyPattern)
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
	case <-time.After(patience):
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
