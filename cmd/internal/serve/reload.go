package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"phx/cmd/internal/exit"
	"phx/phoenix"
	"phx/router"
)

// Reload reads the configuration again and puts it into effect: what is wrong with it is found first, and then nothing changes.
// Connections whose settings are the same are not touched. Changed ones join and leave channels on the socket that they have, if that
// can carry the new settings; else they are closed and started anew, and so run on with the numbers of their signals. Routes are swapped without losing a signal. It returns when all that is done, which is before new
// connections are up, or why it is not.
func (b *Bridge) Reload(ctx context.Context) error {
	ctx, unlock, err := b.lockForChange(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	defer b.opts.Reloading()()
	p, err := b.plan()
	if err != nil {
		return err
	}
	if p.serve.ControlSocket != b.serve.ControlSocket || p.serve.HTTPListen != b.serve.HTTPListen || p.serve.StateDir != b.serve.StateDir ||
		p.shard != b.shard || p.serve.Cluster.Leases != b.serve.Cluster.Leases || b.cluster != nil && p.serve.Cluster != b.serve.Cluster {
		return &exit.Error{
			Code: exit.Usage, Message: "control, http, state_dir and cluster cannot be changed while serve runs; nothing was changed",
			Hint: "restart serve, or take the change of control, http, state_dir or cluster back",
		}
	}
	if b.nats != nil && p.serve.NATS != nil && p.serve.NATS.Fingerprint != b.nats.Fingerprint {
		return &exit.Error{
			Code: exit.Usage, Message: "nats cannot be changed while serve runs; nothing was changed",
			Hint: "restart serve, or take the change of nats back; secrets in files are read again at each connect",
		}
	}
	b.linkBy(p)
	if err := b.routeBy(p); errors.Is(err, router.ErrShutDown) {
		return errClosing
	} else if err != nil {
		return err
	}
	b.serve, b.file = p.serve, p.file
	b.remoteBy(p)
	b.elsewhere.Store(&p.elsewhere)
	p.warn(b.log)
	changed, err := b.connectBy(ctx, p)
	if errors.Is(err, phoenix.ErrShutdown) {
		return errClosing
	}
	b.log.Info("the configuration was reloaded", "connections", len(p.connections), "started_or_changed", changed.started, "removed", changed.removed)
	return err
}

// A change counts what a reload did to connections.
type change struct{ started, removed int }

// changeTime bounds what a reload waits for: connections that have to be closed.
const changeTime = 10 * time.Second

// connectBy makes the connections those of a plan: new ones are started in the order of the file, and then those that are gone or
// changed are closed, each independently of the others.
func (b *Bridge) connectBy(ctx context.Context, p *plan) (change, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	var (
		did change
		all error
		// closing are the changes that wait for a connection to be closed.
		closing []func() error
	)
	wanted := map[string]bool{}
	for _, next := range p.connections {
		wanted[next.name] = true
	}
	for _, name := range b.supervisor.Names() {
		c := b.connection(name)
		if c != nil && !wanted[name] && !c.settings.Load().added.Load() && !c.removing.Load() {
			did.removed++
			closing = append(closing, func() error { return b.remove(ctx, name) })
		}
	}
	for _, next := range p.connections {
		c := b.connection(next.name)
		switch {
		case c == nil:
			did.started++
			if all = errors.Join(all, b.add(next)); b.cluster == nil { // else a lease starts it
				all = errors.Join(all, b.supervisor.Start(next.name))
			}
		case c.removing.Load():
			all = errors.Join(all, stillBeing("removed", next.name))
		case c.settings.Load().fingerprint == next.fingerprint:
			if c.settings.Load().added.Swap(false) && b.cluster != nil { // the file has it now, and a lease decides about it
				closing = append(closing, func() error { return b.supervisor.Stop(ctx, c.name) })
			}
		default:
			did.started++
			if err := b.openCursors(c, next.settings); err != nil {
				all = errors.Join(all, err)
				continue
			}
			if old := c.settings.Load(); old.socketFingerprint == next.socketFingerprint {
				next.options.Dialect = old.options.Dialect // which goes on with the socket
			}
			old := c.settings.Swap(next.settings)
			if b.cluster != nil { // a grant may have come before the settings
				all = errors.Join(all, b.openCursors(c, next.settings))
			}
			if old.socketFingerprint == next.socketFingerprint {
				closing = append(closing, func() error { return b.update(ctx, c, old) })
			} else {
				closing = append(closing, func() error { return b.replace(ctx, c) })
			}
		}
	}
	b.configure(p)
	return did, errors.Join(all, allAtOnce(closing))
}

// replace puts changed settings into effect. A connection that is over gets another chance with them; one that somebody has
// stopped stays stopped.
func (b *Bridge) replace(ctx context.Context, c *connection) error {
	return b.afterChange(ctx, c, "replaced", b.supervisor.Replace(ctx, b.specOf(c)))
}

// update is replace for settings that need no new socket.
func (b *Bridge) update(ctx context.Context, c *connection, old *settings) error {
	var rejoin []string
	before := old.connection.ChannelFingerprints()
	for topic, print := range c.settings.Load().connection.ChannelFingerprints() {
		if was, known := before[topic]; known && was != print {
			rejoin = append(rejoin, topic)
		}
	}
	return b.afterChange(ctx, c, "changed", b.supervisor.Update(ctx, b.specOf(c), rejoin...))
}

// afterChange starts a connection that is over, and returns the error of a change.
func (b *Bridge) afterChange(ctx context.Context, c *connection, participle string, err error) error {
	var status phoenix.ConnectionStatus
	if err == nil {
		status, err = b.supervisor.Status(ctx, c.name)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return stillBeing(participle, c.name)
	case err == nil && status.Err != nil && status.Link == phoenix.StatusDisconnected:
		return b.supervisor.Start(c.name)
	}
	return err
}

// allAtOnce runs functions side by side and returns their errors, joined.
func allAtOnce(list []func() error) error {
	errs := make([]error, len(list))
	var wait sync.WaitGroup
	for i, f := range list {
		wait.Go(func() { errs[i] = f() })
	}
	wait.Wait()
	return errors.Join(errs...)
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
	if err := b.openCursors(c, p.settings); err != nil {
		return err
	}
	if err := b.supervisor.Add(b.specOf(c)); err != nil {
		return errors.Join(err, c.closeCursors())
	}
	b.connections[p.name] = c
	b.remote.note()
	return nil
}

// remove stops a connection and forgets it, what was counted of it included. When ctx ends before, that still goes on.
func (b *Bridge) remove(ctx context.Context, name string) error {
	if c := b.connection(name); c != nil {
		c.removing.Store(true)
	}
	removed := make(chan error, 1)
	go func() {
		err := b.supervisor.Remove(context.WithoutCancel(ctx), name)
		if err == nil {
			b.forget(name)
		}
		removed <- err
	}()
	select {
	case err := <-removed:
		return err
	case <-ctx.Done():
		return stillBeing("removed", name)
	}
}

// stillBeing is the error of what has to wait for a connection that takes long to end, which goes on.
func stillBeing(participle, name string) error {
	return newAPIError(http.StatusGatewayTimeout, exit.Timeout, fmt.Sprintf("the connection %q is still being %s", name, participle),
		"try again later; serve's log has more")
}

// forget drops what is known of a connection that was removed.
func (b *Bridge) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.connections[name]; c != nil {
		if err := c.closeCursors(); err != nil {
			c.log.Error(err.Error())
		}
	}
	delete(b.connections, name)
	b.remote.note()
	b.Metrics.Forget(name)
	b.router.Forget(name)
}

// A contextMutex is a mutex for which one waits no longer than a context lasts.
type contextMutex chan struct{}

func newContextMutex() contextMutex { return make(contextMutex, 1) }

// lock waits for the mutex; its error is that of ctx.
func (m contextMutex) lock(ctx context.Context) error {
	select {
	case m <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (m contextMutex) unlock() { <-m }

// lockConfig waits until the configuration may be changed. The change waits for others only with the context that lockConfig returns,
// which ends with the bridge, too. unlock is called at its end.
func (b *Bridge) lockConfig(parent context.Context) (ctx context.Context, unlock func(), err error) {
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(b.closing, cancel)
	end := func() {
		stop()
		cancel()
	}
	err = b.changing.lock(ctx)
	if b.closing.Err() != nil {
		if err == nil { // both at once
			b.changing.unlock()
		}
		err = errClosing
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return ctx, func() {
		b.changing.unlock()
		end()
	}, nil
}

// lockForChange is lockConfig once everything is started.
func (b *Bridge) lockForChange(parent context.Context) (ctx context.Context, unlock func(), err error) {
	ctx, unlock, err = b.lockConfig(parent)
	if err == nil && b.file == nil {
		unlock()
		return nil, nil, errStarting
	}
	return ctx, unlock, err
}
