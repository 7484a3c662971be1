package router

import (
	"errors"
	"fmt"
	"strings"
)

// A Pattern matches types and bus topics, whose segments are divided by dots: `*` is exactly one
// segment, `**` is any number of them, also none, and every other segment is itself. It covers the
// whole name. The zero Pattern matches the empty name only. A Pattern may be used by several
// goroutines at once.
type Pattern struct {
	text     string
	segments []string
}

const (
	oneSegment  = "*"
	anySegments = "**"
)

// CompilePattern compiles a pattern; the error says what is wrong with it and how to write it.
func CompilePattern(text string) (Pattern, error) {
	if text == "" {
		return Pattern{}, errors.New("a pattern must not be empty: ** matches everything")
	}
	p := Pattern{text: text}
	for i, segment := range strings.Split(text, ".") {
		switch {
		case segment == "":
			return Pattern{}, fmt.Errorf("segment %d of the pattern %q is empty: one dot stands between two segments, and none at the ends", i+1, text)
		case segment == oneSegment || segment == anySegments:
		case strings.Contains(segment, "*"):
			return Pattern{}, fmt.Errorf("segment %q of the pattern %q: * and ** stand only for whole segments; to match a part of a topic or event, use the globs of the keys topic and event", segment, text)
		case strings.ContainsFunc(segment, neverInSegment):
			return Pattern{}, fmt.Errorf("segment %q of the pattern %q matches nothing: in types and bus topics every character but letters, digits, _ and - is replaced by _", segment, text)
		}
		if segment == anySegments && len(p.segments) > 0 && p.segments[len(p.segments)-1] == anySegments {
			continue // A second one in a row adds nothing.
		}
		p.segments = append(p.segments, segment)
	}
	return p, nil
}

// neverInSegment says whether r occurs in no segment, because of how package signal makes them.
func neverInSegment(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_', r == '-':
		return false
	}
	return true
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Match reports whether the pattern matches name. It allocates nothing, and takes at most the
// product of the two lengths.
//
// It compares from the left, and at a mismatch lets the latest `**` take one more segment. Earlier
// ones never need to take more: what stands between them has been found at its leftmost place.
func (p Pattern) Match(name string) bool {
	if len(p.segments) == 0 {
		return name == ""
	}
	// at is where the next segment of name begins. Each one is followed by one byte, so that
	// len(name)+1 is the end.
	at, i := 0, 0
	stars, from := -1, 0 // the latest `**`, and where in name what follows it was last tried
	for at <= len(name) || i < len(p.segments) {
		if i < len(p.segments) {
			if p.segments[i] == anySegments {
				stars, from = i, at
				i++
				continue
			}
			if at > len(name) {
				return false // a longer run would leave even less
			}
			end := segmentEnd(name, at)
			if p.segments[i] == oneSegment || p.segments[i] == name[at:end] {
				at, i = end+1, i+1
				continue
			}
		}
		if stars < 0 || from > len(name) {
			return false
		}
		if stars == len(p.segments)-1 {
			return true // it takes the rest
		}
		from = segmentEnd(name, from) + 1
		at, i = from, stars+1
	}
	return true
}

// segmentEnd returns where the segment of name that begins at start ends.
func segmentEnd(name string, start int) int {
	if i := strings.IndexByte(name[start:], '.'); i >= 0 {
		return start + i
	}
	return len(name)
}
