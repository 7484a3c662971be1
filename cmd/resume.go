package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/jq"
	"phx/cmd/internal/resume"
	"phx/phoenix"
	"phx/router"
)

// A resumer is --resume at work in a command with one connection. It belongs to the goroutine that reads the events, but for the
// function that it gives to each channel. A nil resumer does nothing.
type resumer struct {
	// progress is that of the output.
	progress *router.Progress
	cursors  *resume.Cursors
	follower *resume.Follower
	params   map[string][]resume.Param
	errors   recordErrors
}

// channels returns the channels of topics, as the options and the config file say.
func (c *client) channels(ctx context.Context, topics ...string) ([]phoenix.Channel, error) {
	for _, topic := range topics {
		if err := phoenix.CheckTopic(topic); err != nil {
			return nil, exit.Usagef("a topic is the name of a channel, for example room:lobby", "%v", err)
		}
	}
	channels, err := c.connection.Channels(ctx, topics...)
	if err != nil || c.resume == nil {
		return channels, err
	}
	r := c.resume
	for i := range channels {
		topic := channels[i].Topic
		if r.params[topic] != nil {
			continue
		}
		for _, said := range c.connection.Resumes(topic) {
			p, err := c.resumeParam(said)
			if err != nil {
				return nil, err
			}
			r.params[topic] = append(r.params[topic], p)
		}
	}
	if r.cursors == nil {
		r.cursors, err = resume.Open(c.connection.ResumeFile, c.connection.Name, r.progress.Done, c.log)
		if err != nil {
			return nil, err
		}
		r.follower = r.cursors.Follower(c.connection.Name, func(p resume.Param, err error) {
			r.errors.count++
			c.log.Error("--resume " + p.Name + " failed on a record: " + oneLine(err.Error()))
		})
	}
	for i := range channels {
		topic, params := channels[i].Topic, r.params[channels[i].Topic]
		if params != nil {
			channels[i].Resume = func(context.Context) (json.RawMessage, error) { return r.cursors.Of(topic, params), nil }
		}
	}
	return channels, nil
}

// resumeParam compiles the expression of a param.
func (c *client) resumeParam(said config.Resume) (resume.Param, error) {
	f, err := c.output.compileFilter("--resume "+said.Name, said.Expr, c.log)
	return resume.Param{Name: said.Name, Eval: firstValue(f)}, err
}

// errFirstValue ends a run after its first result.
var errFirstValue = errors.New("the first result is enough")

// firstValue returns a function that returns the first result of a filter, nil if that is null, or there is none.
func firstValue(f *jq.Filter) func(ctx context.Context, line []byte) (json.RawMessage, error) {
	return func(ctx context.Context, line []byte) (value json.RawMessage, err error) {
		err = f.Run(ctx, jq.Document{Text: line}, func(result []byte) error {
			if string(result) != "null" {
				value = append(value, result...)
			}
			return errFirstValue
		})
		if errors.Is(err, errFirstValue) {
			err = nil
		}
		return value, err
	}
}

// serveParam is resumeParam for serve, which has no variables.
func serveParam(name, expr string, log *slog.Logger) (resume.Param, error) {
	f, err := (&outputOptions{}).compileFilter("resume."+name, expr, log)
	return resume.Param{Name: name, Eval: firstValue(f)}, err
}

// printed says that all that is to be printed of an event is on its way. Its values count from when that is written.
func (r *resumer) printed(ctx context.Context, out *output, ev *phoenix.Event) {
	if r == nil {
		return
	}
	r.follower.Note(ctx, ev, r.params[ev.Topic])
	out.complete.Store(ev.Seq)
}

// end saves the values, once everything is written that will be. Its error is that, or that an expression failed.
func (r *resumer) end() error {
	if r == nil || r.cursors == nil {
		return nil
	}
	err := r.cursors.Close()
	if err != nil {
		err = &exit.Error{Code: exit.Write, Message: err.Error(), Err: err, Hint: "what was printed since the last save comes again at the next start"}
	}
	return firstError(err, r.errors.failure("--resume failed on %s; the params stay what they were"))
}
