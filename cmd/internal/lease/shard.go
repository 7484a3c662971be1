// Package lease decides which of several serve processes runs which connection of one config file.
//
// A [Shard] is the static way: each process is told its part, and needs no server. The parts follow from rendezvous hashing of
// the names, so that a change of the number of shards moves only the connections that have to move.
package lease

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Shard is one of Of parts of the connections of a config file. The zero Shard is no part, but all of them.
type Shard struct {
	// Index is less than Of.
	Index, Of int
}

// MostShards bounds Of. A name is compared with every shard.
const MostShards = 4096

// ParseShard parses INDEX/OF, such as 0/3. The error is a predicate.
func ParseShard(text string) (Shard, error) {
	index, of, ok := strings.Cut(text, "/")
	i, err := parseDigits(index)
	n, err2 := parseDigits(of)
	switch {
	case !ok || err != nil || err2 != nil:
		return Shard{}, errors.New("is not INDEX/OF, such as 0/3")
	case n == 0 || n > MostShards:
		return Shard{}, fmt.Errorf("does not have a number of shards from 1 to %d behind its slash", MostShards)
	case i >= n:
		return Shard{}, fmt.Errorf("is no shard of %d: they are counted from 0 to %d", n, n-1)
	}
	return Shard{i, n}, nil
}

// parseDigits parses a number that is written in digits alone, without a sign.
func parseDigits(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err
}

// String returns INDEX/OF; empty for the zero Shard.
func (s Shard) String() string {
	if s.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Of)
}

// ShardOf returns the one shard of so many that a connection belongs to.
func ShardOf(name string, of int) Shard {
	best, highest := 0, uint64(0)
	for i := range of {
		if s := score(name, strconv.Itoa(i)); i == 0 || s > highest {
			best, highest = i, s
		}
	}
	return Shard{best, of}
}

// Has reports whether a connection belongs to the shard.
func (s Shard) Has(name string) bool { return s.Of == 0 || ShardOf(name, s.Of) == s }

// score is how well a candidate suits a connection. The highest one wins (rendezvous hashing): without a candidate its connections
// go to others, and all the rest stay where they are. Processes of different versions of phx have to agree, so it never changes.
func score(name, candidate string) uint64 {
	sum := sha256.Sum256([]byte(name + "\x00" + candidate))
	return binary.BigEndian.Uint64(sum[:8])
}
