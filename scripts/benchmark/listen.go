package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// tunedReadBuffer is the read buffer of the tuned loop.
const tunedReadBuffer = 64 << 10

// raceListen measures what reads a stream.
func (b *bench) raceListen() error {
	uri := b.server.uri("stream")
	bareLoop := func(name string, readBuffer int) *contender {
		argv := []string{b.self, "bare-listen", uri, fmt.Sprint(b.frames), fmt.Sprint(readBuffer)}
		return &contender{name: name, program: program{argv: argv}}
	}
	bare, tuned := bareLoop("bare loop", 0), bareLoop("tuned loop", tunedReadBuffer)
	r := &race{
		title: fmt.Sprintf("%d frames of %d bytes, output to %s; processor time beside the tuned loop, rate beside the bare one",
			b.frames, frameSize, os.DevNull),
		unit: "frame", units: "frames", count: b.frames,
		cpuBase: tuned, rateBase: bare, contenders: []*contender{bare, tuned},
	}
	listen := func(name string, cpuBar, rateBar float64, lines int, more ...string) *contender {
		argv := append([]string{"listen", topic, "--uri", uri, "--quiet", "--count", fmt.Sprint(lines)}, more...)
		return r.addPhx(b, contender{name: name, program: program{argv: argv}, cpuBar: cpuBar, rateBar: rateBar})
	}
	plain := listen("listen", 1, 1, b.frames)
	listen("listen -o payload", 0.75, 0, b.frames, "-o", "payload")
	listen("listen --event, 1 in 1000", 0.45, 0, b.frames/blockFrames, "--event", keptEvent)
	listen("listen -q, a path", 1.6, 0, b.frames, "-q", ".data.payload.body")
	listen("listen -q, a comparison", 1.6, 0, b.frames, "-q", `.metadata.phoenix_event == "`+keptEvent+`"`)
	listen("listen -q, select", 1.6, 0, b.frames/blockFrames, "-q", `select(.metadata.phoenix_event == "`+keptEvent+`")`)
	listen("listen -q, a length", 7, 0, b.frames, "-q", ".data.payload.body | length")
	listen("listen -q, an object", 7, 0, b.frames, "-q", "{at: .time, body: .data.payload.body}")
	const oneSink, perSink, rateBar = 1.3, 0.15, 0.8
	for _, row := range []struct {
		name            string
		sinks           int
		condition       string
		cpuBar, rateBar float64 // 0: none
	}{
		{"serve, to a file", 1, wantsAll, oneSink, rateBar},
		{"serve, to two files", 2, wantsAll, oneSink + perSink, rateBar},
		{"serve, where rejects", 1, "where: .data.payload.body == 1", 0, 0},
	} {
		config, _, err := b.writeServeConfig(uri, 1, row.sinks, row.condition)
		if err != nil {
			return err
		}
		r.addPhx(b, contender{
			name: row.name,
			// It tells of the last frame of each block.
			program: program{argv: []string{"serve", "-f", config}, lines: b.frames / blockFrames},
			cpuBar:  row.cpuBar, rateBar: row.rateBar,
		})
	}
	hook, err := startReceiver()
	if err != nil {
		return err
	}
	defer hook.http.Close()
	config, err := b.writeWebhookConfig(uri, hook.url)
	if err != nil {
		return err
	}
	webhook := r.addPhx(b, contender{
		name: "serve, to a webhook", program: program{argv: []string{"serve", "-f", config}, receiver: hook, signals: b.frames},
	})
	var messages, lines *contender
	if b.nats != "" {
		server, err := b.startNATS(b.nats)
		if err != nil {
			return err
		}
		defer server.stop()
		for _, row := range []struct {
			into        **contender
			name, batch string
		}{{&messages, "serve, to NATS", "none"}, {&lines, "serve, to NATS in lines", "lines"}} {
			config, err := b.writeNATSConfig(uri, server.url, row.batch)
			if err != nil {
				return err
			}
			*row.into = r.addPhx(b, contender{
				name: row.name, program: program{argv: []string{"serve", "-f", config}, receiver: server, signals: b.frames},
			})
		}
	}
	if len(r.contenders) == 2 {
		return nil
	}
	var js *contender
	if plain != nil {
		if _, err := os.Stat(filepath.Join(b.js, "node_modules")); err != nil {
			fmt.Fprintf(os.Stderr, "benchmark: phoenix.js is left out: %v; run npm ci in %s\n", err, b.js)
		} else {
			argv := []string{"node", filepath.Join(b.js, "listen.mjs"), uri, topic, fmt.Sprint(b.frames)}
			js = &contender{name: "phoenix.js, a line each", program: program{argv: argv}}
			r.contenders = append(r.contenders, js)
		}
	}
	if err := r.run(b); err != nil {
		return err
	}
	if js != nil {
		times := medianOf(b.rounds, func(i int) float64 { return timesAsFast(plain, js, i) })
		fmt.Printf(sizeFormat, "listen beside phoenix.js", times, "x", atLeast(times, 3))
	}
	for _, row := range []struct {
		contender *contender
		bar       float64
	}{{webhook, 50}, {messages, 20}, {lines, 300}} {
		if c := row.contender; c != nil {
			rate := medianOf(b.rounds, func(i int) float64 { return float64(b.frames) / c.costs[i].work.Seconds() / 1000 })
			fmt.Printf(sizeFormat, c.name, rate, "k/s", atLeast(rate, row.bar))
		}
	}
	if plain != nil {
		mib := medianOf(b.rounds, func(i int) float64 { return float64(plain.costs[i].peakKiB) / 1024 })
		fmt.Printf(sizeFormat+"\n", "listen, resident at most", mib, "MiB", atMost(mib, 32, "%.0f MiB"))
	}
	return nil
}
