package cmd

import (
	"fmt"
	"io"
)

// whole makes one payload of all that r has.
func (in *pushInput) whole(r io.Reader) func() ([]byte, error) {
	taken := false
	return func() ([]byte, error) {
		if taken {
			return nil, io.EOF
		}
		taken = true
		data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
		switch {
		case err != nil:
			return nil, readFailure(in.name, err)
		case len(data) > maxInput:
			return nil, usageError("send it in parts", "%s has more than the %d bytes that one payload may have", in.name, maxInput)
		case len(data) == 0:
			return nil, io.EOF
		}
		return data, nil
	}
}

// checkBinary refuses what --binary cannot be combined with.
func (o *pushSource) checkBinary() error {
	if o.binary && o.lines != "" {
		return usageError("choose one of them", "--binary makes one payload of the whole input, --lines one of each line")
	}
	return nil
}

// errLiteral refuses a PAYLOAD that is JSON, where the input is made into payloads by a flag.
func errLiteral(flag, made string) error {
	return usageError(fmt.Sprintf("give the %s on stdin, or as @FILE", made), "%s makes payloads of %s, and PAYLOAD is one already", flag, made)
}
