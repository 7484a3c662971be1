package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// racePush measures what pushes and waits for the answers.
func (b *bench) racePush() error {
	const window = 64 // how many pushes may be under way
	uri := b.server.uri("push")
	argv := []string{b.self, "bare-push", uri, fmt.Sprint(b.pushes), fmt.Sprint(window)}
	bare := &contender{name: "bare loop", program: program{argv: argv}}
	r := &race{
		title: fmt.Sprintf("%d pushes, %d in flight, each answered", b.pushes, window),
		unit:  "push", units: "pushes", count: b.pushes,
		cpuBase: bare, rateBase: bare, contenders: []*contender{bare},
	}
	input := filepath.Join(b.dir, "pushes")
	push := r.addPhx(b, contender{
		name: fmt.Sprintf("push --max-inflight %d", window),
		program: program{
			argv:  []string{"push", topic, "echo", "--uri", uri, "--quiet", "--max-inflight", fmt.Sprint(window)},
			stdin: input,
		},
		rateBar: 1,
	})
	if push == nil {
		return nil
	}
	var payloads []byte
	for i := range b.pushes {
		payloads = append(append(payloads, pushPayload(i)...), '\n')
	}
	if err := os.WriteFile(input, payloads, 0o600); err != nil {
		return err
	}
	return r.run(b)
}
