package strictyaml

import (
	"fmt"
	"strings"
)

// A problem is what is wrong with a reference to a variable. It repeats nothing of the text around it.
type problem struct{ message, advice string }

const referenceAdvice = "right ones: ${VAR}, ${VAR:-default}, ${VAR:?message}; $$ is a dollar sign"

// interpolate fills in the variables that text refers to. As in a shell, :- and :? are also for a variable that is empty, and
// a default may refer to variables, which are looked up only if it is used. A dollar sign before anything but { and $ is one.
func interpolate(text string, lookup func(string) (string, bool)) (string, *problem) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		switch {
		case !found:
			return out.String(), nil
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			text = rest[1:]
			continue
		case !strings.HasPrefix(rest, "{"):
			out.WriteByte('$')
			text = rest
			continue
		}
		length := referenceLength(rest)
		if length < 0 {
			return "", &problem{"a ${ has no }", referenceAdvice}
		}
		value, problem := expand(rest[1:length-1], lookup)
		if problem != nil {
			return "", problem
		}
		out.WriteString(value)
		text = rest[length:]
	}
}

// referenceLength returns the length of the {...} that text begins with, references within it included; -1 without an end.
func referenceLength(text string) int {
	depth := 1
	for i := 1; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], "$$"):
			i++
		case strings.HasPrefix(text[i:], "${"):
			depth++
			i++
		case text[i] == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// expand returns what stands for the inside of a ${...}.
func expand(inside string, lookup func(string) (string, bool)) (string, *problem) {
	name, operator, operand := inside, "", ""
	if i := strings.IndexByte(inside, ':'); i >= 0 && i+1 < len(inside) {
		name, operator, operand = inside[:i], inside[i:i+2], inside[i+2:]
	}
	if !isVariable(name) || operator != "" && operator != ":-" && operator != ":?" {
		return "", &problem{"what stands between ${ and } is not understood", referenceAdvice}
	}
	value, set := lookup(name)
	switch {
	case operator == "" && !set:
		return "", &problem{fmt.Sprintf("the variable %s is not set", name), fmt.Sprintf("set it, or give a default: ${%s:-default}", name)}
	case operator == "" || value != "":
		return value, nil
	case operator == ":-":
		return interpolate(operand, lookup)
	case operand == "":
		operand = "it is not set"
	}
	return "", &problem{fmt.Sprintf("the variable %s: %s", name, operand), "set it"}
}

// isVariable reports whether name can be that of a variable.
func isVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
