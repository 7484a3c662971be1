package phoenix

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The model test drives a machine with random inputs, as the loop would give them and a server could send them, and
// compares what comes of each with a reference that keeps plain books. Its files:
//
//	model_driver_test.go     the inputs: commands, time, the link
//	model_server_test.go     the frames of a server, helpful or odd
//	model_reference_test.go  the books, what every output must satisfy, and every deadline
//	model_*_test.go          the rules of frames, links, heartbeats, channels and pushes
//	model_mutants_test.go    proof that it sees something: seeded bugs that it has to catch
var (
	modelSeeds = flag.Int("model.seeds", 2000, "how many seeds TestModel runs")
	modelSeed  = flag.Uint64("model.seed", 0, "the one seed that TestModel runs, with a log of every step")
)

// modelSteps is the number of inputs of a seed, without those that end it.
const modelSteps = 250

func TestModel(t *testing.T) {
	if *modelSeed != 0 {
		runModel(t, *modelSeed, true, map[string]int{})
		return
	}
	seeds := *modelSeeds
	if testing.Short() {
		seeds = min(seeds, 300)
	}
	seen := map[string]int{}
	for seed := range uint64(seeds) {
		runModel(t, seed+1, false, seen)
	}
	t.Logf("%d seeds, seen: %v", seeds, seen)
	// The generator must not go blind: each of these has to happen, and not by luck.
	for _, what := range modelMustSee {
		if seen[what] < seeds/50 {
			t.Errorf("%q happened %d times in %d seeds: the generator hardly reaches it", what, seen[what], seeds)
		}
	}
}

// modelMustSee are entries of the reference's tally: outcomes of frames, events with their reasons, ends.
var modelMustSee = []string{
	"message", "skipped message", "push reply", "unmatched push", "joined", "join refused", "left", "closed", "errored",
	"heartbeat answered", "frame without outcome",
	"rejoin", "join error: timeout", "join error: crashed", "join error: unmatched_topic", "join error: too_many_channels",
	"join given up", "join at the bound", "join behind a leave", "leave without an answer", "params failed",
	"push error: disconnected", "push error: channel_crashed", "push error: channel_closed", "push error: not_joined",
	"push error: unmatched_topic", "push error: cancelled", "push timeout", "push queued", "binary push",
	"push error, never written",
	"heartbeat timeout", "heartbeat waits for a join", "heartbeat while paused",
	"reconnecting", "retry after", "reconnect exhausted", "refused", "retries forgotten", "close lingers", "closed by us",
	"closed without a session", "aborted",
}

func runModel(t *testing.T, seed uint64, verbose bool, seen map[string]int) {
	t.Helper()
	d := newModelDriver(t, rand.New(rand.NewPCG(seed, 1)), seen)
	d.ref.trace.seed, d.ref.trace.verbose = seed, verbose
	d.start()
	for range modelSteps {
		d.step()
	}
	d.finish()
}

// modelConfig draws the options of a connection. Durations have odd nanoseconds, so that deadlines coincide only where the
// machine makes them.
func modelConfig(rng *rand.Rand) machineConfig {
	odd := func(from, to time.Duration) time.Duration { return from + time.Duration(rng.Int64N(int64(to-from))) }
	interval := odd(2*time.Second, 30*time.Second)
	c := machineConfig{
		uri:               "ws://localhost/socket/websocket",
		codec:             codecV2{},
		replyTimeout:      odd(time.Second, 12*time.Second),
		heartbeatInterval: interval,
		heartbeatTimeout:  odd(interval/5, interval),
		stableAfter:       odd(time.Second/2, 10*time.Second),
		maxRetries:        []int{-1, -1, 0, 3, 3}[rng.IntN(5)],
		failFast:          rng.IntN(4) == 0,
		retryRefusals:     rng.IntN(2) == 0,
		heartbeatEvents:   rng.IntN(2) == 0,
		reconnectAfter:    Steps(modelDelays(rng)...),
		rejoinAfter:       Steps(modelDelays(rng)...),
		sessions:          rng.IntN(3),
	}
	if rng.IntN(3) == 0 {
		c.codec = codecV1{}
	}
	return c
}

// modelDelays draws a list of backoffs. One of no length must not make a loop of no length.
func modelDelays(rng *rand.Rand) []time.Duration {
	delays := make([]time.Duration, 1+rng.IntN(4))
	for i := range delays {
		delays[i] = time.Duration(rng.Int64N(int64(3 * time.Second)))
	}
	slices.Sort(delays)
	if rng.IntN(6) == 0 {
		delays[0] = 0
	}
	return delays
}
