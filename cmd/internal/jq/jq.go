// Package jq runs the jq expressions of phx on JSON text. The language is gojq's, without what reaches out of a record:
// environment, files, modules, further inputs.
//
// What a common expression needs is read out of the text without decoding it (see plain); gojq runs the others, and defines the
// results of all. The results are JSON text as gojq writes it: keys in order, numbers as they were spelled unless the expression has
// calculated with them.
package jq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/itchyny/gojq"

	"phx/cmd/internal/exit"
	"phx/phoenix/rawjson"
)

// A Variable is one that an expression can use as $NAME.
type Variable struct {
	Name  string
	Value any // as gojq wants it
}

// TextVariable returns the variable of `--arg NAME VALUE`.
func TextVariable(name, value string) (Variable, error) {
	return Variable{name, value}, checkName(name)
}

// JSONVariable returns the variable of `--argjson NAME JSON`.
func JSONVariable(name, text string) (Variable, error) {
	value, err := decode([]byte(text))
	if err != nil {
		err = fmt.Errorf("is not one JSON text: %w", err)
	}
	return Variable{name, value}, errors.Join(checkName(name), err)
}

// checkName refuses what no expression could name.
func checkName(name string) error {
	isLetter := func(r rune) bool { return r == '_' || 'a' <= r|0x20 && r|0x20 <= 'z' }
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isLetter(r) && (r < '0' || r > '9') }) || !isLetter(rune(name[0])) {
		return errors.New("begins with a NAME that no expression can use: letters, digits and _")
	}
	return nil
}

// Bind returns the expression with the variables defined in it, for a process that compiles it without them.
func Bind(expr string, variables []Variable) string {
	var definitions []byte
	for _, v := range variables {
		definitions = append(appendValue(definitions, v.Value), " as $"...)
		definitions = append(append(definitions, v.Name...), " |\n"...) // an error shows the line of its place, and no value
	}
	return string(definitions) + expr
}

// Options are what an expression is compiled with.
type Options struct {
	// Source says where the expression comes from, for messages: --jq, where.
	Source string
	// Variables have different names.
	Variables []Variable
	// Limit bounds the time to the next result, or to the end; 0: none. It holds for a document of less than 1 MiB, and is as much
	// longer for each MiB: what is slow is to be the expression, and not what it is run on.
	Limit time.Duration
	// Redact takes the values of variables out of the text of an error; nil: they are no secrets.
	Redact func(text string) string
	// Debug gets what debug and stderr are applied to; nil: there are no such functions.
	Debug func(text []byte)
}

// A Document is what an expression is run on: a text, or the object of a source.
type Document struct {
	// Text is one JSON value.
	Text []byte
	// Source has the object; nil: Text is the document.
	Source Source
}

// A Source has a JSON object of which some values can be told without its text. What it returns is valid until the end of a run.
type Source interface {
	// Text returns the object. It is valid JSON, and no key occurs twice in it, nor in an object that is directly in it.
	Text() []byte
	// Value returns the value of the member inner of the member outer, or with an empty inner that of the member outer itself. It
	// reports whether that is known: if not, it is to be looked for in the text.
	Value(outer, inner string) (value []byte, known bool)
}

// sourceLevels is the number of levels of objects, from the outermost one on, in which the text of a source has unique keys.
const sourceLevels = 2

// A Filter is a compiled expression. It is safe for concurrent use.
type Filter struct {
	source string
	limit  time.Duration
	redact func(text string) string
	// plain is what of the expression needs no decoding; nil: nothing. rest is what follows it; nil: nothing. code is all.
	plain      plain
	scans      bool // see scans
	rest, code *gojq.Code
	values     []any // of the variables
	runners    sync.Pool
}

// Compile compiles an expression. The error is an [*exit.Error] that shows the place.
func Compile(expr string, o Options) (*Filter, error) {
	query, err := gojq.Parse(expr)
	if err != nil {
		return nil, o.compileError(expr, err)
	}
	c := compiler{options: o, constants: map[string]any{}}
	for _, v := range o.Variables {
		c.constants["$"+v.Name] = v.Value
	}
	f := &Filter{source: o.Source, limit: o.Limit, redact: o.Redact, runners: sync.Pool{New: func() any { return new(runner) }}}
	plain, rest := c.split(query)
	f.plain, f.scans = plain, scans(plain)
	if plain != nil && rest != nil {
		if f.rest, err = c.compile(rest); err != nil {
			return nil, o.compileError(expr, err)
		}
		// Compiling has changed the query.
		if query, err = gojq.Parse(expr); err != nil {
			return nil, o.compileError(expr, err)
		}
	}
	if f.code, err = c.compile(query); err != nil {
		return nil, o.compileError(expr, err)
	}
	f.values = c.values()
	return f, nil
}

// A compiler compiles the parts of one expression.
type compiler struct {
	options   Options
	constants map[string]any // by name, with the dollar sign
}

// split returns the plain beginning of a query, nil if there is none, and what follows it in the pipe, nil if nothing does.
func (c *compiler) split(q *gojq.Query) (beginning plain, rest *gojq.Query) {
	if beginning = plainOf(q, c.constants); beginning != nil {
		return beginning, nil
	}
	if q.Op != gojq.OpPipe || q.Meta != nil || len(q.Imports)+len(q.FuncDefs)+len(q.Patterns) > 0 {
		return nil, q
	}
	first := plainOf(q.Left, c.constants)
	if first == nil {
		return nil, q
	}
	next, rest := c.split(q.Right)
	if next == nil {
		return first, rest
	}
	return pipe{first, next}, rest
}

// names returns the names of all variables.
func (c *compiler) names() []string {
	return append([]string{"$ARGS"}, slices.Sorted(maps.Keys(c.constants))...)
}

// values returns the values of names, in their order.
func (c *compiler) values() []any {
	named := map[string]any{}
	values := []any{map[string]any{"named": named, "positional": []any{}}}
	for _, name := range slices.Sorted(maps.Keys(c.constants)) {
		values = append(values, c.constants[name])
		named[name[1:]] = c.constants[name]
	}
	return values
}

// errEnvironment is the error of an expression that asks for the environment.
var errEnvironment = errors.New("env and $ENV are not available: the environment may hold secrets")

func (c *compiler) compile(q *gojq.Query) (*gojq.Code, error) {
	wantsEnvironment := false
	options := []gojq.CompilerOption{
		gojq.WithVariables(c.names()),
		gojq.WithEnvironLoader(func() []string { wantsEnvironment = true; return nil }),
		// A record does not come from a file.
		gojq.WithFunction("input_filename", 0, 0, func(any, []any) any { return nil }),
	}
	if c.options.Debug != nil {
		debug := func(value any, _ []any) any {
			c.options.Debug(appendValue(nil, value))
			return value
		}
		options = append(options, gojq.WithFunction("debug", 0, 0, debug), gojq.WithFunction("stderr", 0, 0, debug))
	}
	code, err := gojq.Compile(q, options...)
	if wantsEnvironment {
		err = errEnvironment
	}
	return code, err
}

// compileError makes the error about an expression that does not compile.
func (o *Options) compileError(expr string, err error) error {
	e := &exit.Error{
		Code:    exit.JQCompile,
		Message: fmt.Sprintf("the expression of %s does not compile: %v", o.Source, err),
		Hint:    "check the expression, and that the shell leaves it alone: put it in single quotes",
		Err:     err,
	}
	parseErr := (*gojq.ParseError)(nil)
	switch {
	case errors.As(err, &parseErr):
		e.Message += pointAt(expr, parseErr.Offset-len(parseErr.Token))
	case err == errEnvironment:
		e.Hint = `pass the value, --arg name "$NAME", and write $name in the expression`
	case strings.HasPrefix(err.Error(), "input(s)"):
		e.Hint = "it is run for each record, which is `.`; there is no other input"
	}
	return e
}

// pointAt returns two lines: that of text in which the offset is, and a caret below the place.
func pointAt(text string, offset int) string {
	offset = min(max(offset, 0), len(text))
	start := strings.LastIndexByte(text[:offset], '\n') + 1
	line, _, _ := strings.Cut(text[start:], "\n")
	column := len([]rune(text[start:offset]))
	return fmt.Sprintf("\n    %s\n    %*s", line, column+1, "^")
}

// String returns where the expression comes from.
func (f *Filter) String() string { return f.source }

// A Halt is the error of an expression that ends the command, by halt or halt_error.
type Halt struct {
	// Code is the exit code that it asks for, 0 for halt.
	Code int
	// Message is what halt_error was applied to, a string without its quotes; empty for null, and for halt.
	Message string
}

func (h *Halt) Error() string { return "the expression halts" }

// A slowError ends what takes longer than this limit.
type slowError time.Duration

func (e slowError) Error() string {
	return fmt.Sprintf("no result within %v, so it was stopped", time.Duration(e))
}

// errFirst ends a run after its first result.
var errFirst = errors.New("the first result is enough")

// A runner runs a filter. It is not safe for concurrent use.
type runner struct {
	machine
	latest  []byte // result
	limited *limitedContext
}

// putBack gives a runner back, without what belongs to the document.
func (f *Filter) putBack(r *runner) {
	r.source = nil
	f.runners.Put(r)
}

// Plain appends the result of the expression for a document, if it has one, and reports whether it is known: where it is not, Run
// has to find it. It takes no longer than a few looks at the text, and asks a source for its text only if it needs that.
func (f *Filter) Plain(dst []byte, document Document) (result []byte, known bool) {
	if f.plain == nil || f.rest != nil {
		return dst, false
	}
	r := f.runners.Get().(*runner)
	defer f.putBack(r)
	value, o := f.evaluate(r, document)
	if o == one {
		dst, _ = r.normalizer.append(dst, r.textOf(value), 0)
	}
	return dst, o != unsure
}

// evaluate applies the plain expression to a document. The result is valid JSON, or nil for the object of a source.
func (f *Filter) evaluate(r *runner, document Document) (result []byte, o outcome) {
	r.source, r.built = document.Source, r.built[:0]
	if document.Source != nil {
		return f.plain.eval(&r.machine, nil)
	}
	text := trim(document.Text)
	if len(text) == 0 {
		return nil, unsure
	}
	if !f.scans {
		if end, fault := rawjson.SkipValue(text, 0); fault != rawjson.NoFault || end != len(text) {
			return nil, unsure
		}
	}
	return f.plain.eval(&r.machine, text)
}

func trim(text []byte) []byte {
	start, _ := rawjson.NextToken(text, 0)
	end := len(text)
	for end > start && (text[end-1] == ' ' || text[end-1] == '\n' || text[end-1] == '\t' || text[end-1] == '\r') {
		end--
	}
	return text[start:end]
}

// Run gives each result of the expression for a document to emit, as JSON text that is valid during the call. An error of emit ends
// the run, and is returned. Other errors are a [*Halt], the cause of ctx, or about this document.
func (f *Filter) Run(ctx context.Context, document Document, emit func(result []byte) error) error {
	r := f.runners.Get().(*runner)
	defer f.putBack(r)
	return f.run(ctx, r, document, func(value any) error {
		if known, isText := value.(plainResult); isText {
			r.latest, _ = r.normalizer.append(r.latest[:0], known, 0)
		} else {
			r.latest = appendValue(r.latest[:0], value)
		}
		return emit(r.latest)
	})
}

// A plainResult is a result that was not decoded.
type plainResult []byte

// run gives each result to emit, as a value of gojq or as a plainResult.
func (f *Filter) run(ctx context.Context, r *runner, document Document, emit func(value any) error) error {
	text, code := document.Text, f.code
	if f.plain != nil {
		switch result, o := f.evaluate(r, document); {
		case o == none:
			return nil
		case o == one && f.rest == nil:
			return emit(plainResult(r.textOf(result)))
		case o == one:
			text, code = r.textOf(result), f.rest
		}
	}
	if text == nil && document.Source != nil {
		text = document.Source.Text()
	}
	input, err := decode(text)
	if err != nil {
		return err
	}
	limit := f.limit * time.Duration(1+len(document.Text)>>20)
	l := r.limit(ctx, limit)
	results := code.RunWithContext(l.ctx, input, f.values...)
	for {
		l.start()
		value, ok := results.Next()
		l.stop()
		if !ok {
			return nil
		}
		if err, isErr := value.(error); isErr {
			return f.runError(ctx, l, err)
		}
		if err := emit(value); err != nil {
			return err
		}
	}
}

// runError returns the error of a run within l from gojq's.
func (f *Filter) runError(ctx context.Context, l *limitedContext, err error) error {
	switch halt := (*gojq.HaltError)(nil); {
	case errors.As(err, &halt):
		message, isString := halt.Value().(string)
		if !isString && halt.Value() != nil {
			message = string(appendValue(nil, halt.Value()))
		}
		return &Halt{Code: halt.ExitCode(), Message: message}
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case l.spent:
		return slowError(l.limit)
	case f.redact != nil:
		return errors.New(f.redact(err.Error()))
	}
	return err
}

// Match reports whether the first result for a document is neither false nor null. No result does not match.
func (f *Filter) Match(ctx context.Context, document Document) (matched bool, err error) {
	r := f.runners.Get().(*runner)
	defer f.putBack(r)
	if f.plain != nil && f.rest == nil {
		if result, o := f.evaluate(r, document); o != unsure {
			return o == one && isTruthy(result), nil
		}
	}
	err = f.run(ctx, r, document, func(value any) error {
		if known, isText := value.(plainResult); isText {
			matched = isTruthy(known)
		} else {
			matched = value != nil && value != false
		}
		return errFirst
	})
	if err == errFirst {
		err = nil
	}
	return matched, err
}

// A limitedContext is a context for many runs, one after the other. It ends with its parent, and when a result takes too long.
type limitedContext struct {
	parent context.Context
	ctx    context.Context
	cancel context.CancelFunc
	limit  time.Duration
	timer  *time.Timer // nil: no limit
	// spent says that a result took too long: ctx has ended, or will soon.
	spent bool
}

// limit returns a context that ends with ctx, or by the limit.
func (r *runner) limit(ctx context.Context, limit time.Duration) *limitedContext {
	if l := r.limited; l != nil && l.parent == ctx && l.limit == limit && !l.spent && l.ctx.Err() == nil {
		return l
	}
	if r.limited != nil && r.limited.cancel != nil {
		r.limited.cancel()
	}
	l := &limitedContext{parent: ctx, ctx: ctx, limit: limit}
	if limit > 0 {
		l.ctx, l.cancel = context.WithCancel(ctx)
		l.timer = time.AfterFunc(limit, l.cancel)
		l.timer.Stop()
	}
	r.limited = l
	return l
}

// start begins to wait for a result.
func (l *limitedContext) start() {
	if l.timer != nil {
		l.timer.Reset(l.limit)
	}
}

// stop ends the wait.
func (l *limitedContext) stop() {
	if l.timer != nil && !l.timer.Stop() {
		l.spent = true
	}
}
