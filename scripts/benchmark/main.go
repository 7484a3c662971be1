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
	"path/filepath"
	"slices"
	"strconv"
	"time"
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

// window is how many pushes may be under way.
const window = 64

// A contender is one process to measure.
type contender struct {
	name string
	program
	// cpuBar and rateBar bound its ratios to the bare loop: processor time from above, frames a second from below. 0: no bar.
	cpuBar, rateBar float64

	costs []cost
}

// A race is a bare loop and those who are measured beside it.
type race struct {
	title       string
	unit, units string // what is counted
	count       int
	contenders  []*contender // the bare loop first
}

func compare(phx string, frames, pushes, rounds, connections int) error {
	server, err := startReplayServer(frames)
	if err != nil {
		return err
	}
	defer server.http.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "phx-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	input := filepath.Join(dir, "pushes")
	if err := writePushes(input, pushes); err != nil {
		return err
	}

	listening := listenRace(self, phx, server.uri("stream"), frames)
	config, _, err := writeServeConfig(dir, server.uri("stream"), 1)
	if err != nil {
		return err
	}
	listening.contenders = append(listening.contenders, &contender{
		// It tells of the last frame of each block.
		name: "serve, to a file", program: program{argv: []string{phx, "serve", "-f", config}, lines: frames / blockFrames},
	})
	for _, r := range []*race{listening, pushRace(self, phx, server.uri("push"), input, pushes)} {
		if err := r.run(server.joined, rounds); err != nil {
			return err
		}
		r.print(rounds)
	}
	if err := measureSizes(phx, server, listening); err != nil {
		return err
	}
	return measureServe(phx, dir, server.uri("push"), connections)
}

func listenRace(self, phx, uri string, frames int) *race {
	listen := func(count int, more ...string) program {
		return program{argv: append([]string{phx, "listen", topic, "--uri", uri, "--quiet", "--count", fmt.Sprint(count)}, more...)}
	}
	return &race{
		title: fmt.Sprintf("%d frames of %d bytes, output to %s", frames, frameSize, os.DevNull),
		unit:  "frame",
		units: "frames",
		count: frames,
		contenders: []*contender{
			{name: "bare loop", program: program{argv: []string{self, "bare-listen", uri, fmt.Sprint(frames)}}},
			{name: "listen", program: listen(frames), cpuBar: 1.6, rateBar: 0.65},
			{name: "listen -o payload", program: listen(frames, "-o", "payload"), cpuBar: 1.1, rateBar: 0.9},
			{name: "listen --event, 1 in 1000", program: listen(frames/blockFrames, "--event", keptEvent), cpuBar: 1},
		},
	}
}

func pushRace(self, phx, uri, input string, pushes int) *race {
	return &race{
		title: fmt.Sprintf("%d pushes, %d in flight, each answered", pushes, window),
		unit:  "push",
		units: "pushes",
		count: pushes,
		contenders: []*contender{
			{name: "bare loop", program: program{argv: []string{self, "bare-push", uri, fmt.Sprint(pushes), fmt.Sprint(window)}}},
			{
				name: "push --max-inflight 64",
				program: program{
					argv:  []string{phx, "push", topic, "echo", "--uri", uri, "--quiet", "--max-inflight", fmt.Sprint(window)},
					stdin: input,
				},
				rateBar: 0.5,
			},
		},
	}
}

// writePushes writes the payloads of a push run to a file.
func writePushes(path string, pushes int) error {
	var all []byte
	for i := range pushes {
		all = append(append(all, pushPayload(i)...), '\n')
	}
	return os.WriteFile(path, all, 0o600)
}

// run measures every contender once a round, beginning with another one each time.
func (r *race) run(joined <-chan time.Time, rounds int) error {
	for round := range rounds {
		for i := range r.contenders {
			c := r.contenders[(round+i)%len(r.contenders)]
			spent, err := measure(joined, c.program)
			if err != nil {
				return err
			}
			c.costs = append(c.costs, spent)
		}
	}
	return nil
}

func (r *race) print(rounds int) {
	fmt.Printf("%s; median of %d rounds\n\n", r.title, rounds)
	fmt.Printf("%-27s %13s %9s  %-16s %13s %9s  %s\n",
		"", "µs cpu/"+r.unit, "ratio", "bar", r.units+"/s", "ratio", "bar")
	bare := r.contenders[0]
	for _, c := range r.contenders {
		cpuRatio := medianOf(rounds, func(i int) float64 { return c.costs[i].cpu.Seconds() / bare.costs[i].cpu.Seconds() })
		rateRatio := medianOf(rounds, func(i int) float64 { return bare.costs[i].work.Seconds() / c.costs[i].work.Seconds() })
		cpu := medianOf(rounds, func(i int) float64 { return c.costs[i].cpu.Seconds() / float64(r.count) * 1e6 })
		rate := medianOf(rounds, func(i int) float64 { return float64(r.count) / c.costs[i].work.Seconds() })
		fmt.Printf("%-27s %13.2f %9.2f  %-16s %13.0f %9.2f  %s\n",
			c.name, cpu, cpuRatio, atMost(cpuRatio, c.cpuBar, "%.2f"), rate, rateRatio, atLeast(rateRatio, c.rateBar))
	}
	fmt.Println()
}

// atMost describes a bar from above; it is empty without one.
func atMost(value, bar float64, format string) string {
	if bar == 0 {
		return ""
	}
	return mark(value <= bar) + fmt.Sprintf("≤ "+format, bar)
}

func atLeast(value, bar float64) string {
	if bar == 0 {
		return ""
	}
	return mark(value >= bar) + fmt.Sprintf("≥ %.2f", bar)
}

func mark(met bool) string {
	if met {
		return "met: "
	}
	return "MISSED: "
}

func medianOf(n int, value func(i int) float64) float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = value(i)
	}
	slices.Sort(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// startRuns is how often a start is measured: it is short, and much that is not ours goes into it.
const startRuns = 21

// sizeFormat is that of what is no ratio: its name, how much it is, the unit and the bar.
const sizeFormat = "%-27s %8.2f %-4s %s\n"

// measureSizes prints what is no ratio: the time of short commands and memory.
func measureSizes(phx string, server *replayServer, listening *race) error {
	start, err := medianStart(nil, phx, "version")
	if err != nil {
		return err
	}
	push, err := medianStart(server.joined, phx, "push", topic, "echo", "{}", "--uri", server.uri("push"), "--quiet")
	if err != nil {
		return err
	}
	listen := listening.contenders[1]
	mib := medianOf(len(listen.costs), func(i int) float64 { return float64(listen.costs[i].peakKiB) / 1024 })
	fmt.Printf(sizeFormat, "phx version", start, "ms", atMost(start, 20, "%.0f ms"))
	fmt.Printf(sizeFormat, "one phx push", push, "ms", atMost(push, 50, "%.0f ms"))
	fmt.Printf(sizeFormat, "listen, resident at most", mib, "MiB", atMost(mib, 32, "%.0f MiB"))
	return nil
}

// medianStart returns how many milliseconds a command takes as a whole process.
func medianStart(joined <-chan time.Time, argv ...string) (float64, error) {
	costs := make([]cost, startRuns)
	for i := range costs {
		var err error
		if costs[i], err = measure(joined, program{argv: argv}); err != nil {
			return 0, err
		}
	}
	return medianOf(startRuns, func(i int) float64 { return costs[i].whole.Seconds() * 1000 }), nil
}
