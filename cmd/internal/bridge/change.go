package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"phx/phoenix"
)

// Reload reads the configuration again and puts it into effect: what is wrong with it is found first, and then nothing changes.
// Connections whose settings are the same are not touched; changed ones are closed and started anew, and so run on with the
// numbers of their signals. Routes are swapped without losing a signal. It returns when all that is done, which is before new
// connections are up, or why it is not.
func (b *Bridge) Reload(ctx context.Context) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	defer b.opts.Reloading()()
	p, err := b.plan()
	if err != nil {
		return err
	}
	if p.serve.Control != b.serve.Control || p.serve.HTTP != b.serve.HTTP {
		return &FixedError{}
	}
	if err := b.routeBy(p); err != nil {
		return err
	}
	b.serve = p.serve
	p.warn(b.log)
	changed, err := b.connectBy(ctx, p)
	b.log.Info("the configuration was reloaded", "connections", len(p.connections), "started_or_changed", changed.started, "removed", changed.removed)
	return err
}

// A FixedError says that a reload would change what stays as it is.
type FixedError struct{}

// Error says what that is.
func (*FixedError) Error() string {
	return "control and http cannot be changed while serve runs; nothing was changed"
}

// Hint says what to do instead.
func (*FixedError) Hint() string { return "restart serve, or take the change of control or http back" }

// ExitCode is that of a wrong configuration.
func (*FixedError) ExitCode() int { return 2 }

// A change counts what a reload did to connections.
type change struct{ started, removed int }

// connectBy makes the connections those of a plan. Each change of one is independent of the others, and bounded by ctx.
func (b *Bridge) connectBy(ctx context.Context, p *plan) (change, error) {
	var (
		did  change
		wait sync.WaitGroup
		mu   sync.Mutex
		all  error
	)
	do := func(f func() error) {
		wait.Go(func() {
			err := f()
			mu.Lock()
			defer mu.Unlock()
			all = errors.Join(all, err)
		})
	}
	for _, name := range b.supervisor.Names() {
		c := b.connection(name)
		wanted := slices.ContainsFunc(p.connections, func(other planned) bool { return other.name == name })
		if c != nil && !wanted && !c.settings.Load().added.Load() {
			did.removed++
			do(func() error { return b.remove(ctx, name) })
		}
	}
	for _, next := range p.connections {
		c := b.connection(next.name)
		switch {
		case c == nil:
			did.started++
			do(func() error { return errors.Join(b.add(next), b.supervisor.Start(next.name)) })
		case c.settings.Load().fingerprint == next.fingerprint:
			c.settings.Load().added.Store(false) // the file has it now
		default:
			did.started++
			c.settings.Store(next.settings)
			do(func() error { return b.supervisor.Replace(ctx, b.specOf(c)) })
		}
	}
	wait.Wait()
	return did, all
}

// add makes a connection known. It is not started.
func (b *Bridge) add(p planned) error {
	c := &connection{name: p.name, log: b.log.With(connectionKey, p.name)}
	c.settings.Store(p.settings)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.connections[p.name] != nil {
		return fmt.Errorf("%w: %s", phoenix.ErrConnectionExists, p.name)
	}
	if err := b.supervisor.Add(b.specOf(c)); err != nil {
		return err
	}
	b.connections[p.name] = c
	return nil
}

// remove stops a connection and forgets it, its series among the metrics included.
func (b *Bridge) remove(ctx context.Context, name string) error {
	if err := b.supervisor.Remove(ctx, name); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.connections, name)
	b.metrics.Forget(name)
	return nil
}
