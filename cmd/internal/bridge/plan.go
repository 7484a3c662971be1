package bridge

import (
	"log/slog"

	"phx/cmd/config"
)

// A plan is a configuration that was found to be right. Nothing has come of it yet.
type plan struct {
	file        *config.File
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
	p := &plan{file: file}
	// Everything that is wrong is told at once.
	var wrong []error
	p.serve, err = file.Serve(b.opts.Where)
	wrong = append(wrong, err)
	for _, entry := range file.Entries {
		c, err := b.planConnection(entry)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		p.connections = append(p.connections, c)
		p.warnings = append(p.warnings, entry.Warnings(c.connection)...)
	}
	if err := config.Join(wrong...); err != nil {
		return nil, err
	}
	p.warnings = append(p.warnings, p.serve.Warnings...)
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
	p.fingerprint, err = entry.Fingerprint()
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
