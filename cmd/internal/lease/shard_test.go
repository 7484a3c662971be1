package lease

import (
	"fmt"
	"testing"
)

// Every name is in exactly one of the shards, whatever their number.
func TestEveryNameIsInOneShard(t *testing.T) {
	for of := 1; of <= 9; of++ {
		for i := range 500 {
			name, in := fmt.Sprintf("connection-%d", i), 0
			for index := range of {
				if (Shard{index, of}).Has(name) {
					in++
				}
			}
			if in != 1 {
				t.Fatalf("%s is in %d shards of %d", name, in, of)
			}
		}
	}
}

// With one shard more, names move to that one and nowhere else; each shard has about its share.
func TestOneShardMoreTakesOnlyItsShare(t *testing.T) {
	const names = 4000
	for of := 1; of <= 7; of++ {
		counts := make([]int, of+1)
		for i := range names {
			name := fmt.Sprintf("connection-%d", i)
			before, after := ShardOf(name, of), ShardOf(name, of+1)
			counts[after.Index]++
			if after.Index != before.Index && after.Index != of {
				t.Fatalf("%s moves from %v to %v", name, before, after)
			}
		}
		for index, n := range counts {
			if share := names / (of + 1); n < share*3/4 || n > share*5/4 {
				t.Errorf("shard %d of %d has %d of %d names", index, of+1, n, names)
			}
		}
	}
}

// Shards are the same in every version of phx, else an update of one process after the other would run connections twice, or not at all. These
// were computed by another program.
func TestShardsStayWhatTheyAre(t *testing.T) {
	for name, want := range map[string]string{"backend": "1/3", "lobby": "0/3", "news": "2/3", "a": "0/3", "orders": "2/3"} {
		if got := ShardOf(name, 3).String(); got != want {
			t.Errorf("%s is in shard %s, and was in %s", name, got, want)
		}
	}
}

func TestParseShard(t *testing.T) {
	for text, want := range map[string]Shard{"0/1": {0, 1}, "0/3": {0, 3}, "2/3": {2, 3}, "11/12": {11, 12}, "4095/4096": {4095, 4096}} {
		if got, err := ParseShard(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "/", "1", "3/3", "4/3", "-1/3", "+1/3", "0/0", "0/-1", "0/4097", "a/b", "0/3/5", " 0/3", "0 / 3", "0x0/3", "0/99999999999999999999"} {
		if got, err := ParseShard(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func FuzzParseShard(f *testing.F) {
	for _, text := range []string{"0/3", "2/3", "3/3", "x", "1/1/1", "00/03"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseShard(text)
		if err != nil {
			if s != (Shard{}) {
				t.Errorf("%q: %v beside %v", text, s, err)
			}
			return
		}
		if s.Index < 0 || s.Index >= s.Of {
			t.Errorf("%q is taken for %v", text, s)
		}
		if again, err := ParseShard(s.String()); err != nil || again != s {
			t.Errorf("%q: %v, %v is read from what %v is written as", text, again, err, s)
		}
	})
}
