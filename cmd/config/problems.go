package config

import (
	"cmp"
	"errors"
	"slices"

	"phx/cmd/internal/strictyaml"
)

// Join returns all that is wrong with a file as one error, in the order of the file, each once; nil if nothing is.
func Join(errs ...error) error {
	var wrong problems
	wrong.addAll(errs)
	return wrong.err()
}

// problems collects all that is wrong with a file, so that it can be put right at once.
type problems struct{ found []error }

// add adds an error, or those that were joined in it. Nil is none.
func (p *problems) add(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			p.add(e)
		}
		return
	}
	if err != nil {
		p.found = append(p.found, err)
	}
}

func (p *problems) addAll(errs []error) {
	for _, err := range errs {
		p.add(err)
	}
}

// ordered returns what was found in the order of the file, each once: what is wrong with the defaults is found for each connection.
func (p *problems) ordered() []error {
	slices.SortStableFunc(p.found, comparePlaces)
	p.found = slices.CompactFunc(p.found, func(a, b error) bool { return a.Error() == b.Error() })
	return p.found
}

// err returns what was found as one error, nil if that is nothing.
func (p *problems) err() error {
	switch found := p.ordered(); len(found) {
	case 0:
		return nil
	case 1:
		return found[0]
	default:
		return errors.Join(found...)
	}
}

// comparePlaces compares where in a file the errors are. One without a place comes last.
func comparePlaces(a, b error) int {
	at := func(err error) (line, column int) {
		if e := (*strictyaml.Error)(nil); errors.As(err, &e) {
			return e.Line, e.Column
		}
		return int(^uint(0) >> 1), 0
	}
	aLine, aColumn := at(a)
	bLine, bColumn := at(b)
	return cmp.Or(cmp.Compare(aLine, bLine), cmp.Compare(aColumn, bColumn))
}
