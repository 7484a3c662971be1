package bridge

import (
	"fmt"
	"io"

	"phx/cmd/config"
	"phx/router"
)

// A sink is a sink of the configuration in effect.
type sink struct {
	*router.Sink
	fingerprint string
}

// routeBy makes the sinks and routes those of a plan. A sink whose settings are the same goes on, with what it holds, unless it is
// dead: that is made anew. When routeBy fails, nothing has changed.
func (b *Bridge) routeBy(p *plan) error {
	var sinks []sink
	var opened []router.Drain
	done := false
	defer func() {
		if !done {
			closeAll(opened)
		}
	}()
	dead := map[string]bool{}
	for _, s := range b.router.Stats() {
		dead[s.Sink] = dead[s.Sink] || s.Err != nil
	}
	for _, wanted := range p.serve.Sinks {
		s, ok := b.runningSink(wanted)
		if !ok || dead[wanted.Name] {
			drain := b.newDrain(wanted)
			if err := open(wanted.Name, drain); err != nil {
				return err
			}
			opened = append(opened, drain)
			s = sink{b.newSink(wanted, drain), wanted.Fingerprint}
		}
		sinks = append(sinks, s)
	}
	bare := make([]*router.Sink, len(sinks))
	for i, s := range sinks {
		bare[i] = s.Sink
	}
	if err := b.router.Apply(bare, p.serve.Routes); err != nil {
		return err
	}
	b.sinks, done = sinks, true
	return nil
}

// A SinkError says that a sink cannot be made.
type SinkError struct {
	Sink string
	Err  error
}

// Error names the sink.
func (e *SinkError) Error() string { return fmt.Sprintf("the sink %s cannot work: %v", e.Sink, e.Err) }

// Hint says what to do about it.
func (e *SinkError) Hint() string { return "check the sink in the config file, and what it names" }

// ExitCode is that of output that cannot be written.
func (e *SinkError) ExitCode() int { return exitWrite }

// Unwrap returns what is wrong with it.
func (e *SinkError) Unwrap() error { return e.Err }

// runningSink returns the sink that has these settings already.
func (b *Bridge) runningSink(wanted config.Sink) (sink, bool) {
	for _, s := range b.sinks {
		if s.Name() == wanted.Name && s.fingerprint == wanted.Fingerprint {
			return s, true
		}
	}
	return sink{}, false
}

// open gets what a drain needs, so that what is wrong with it is known before anything has changed.
func open(name string, d router.Drain) error {
	if opener, ok := d.(router.Opener); ok {
		if err := opener.Open(); err != nil {
			return &SinkError{Sink: name, Err: err}
		}
	}
	return nil
}

// closeAll lets go of what drains have opened that are not going to run.
func closeAll(drains []router.Drain) {
	for _, d := range drains {
		if closer, ok := d.(io.Closer); ok {
			_ = closer.Close() // nothing was written
		}
	}
}

func (b *Bridge) newSink(s config.Sink, d router.Drain) *router.Sink {
	return router.NewSink(router.SinkOptions{
		Name: s.Name, Format: s.Format, Records: s.Records, Bytes: s.Bytes, Policy: s.WhenFull, Drain: d, Logger: b.log,
	})
}

func (b *Bridge) newDrain(s config.Sink) router.Drain {
	log := b.log.With("sink", s.Name)
	switch {
	case s.Stdout:
		return router.WriterDrain(b.opts.Stdout)
	case s.File != nil:
		return router.NewFileDrain(s.File.Path, log)
	case s.Exec != nil:
		return router.NewExecDrain(router.ExecOptions{Command: s.Exec.Command, Dir: s.Exec.Dir, Logger: log})
	case s.Webhook != nil:
		w := s.Webhook
		w.Logger = log
		return router.NewWebhookDrain(router.WebhookOptions{
			URL: w.URL, Binary: w.Binary, Headers: w.Headers, Secret: w.Secret, Timeout: w.Timeout, MaxRetries: w.MaxRetries, Logger: log,
		})
	}
	return router.Discard()
}
