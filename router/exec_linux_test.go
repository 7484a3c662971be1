package router_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// A program gets neither descriptors that are not its own nor an ignored SIGPIPE, and is in a
// process group of its own.
func TestExecInheritsNothing(t *testing.T) {
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	secret := filepath.Join(t.TempDir(), "not-for-children")
	fd, err := syscall.Open(secret, syscall.O_CREAT|syscall.O_RDWR, 0o600) // without O_CLOEXEC, as if inherited
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	d, book := script(t, "", `cat >/dev/null
grep SigIgn /proc/self/status
ls -l /proc/self/fd
echo "group $(cut -d' ' -f5 /proc/$$/stat) of $$"`)
	runToEnd(t, d)
	logged := book.String()
	wantLacks(t, "the log", logged, "not-for-children")
	var ignored uint64
	var group, pid int
	scanned := 0
	for line := range splitMessages(logged) {
		n, _ := fmt.Sscanf(line, `SigIgn:\t%x`, &ignored)
		m, _ := fmt.Sscanf(line, "group %d of %d", &group, &pid)
		scanned += n + m
	}
	if scanned != 3 || ignored&(1<<(syscall.SIGPIPE-1)) != 0 {
		t.Errorf("the child ignores %x:\n%s", ignored, logged)
	}
	if group != pid || pid == 0 {
		t.Errorf("the child %d is in the group %d", pid, group)
	}
}

// When we are killed, so that we can end nothing, the program ends nevertheless, even if it does
// not look at its input.
func TestExecEndsWithUs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	serve := exec.Command(os.Args[0], fifo)
	serve.Env = append(os.Environ(), childMode+"=serve")
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(fifo) // waits for the program
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	if line, err := r.ReadString('\n'); line != "up\n" {
		t.Errorf("read %q, %v", line, err)
	}
	if err := serve.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = serve.Wait()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 { // its end closes the FIFO
		t.Errorf("read %q, %v", rest, err)
	}
}
