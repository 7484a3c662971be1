package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
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

// measure runs a process to its end. stdin is the path of a file, "" for none; joined gets the time of its join, if it does one.
func measure(joined <-chan time.Time, stdin string, argv ...string) (cost, error) {
	command := exec.Command(argv[0], argv[1:]...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	// A nil Stdout is the null device, opened for the child.
	if stdin != "" {
		input, err := os.Open(stdin)
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
	if err != nil {
		return c, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, &stderr)
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
			peak = max(peak, highWater(pid))
		}
	}
}

// highWater returns VmHWM of a process, 0 if there is no telling.
func highWater(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			return kib
		}
	}
	return 0
}
