package bridge

import (
	"log/slog"

	"phx/cmd/config"
	"phx/phoenix"
)

// A plan is a configuration that was found to be right. Nothing has come of it yet.
type plan struct {
	serve       *config.Serve
	connections []planned
	warnings    []string
}

// planned is one connection of a plan.
type planned struct {
	name string
	*settings
}

// plan reads the configuration and checks all of it.
func (b *Bridge) plan() (*plan, error) {
	file, err := b.opts.Load()
	if err != nil {
		return nil, err
	}
	p := &plan{}
	if p.serve, err = file.Serve(b.opts.Where); err != nil {
		return nil, err
	}
	p.warnings = p.serve.Warnings
	for _, entry := range file.Entries {
		c, err := b.planConnection(entry)
		if err != nil {
			return nil, err
		}
		p.connections = append(p.connections, c)
		if w := c.connection.Warning(); w != "" {
			p.warnings = append(p.warnings, w)
		}
	}
	return p, nil
}

// planConnection checks an entry.
func (b *Bridge) planConnection(entry *config.Entry) (planned, error) {
	c, err := entry.Resolve(b.log.With(connectionKey, entry.Name))
	if err != nil {
		return planned{}, err
	}
	p := planned{name: entry.Name, settings: &settings{connection: c}}
	if p.options, err = c.Build(nil); err != nil {
		return planned{}, err
	}
	if p.fingerprint, err = entry.Fingerprint(); err != nil {
		return planned{}, err
	}
	// What package phoenix finds wrong is found now, and not when the connection is to run.
	check := p.options
	check.Channels = c.UnreadChannels(c.AutoJoin()...)
	_, err = phoenix.New(check)
	return p, err
}

// connectionKey is under which name logs say which connection they are about.
const connectionKey = "connection"

// warn logs the warnings.
func (p *plan) warn(log *slog.Logger) {
	for _, w := range p.warnings {
		log.Warn(w)
	}
	if len(p.connections) == 0 {
		log.Warn("the configuration has no connections; `phx ctl start -f FILE NAME` adds one")
	}
}
