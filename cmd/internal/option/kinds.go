package option

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/strictyaml"
	"phx/router/glob"
)

// Text is a value that is taken as it is, and is not empty.
func Text(v *string, def string) Value { return Kind[string]{Parse: NotEmpty}.To(v, def) }

// NotEmpty parses a text of which one character at least is no white space. An empty one comes of a variable of the shell that is not
// set, and must not count as an option that is not given.
func NotEmpty(text string) (string, error) {
	if strings.TrimSpace(text) == "" {
		return "", errors.New("is empty")
	}
	return text, nil
}

func asIs(text string) (string, error) { return text, nil }

// Same is the value itself, for [Kind.JSON].
func Same[T any](v T) any { return v }

// Switch is a value that is on when its flag is given.
func Switch(v *bool) Value { return BoolKind.To(v, "false") }

// Choice is a value that is one of the given texts, the first by default.
func Choice(v *string, choices ...string) Value {
	return ChoiceKind(asIs, choices...).To(v, choices[0])
}

// Duration is a positive duration.
func Duration(v *time.Duration, def string) Value { return Checked(v, def, parsePositive) }

// Size is a value of one or more bytes.
func Size(v *int64, def string) Value { return SizeKind.To(v, def) }

// Listen is an address to listen on, HOST:PORT.
func Listen(v *string, def string) Value { return ListenKind.To(v, def) }

// Count is a number of at least 1; without a default, 0 stands for none given.
func Count(v *int, def string) Value {
	return Checked(v, def, CountFrom(1, "is not a number of at least 1"))
}

// CountFrom parses a number that is not less than least.
func CountFrom(least int, problem string) func(text string) (int, error) {
	return func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < least {
			return 0, errors.New(problem)
		}
		return n, nil
	}
}

// BoolKind is on or off.
var BoolKind = Kind[bool]{
	Name: "true or false", Schema: AnyOf(Shape{"type": "boolean"}, Shape{"enum": []string{"true", "false"}}),
	Parse: parseBool, Read: readBool, Switch: true, JSON: Same[bool], Literal: true,
}

// OffKind is on unless its flag is given: --no-jitter, jitter: false.
var OffKind = func() Kind[bool] {
	k := BoolKind
	k.Parse = func(text string) (bool, error) {
		off, err := parseBool(text)
		return !off, err
	}
	return k
}()

func parseBool(text string) (bool, error) {
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, errors.New("is neither true nor false")
	}
	return on, nil
}

func readBool(_ string, n strictyaml.Node) (bool, error) {
	text, err := n.Text()
	if err == nil && text != "true" && text != "false" {
		err = n.Errorf("write true or false", "%q is neither true nor false", n.Raw())
	}
	return text == "true", err
}

// ChoiceKind is one of several texts, which parse then takes.
func ChoiceKind[T any](parse func(string) (T, error), choices ...string) Kind[T] {
	return Kind[T]{
		Name: strings.Join(choices, " or "), Schema: ChoiceShape(choices...), Choices: choices,
		Parse: func(text string) (value T, err error) {
			if !slices.Contains(choices, text) {
				return value, fmt.Errorf("is none of %s", strings.Join(choices, ", "))
			}
			return parse(text)
		},
	}
}

// ChoiceShape is one of the choices.
func ChoiceShape(choices ...string) Shape { return AnyOf(Shape{"enum": choices}) }

// MsecKind is a positive duration: its key is a number of milliseconds, the text of its flag as
// for [ParseDuration].
var MsecKind = Kind[time.Duration]{
	Name: "number", Schema: msecShape(1), Literal: true, Parse: parsePositive,
	JSON: func(d time.Duration) any { return d.Milliseconds() },
	Read: func(_ string, n strictyaml.Node) (time.Duration, error) {
		d, err := readMsec(n)
		if err == nil && d == 0 {
			err = n.Errorf("give a number of milliseconds, for example 1000", "%q is not a positive duration", n.Raw())
		}
		return d, err
	},
}

// MsecsKind is a list of delays: of milliseconds in its key, with commas in its flag.
var MsecsKind = Kind[[]time.Duration]{
	Name: "list of numbers", Schema: Shape{"type": "array", "minItems": 1, "items": msecShape(0)}, Literal: true,
	Parse: func(text string) (list []time.Duration, err error) {
		for item := range strings.SplitSeq(text, ",") {
			d, err := ParseDuration(strings.TrimSpace(item))
			if err != nil {
				return nil, errors.New("is not a list of durations")
			}
			list = append(list, d)
		}
		return list, nil
	},
	JSON: func(delays []time.Duration) any {
		list := make([]int64, len(delays))
		for i, d := range delays {
			list[i] = d.Milliseconds()
		}
		return list
	},
	Read: func(_ string, n strictyaml.Node) ([]time.Duration, error) {
		items, err := n.Items()
		if err == nil && len(items) == 0 {
			err = n.Errorf("a right one: [100, 1000, 10000]", "there is no delay in this list")
		}
		list := make([]time.Duration, len(items))
		for i := 0; i < len(items) && err == nil; i++ {
			list[i], err = readMsec(items[i])
		}
		return list, err
	},
}

// maxMsec is the longest duration that there is, in milliseconds.
const maxMsec = math.MaxInt64 / int64(time.Millisecond)

func msecShape(least int) Shape {
	digits := TextLike(`^[+]?[0-9]*[1-9][0-9]*$`)
	if least == 0 {
		digits = TextLike(`^([+]?[0-9]+|-0+)$`)
	}
	return AnyOf(Shape{"type": "integer", "minimum": least, "maximum": maxMsec}, digits)
}

func readMsec(n strictyaml.Node) (time.Duration, error) {
	text, err := n.Text()
	if err != nil {
		return 0, err
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 || ms > maxMsec {
		return 0, n.Errorf("a right one: 1000", "%q is not a number of milliseconds", n.Raw())
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func parsePositive(text string) (time.Duration, error) {
	d, err := ParseDuration(text)
	if err == nil && d == 0 {
		err = errors.New("is not a positive duration")
	}
	return d, err
}

// ParseDuration parses a duration in Go's syntax (1m30s, 250ms) or a bare number of seconds (10,
// 0.5). It is never negative.
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		seconds, numErr := strconv.ParseFloat(text, 64)
		// ParseFloat also takes hexadecimal numbers, underscores, infinities and words for them.
		if numErr != nil || strings.Trim(text, "0123456789.+-") != "" || math.Abs(seconds) >= math.MaxInt64/1e9 {
			return 0, errors.New("is not a duration")
		}
		d = time.Duration(math.Round(seconds * float64(time.Second)))
	}
	if d < 0 {
		return 0, errors.New("is negative")
	}
	return d, nil
}

// SizeKind is one or more bytes.
var SizeKind = Kind[int64]{Name: "number or size", Schema: SizeShape, Literal: true, Parse: ParseSize}

// SizeShape is a size as [ParseSize] takes it.
var SizeShape = AnyOf(Shape{"type": "integer", "minimum": 1}, TextLike(`^0*[1-9][0-9]*( *[KMG]iB)?$`))

// SizeText is how a number of bytes is written that is one of MiB.
func SizeText(n int64) string { return strconv.FormatInt(n>>20, 10) + "MiB" }

// ParseSize parses a number of bytes: 65536, 64KiB, 1MiB, 2GiB. It is at least 1.
func ParseSize(text string) (int64, error) {
	digits, factor := text, int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if before, ok := strings.CutSuffix(text, unit); ok {
			digits, factor = strings.TrimRight(before, " "), int64(1)<<(10*(i+1))
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n == 0 || n > uint64(math.MaxInt64/factor) {
		return 0, errors.New("is not a size: bytes, or a number with KiB, MiB or GiB")
	}
	return int64(n) * factor, nil
}

// ListenKind is HOST:PORT; without a host, every address of the machine.
var ListenKind = Kind[string]{
	Name: "HOST:PORT", Schema: AnyOf(TextLike(`^([^:\[\]]*|\[[^\[\]]*\]):[0-9]{1,5}$`)),
	Parse: func(text string) (string, error) {
		_, port, err := net.SplitHostPort(text)
		if err != nil {
			return "", errors.New("is not HOST:PORT")
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return "", errors.New("has a port that is not a number up to 65535")
		}
		return text, nil
	},
}

// PathKind is a path, which begins in the directory of the file.
var PathKind = Kind[string]{
	Name: "text", Schema: WordShape, Show: strictyaml.Node.RawTexts,
	Read: func(_ string, n strictyaml.Node) (string, error) {
		path, err := n.Text()
		if err == nil && path == "" {
			err = n.Errorf("give the name of a file", "this path is empty")
		}
		if err != nil {
			return "", err
		}
		return n.Beside(path), nil
	},
}

// EmptyKind is what is said by its key alone: {}.
var EmptyKind = Kind[struct{}]{
	Name: "{}", Schema: Shape{"type": []string{"object", "null"}, "maxProperties": 0},
	Show: func(strictyaml.Node) (json.RawMessage, error) { return json.RawMessage("{}"), nil },
	Read: func(_ string, n strictyaml.Node) (none struct{}, err error) {
		if n.IsNull() {
			return none, nil
		}
		list, err := n.Fields()
		if err == nil && len(list) > 0 {
			err = list[0].Key.Errorf("write {}", "the key %q is not known here: there is nothing to set", list[0].Name)
		}
		return none, err
	},
}

// GlobsKind is one glob or several. The pattern of the schema refuses a single backslash at the
// end.
func GlobsKind(example string) Kind[[]glob.Glob] {
	return ListKind("glob", "globs", Shape{"type": TextTypes, "minLength": 1, "pattern": `^([^\\]|\\[\s\S])*$|\$\{`},
		`a right one: "`+example+`"`, glob.Compile)
}

// TextsKind is one text or several.
var TextsKind = ListKind("text", "texts", WordShape, "a right one: to: [stdout]", asIs)

// ListKind is one of something, or a list of at least one, each of a text that is not empty. hint shows a right one.
func ListKind[T any](one, several string, item Shape, hint string, parse func(string) (T, error)) Kind[[]T] {
	return Kind[[]T]{
		Name: one + " or list of " + several, Schema: Shape{"anyOf": []Shape{item, {"type": "array", "minItems": 1, "items": item}}},
		Read: func(_ string, n strictyaml.Node) ([]T, error) {
			items := []strictyaml.Node{n}
			if n.IsList() {
				if items, _ = n.Items(); len(items) == 0 {
					return nil, n.Errorf(hint, "there is nothing in this list")
				}
			}
			var list []T
			var wrong Problems
			for _, item := range items {
				text, err := item.Text()
				if err == nil && text == "" {
					err = item.Errorf(hint, "this text is empty")
				}
				if err == nil {
					var value T
					if value, err = parse(text); err != nil {
						err = item.Errorf(hint, "%v", err)
					}
					list = append(list, value)
				}
				wrong.Add(err)
			}
			return list, wrong.Err()
		},
	}
}
