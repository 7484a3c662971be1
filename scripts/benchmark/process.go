package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a contender may take before it counts as hung.
const patience = 5 * time.Minute

// A cost is what a process has used.
type cost struct {
	// cpu is user and system time.
	cpu time.Duration
	// whole is from its start to its end, work from its join to its end.
	whole, work time.Duration
	// peakKiB is its largest resident memory; 0 where the system does not tell.
	peakKiB int
}

// A program is what is measured.
type program struct {
	argv []string
	// stdin is the path of a file; "": it has none.
	stdin string
	// lines is how many lines on stdout tell that the work is done: then it is told to end. 0: it ends by itself.
	lines int
	// receiver, if it is not nil, tells that instead, when it has got a number of signals.
	receiver receiver
	signals  int
}

// A receiver gets signals, and has done called when it has got a number of them.
type receiver interface {
	expect(messages int, done func())
}

// A lineCounter calls done when it was written a number of lines.
type lineCounter struct {
	left int
	done func()
}

// Write implements [io.Writer].
func (c *lineCounter) Write(p []byte) (int, error) {
	n := bytes.Count(p, []byte("\n"))
	if c.left > 0 && c.left <= n {
		c.done()
	}
	c.left -= n
	return len(p), nil
}

// measure runs a process to its end. joined gets the time of its join, if it does one.
func measure(joined <-chan time.Time, p program) (cost, error) {
	select {
	case <-joined: // somebody else's
	default:
	}
	command := exec.Command(p.argv[0], p.argv[1:]...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	// A nil Stdout is the null device, opened for the child.
	if p.lines > 0 {
		command.Stdout = &lineCounter{p.lines, func() { command.Process.Signal(syscall.SIGTERM) }}
	}
	if p.receiver != nil {
		p.receiver.expect(p.signals, func() { command.Process.Signal(syscall.SIGTERM) })
	}
	if p.stdin != "" {
		input, err := os.Open(p.stdin)
		if err != nil {
			return cost{}, err
		}
		defer input.Close()
		command.Stdin = input
	}
	begin := time.Now()
	if err := command.Start(); err != nil {
		return cost{}, err
	}
	hung := time.AfterFunc(patience, func() { command.Process.Kill() })
	defer hung.Stop()
	ended := make(chan struct{})
	peak := make(chan int)
	go func() { peak <- watchMemory(command.Process.Pid, ended) }()
	err := command.Wait()
	end := time.Now()
	close(ended)
	c := cost{
		cpu:     command.ProcessState.UserTime() + command.ProcessState.SystemTime(),
		whole:   end.Sub(begin),
		peakKiB: <-peak,
	}
	select {
	case at := <-joined:
		c.work = end.Sub(at)
	default:
	}
	if err == nil && bytes.Contains(stderr.Bytes(), []byte("signals were lost")) {
		err = errors.New("it has not done all of its work")
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w\n%s", strings.Join(p.argv, " "), err, &stderr)
	}
	return c, nil
}

// watchMemory returns the peak of a process in KiB. It looks while the process is running: what getrusage tells afterwards of
// a child counts the memory of its parent at the fork, too.
func watchMemory(pid int, ended <-chan struct{}) int {
	peak := 0
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return peak
		case <-tick.C:
			peak = max(peak, statusKiB(pid, "VmHWM"))
		}
	}
}

// statusKiB returns a size that the system tells of a process, 0 if there is no telling.
func statusKiB(pid int, name string) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kib, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			return kib
		}
	}
	return 0
}
