//go:build unix

package serve

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked says that another process has the lock.
var errLocked = errors.New("it is locked")

// A fileLock is a lock on a file that lasts until it is released or the process ends.
type fileLock struct{ file *os.File }

// lock takes the lock of the file at path, which it makes, or returns errLocked.
func lock(path string) (*fileLock, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(file); err != nil {
			_ = file.Close()
			return nil, err
		}
		// Whoever had it before may have removed the file while we waited to open it: then ours locks nothing.
		if opened, err := file.Stat(); err == nil {
			if there, err := os.Lstat(path); err == nil && os.SameFile(opened, there) {
				// Who finds no socket learns from it who is to make it anew.
				if err := file.Truncate(0); err == nil {
					_, _ = fmt.Fprintln(file, os.Getpid())
				}
				return &fileLock{file}, nil
			}
		}
		_ = file.Close()
	}
}

func flock(file *os.File) error {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLocked
		default:
			return err
		}
	}
}

// there reports whether the file of the lock is still in its place.
func (l *fileLock) there() bool {
	held, err := l.file.Stat()
	if err != nil {
		return false
	}
	info, err := os.Lstat(l.file.Name())
	return err == nil && os.SameFile(info, held)
}

// lockedBy returns the process that holds the lock of the file at path, as far as that can be found out.
func lockedBy(path string) (pid int, ok bool) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, false
	}
	defer file.Close()
	if _, err := fmt.Fscan(io.LimitReader(file, 32), &pid); err != nil || pid <= 0 || syscall.Kill(pid, 0) != nil {
		return 0, false
	}
	// A shared lock, for a moment: nobody takes ours for that of a server, but one that starts at this moment at a path that had one.
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	return pid, errors.Is(err, syscall.EWOULDBLOCK)
}

// abandon gives back a lock whose file is gone; another one may be in its place.
func (l *fileLock) abandon() { _ = l.file.Close() }

// release gives the lock back, and removes its file.
func (l *fileLock) release() {
	_ = os.Remove(l.file.Name()) // while it is locked: who opens it now sees that it is gone
	_ = l.file.Close()
}

// ours reports whether a file belongs to this user.
func ours(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}

// fileHasMode says that a socket's file gets the mode that the socket has. Elsewhere it gets one from the umask.
const fileHasMode = runtime.GOOS == "linux"

// restrictSocket makes the socket's file one that only this user can open.
func restrictSocket(fd int) {
	if fileHasMode {
		_ = syscall.Fchmod(fd, 0o600) // the mode of the file is set again, and that is checked
	}
}

// restrictFiles makes files private that are made until undo is called, those of other goroutines, too.
func restrictFiles() (undo func()) {
	if fileHasMode {
		return func() {}
	}
	old := syscall.Umask(0o177)
	return func() { syscall.Umask(old) }
}

// monotonic returns the time of CLOCK_MONOTONIC, with which systemd tells a reload from an earlier one.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0 // no system is without this clock
	}
	return time.Duration(t.Nano())
}

// descriptorLimit returns how many files this process may have open.
func descriptorLimit() (limit uint64, ok bool) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return uint64(l.Cur), true
}
