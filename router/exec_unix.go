//go:build unix

package router

import (
	"os"
	"os/exec"
	"os/signal"
	"reflect"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolate keeps from the child what is ours: inherited descriptors, ignored signals, and signals
// to our process group, such as those of a terminal. Where the system can do that, the child ends
// with this process.
func isolate(command *exec.Cmd) {
	closeInherited()
	// A child inherits what is ignored, and not what is caught. For us both are the same: a write
	// fails with EPIPE.
	if signal.Ignored(syscall.SIGPIPE) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithUs(command.SysProcAttr)
}

// endWithUs has the child terminated when we are gone without having done it. Linux and FreeBSD
// can do that, and only their SysProcAttr has the field; elsewhere the child notices by the end of
// its input.
func endWithUs(attributes *syscall.SysProcAttr) {
	if signal := reflect.ValueOf(attributes).Elem().FieldByName("Pdeathsig"); signal.IsValid() {
		signal.Set(reflect.ValueOf(syscall.SIGTERM))
	}
}

// closeInherited keeps the child from inheriting descriptors that this process inherited, of which
// only this process may know what they are for. Those that Go opened are never inherited.
func closeInherited() {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// terminate asks the child's process group to end.
func terminate(command *exec.Cmd) { _ = syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }

// kill ends the child's process group.
func kill(command *exec.Cmd) { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
