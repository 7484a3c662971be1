package resume

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// A Bucket keeps a value for each connection, with a revision that grows with each write. All instances of phx serve have the same one.
type Bucket interface {
	// Value returns the value of a connection, which may be an older one; nil: there is none.
	Value(ctx context.Context, connection string) (value []byte, revision uint64, err error)
	// SetValue writes the value of a connection if that has a revision. An error leaves open whether it was written.
	SetValue(ctx context.Context, connection string, value []byte, revision uint64) (uint64, error)
}

// A held is the value of a connection in a bucket, for the one who has the lease of the connection. Who takes over writes the value again,
// with a higher epoch, before it uses it: after that, the one before can write nothing more, whatever it believes.
type held struct {
	bucket     Bucket
	connection string
	epoch      func() uint64
	revision   uint64
	fenced     bool
	log        *slog.Logger
}

// heldContent is a value in a bucket.
type heldContent struct {
	Format string `json:"format"`
	Epoch  uint64 `json:"epoch"`
	Topics topics `json:"topics"`
}

// saveTime bounds one save in a bucket.
const saveTime = time.Second

// errFenced is the error of one whose lease is over.
var errFenced = errors.New("another instance has taken the connection over")

// Take returns the cursors of a connection whose lease was granted with an epoch, with the values of its last owner. Nobody who had the lease
// before can change them after that. If the bucket has none, they are those in the file at path, if there is one: it is from a time without
// leases. done is as of Cursors. An error leaves all as it was, or fences the last owner. The caller calls Close.
func Take(ctx context.Context, bucket Bucket, connection, path string, epoch func() uint64, done func() uint64, log *slog.Logger) (*Cursors, error) {
	h := &held{bucket: bucket, connection: connection, epoch: epoch, log: log}
	value, revision, err := bucket.Value(ctx, connection)
	if err != nil {
		return nil, err
	}
	values := topics{}
	if revision == 0 && path != "" {
		values = h.fromFile(path)
	}
	if value != nil {
		before, err := parseHeld(value)
		if err != nil {
			log.Error("the resume values of the last owner are damaged, and not used: its channels go on without them", "error", err)
		} else {
			values = before.Topics
		}
		if before.Epoch > epoch() {
			return nil, errFenced
		}
	}
	if h.revision, err = bucket.SetValue(ctx, connection, h.text(values), revision); err != nil {
		return nil, err
	}
	return newCursors(h, values, done, log), nil
}

// fromFile returns the values in a file.
func (h *held) fromFile(path string) topics {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return topics{}
	}
	f := &file{path: path, connection: h.connection, content: content{Connections: map[string]topics{}}}
	if err == nil {
		err = f.parse(text)
	}
	if err != nil {
		h.log.Error("the resume file from before there were leases is not used", "file", path, "error", err)
	}
	return f.values()
}

// parseHeld takes the text of a value.
func parseHeld(text []byte) (c heldContent, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&c)
	switch {
	case err == nil && decoder.More():
		err = errors.New("something follows")
	case err == nil && c.Format != format:
		err = fmt.Errorf("its format is %q", c.Format)
	}
	values := topics{}
	for topic, params := range c.Topics {
		if params != nil {
			values[topic] = params
		}
	}
	c.Topics = values
	return c, err
}

// text implements place.
func (h *held) text(values topics) []byte {
	text, err := json.Marshal(heldContent{Format: format, Epoch: h.epoch(), Topics: values})
	if err != nil {
		panic("resume: a value is no JSON: " + err.Error())
	}
	return text
}

// save implements place. When somebody else has taken over, it does nothing.
func (h *held) save(text []byte) error {
	if h.fenced {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), saveTime)
	defer cancel()
	revision, err := h.bucket.SetValue(ctx, h.connection, text, h.revision)
	if err != nil { // an earlier save may have been made whose answer was lost
		value, now, errRead := h.bucket.Value(ctx, h.connection)
		if errRead != nil {
			return err
		}
		if c, errParse := parseHeld(value); errParse == nil && c.Epoch > h.epoch() {
			h.fenced = true
			h.log.Info("the resume values are saved no more: " + errFenced.Error())
			return nil
		}
		if revision, err = h.bucket.SetValue(ctx, h.connection, text, now); err != nil {
			return err
		}
	}
	h.revision = revision
	return nil
}

// close implements place.
func (h *held) close() {}

// String implements place.
func (h *held) String() string { return "the bucket of the leases" }
