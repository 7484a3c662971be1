package jq

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"

	"phx/phoenix/rawjson"
)

// A plain expression has at most one result for an input, and takes it from the JSON text of the input without decoding that:
// paths, comparisons of them with constants, and, or, not, //, select, pipes of those, and objects, arrays and strings made of them.
// Its results are those of gojq: where a plain expression fails, or cannot tell, the outcome is unsure, and gojq runs the expression.
type plain interface {
	// eval applies the expression to text, one JSON value without white space around it, or nil: that is the object of the source.
	// So is a result that is nil. The result is valid until the next document.
	eval(m *machine, text []byte) (result []byte, o outcome)
}

// scans reports whether an evaluation begins with a look at the whole text, and is unsure if that is not JSON.
func scans(e plain) bool {
	switch e := e.(type) {
	case path:
		return len(e) > 0
	case pipe:
		return scans(e.left)
	case junction:
		return scans(e.left)
	case alternative:
		return scans(e.left)
	case selection:
		return scans(e.condition)
	case comparison:
		return scans(e.operand)
	}
	return false
}

// An outcome is how the evaluation of a plain expression ended.
type outcome int

const (
	one outcome = iota
	none
	unsure
)

// A machine is what evaluations need besides the expression: the document, and scratch. It is not safe for concurrent use.
type machine struct {
	normalizer
	source Source // nil: the document is a text
	// built is what builders have made for this document, results what those under way will be made of, text scratch.
	built   []byte
	results [][]byte
	text    []byte
}

var (
	textNull  = []byte("null")
	textTrue  = []byte("true")
	textFalse = []byte("false")
)

func boolText(b bool) []byte {
	if b {
		return textTrue
	}
	return textFalse
}

// textOf returns the text of a result: that of the source for nil.
func (m *machine) textOf(result []byte) []byte {
	if result == nil {
		return m.source.Text()
	}
	return result
}

// isTruthy reports whether a result is neither false nor null.
func isTruthy(result []byte) bool { return result == nil || result[0] != 'n' && result[0] != 'f' }

// plainOf returns the plain form of a query, nil if it has none. constants are the variables of the query. gojq.Compile changes
// the query, so this comes first.
func plainOf(q *gojq.Query, constants map[string]any) plain {
	if q == nil || q.Meta != nil || len(q.Imports)+len(q.FuncDefs) > 0 {
		return nil
	}
	if len(q.Patterns) > 0 {
		return plainBinding(q, constants)
	}
	if q.Term != nil {
		return plainTerm(q.Term, constants)
	}
	if comparisons[q.Op] != nil {
		return plainComparison(q, constants)
	}
	switch q.Op {
	case gojq.OpPipe, gojq.OpAnd, gojq.OpOr, gojq.OpAlt:
	default:
		return nil
	}
	left, right := plainOf(q.Left, constants), plainOf(q.Right, constants)
	if left == nil || right == nil {
		return nil
	}
	switch q.Op {
	case gojq.OpPipe:
		first, isPath := left.(path)
		if then, arePaths := right.(path); isPath && arePaths {
			return append(slices.Clip(first), then...)
		}
		return pipe{left, right}
	case gojq.OpAlt:
		return alternative{left, right}
	}
	return junction{left, right, q.Op == gojq.OpOr}
}

// plainBinding returns what follows the binding of a constant, CONSTANT as $NAME, which [Bind] makes.
func plainBinding(q *gojq.Query, constants map[string]any) plain {
	name := q.Patterns[0].Name
	value, ok := scalarOf(q.Left, constants)
	if !ok || name == "" || len(q.Patterns) > 1 {
		return nil
	}
	constants = maps.Clone(constants)
	if constants == nil {
		constants = map[string]any{}
	}
	constants[name] = value
	return plainOf(q.Right, constants)
}

func plainTerm(t *gojq.Term, constants map[string]any) plain {
	if value, ok := constantOf(t, constants); ok {
		return constant(appendValue(nil, value))
	}
	switch t.Type {
	case gojq.TermTypeIdentity, gojq.TermTypeIndex:
		return plainPath(t)
	case gojq.TermTypeQuery:
		inner := plainOf(t.Query, constants)
		suffixes := plainPath(&gojq.Term{Type: gojq.TermTypeIdentity, SuffixList: t.SuffixList})
		if inner != nil && suffixes != nil {
			return pipe{inner, suffixes}
		}
	case gojq.TermTypeObject:
		if len(t.SuffixList) == 0 {
			return plainObject(t.Object, constants)
		}
	case gojq.TermTypeArray:
		if len(t.SuffixList) == 0 {
			return plainArray(t.Array.Query, constants)
		}
	case gojq.TermTypeString:
		if len(t.SuffixList) == 0 {
			return plainText(t.Str, constants)
		}
	case gojq.TermTypeFunc:
		if len(t.SuffixList) > 0 {
			return nil
		}
		switch f := t.Func; {
		case f.Name == "select" && len(f.Args) == 1:
			if condition := plainOf(f.Args[0], constants); condition != nil {
				return selection{condition}
			}
		case f.Name == "not" && len(f.Args) == 0:
			return negation{}
		case f.Name == "empty" && len(f.Args) == 0:
			return nothing{}
		}
	}
	return nil
}

// constantOf returns the value of a constant, or of a variable.
func constantOf(t *gojq.Term, constants map[string]any) (value any, ok bool) {
	if len(t.SuffixList) > 0 {
		return nil, false
	}
	switch t.Type {
	case gojq.TermTypeNull:
		return nil, true
	case gojq.TermTypeTrue:
		return true, true
	case gojq.TermTypeFalse:
		return false, true
	case gojq.TermTypeString:
		return t.Str.Str, t.Str.Queries == nil
	case gojq.TermTypeNumber:
		return numberOf(t.Number)
	case gojq.TermTypeUnary:
		if operand := t.Unary.Term; t.Unary.Op == gojq.OpSub && operand.Type == gojq.TermTypeNumber && len(operand.SuffixList) == 0 {
			value, ok = numberOf(operand.Number)
			switch n := value.(type) {
			case int:
				value = -n
			case float64:
				value = -n
			}
		}
	case gojq.TermTypeFunc:
		if len(t.Func.Args) == 0 {
			value, ok = constants[t.Func.Name]
		}
	}
	return value, ok
}

// numberOf returns the value that gojq gives a number in an expression, if that is an int or a finite float64.
func numberOf(text string) (value any, ok bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return n, true
	}
	if !strings.ContainsAny(text, ".eE") {
		return nil, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

// A path is the indexes of .a.b[0], the outermost first; none is `.`.
type path []step

// A step indexes an object by key or an array by index.
type step struct {
	key     string
	index   int
	isIndex bool
	// optional ignores the error of a value that cannot be indexed: there is no result.
	optional bool
}

// plainPath returns the path of an identity or an index with its suffixes, nil if there is more to it.
func plainPath(t *gojq.Term) plain {
	p := path{}
	if t.Type == gojq.TermTypeIndex {
		first, ok := stepOf(t.Index)
		if !ok {
			return nil
		}
		p = append(p, first)
	}
	for i, suffix := range t.SuffixList {
		switch {
		case suffix.Index != nil:
			next, ok := stepOf(suffix.Index)
			if !ok {
				return nil
			}
			p = append(p, next)
		// A question mark is about the index before it, and a second one about all that is before.
		case suffix.Optional && len(p) > 0 && (i == 0 || !t.SuffixList[i-1].Optional):
			p[len(p)-1].optional = true
		default:
			return nil
		}
	}
	return p
}

// stepOf returns the step of an index by a constant.
func stepOf(x *gojq.Index) (s step, ok bool) {
	switch {
	case x.Name != "":
		return step{key: x.Name}, true
	case x.Str != nil:
		return step{key: x.Str.Str}, x.Str.Queries == nil
	case x.IsSlice || x.Start.Term == nil || len(x.Start.FuncDefs)+len(x.Start.Imports) > 0 || x.Start.Meta != nil:
		return step{}, false
	}
	value, ok := constantOf(x.Start.Term, nil)
	switch v := value.(type) {
	case string:
		return step{key: v}, ok
	case int:
		return step{index: v, isIndex: true}, ok
	}
	return step{}, false
}

func (p path) eval(m *machine, text []byte) (result []byte, o outcome) {
	switch {
	case len(p) == 0:
		return text, one
	case text == nil:
		return p.evalSource(m)
	}
	result, end, o := m.follow(p, text, 0, 0)
	if end != len(text) {
		return nil, unsure
	}
	return result, o
}

// evalSource applies the path to the object of the source.
func (p path) evalSource(m *machine) (result []byte, o outcome) {
	if !p[0].isIndex {
		if len(p) > 1 && !p[1].isIndex {
			if value, known := m.source.Value(p[0].key, p[1].key); known {
				return m.within(p[2:], value, 0)
			}
		}
		if value, known := m.source.Value(p[0].key, ""); known {
			return m.within(p[1:], value, sourceLevels-1)
		}
	}
	return m.within(p, m.source.Text(), sourceLevels)
}

// within returns what the path leads to in a valid text with unique keys in so many levels.
func (m *machine) within(p path, text []byte, unique int) (result []byte, o outcome) {
	if len(p) == 0 {
		return text, one
	}
	result, _, o = m.follow(p, text, 0, unique)
	return result, o
}

// follow returns what the path leads to in the value at text[i], and the end of that value, whose rest it checks, unless the keys
// of that many levels are unique: then the end may be that of text.
func (m *machine) follow(p path, text []byte, i, unique int) (result []byte, end int, o outcome) {
	switch c := rawjson.ByteAt(text, i); {
	case len(p) == 0, c == 'n':
		end, f := rawjson.SkipValue(text, i)
		if f != rawjson.NoFault {
			return nil, len(text), unsure
		}
		return text[i:end], end, one
	case c == '{' && !p[0].isIndex:
		return m.member(p, text, i, unique)
	case c == '[' && p[0].isIndex:
		return m.element(p, text, i)
	default: // gojq finds an error, or a character
		end, f := rawjson.SkipValue(text, i)
		switch {
		case f != rawjson.NoFault:
			return nil, len(text), unsure
		case p[0].optional && (c != '"' || !p[0].isIndex):
			return nil, end, none
		}
		return nil, end, unsure
	}
}

// member is follow for an object. Of members of the same key the last one counts.
func (m *machine) member(p path, text []byte, i, unique int) (result []byte, end int, o outcome) {
	result, o = textNull, one
	i, c := rawjson.NextToken(text, i+1)
	for more := false; c != '}' || more; more = true {
		start := i
		if c != '"' {
			return nil, len(text), unsure
		}
		end, escaped, f := rawjson.SkipString(text, i+1)
		if f != rawjson.NoFault {
			return nil, len(text), unsure
		}
		if i, c = rawjson.NextToken(text, end); c != ':' {
			return nil, len(text), unsure
		}
		i, _ = rawjson.NextToken(text, i+1)
		if m.isKey(text[start:end], escaped, p[0].key) {
			if result, i, o = m.follow(p[1:], text, i, unique-1); unique > 0 {
				return result, len(text), o
			}
		} else if i, f = rawjson.SkipValue(text, i); f != rawjson.NoFault {
			return nil, len(text), unsure
		}
		if i, c = rawjson.NextToken(text, i); c == '}' {
			break
		}
		if c != ',' {
			return nil, len(text), unsure
		}
		i, c = rawjson.NextToken(text, i+1)
	}
	return result, i + 1, o
}

// isKey reports whether a JSON string stands for the key.
func (m *machine) isKey(text []byte, escaped bool, key string) bool {
	if !escaped {
		return string(text[1:len(text)-1]) == key
	}
	m.unescaped = rawjson.AppendUnescaped(m.unescaped[:0], text)
	return string(m.unescaped) == key
}

// element is follow for an array.
func (m *machine) element(p path, text []byte, i int) (result []byte, end int, o outcome) {
	index := p[0].index
	if index < 0 {
		length, ok := arrayLen(text, i)
		if !ok {
			return nil, len(text), unsure
		}
		index += length
	}
	result, o = textNull, one
	i, c := rawjson.NextToken(text, i+1)
	for n := 0; c != ']' || n > 0; n++ {
		if n == index {
			result, i, o = m.follow(p[1:], text, i, 0)
		} else {
			var f rawjson.Fault
			if i, f = rawjson.SkipValue(text, i); f != rawjson.NoFault {
				return nil, len(text), unsure
			}
		}
		if i, c = rawjson.NextToken(text, i); c == ']' {
			break
		}
		if c != ',' {
			return nil, len(text), unsure
		}
		i, _ = rawjson.NextToken(text, i+1)
	}
	return result, i + 1, o
}

// arrayLen returns the number of elements of the array at text[i].
func arrayLen(text []byte, i int) (n int, ok bool) {
	i, c := rawjson.NextToken(text, i+1)
	if c == ']' {
		return 0, true
	}
	for {
		var f rawjson.Fault
		if i, f = rawjson.SkipValue(text, i); f != rawjson.NoFault {
			return 0, false
		}
		n++
		if i, c = rawjson.NextToken(text, i); c != ',' {
			return n, c == ']'
		}
		i, _ = rawjson.NextToken(text, i+1)
	}
}

// A constant is the text of a value.
type constant []byte

func (c constant) eval(*machine, []byte) ([]byte, outcome) { return c, one }

// A pipe is left | right.
type pipe struct{ left, right plain }

func (e pipe) eval(m *machine, text []byte) ([]byte, outcome) {
	result, o := e.left.eval(m, text)
	if o != one {
		return nil, o
	}
	return e.right.eval(m, result)
}

// A junction is `left and right`, or `left or right`.
type junction struct {
	left, right plain
	or          bool
}

func (e junction) eval(m *machine, text []byte) ([]byte, outcome) {
	result, o := e.left.eval(m, text)
	if o != one {
		return nil, o
	}
	if isTruthy(result) == e.or {
		return boolText(e.or), one
	}
	if result, o = e.right.eval(m, text); o != one {
		return nil, o
	}
	return boolText(isTruthy(result)), one
}

// A negation is not.
type negation struct{}

func (negation) eval(_ *machine, text []byte) ([]byte, outcome) {
	return boolText(!isTruthy(text)), one
}

// An alternative is left // right.
type alternative struct{ left, right plain }

func (e alternative) eval(m *machine, text []byte) ([]byte, outcome) {
	result, o := e.left.eval(m, text)
	if o == unsure || o == one && isTruthy(result) {
		return result, o
	}
	return e.right.eval(m, text)
}

// Nothing is empty.
type nothing struct{}

func (nothing) eval(*machine, []byte) ([]byte, outcome) { return nil, none }

// A selection is select(condition).
type selection struct{ condition plain }

func (e selection) eval(m *machine, text []byte) ([]byte, outcome) {
	result, o := e.condition.eval(m, text)
	if o != one {
		return nil, o
	}
	if !isTruthy(result) {
		return nil, none
	}
	return text, one
}

// A comparison compares the result of an expression with a scalar.
type comparison struct {
	operand plain
	holds   func(order int) bool
	// with is the scalar: nil, a bool, an int, a float64, a json.Number or a string.
	with any
	// constantLeft says that the scalar is the left operand.
	constantLeft bool
}

// comparisons has what each operator says of the order of its operands.
var comparisons = map[gojq.Operator]func(order int) bool{
	gojq.OpEq: func(order int) bool { return order == 0 },
	gojq.OpNe: func(order int) bool { return order != 0 },
	gojq.OpLt: func(order int) bool { return order < 0 },
	gojq.OpLe: func(order int) bool { return order <= 0 },
	gojq.OpGt: func(order int) bool { return order > 0 },
	gojq.OpGe: func(order int) bool { return order >= 0 },
}

func plainComparison(q *gojq.Query, constants map[string]any) plain {
	e := comparison{holds: comparisons[q.Op]}
	operand := q.Left
	with, ok := scalarOf(q.Right, constants)
	if !ok {
		operand, e.constantLeft = q.Right, true
		with, ok = scalarOf(q.Left, constants)
	}
	e.operand, e.with = plainOf(operand, constants), with
	if !ok || e.operand == nil {
		return nil
	}
	return e
}

// scalarOf returns the value of a query that is a scalar constant.
func scalarOf(q *gojq.Query, constants map[string]any) (value any, ok bool) {
	if q.Term == nil || q.Meta != nil || len(q.Imports)+len(q.FuncDefs) > 0 {
		return nil, false
	}
	value, ok = constantOf(q.Term, constants)
	switch value.(type) {
	case nil, bool, int, float64, json.Number, string:
		return value, ok
	}
	return nil, false
}

func (e comparison) eval(m *machine, text []byte) ([]byte, outcome) {
	result, o := e.operand.eval(m, text)
	if o != one {
		return nil, o
	}
	order := m.compare(m.textOf(result), e.with)
	if e.constantLeft {
		order = -order
	}
	return boolText(e.holds(order)), one
}

// compare returns the order of a JSON text and a scalar, as [gojq.Compare] does of their values: null, false, true, numbers,
// strings, arrays, objects.
func (m *machine) compare(text []byte, with any) int {
	if order := cmp.Compare(rankOfText(text), rankOf(with)); order != 0 {
		return order
	}
	switch with := with.(type) {
	case string:
		value := text[1 : len(text)-1]
		if bytes.IndexByte(value, '\\') >= 0 {
			m.unescaped = rawjson.AppendUnescaped(m.unescaped[:0], text)
			value = m.unescaped
		}
		return compareStrings(value, with)
	case int:
		if n, ok := plainInt(text); ok {
			return cmp.Compare(n, with)
		}
		if f, ok := plainFloat(text); ok {
			return cmp.Compare(f, float64(with))
		}
		return gojq.Compare(json.Number(text), with)
	case float64:
		if n, ok := plainInt(text); ok {
			return cmp.Compare(float64(n), with)
		}
		if f, ok := plainFloat(text); ok {
			return cmp.Compare(f, with)
		}
		return gojq.Compare(json.Number(text), with)
	case json.Number:
		return gojq.Compare(json.Number(text), with)
	}
	return 0
}

// compareStrings is [strings.Compare], without a copy.
func compareStrings(a []byte, b string) int {
	switch {
	case string(a) < b:
		return -1
	case string(a) > b:
		return 1
	}
	return 0
}

// plainFloat returns the value of a valid JSON number that is no integer as it is spelled, and within the range of a float64.
func plainFloat(number []byte) (f float64, ok bool) {
	if !bytes.ContainsAny(number, ".eE") {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(number), 64)
	return f, err == nil
}

// rankOfText returns the place of a value among those of other types by its first character.
func rankOfText(text []byte) int {
	switch text[0] {
	case 'n':
		return 0
	case 'f':
		return 1
	case 't':
		return 2
	case '"':
		return 4
	case '[':
		return 5
	case '{':
		return 6
	}
	return 3
}

// rankOf is rankOfText of a scalar.
func rankOf(scalar any) int {
	switch v := scalar.(type) {
	case nil:
		return 0
	case bool:
		if v {
			return 2
		}
		return 1
	case string:
		return 4
	}
	return 3
}
