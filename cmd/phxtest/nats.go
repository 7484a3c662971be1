//go:build unix

package phxtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// A NATSServer is a nats-server with JetStream, as a process of its own.
type NATSServer struct {
	// URL is where it listens: the same after each start.
	URL string

	config, base string
	cmd          *exec.Cmd
	log          *Watched
	ended        chan struct{}
}

// StartNATS starts a server that keeps what it has in dir. config is added to its configuration,
// in the language of nats-server.
func StartNATS(ctx context.Context, dir, config string) (*NATSServer, error) {
	servers, err := startNATS(ctx, dir, config, 1)
	if err != nil {
		return nil, err
	}
	return servers[0], nil
}

// StartNATSCluster is StartNATS for three servers that are a cluster.
func StartNATSCluster(ctx context.Context, dir, config string) ([]*NATSServer, error) {
	return startNATS(ctx, dir, config, 3)
}

func startNATS(ctx context.Context, dir, config string, n int) ([]*NATSServer, error) {
	clients, err := freePorts(2 * n)
	if err != nil {
		return nil, err
	}
	clients, routes := clients[:n], clients[n:]
	var list []string
	for _, route := range routes {
		list = append(list, "nats-route://"+route)
	}
	var servers []*NATSServer
	for i, address := range clients {
		name := fmt.Sprint("server", i+1)
		base := fmt.Sprintf("server_name: %s\nlisten: %q\njetstream: {store_dir: %q}\n", name, address, filepath.Join(dir, name))
		if n > 1 {
			base += fmt.Sprintf("cluster: {name: test, listen: %q, routes: [%s]}\n", routes[i], strings.Join(list, ", "))
		}
		s := &NATSServer{URL: "nats://" + address, config: filepath.Join(dir, name+".conf"), base: base}
		if err := s.Configure(config); err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	for _, s := range servers {
		if err := s.Start(ctx); err != nil {
			for _, s := range servers {
				s.Kill()
			}
			return nil, err
		}
	}
	return servers, nil
}

// cmdNATS starts a nats-server with JetStream, at $NATS_URL, with what a file adds to its configuration:
//
//	nats [FILE]
//	nats kill|start
//
// kill kills it, and start starts it again, at the same address. A script with it is left out by -short: see natsServerBinary.
func cmdNATS(ts *testscript.TestScript, args []string) {
	// It is built first: that takes longer than anything that a script waits for.
	_, err := natsServerBinary()
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	s := sceneOf(ts)
	switch strings.Join(args, " ") {
	case "kill":
		s.servers.nats.Kill()
		return
	case "start":
		ts.Check(s.servers.nats.Start(ctx))
		return
	}
	config := ""
	if len(args) > 0 {
		config = os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	}
	dir := ts.MkAbs("nats-server")
	ts.Check(os.MkdirAll(dir, 0o700))
	server, err := StartNATS(ctx, dir, config)
	ts.Check(err)
	s.servers.nats = server
	s.servers.closers = append(s.servers.closers, server.Kill)
	ts.Setenv("NATS_URL", server.URL)
}

// freePorts returns addresses of loopback at which nobody listens.
func freePorts(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all are chosen, so that they are different
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// Configure replaces what was added to the configuration. It holds from the next start on.
func (s *NATSServer) Configure(config string) error {
	return os.WriteFile(s.config, []byte(s.base+config+"\n"), 0o600)
}

// Start starts the server, again if it was killed, and waits until it is ready.
func (s *NATSServer) Start(ctx context.Context) error {
	binary, err := natsServerBinary()
	if err != nil {
		return err
	}
	s.cmd, s.log, s.ended = exec.Command(binary, "-c", s.config), &Watched{}, make(chan struct{})
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func(cmd *exec.Cmd, log *Watched, ended chan struct{}) {
		_ = cmd.Wait() // how it ended is no question here
		log.End()
		close(ended)
	}(s.cmd, s.log, s.ended)
	if _, ok := s.log.Await(ctx, natsReady); !ok {
		s.Kill()
		return fmt.Errorf("nats-server is not ready:\n%s", s.log)
	}
	return nil
}

var natsReady = regexp.MustCompile(`Server is ready`)

// Log is what the server has written since its last start.
func (s *NATSServer) Log() *Watched { return s.log }

// Kill kills the server, as by kill -9, and waits for its end.
func (s *NATSServer) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // else it has ended
	<-s.ended
}

// Signal sends the server a process signal.
func (s *NATSServer) Signal(sig os.Signal) error { return s.cmd.Process.Signal(sig) }

// natsServerBinary builds nats-server from the module in testdata/nats, which has it as a tool so
// that go.sum of phx stays small. It is kept, by the version, in the user's cache directory: to
// build it takes minutes.
var natsServerBinary = sync.OnceValues(func() (string, error) {
	gomod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	module := filepath.Join(filepath.Dir(strings.TrimSpace(string(gomod))), "testdata", "nats")
	sums, err := os.ReadFile(filepath.Join(module, "go.sum"))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "phx-tests")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	hash := sha256.Sum256(sums)
	target := filepath.Join(dir, "nats-server-"+hex.EncodeToString(hash[:8]))
	lock, err := os.OpenFile(target+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // which releases the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	build := exec.Command("go", "build", "-o", target+".new", "github.com/nats-io/nats-server/v2")
	build.Dir = module
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build nats-server: %w\n%s", err, output)
	}
	return target, os.Rename(target+".new", target)
})
