package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// latencyMessages is how many messages are sent, one at a time, to each who prints them.
const latencyMessages = 4000

// A printer is a process that prints a line for each message.
type printer struct {
	command *exec.Cmd
	stderr  bytes.Buffer
	stdout  *bufio.Reader
	link    net.Conn // on which messages are sent to it
	times   []time.Duration
}

func (b *bench) startPrinter(argv ...string) (*printer, error) {
	p := &printer{command: exec.Command(argv[0], argv[1:]...)}
	p.command.Stderr = &p.stderr
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	select {
	case p.link = <-b.server.single:
		return p, nil
	case <-time.After(patience):
		p.stop()
		return nil, fmt.Errorf("%s has not joined\n%s", p.command, &p.stderr)
	}
}

// next sends a message and waits for its line.
func (p *printer) next(frame []byte) error {
	begin := time.Now()
	if _, err := p.link.Write(frame); err != nil {
		return err
	}
	if _, err := p.stdout.ReadSlice('\n'); err != nil {
		return fmt.Errorf("%s: %w\n%s", p.command, err, &p.stderr)
	}
	p.times = append(p.times, time.Since(begin))
	return nil
}

func (p *printer) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM) // fails if it has ended already
	_ = p.command.Wait()                          // ends as it was told to
}

// measureLatency prints how long a message takes from the server's write to the line in the reader's hands, beside a
// bare loop with the same reader. Both run at the same time and get a message in turn.
func (b *bench) measureLatency() (err error) {
	const name = "listen, latency"
	if !b.wants(name) {
		return nil
	}
	uri := b.server.uri("single")
	var printers []*printer
	for _, argv := range [][]string{
		{b.self, "bare-print", uri},
		{b.phx, "listen", topic, "--uri", uri, "--quiet"},
	} {
		p, err := b.startPrinter(argv...)
		if err != nil {
			return err
		}
		defer p.stop()
		hung := time.AfterFunc(patience, func() { p.command.Process.Kill() })
		defer hung.Stop()
		printers = append(printers, p)
	}
	frame := b.server.block[:len(b.server.block)/blockFrames]
	for range latencyMessages {
		for _, p := range printers {
			err = errors.Join(err, p.next(frame))
		}
		if err != nil {
			return err
		}
	}
	bare, phx := printers[0].times, printers[1].times
	slices.Sort(bare)
	slices.Sort(phx)
	for _, q := range []struct {
		name string
		at   int
	}{{"median", latencyMessages / 2}, {"p99", latencyMessages * 99 / 100}} {
		ratio := phx[q.at].Seconds() / bare[q.at].Seconds()
		fmt.Printf("%-27s %8.2f µs, bare loop %.2f µs, ratio %.2f  %s\n", name+", "+q.name,
			phx[q.at].Seconds()*1e6, bare[q.at].Seconds()*1e6, ratio, atMost(ratio, 1.2, "%.2f"))
	}
	fmt.Println()
	return nil
}
