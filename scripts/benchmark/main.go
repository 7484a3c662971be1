// Command benchmark measures what a phx process costs, beside a bare loop on the same stream.
//
// The bare loop is a gorilla/websocket client with default settings that calls ReadMessage and drops the result; the tuned loop is
// the same with a read buffer of 64 KiB. Each contender is a process of its own, so that its processor time can be told from the
// server's; the server, which runs here, writes bytes that were framed before. In each round all contenders run, beginning with
// another one each time. A ratio is taken within a round, and the median of the rounds is printed, with the bar it is meant to pass.
// No number is a failure.
//
// What is no ratio comes last: latency, the time of short commands, memory, and what a connection and a push cost in phx serve.
//
// With -only listen, only rows with "listen" in their names run. With -before BINARY, each process of phx in a race is
// followed by the same of that binary, so that a change is measured within one run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

// A bench is one run of this program.
type bench struct {
	phx, before, js, nats               string
	frames, pushes, connections, rounds int

	only   []string // parts of the names of the rows to run; none: all
	self   string   // this program, which is also the bare loops
	dir    string   // for files
	server *replayServer
}

func run() (err error) {
	var b bench
	flag.StringVar(&b.phx, "phx", "", "the `BINARY` to measure")
	flag.StringVar(&b.before, "before", "", "another `BINARY` to measure beside it")
	flag.StringVar(&b.js, "js", "testdata/phoenix_js", "`DIR` where the official JavaScript client is installed")
	flag.StringVar(&b.nats, "nats", "", "the `BINARY` of a nats-server; without one, what needs it is left out")
	only := flag.String("only", "", "run only rows whose name has one of these `NAMES` in it, with commas between")
	flag.IntVar(&b.frames, "frames", 1_000_000, "frames in a stream, a multiple of 1000")
	flag.IntVar(&b.pushes, "pushes", 200_000, "pushes in a run")
	flag.IntVar(&b.connections, "connections", 1000, "further connections whose memory is measured")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds, all contenders in each")
	flag.Parse()

	// The bare loops are this program, started by itself.
	switch uri := flag.Arg(1); flag.Arg(0) {
	case "bare-listen":
		return bareListen(uri, argument(2), argument(3))
	case "bare-print":
		return barePrint(uri)
	case "bare-push":
		return barePush(uri, argument(2), argument(3))
	}
	switch {
	case b.phx == "":
		return errors.New("-phx BINARY is needed")
	case b.frames <= 0 || b.frames%blockFrames != 0:
		return fmt.Errorf("-frames must be a multiple of %d", blockFrames)
	case b.pushes <= 0 || b.rounds <= 0 || b.connections <= 0:
		return errors.New("-pushes, -rounds and -connections must be positive")
	}
	if *only != "" {
		b.only = strings.Split(*only, ",")
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "phx-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.server, err = startReplayServer(b.frames); err != nil {
		return err
	}
	defer b.server.http.Close()
	for _, rows := range []func() error{b.raceListen, b.raceLongPoll, b.racePush, b.measureLatency, b.measureSizes} {
		if err := rows(); err != nil {
			return err
		}
	}
	return nil
}

// argument returns the i-th argument, a number that this program gave itself.
func argument(i int) int {
	n, err := strconv.Atoi(flag.Arg(i))
	if err != nil {
		panic(err)
	}
	return n
}

// wants reports whether a row is to run.
func (b *bench) wants(name string) bool {
	for _, part := range b.only {
		if strings.Contains(name, part) {
			return true
		}
	}
	return len(b.only) == 0
}
