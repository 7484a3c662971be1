package config

import (
	"encoding/json"
	"errors"
	"log/slog"
)

// ServeRetries is how many retries in a row a connection of a server makes unless it is told otherwise.
const ServeRetries = 10

// ParseEntry parses one connection with its name, YAML or JSON, as the control API is sent it. Relative paths in it begin in the
// directory of file.
func ParseEntry(file string, data []byte, lookupEnv func(string) (string, bool)) (*Entry, error) {
	return nil, errors.ErrUnsupported
}

// Resolve makes the connection that the entry describes, as a server wants it: nothing but the file counts, no flag and no
// variable of the environment. An error is all that is wrong, joined, each a positioned [*strictyaml.Error].
func (e *Entry) Resolve(log *slog.Logger) (*Connection, error) { return nil, errors.ErrUnsupported }

// Fingerprint is equal for equal effective settings, however they are written, and tells nothing of them.
func (e *Entry) Fingerprint() (string, error) { return "", errors.ErrUnsupported }

// Raw returns the entry as JSON, its name included and the defaults of the file filled in, as [ParseEntry] reads it. Variables
// are not filled in, and relative paths stay as they are.
func (e *Entry) Raw() (json.RawMessage, error) { return nil, errors.ErrUnsupported }
