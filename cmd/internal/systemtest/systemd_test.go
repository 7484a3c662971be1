package systemtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"phx/cmd/phxtest"
	"phx/phoenix/phoenixtest"
)

// A serviceManager is the end of systemd that a service talks to.
type serviceManager struct {
	conn *net.UnixConn
	// missed are the messages that nobody waited for.
	missed []string
}

// await reads messages until one has the assignment.
func (m *serviceManager) await(t *testing.T, assignment string) {
	t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(phxtest.Patience)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	for {
		n, err := m.conn.Read(buffer)
		if err != nil {
			t.Fatalf("%s was not told: %v; before: %q", assignment, err, m.missed)
		}
		message := string(buffer[:n])
		for line := range strings.Lines(message) {
			if strings.TrimSpace(line) == assignment {
				return
			}
		}
		m.missed = append(m.missed, message)
	}
}

// TestServeTellsSystemd goes through the life of a service. What comes in between, the status and the watchdog's, does not matter.
func TestServeTellsSystemd(t *testing.T) {
	server := phoenixtest.NewServer(phoenixtest.Demo())
	defer server.Close()
	server.Refuse(&phoenixtest.Refusal{Status: 503})
	dir := t.TempDir()
	config := filepath.Join(dir, "phx.yaml")
	text := fmt.Sprintf(`
connections:
  a: {uri: %s, auto_join_channels: [room:x], max_retries: -1, reconnect_after_msec: [10]}
sinks:
  child: {exec: {command: [sh, -c, 'env >"$0"; exec cat >/dev/null', %s/env]}}
routes: [{to: [child]}]
control: {socket: %s/run/control.sock}
`, server.URL, dir, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	manager := &serviceManager{conn: conn}

	service := exec.Command(binary(t), "serve", "-f", config)
	service.Env = append(os.Environ(), phxtest.RaceOptions, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=200000")
	var log phxtest.Watched
	service.Stderr = &log
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = service.Wait() // how it ended is in ProcessState
		close(ended)
	}()
	defer func() {
		_ = service.Process.Kill() // it fails when there is no process any more
		<-ended
		if t.Failed() {
			t.Logf("stderr of phx serve:\n%s", log.String())
		}
	}()

	manager.await(t, "STATUS=waiting for a: connecting")
	manager.await(t, "WATCHDOG=1") // alive, and not ready
	server.Refuse(nil)
	manager.await(t, "READY=1")
	manager.await(t, "WATCHDOG=1")
	sendSignal(t, service, syscall.SIGHUP)
	manager.await(t, "RELOADING=1")
	manager.await(t, "READY=1")
	sendSignal(t, service, syscall.SIGTERM)
	manager.await(t, "STOPPING=1")
	awaitEnd(t, ended)
	if got := phxtest.EndOf(service.ProcessState); got != "0" {
		t.Errorf("phx serve ended with %s, want 0", got)
	}
	for _, message := range manager.missed {
		if !strings.HasPrefix(message, "STATUS=") && message != "WATCHDOG=1" {
			t.Errorf("told at a wrong time: %q", message)
		}
	}
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"NOTIFY_SOCKET=", "WATCHDOG_USEC="} {
		if strings.Contains(string(env), name) {
			t.Errorf("a child of phx serve has %s in its environment", name)
		}
	}
}

// TestCrashIsRestarted: a unit does not start phx again after exit code 2, a wrong configuration, which is also what the Go runtime ends with
// after a panic, and after the signal of systemd's watchdog.
func TestCrashIsRestarted(t *testing.T) {
	config := filepath.Join(t.TempDir(), "phx.yaml")
	writeFile(t, config, "connections: {a: {uri: ws://127.0.0.1:1/socket, max_retries: -1}}\ncontrol: {socket: control.sock}\n")
	service := exec.Command(binary(t), "serve", "-f", config)
	service.Env = append(os.Environ(), phxtest.RaceOptions)
	service.Dir = filepath.Dir(config) // for a core, where those are written
	var log phxtest.Watched
	service.Stderr = &log
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	defer service.Process.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	if _, ok := log.Await(ctx, regexp.MustCompile("serving control=")); !ok {
		t.Fatalf("stderr of phx serve:\n%s", log.String())
	}
	sendSignal(t, service, syscall.SIGABRT)
	_ = service.Wait() // how it ended is in ProcessState
	if got := phxtest.EndOf(service.ProcessState); got != syscall.SIGABRT.String() {
		t.Errorf("phx serve ended with %s, want %v", got, syscall.SIGABRT)
	}
	if !strings.Contains(log.String(), "goroutine ") {
		t.Errorf("no stacks are told:\n%s", log.String())
	}
}
