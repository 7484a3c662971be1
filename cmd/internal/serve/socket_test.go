package serve

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"phx/cmd/internal/exit"
)

func TestListenIsForThisUserAlone(t *testing.T) {
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for file, want := range map[string]fs.FileMode{filepath.Dir(path): fs.ModeDir | 0o700, path: fs.ModeSocket | 0o600} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
}

func TestListenWhereALivingServerIs(t *testing.T) {
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Listen(path)
	if codeOf(err) != exit.Failure || !strings.Contains(err.Error(), "another phx serve is running: it listens on "+path) {
		t.Errorf("a second one: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
	if l, err = Listen(path); err != nil {
		t.Fatalf("once it is closed: %v", err)
	}
	l.Close()
}

// TestListenWhereSomethingElseListens is about a server that knows nothing of locks.
func TestListenWhereSomethingElseListens(t *testing.T) {
	path := socketPath(t)
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := Listen(path); codeOf(err) != exit.Failure {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("its socket: %v", err)
	}
}

// leaveStale leaves the socket of a dead server at path.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestListenTakesOverTheSocketOfADeadServer(t *testing.T) {
	path := socketPath(t)
	leaveStale(t, path)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestOneOfManyStartersWins: they find a stale socket at the same time.
func TestOneOfManyStartersWins(t *testing.T) {
	path := socketPath(t)
	for range 20 {
		leaveStale(t, path)
		var group sync.WaitGroup
		won := make(chan net.Listener, 8)
		for range cap(won) {
			group.Go(func() {
				l, err := Listen(path)
				if err == nil {
					won <- l
				} else if codeOf(err) != exit.Failure || !strings.Contains(err.Error(), "another phx serve") {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if len(won) != 1 {
			t.Fatalf("%d have won", len(won))
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatalf("the winner has no socket: %v", err)
		}
		conn.Close()
		(<-won).Close()
	}
}

func TestListenRemovesOnlyItsOwnSocket(t *testing.T) {
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the other's socket: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	path := socketPath(t)
	file := filepath.Join(filepath.Dir(filepath.Dir(path)), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path, message string
		code          exit.Code
	}{
		{file, "that is no socket, and stays as it is", exit.Failure},
		{filepath.Join(file, "s"), "cannot make the directory of the control socket, " + file + ": not a directory", exit.Failure},
		{"", "is empty", exit.Usage},
		{filepath.Join(os.TempDir(), strings.Repeat("x", 120)), "bytes; the system allows", exit.Usage},
	}
	for _, tt := range tests {
		_, err := Listen(tt.path)
		if codeOf(err) != tt.code || !strings.Contains(err.Error(), tt.message) {
			t.Errorf("%s: %v, want %q and exit code %d", tt.path, err, tt.message, tt.code)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file: %q %v", text, err)
	}
}

func TestTheSharedDirectory(t *testing.T) {
	temp := filepath.Dir(filepath.Dir(socketPath(t)))
	lookup := func(env map[string]string) func(string) (string, bool) {
		return func(name string) (string, bool) {
			value, ok := env[name]
			return value, ok
		}
	}
	path := DefaultPath(lookup(map[string]string{"TMPDIR": temp}))
	dir := filepath.Join(temp, "phx-"+strconv.Itoa(os.Getuid()))
	if path != filepath.Join(dir, "control.sock") {
		t.Fatal(path)
	}
	for _, runtimeDir := range []string{"", "not/absolute"} {
		if got := DefaultPath(lookup(map[string]string{"TMPDIR": temp, "XDG_RUNTIME_DIR": runtimeDir})); got != path {
			t.Errorf("with %q: %s", runtimeDir, got)
		}
	}
	if got := DefaultPath(lookup(map[string]string{"XDG_RUNTIME_DIR": "/run/user/7"})); got != "/run/user/7/phx/control.sock" {
		t.Error(got)
	}
	t.Setenv("XDG_RUNTIME_DIR", temp)
	inRuntimeDir := DefaultPath(lookup(map[string]string{"XDG_RUNTIME_DIR": temp}))
	if err := os.Mkdir(filepath.Dir(inRuntimeDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(inRuntimeDir), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(inRuntimeDir); codeOf(err) != exit.Failure || !strings.Contains(err.Error(), "is open to others (mode 0777)") {
		t.Errorf("open to others in the runtime directory: %v", err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", temp)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const open = "is open to others (mode 0755)"
	if _, err := Listen(path); codeOf(err) != exit.Failure || !strings.Contains(err.Error(), open) {
		t.Errorf("open to others: %v", err)
	}
	if _, err := NewClient(path).Connections(t.Context()); codeOf(err) != exit.Failure || !strings.Contains(err.Error(), open) {
		t.Errorf("a client there: %v", err)
	}
	if err := os.Rename(dir, dir+"-real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir+"-real", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); codeOf(err) != exit.Failure || !strings.Contains(err.Error(), "is no directory") {
		t.Errorf("a link of somebody: %v", err)
	}
	// One of that name that is configured, such as /run/phx-0 of phx-shard@0.service for root, is not checked.
	t.Setenv("TMPDIR", filepath.Join(temp, "other"))
	if l, err = Listen(path); err != nil {
		t.Fatalf("configured: %v", err)
	}
	l.Close()
}

// A fullListener is a listener of a process that has no descriptor left but the one in reserve, which it counts.
type fullListener struct {
	net.Listener
	full bool
}

// Accept implements [net.Listener].
func (l *fullListener) Accept() (net.Conn, error) {
	l.full = !l.full
	if l.full {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

// Without a descriptor for it, a call is answered all the same: that there is none.
func TestCallsWithoutDescriptors(t *testing.T) {
	path := socketPath(t)
	l, err := Listen(path)
	must(t, err)
	log := newJournal()
	r := newReserve(&fullListener{Listener: l}, slog.New(log))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if conn, err := r.Accept(); err == nil {
				_ = conn.Close()
				t.Error("accepted")
			} else if errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
	for range 3 {
		_, err := NewClient(path).Connections(t.Context())
		if codeOf(err) != exit.Failure || err.Error() != "serve has run out of file descriptors" || !strings.Contains(exit.HintOf(err), "ulimit -n") {
			t.Errorf("%v; %s", err, exit.HintOf(err))
		}
	}
	silent, err := net.Dial("unix", path) // who says nothing holds up the others for a moment only
	must(t, err)
	defer silent.Close()
	if _, err := NewClient(path).Reload(t.Context()); codeOf(err) != exit.Failure {
		t.Error(err)
	}
	must(t, l.Close())
	<-ended
	if n := strings.Count(log.String(), "run out of file descriptors"); n != 1 {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

// A socket that somebody has removed is made anew, its directory and its lock as well; until then, ctl tells whom to ask.
func TestRenew(t *testing.T) {
	path := socketPath(t)
	l, err := Listen(path)
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	if renewed, err := l.Renew(); renewed || err != nil {
		t.Errorf("it is there: %t, %v", renewed, err)
	}
	for _, gone := range []string{path, filepath.Dir(path)} {
		must(t, os.RemoveAll(gone))
		_, err := NewClient(path).Reload(t.Context())
		want := "no phx serve is running"
		if gone == path {
			want = fmt.Sprintf("phx serve is running (process %d), and its control socket is gone: %s", os.Getpid(), path)
		}
		if codeOf(err) != exit.Connect || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("without %s: %v", gone, err)
		}
		if renewed, err := l.Renew(); !renewed || err != nil {
			t.Errorf("without %s: %t, %v", gone, renewed, err)
		}
		client := NewClient(path)
		if _, err := client.Reload(t.Context()); err != nil {
			t.Errorf("anew: %v", err)
		}
		client.Close()
		if _, err := Listen(path); codeOf(err) != exit.Failure {
			t.Errorf("a second server: %v", err)
		}
	}
	// What somebody else has put in its place stays.
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, nil, 0o600))
	if renewed, err := l.Renew(); renewed || codeOf(err) != exit.Failure {
		t.Errorf("something else: %t, %v", renewed, err)
	}
	must(t, server.Close())
	<-ended
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}
