// Package resume keeps the values of join params with which a channel resumes after a rejoin or a restart. Each value is that of the
// topic's last message that is done with; whoever writes or routes the messages decides which one that is.
package resume

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"phx/phoenix"
	"phx/phoenix/rawjson"
	"phx/signal"
)

// A Param is a join param and the function that returns its value.
type Param struct {
	Name string
	// Eval returns the value that the signal of a message has for it, the line without its line break; nil: the value before stays.
	Eval func(ctx context.Context, line []byte) (json.RawMessage, error)
}

// Cursors are the values of one connection. The methods may be called from any goroutine.
type Cursors struct {
	// done returns the number of the last event that is done with, with all before it.
	done  func() uint64
	place place // nil: nothing is kept over restarts
	log   *slog.Logger

	mu     sync.Mutex
	values topics
	// pending are values of messages that are not done with, in their order.
	pending []pending
	changed bool

	noted   chan struct{} // has a token when something is pending
	closing chan struct{}
	close   sync.Once
	closed  sync.WaitGroup

	// saving is held while the values are saved.
	saving sync.Mutex
	err    error // of the last save
}

// A place keeps the values of a connection over restarts.
type place interface {
	// text returns what save is to keep.
	text(values topics) []byte
	save(text []byte) error
	close()
	// String names the place.
	String() string
}

// topics are values by topic and param.
type topics map[string]map[string]json.RawMessage

type pending struct {
	seq         uint64
	topic, name string
	value       json.RawMessage
}

// maxPending bounds what is pending: beyond that the last value is exchanged, so that the values move on in larger steps.
const maxPending = 64 << 10

const (
	// saveInterval is the least time between two saves.
	saveInterval = time.Second
	// firstLook is how soon after a value was noted it is first looked at whether it is done with.
	firstLook = 10 * time.Millisecond
)

// Open returns the cursors of a connection, those in the file at path included; an empty path is no file. done is as of Cursors.
// A file that is no resume file, is damaged or is in use is an [*exit.Error]. The caller calls Close.
func Open(path, connection string, done func() uint64, log *slog.Logger) (*Cursors, error) {
	if path == "" {
		return newCursors(nil, topics{}, done, log), nil
	}
	f, err := openFile(path, connection)
	if err != nil {
		return nil, err
	}
	return newCursors(f, f.values(), done, log), nil
}

func newCursors(place place, values topics, done func() uint64, log *slog.Logger) *Cursors {
	c := &Cursors{done: done, place: place, log: log, values: values, noted: make(chan struct{}, 1), closing: make(chan struct{})}
	if place != nil {
		c.closed.Go(c.keep)
	}
	return c
}

// note takes the value of a message. The numbers of messages grow.
func (c *Cursors) note(p pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.pending); n < maxPending || c.pending[n-1].topic != p.topic || c.pending[n-1].name != p.name {
		c.pending = append(c.pending, p)
	} else {
		c.pending[n-1] = p
	}
	if len(c.pending)%1024 == 0 {
		c.settle()
	}
	select {
	case c.noted <- struct{}{}:
	default:
	}
}

// settle takes over the values of what is done with by now. It is called with mu held.
func (c *Cursors) settle() {
	done, n := c.done(), 0
	for n < len(c.pending) && c.pending[n].seq <= done {
		p := c.pending[n]
		if c.values[p.topic] == nil {
			c.values[p.topic] = map[string]json.RawMessage{}
		}
		c.values[p.topic][p.name] = p.value
		c.changed = true
		n++
	}
	c.pending = append(c.pending[:0], c.pending[n:]...)
}

// Of returns the values of a topic for the params, as the members of a JSON object; nil: there is none.
func (c *Cursors) Of(topic string, params []Param) json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle()
	var object []byte
	for _, p := range params {
		value, known := c.values[topic][p.Name]
		if !known {
			continue
		}
		object = append(object, `{,`[min(len(object), 1)])
		object = append(append(rawjson.AppendString(object, p.Name), ':'), value...)
	}
	if object == nil {
		return nil
	}
	return append(object, '}')
}

// keep saves the values, some time after they have changed.
func (c *Cursors) keep() {
	for {
		select {
		case <-c.noted:
		case <-c.closing:
			return
		}
		for look, left := firstLook, true; left; look = min(2*look, saveInterval) {
			var saved bool
			if saved, left = c.save(); saved {
				look = saveInterval
			}
			select {
			case <-time.After(look):
			case <-c.closing:
				return
			}
		}
	}
}

// save saves the values if they have changed, and reports whether it has tried to, and whether there is more to save.
func (c *Cursors) save() (tried, left bool) {
	c.saving.Lock()
	defer c.saving.Unlock()
	c.mu.Lock()
	c.settle()
	left = len(c.pending) > 0
	changed := c.changed || c.err != nil
	c.changed = false
	var text []byte
	if changed {
		text = c.place.text(c.values)
	}
	c.mu.Unlock()
	if !changed {
		return false, left
	}
	before := c.err
	c.err = c.place.save(text)
	switch {
	case c.err != nil && before == nil:
		c.log.Error("the resume values cannot be saved, trying again: "+c.err.Error(), "in", c.place.String())
	case c.err == nil && before != nil:
		c.log.Info("the resume values can be saved again", "in", c.place.String())
	}
	return true, left || c.err != nil
}

// Save saves what is done with by now. Its error is that of the save.
func (c *Cursors) Save() error {
	if c.place == nil {
		return nil
	}
	c.save()
	c.saving.Lock()
	defer c.saving.Unlock()
	return c.err
}

// Close saves what is done with by now, and closes the place where it is kept. Its error is that of the save. A second call does nothing
// else.
func (c *Cursors) Close() error { return c.end(true) }

// Drop closes the place where the values are kept, and saves nothing more.
func (c *Cursors) Drop() { _ = c.end(false) }

func (c *Cursors) end(save bool) (err error) {
	c.close.Do(func() {
		close(c.closing)
		c.closed.Wait()
		if c.place != nil {
			if save {
				c.save()
			}
			c.place.close()
		}
	})
	c.saving.Lock()
	defer c.saving.Unlock()
	return c.err
}

// A Follower notes the values of the messages of a connection. It belongs to one goroutine.
type Follower struct {
	cursors *Cursors
	encoder *signal.Encoder
	failed  func(p Param, err error)
	line    []byte
}

// Follower returns a Follower for the signals of the connection of that name. failed is called for each message on which a param failed,
// whose value then stays.
func (c *Cursors) Follower(connection string, failed func(p Param, err error)) *Follower {
	return &Follower{cursors: c, encoder: signal.NewEncoder(signal.FormatSignal, connection), failed: failed}
}

// Note notes the values that an event has for the params of its topic, if it is a message.
func (f *Follower) Note(ctx context.Context, ev *phoenix.Event, params []Param) {
	if _, isMessage := ev.Detail.(*phoenix.Message); !isMessage || len(params) == 0 {
		return
	}
	f.line = f.encoder.Append(f.line[:0], ev)
	for _, p := range params {
		value, err := p.Eval(ctx, f.line[:len(f.line)-1])
		switch {
		case err != nil:
			f.failed(p, err)
		case value != nil:
			f.cursors.note(pending{seq: ev.Seq, topic: ev.Topic, name: p.Name, value: value})
		}
	}
}
