package router_test

import (
	"fmt"

	"phx/router"
)

// abort ends the queue with records in all states, and checks that they are counted.
func (g *game) abort() error {
	waiting := 0
	for _, it := range g.m.waiting {
		if !it.announces {
			waiting++
			g.m.counts[it.loss.Origin].dropped++
		}
	}
	if got := g.q.Abort(nil); got != waiting {
		return fmt.Errorf("Abort: %d records were lost, want %d", got, waiting)
	}
	g.m.waiting, g.m.front = nil, nil
	if len(g.held) > 0 && g.last != nil {
		items := g.m.taken[len(g.m.taken)-1]
		n := g.IntN(len(items) + 1)
		g.q.GiveBack(g.held[len(g.held)-1], n, g.IntN(len(items)-n+1))
		g.m.deliver(items[:n])
		for _, it := range items[n:] {
			if !it.announces {
				g.m.counts[it.loss.Origin].dropped++
			}
		}
		g.forget(len(g.held) - 1)
	}
	g.release()
	for o, c := range g.m.counts {
		if c.put != c.delivered+c.dropped {
			return fmt.Errorf("%s: %d put, %d delivered, %d dropped", connection(o), c.put, c.delivered, c.dropped)
		}
	}
	return g.compare()
}

// compare checks what can be asked at any time.
func (g *game) compare() error {
	for o, c := range g.m.counts {
		if o != nil && (o.Delivered.Load() != c.delivered || o.Dropped.Load() != c.dropped) {
			return fmt.Errorf("%s: delivered %d, dropped %d, want %d and %d",
				o.Connection, o.Delivered.Load(), o.Dropped.Load(), c.delivered, c.dropped)
		}
	}
	records, size := g.q.Len()
	var want int64
	for _, it := range g.m.waiting {
		want += int64(len(it.line))
	}
	if records != len(g.m.waiting) || size != want {
		return fmt.Errorf("Len: %d records, %d bytes, want %d and %d", records, size, len(g.m.waiting), want)
	}
	return nil
}

// checkStream reads what came out, and compares it with the numbers of the records that went in.
func (g *game) checkStream() error {
	if g.silent || g.rude {
		return nil
	}
	for _, line := range g.out {
		var name string
		l := router.Loss{Count: 1}
		if n, _ := fmt.Sscanf(string(line), "lost %s %d %d-%d", &name, &l.Count, &l.FirstSeq, &l.LastSeq); n != 4 {
			if n, err := fmt.Sscanf(string(line), "%s %d", &name, &l.FirstSeq); n != 2 {
				return fmt.Errorf("a line %q came out: %v", line, err)
			}
			l.LastSeq = l.FirstSeq
		}
		put, n := g.put[name], int(l.Count)
		if n == 0 || n > len(put) || put[0] != l.FirstSeq || put[n-1] != l.LastSeq {
			return fmt.Errorf("%q came out where %d was next", line, put[:min(len(put), 10)])
		}
		g.put[name] = put[n:]
	}
	for name, put := range g.put {
		if len(put) > 0 {
			return fmt.Errorf("%s: %d neither came out nor were announced", name, put)
		}
	}
	return nil
}
