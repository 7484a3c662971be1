package option

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"
)

// pairSeparator stands between the two arguments of a flag once they are one. No argument of a process has it.
const pairSeparator = "\x00"

// Pairs is a value of which each occurrence, a flag with the two arguments NAME and VALUE, adds to v. pflag knows no such flags:
// [JoinPairs] prepares the command line.
func Pairs[T any](v *[]T, parse func(name, value string) (T, error)) Value {
	value := Repeated(v, func(text string) (T, error) {
		name, value, two := strings.Cut(text, pairSeparator)
		if !two {
			var none T
			return none, errors.New("is two arguments, NAME and VALUE")
		}
		return parse(name, value)
	})
	value.isPair = true
	return value
}

// JoinPairs returns args, a command line that a command with flags among those of sets will parse, with the two arguments of each
// flag of [Pairs] made one. A flag takes as many arguments in all sets that have it.
func JoinPairs(args []string, sets ...*pflag.FlagSet) []string {
	joined := make([]string, 0, len(args))
	for len(args) > 0 && args[0] != "--" {
		arg := args[0]
		values := argumentsOf(arg, sets)
		if values == 2 && len(args) > 2 {
			joined, args = append(joined, arg+"="+args[1]+pairSeparator+args[2]), args[3:]
			continue
		}
		taken := min(1+values, len(args))
		joined, args = append(joined, args[:taken]...), args[taken:]
	}
	return append(joined, args...)
}

// argumentsOf returns how many arguments belong to arg, which may be a flag, or several short ones. An unknown flag has
// none: the command reports it.
func argumentsOf(arg string, sets []*pflag.FlagSet) int {
	if name, long := strings.CutPrefix(arg, "--"); long {
		for _, set := range sets {
			if f := set.Lookup(name); f != nil {
				return argumentsOfFlag(f)
			}
		}
		return 0
	}
	letters, short := strings.CutPrefix(arg, "-")
	for i := 0; short && i < len(letters); i++ {
		for _, set := range sets {
			f := set.ShorthandLookup(letters[i : i+1])
			if f == nil || argumentsOfFlag(f) == 0 {
				continue
			}
			if i < len(letters)-1 {
				return 0 // the rest of arg is the argument
			}
			return argumentsOfFlag(f)
		}
	}
	return 0
}

func argumentsOfFlag(f *pflag.Flag) int {
	switch o, ok := f.Value.(*setting); {
	case f.NoOptDefVal != "":
		return 0
	case ok && o.Value.isPair:
		return 2
	}
	return 1
}
