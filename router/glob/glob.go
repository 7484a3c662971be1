// Package glob matches names against the globs that users write: in --event, --exclude-event and
// the routes of a config.
package glob

import (
	"errors"
	"unicode/utf8"
)

// An op is one step of a compiled glob: a byte to match, or one of the wildcards below.
type op uint16

const (
	anyRun op = 256 + iota // `*`: any run of characters, also none
	anyOne                 // `?`: exactly one character
)

// A Glob is a compiled pattern, which covers the whole name. The zero Glob matches the empty name
// only. A Glob may be used by several goroutines at once.
type Glob struct {
	pattern string
	prefix  string // what stands before the first wildcard
	rest    []op
}

// Compile compiles a pattern: `*` is any run of characters, `?` is one, a backslash quotes the
// character that follows, and nothing else is special. The only error is a pattern that ends in a
// single backslash.
func Compile(pattern string) (Glob, error) {
	g := Glob{pattern: pattern}
	var prefix []byte
	for i := 0; i < len(pattern); i++ {
		o := op(pattern[i])
		switch pattern[i] {
		case '*':
			o = anyRun
		case '?':
			o = anyOne
		case '\\':
			if i++; i == len(pattern) {
				return Glob{}, errors.New(`a glob must not end in a single backslash: write \\ for the character`)
			}
			o = op(pattern[i])
		}
		switch {
		case o < anyRun && len(g.rest) == 0:
			prefix = append(prefix, byte(o))
		case o == anyRun && len(g.rest) > 0 && g.rest[len(g.rest)-1] == anyRun:
			// A second one in a row adds nothing.
		default:
			g.rest = append(g.rest, o)
		}
	}
	g.prefix = string(prefix)
	return g, nil
}

// String returns the pattern as it was written.
func (g Glob) String() string { return g.pattern }

// Match reports whether the glob matches name. It allocates nothing, and takes at most the product
// of the two lengths. A byte of name that is not valid UTF-8 is one character.
func (g Glob) Match(name []byte) bool { return match(g, name) }

// MatchString is [Glob.Match] for a string.
func (g Glob) MatchString(name string) bool { return match(g, name) }

// match compares from the left, and at a mismatch lets the latest `*` take one more character.
// Earlier ones never need to take more: what stands between them has been found at its leftmost
// place.
func match[T string | []byte](g Glob, name T) bool {
	if len(name) < len(g.prefix) || string(name[:len(g.prefix)]) != g.prefix {
		return false
	}
	i, p := len(g.prefix), 0 // places in name and in g.rest
	star, from := -1, 0      // the latest `*`, and where in name what follows it was last tried
	for i < len(name) || p < len(g.rest) {
		if p < len(g.rest) {
			switch o := g.rest[p]; {
			case o == anyRun:
				star, from = p, i
				p++
				continue
			case i == len(name):
				return false // a longer run would leave even less
			case o == anyOne:
				i += width(name, i)
				p++
				continue
			case o == op(name[i]):
				i++
				p++
				continue
			}
		}
		if star < 0 || from == len(name) {
			return false
		}
		if star == len(g.rest)-1 {
			return true // it takes the rest
		}
		from += width(name, from)
		i, p = from, star+1
	}
	return true
}

// width returns the length in bytes of the character at name[i:].
func width[T string | []byte](name T, i int) int {
	if name[i] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(string(name[i:min(i+utf8.UTFMax, len(name))]))
	return n
}
