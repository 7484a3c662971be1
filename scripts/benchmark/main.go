// Command benchmark measures what a phx process costs, beside a bare loop on the same stream.
//
// The bare loop is a gorilla/websocket client with default settings that calls ReadMessage and drops the result. Each contender is
// a process of its own, so that its processor time can be told from the server's; the server, which runs here, writes bytes
// that were framed before. In each round all contenders run, beginning with another one each time; a ratio is
// taken within a round, and the median of the rounds is printed, with the bar it is meant to pass. No number is a failure.
//
// What is no ratio comes last: the time of short commands, memory, and what a connection and a push cost in phx serve.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func run() error {
	phx := flag.String("phx", "", "the `BINARY` to measure")
	frames := flag.Int("frames", 1_000_000, "frames in a stream, a multiple of 1000")
	pushes := flag.Int("pushes", 200_000, "pushes in a run")
	connections := flag.Int("connections", 1000, "further connections whose memory is measured")
	rounds := flag.Int("rounds", 5, "rounds, all contenders in each")
	flag.Parse()

	// The bare loops are this program, started by itself.
	switch flag.Arg(0) {
	case "bare-listen":
		return bareListen(flag.Arg(1), argument(2))
	case "bare-push":
		return barePush(flag.Arg(1), argument(2), argument(3))
	}
	switch {
	case *phx == "":
		return errors.New("-phx BINARY is needed")
	case *frames <= 0 || *frames%blockFrames != 0:
		return fmt.Errorf("-frames must be a multiple of %d", blockFrames)
	case *pushes <= 0 || *rounds <= 0 || *connections <= 0:
		return errors.New("-pushes, -rounds and -connections must be positive")
	}
	return compare(*phx, *frames, *pushes, *rounds, *connections)
}

// argument returns the i-th argument, a number that this program gave itself.
func argument(i int) int {
	n, err := strconv.Atoi(flag.Arg(i))
	if err != nil {
		panic(err)
	}
	return n
}
