package router

import (
	"fmt"
	"testing"
)

// BenchmarkOrigins is the way of a record in and out on one goroutine, with the chunks of several origins one after the
// other. The reader keeps up, or never comes.
func BenchmarkOrigins(b *testing.B) {
	line := make([]byte, 100)
	for _, origins := range []int{0, 1, 4} {
		for _, perChunk := range []int{1, 4096} {
			for _, reads := range []bool{true, false} {
				b.Run(fmt.Sprintf("origins=%d/perchunk=%d/reads=%v", origins, perChunk, reads), func(b *testing.B) {
					q := NewQueue(1<<20, DropOldest, announceLoss)
					of := make([]*Origin, max(origins, 1))
					for i := range origins {
						of[i] = NewOrigin(fmt.Sprint(i))
					}
					b.ReportAllocs()
					for put, turn := 0, 0; put < b.N; turn++ {
						c := q.ChunkOf(of[turn%len(of)])
						for c.Len() < perChunk && !c.Full() {
							c.Commit(append(c.Buffer(), line...), 1)
						}
						put += c.Len()
						if err := q.Put(b.Context(), c); err != nil {
							b.Fatalf("Put: %v", err)
						}
						if reads && turn%8 == 7 {
							releaseAll(b, q)
						}
					}
				})
			}
		}
	}
}

func releaseAll(b *testing.B, q *Queue) {
	for {
		c, err := q.poll()
		if err != nil {
			b.Fatalf("Take: %v", err)
		}
		if c == nil {
			return
		}
		q.Release(c)
	}
}
