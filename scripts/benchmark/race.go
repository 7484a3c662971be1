package main

import (
	"fmt"
	"slices"
)

// A race measures processes beside bare loops.
type race struct {
	title       string
	unit, units string // what is counted
	count       int
	cpuBase     *contender // whose processor time the others' is divided by
	rateBase    *contender // whose rate the others' is divided by
	contenders  []*contender
}

// A contender is one process to measure.
type contender struct {
	name string
	program
	// cpuBar and rateBar bound its ratios: processor time from above, units a second from below. 0: no bar.
	cpuBar, rateBar float64

	costs []cost
}

// addPhx adds a process of phx, if it is wanted, and the same of the binary before. It returns the first, nil if it is not wanted.
func (r *race) addPhx(b *bench, c contender) *contender {
	if !b.wants(c.name) {
		return nil
	}
	added := &c
	r.contenders = append(r.contenders, added)
	if b.before != "" {
		before := contender{name: "  before", program: c.program}
		before.argv = append([]string{b.before}, c.argv...)
		r.contenders = append(r.contenders, &before)
	}
	c.argv = append([]string{b.phx}, c.argv...)
	return added
}

// run measures every contender once a round, beginning with another one each time, and prints the medians.
func (r *race) run(b *bench) error {
	for round := range b.rounds {
		for i := range r.contenders {
			c := r.contenders[(round+i)%len(r.contenders)]
			spent, err := measure(b.server.joined, c.program)
			if err != nil {
				return err
			}
			c.costs = append(c.costs, spent)
		}
	}
	fmt.Printf("%s; median of %d rounds\n\n", r.title, b.rounds)
	fmt.Printf("%-27s %13s %9s  %-16s %13s %9s  %s\n",
		"", "µs cpu/"+r.unit, "ratio", "bar", r.units+"/s", "ratio", "bar")
	for _, c := range r.contenders {
		cpuRatio := medianOf(b.rounds, func(i int) float64 { return c.costs[i].cpu.Seconds() / r.cpuBase.costs[i].cpu.Seconds() })
		rateRatio := medianOf(b.rounds, func(i int) float64 { return timesAsFast(c, r.rateBase, i) })
		cpu := medianOf(b.rounds, func(i int) float64 { return c.costs[i].cpu.Seconds() / float64(r.count) * 1e6 })
		rate := medianOf(b.rounds, func(i int) float64 { return float64(r.count) / c.costs[i].work.Seconds() })
		fmt.Printf("%-27s %13.2f %9.2f  %-16s %13.0f %9.2f  %s\n",
			c.name, cpu, cpuRatio, atMost(cpuRatio, c.cpuBar, "%.2f"), rate, rateRatio, atLeast(rateRatio, c.rateBar))
	}
	fmt.Println()
	return nil
}

// timesAsFast is how many times as fast a was as b in a round.
func timesAsFast(a, b *contender, round int) float64 {
	return b.costs[round].work.Seconds() / a.costs[round].work.Seconds()
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
