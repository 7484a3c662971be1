package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// sizeFormat is that of what is no ratio: its name, how much it is, the unit and the bar.
const sizeFormat = "%-27s %8.2f %-4s %s\n"

// measureSizes prints what is no ratio: the time of short commands, memory, and what phx serve takes.
func (b *bench) measureSizes() error {
	const buffer, slack = 64, 32 // MiB: the default of --buffer, and what is allowed beside it
	for _, row := range []struct {
		name    string
		unit    string
		bar     float64 // 0: none
		measure func() (float64, error)
	}{
		{"phx version", "ms", 10, func() (float64, error) { return b.medianStart("version") }},
		{"one phx push", "ms", 20, func() (float64, error) {
			return b.medianStart("push", topic, "echo", "{}", "--uri", b.server.uri("push"), "--quiet")
		}},
		{"listen, blocked reader", "MiB", buffer + slack, func() (float64, error) { return b.blockedMiB("stream") }},
		{
			fmt.Sprintf("listen, blocked, %d MiB each", largeMessage>>20), "MiB", buffer + slack + 3*largeMessage>>20,
			func() (float64, error) { return b.blockedMiB("large") },
		},
		{"serve, a further connection", "KiB", 40, b.perConnectionKiB},
		{"serve, a push by its API", "ms", 10, b.pushLatency},
	} {
		if !b.wants(row.name) {
			continue
		}
		value, err := row.measure()
		if err != nil {
			return err
		}
		fmt.Printf(sizeFormat, row.name, value, row.unit, atMost(value, row.bar, "%.0f "+row.unit))
	}
	return nil
}

// medianStart returns how many milliseconds a command takes as a whole process.
func (b *bench) medianStart(args ...string) (float64, error) {
	const runs = 21 // it is short, and much that is not ours goes into it
	costs := make([]cost, runs)
	for i := range costs {
		var err error
		if costs[i], err = measure(b.server.joined, program{argv: append([]string{b.phx}, args...)}); err != nil {
			return 0, err
		}
	}
	return medianOf(runs, func(i int) float64 { return costs[i].whole.Seconds() * 1000 }), nil
}

// blockedMiB returns the largest resident memory of a listen whose output nobody reads. It is taken when the memory has not grown
// for a while.
func (b *bench) blockedMiB(socket string) (float64, error) {
	const still, look = time.Second, 50 * time.Millisecond
	command := exec.Command(b.phx, "listen", topic, "--uri", b.server.uri(socket), "--quiet")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	if _, err := command.StdoutPipe(); err != nil {
		return 0, err
	}
	if err := command.Start(); err != nil {
		return 0, err
	}
	peak := 0
	for grown := time.Now(); time.Since(grown) < still; time.Sleep(look) {
		if kib := statusKiB(command.Process.Pid, "VmHWM"); kib > peak {
			peak, grown = kib, time.Now()
		}
	}
	// It cannot write what is left, so it is not asked to end.
	if err := command.Process.Signal(syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", command, err, &stderr)
	}
	_ = command.Wait() // killed
	return float64(peak) / 1024, nil
}
