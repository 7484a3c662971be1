package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
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
	"time"

	"phx/cmd/internal/exit"
)

// DefaultPath returns the path of the socket when none is configured. Its directory belongs to this user alone.
func DefaultPath(lookupEnv func(string) (string, bool)) string {
	if dir, _ := lookupEnv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "phx", socketName)
	}
	dir, _ := lookupEnv("TMPDIR")
	if dir == "" {
		dir = "/tmp"
	}
	return filepath.Join(dir, sharedDirPrefix+strconv.Itoa(os.Getuid()), socketName)
}

const (
	socketName = "control.sock"
	// sharedDirPrefix begins the name of the default directory in a parent that is writable by everyone, such as /tmp.
	sharedDirPrefix = "phx-"
)

// Listen listens on the Unix socket at path, which only this user can connect to. It makes the directory, for this user alone, if there
// is none. A socket file that a dead server left is taken over; a living server there is an [*exit.Error] with exit code 1, and so is all else
// that stands in the way; a path that cannot be a socket's is one with exit code 2. Closing the listener removes the socket, if it is still its own.
func Listen(path string) (*Listener, error) {
	l := &Listener{path: path}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

// A Listener is a Unix socket, and a lock on its path that is held while it listens. It implements [net.Listener].
type Listener struct {
	path string

	mu     sync.Mutex // it guards what follows
	held   *fileLock
	socket net.Listener
	info   fs.FileInfo
	closed bool
}

// lockPath is where the lock of the socket at path is.
func lockPath(path string) string { return path + ".lock" }

// open takes the lock, unless it is held, and makes the socket.
func (l *Listener) open() error {
	address, err := addressOf(l.path)
	if err != nil {
		return err
	}
	if err := makeDir(l.path); err != nil {
		return err
	}
	held := l.held
	if held == nil || !held.there() {
		held, err = lock(lockPath(l.path))
		if errors.Is(err, errLocked) {
			return errLiving(l.path)
		}
		if err != nil {
			return listenError(l.path, err)
		}
	}
	socket, info, err := bind(l.path, address)
	if err != nil {
		if held != l.held {
			held.release()
		}
		return err
	}
	if l.held != nil && held != l.held {
		l.held.abandon()
	}
	l.held, l.socket, l.info = held, socket, info
	return nil
}

// Renew creates the socket again if its file was removed, and reports whether it did. Accepted calls are not affected.
func (l *Listener) Renew() (renewed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := os.Lstat(l.path); l.closed || err == nil && os.SameFile(info, l.info) {
		return false, nil
	}
	old := l.socket
	if err := l.open(); err != nil {
		return false, err
	}
	_ = old.Close() // Accept continues with the new one
	return true, nil
}

// Accept waits for a call. A renewal of the socket does not end it.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		socket := l.current()
		conn, err := socket.Accept()
		if err == nil || l.current() == socket {
			return conn, err
		}
	}
}

func (l *Listener) current() net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.socket
}

// Addr returns the address of the socket.
func (l *Listener) Addr() net.Addr { return l.current().Addr() }

// Close closes the socket, and removes its file unless that has been replaced.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var err error
	if info, failed := os.Lstat(l.path); failed == nil && os.SameFile(info, l.info) {
		err = os.Remove(l.path)
	}
	err = errors.Join(err, l.socket.Close())
	l.held.release()
	return err
}

// A reserve is a listener that keeps one descriptor in reserve. When the process has run out of descriptors, it closes that one, accepts
// the next call, answers it with 503, and opens the reserve again. Otherwise callers would wait for ever. One goroutine accepts.
type reserve struct {
	net.Listener
	log  *slog.Logger
	file *os.File // nil: it could not be opened again yet
	// logged is when the last line about it was logged.
	logged time.Time
}

const (
	// refusalTime bounds the refusal of one call: the next calls wait for it.
	refusalTime = 250 * time.Millisecond
	// refusalLog is the least time between two lines of the log about it.
	refusalLog = time.Minute
)

func newReserve(l net.Listener, log *slog.Logger) *reserve {
	r := &reserve{Listener: l, log: log}
	r.take()
	return r
}

func (r *reserve) take() {
	if r.file == nil {
		r.file, _ = os.Open(os.DevNull) // without it, calls wait until there are descriptors
	}
}

// Accept implements [net.Listener].
func (r *reserve) Accept() (net.Conn, error) {
	for {
		r.take()
		conn, err := r.Listener.Accept()
		if !noDescriptors(err) {
			return conn, err
		}
		if time.Since(r.logged) >= refusalLog {
			r.logged = time.Now()
			r.log.Error(noDescriptorsMessage+": calls of the control API are refused", "hint", noDescriptorsHint)
		}
		if r.file == nil {
			return nil, err // the HTTP server waits a little, and accepts again
		}
		_ = r.file.Close()
		r.file = nil
		conn, err = r.Listener.Accept()
		switch {
		case err == nil:
			refuse(conn)
		case !noDescriptors(err): // another goroutine has taken the descriptor
			return nil, err
		}
	}
}

// noDescriptors reports whether an error is that the process, or the system, has run out of descriptors.
func noDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

const (
	noDescriptorsMessage = "serve has run out of file descriptors"
	noDescriptorsHint    = "allow more (ulimit -n, LimitNOFILE= of systemd), or run fewer connections"
)

// refuse answers one call with 503, and closes the connection.
func refuse(conn net.Conn) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(refusalTime)) != nil {
		return
	}
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, _ := json.Marshal(errorBody{wireError{noDescriptorsMessage, noDescriptorsHint, exit.Failure}}) // strings and a number
	answer := http.Response{
		StatusCode: http.StatusServiceUnavailable, ProtoMajor: 1, ProtoMinor: 1, Request: r, Close: true,
		Header:        http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}},
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	_ = answer.Write(conn)
}

// bind makes the socket. The caller holds the lock, so that no other server does the same.
func bind(path, address string) (net.Listener, fs.FileInfo, error) {
	if err := removeStale(path, address); err != nil {
		return nil, nil, err
	}
	config := net.ListenConfig{Control: restrict}
	socket, err := listenRestricted(&config, address)
	if err != nil {
		return nil, nil, listenError(path, err)
	}
	socket.(*net.UnixListener).SetUnlinkOnClose(false) // Close does it, if the file is still ours
	var info fs.FileInfo
	if err = os.Chmod(path, 0o600); err == nil {
		info, err = os.Lstat(path)
	}
	if err != nil {
		_ = socket.Close()
		return nil, nil, listenError(path, err)
	}
	return socket, info, nil
}

// removeStale removes a socket file on which no process listens.
func removeStale(path, address string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return listenError(path, err)
	case info.Mode()&fs.ModeSocket == 0:
		return &exit.Error{
			Code: exit.Failure, Message: "there is something at " + path + " that is no socket, and stays as it is",
			Hint: "move it away, or choose another path for the control socket",
		}
	}
	conn, err := net.Dial("unix", address)
	switch {
	case err == nil:
		_ = conn.Close()
		return errLiving(path)
	case errors.Is(err, syscall.ECONNREFUSED):
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return listenError(path, err)
	}
	return nil
}

// errLiving is the error of a path on which another server listens.
func errLiving(path string) error {
	return &exit.Error{
		Code: exit.Failure, Message: "another phx serve is running: it listens on " + path,
		Hint: "`phx ctl list` talks to it; stop it, or choose another path for the control socket of this one",
	}
}

// listenError is the error of a socket that cannot be made.
func listenError(path string, err error) error {
	return &exit.Error{
		Code: exit.Failure, Message: fmt.Sprintf("cannot listen on the control socket %s: %s", path, exit.SystemText(err)),
		Hint: "check its directory, or choose another path for it",
	}
}

// addressOf returns the address of the socket at path.
func addressOf(path string) (string, error) {
	const hint = "choose a shorter path for the control socket, for example in /run or /tmp"
	if path == "" {
		return "", &exit.Error{Code: exit.Usage, Message: "the path of the control socket is empty", Hint: "for example: /run/phx/control.sock"}
	}
	address := path
	if strings.HasPrefix(address, "@") {
		address = "./" + address // a file of that name, and no abstract socket, which has no owner
	}
	if limit := len(syscall.RawSockaddrUnix{}.Path); len(address) >= limit {
		return "", &exit.Error{
			Code: exit.Usage, Hint: hint,
			Message: fmt.Sprintf("the path of the control socket, %s, has %d bytes; the system allows %d", path, len(path), limit-1),
		}
	}
	return address, nil
}

// makeDir makes the directory of the socket, if there is none.
func makeDir(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &exit.Error{
			Code: exit.Failure, Message: fmt.Sprintf("cannot make the directory of the control socket, %s: %s", dir, exit.SystemText(err)),
			Hint: "make it, or choose another path for the control socket",
		}
	}
	return checkShared(path)
}

// checkShared refuses the default directory if it belongs to another user, or if others can write in it: they could put a socket there.
// A configured directory is not checked.
func checkShared(path string) error {
	dir := filepath.Dir(path)
	if dir != filepath.Dir(DefaultPath(os.LookupEnv)) {
		return nil
	}
	others := fs.FileMode(0o077)
	if filepath.IsAbs(os.Getenv("XDG_RUNTIME_DIR")) {
		others = 0o022
	}
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the socket is missing, too, and that error says more
	}
	if err != nil {
		return listenError(path, err)
	}
	what := ""
	switch {
	case !info.IsDir():
		what = "is no directory"
	case !ours(info):
		what = "belongs to somebody else"
	case info.Mode().Perm()&others != 0:
		what = fmt.Sprintf("is open to others (mode %04o)", info.Mode().Perm())
	default:
		return nil
	}
	return &exit.Error{
		Code: exit.Failure, Message: fmt.Sprintf("the directory of the control socket, %s, %s", dir, what),
		Hint: "remove it, or make it yours alone (chmod 700); or choose another path, with XDG_RUNTIME_DIR or for the socket itself",
	}
}

// restrict is called with a socket before it has a name.
func restrict(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) { restrictSocket(int(fd)) })
}

// listenRestricted listens so that nobody else can connect, not even before the mode is set.
func listenRestricted(config *net.ListenConfig, address string) (net.Listener, error) {
	defer restrictFiles()()
	return config.Listen(context.Background(), "unix", address)
}
