package phoenix_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A renumbering gives refs numbers from 1, in the order of their first use.
type renumbering map[string]string

func (r renumbering) number(ref string) string {
	if r[ref] == "" {
		r[ref] = strconv.Itoa(len(r) + 1)
	}
	return r[ref]
}

// renumber renumbers the refs of each client. A client counts on when it reconnects; one that begins with a ref that was
// there before is another.
func renumber(wire [][]string) [][]string {
	refs := renumbering{}
	var rewritten [][]string
	for _, lines := range wire {
		begun := false
		number := func(ref string) string {
			if _, known := refs[ref]; known && !begun {
				refs = renumbering{}
			}
			begun = true
			return refs.number(ref)
		}
		var renumbered []string
		for _, line := range lines {
			renumbered = append(renumbered, renumberLine(line, number))
		}
		rewritten = append(rewritten, renumbered)
	}
	return rewritten
}

// textRefs are the join_ref, which may be null, and the ref of a text frame.
var textRefs = regexp.MustCompile(`^text \[(?:null|"([0-9]+)"),"([0-9]+)",`)

func renumberLine(line string, number func(ref string) string) string {
	if quoted, ok := strings.CutPrefix(line, "binary "); ok {
		return "binary " + renumberBinary(quoted, number)
	}
	refs := textRefs.FindStringSubmatch(line)
	if refs == nil {
		return line
	}
	joinRef := "null"
	if refs[1] != "" {
		joinRef = strconv.Quote(number(refs[1]))
	}
	return fmt.Sprintf("text [%s,%q,%s", joinRef, number(refs[2]), line[len(refs[0]):])
}

// renumberBinary renumbers the refs of a binary push (PROTOCOL.md, section 3), which is quoted.
func renumberBinary(quoted string, number func(ref string) string) string {
	const head = 5 // kind, and the lengths of join_ref, ref, topic and event
	frame, err := strconv.Unquote(quoted)
	if err != nil {
		panic(err) // it was quoted by frameLine
	}
	refAt := head + int(frame[1])
	restAt := refAt + int(frame[2])
	joinRef, ref := number(frame[head:refAt]), number(frame[refAt:restAt])
	return strconv.Quote(string([]byte{frame[0], byte(len(joinRef)), byte(len(ref)), frame[3], frame[4]}) + joinRef + ref + frame[restAt:])
}
