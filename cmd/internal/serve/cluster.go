package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/cmd/internal/lease"
	"phx/cmd/internal/option"
	"phx/cmd/internal/resume"
	"phx/phoenix"
	"phx/phoenix/boottime"
	"phx/router"
)

// A cluster is what the bridge has with leases: who runs which connection is decided by the keeper.
type cluster struct {
	keeper *lease.Keeper
	kv     *lease.KV
}

// clusterBy makes the cluster of a plan. Nothing of it runs yet.
func (b *Bridge) clusterBy(p *plan) {
	o := p.serve.Cluster
	if o.Leases == "" {
		return
	}
	kv := lease.NewKV(b.link, o.Leases, o.Replicas, o.TTL, b.log)
	b.cluster = &cluster{kv: kv, keeper: lease.NewKeeper(lease.Options{
		Store: kv, Instance: cmp.Or(o.Instance, defaultInstance()), TTL: o.TTL, Onward: o.Onward,
		Granted: b.granted, Revoked: b.revoked, Down: b.down, Logger: b.log,
	})}
}

// notInName are the characters that the name of an instance cannot have.
var notInName = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// defaultInstance is what a process is called that nobody has given a name.
func defaultInstance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	return fmt.Sprintf("%s-%d", strings.Trim(notInName.ReplaceAllString(host, "-"), "-"), os.Getpid())
}

// configure tells the keeper which connections there are.
func (b *Bridge) configure(p *plan) {
	if b.cluster == nil {
		return
	}
	var names []string
	var all []any
	for _, c := range p.connections {
		names = append(names, c.name)
		all = append(all, []string{c.name, c.fingerprint})
	}
	b.cluster.keeper.Configure(names, option.Hash(all)[:16])
	b.noteRemote() // one that was added by hand may be a leased one now
}

// leaves gives up the session, when nothing runs any more.
func (b *Bridge) leaves(ctx context.Context) {
	if b.cluster == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveLeases)
	defer cancel()
	b.cluster.keeper.Close(ctx)
	b.cluster.kv.Close()
}

// leaveLeases is how long the end waits for NATS. Without an answer, the leases end by their time.
const leaveLeases = 500 * time.Millisecond

// leased reports whether a lease decides about a connection: not about one that was added by hand.
func (b *Bridge) leased(c *connection) bool {
	return b.cluster != nil && !c.settings.Load().added.Load()
}

// A tenure is what is known of a connection under its lease.
type tenure struct {
	// turn is held while the connection is started or stopped for a lease.
	turn sync.Mutex

	mu    sync.Mutex
	grant *lease.Grant // nil: it is not ours
	at    time.Time    // when it was granted
	// ended is done, by end, when the grant is over.
	ended context.Context
	end   context.CancelFunc
	// connected and joined are as of the events; over says that it is not dialed any more, up that it was all there, some time.
	connected, over, up bool
	joined              map[string]bool
	since               time.Duration // when it went down, if it is
}

// current returns the grant, nil if the connection is not ours.
func (t *tenure) current() *lease.Grant {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.grant
}

// granted has a connection run. It is called by the keeper, and does not wait.
func (b *Bridge) granted(g *lease.Grant) {
	c := b.connection(g.Name)
	if c == nil {
		return // it is being removed, which takes the lease back
	}
	t := &c.tenure
	t.mu.Lock()
	again := t.grant == g
	if !again {
		t.grant, t.at, t.connected, t.over, t.up, t.joined = g, time.Now(), false, false, false, map[string]bool{}
		t.ended, t.end = context.WithCancel(b.closing)
	}
	t.mu.Unlock()
	if again {
		return
	}
	b.noteRemote()
	go func() {
		t.turn.Lock()
		defer t.turn.Unlock()
		if !b.takeCursors(c, g) {
			return
		}
		if err := b.supervisor.Start(g.Name); err != nil && !errors.Is(err, phoenix.ErrShutdown) {
			c.log.Error("a connection that is ours was not started", "error", err)
		}
	}()
}

// revoked has a connection stopped. It is called by the keeper, and does not wait.
func (b *Bridge) revoked(g *lease.Grant, lost bool) {
	keeper := b.cluster.keeper
	c := b.connection(g.Name)
	if c == nil {
		go keeper.Stopped(g.Name, lease.Outage{Never: true})
		return
	}
	t := &c.tenure
	outage := c.outage()
	t.mu.Lock()
	if t.grant = nil; t.end != nil {
		t.end()
	}
	t.mu.Unlock()
	b.noteRemote()
	go func() {
		t.turn.Lock()
		defer t.turn.Unlock()
		var err error
		if lost {
			err = b.supervisor.Revoke(context.Background(), g.Name)
		} else {
			err = b.supervisor.Stop(context.Background(), g.Name)
		}
		if err != nil && !errors.Is(err, phoenix.ErrUnknownConnection) {
			c.log.Error("a connection that is not ours any more was not stopped", "error", err)
		}
		c.leaveCursors(lost)
		keeper.Stopped(g.Name, outage)
	}()
}

// takeCursors takes over the values of resume of a connection that was granted, with turn held. It waits for them: without them the channels
// would go on somewhere else. It reports whether the connection is still ours.
func (b *Bridge) takeCursors(c *connection, g *lease.Grant) bool {
	t := &c.tenure
	t.mu.Lock()
	ended := t.ended
	t.mu.Unlock()
	if len(c.settings.Load().params) == 0 {
		return t.current() == g
	}
	for attempt := 0; t.current() == g && ended.Err() == nil; attempt++ {
		err := b.takeCursorsOnce(ended, c, g)
		if err == nil {
			return true
		}
		if attempt == 0 && ended.Err() == nil {
			c.log.Warn("the resume values of a connection that is ours cannot be read; it waits for them", "error", err)
		}
		select {
		case <-time.After(takeAgain):
		case <-ended.Done():
		}
	}
	return false
}

const (
	// takeTime bounds one attempt to read the values of resume, and takeAgain is the time before the next.
	takeTime  = 2 * time.Second
	takeAgain = 250 * time.Millisecond
)

// takeCursorsOnce is one attempt of takeCursors. Each grant has a progress of its own: what was dropped at the end of the one before comes
// again, under other numbers.
func (b *Bridge) takeCursorsOnce(ctx context.Context, c *connection, g *lease.Grant) error {
	ctx, cancel := context.WithTimeout(ctx, takeTime)
	defer cancel()
	progress := router.NewProgress()
	cursors, err := resume.Take(ctx, b.cluster.kv, c.name, b.resumeFile(c), g.Epoch, progress.Done, c.log)
	if err != nil {
		return err
	}
	if old := c.following.Swap(&following{cursors, progress}); old != nil { // from before a lease decided about the connection
		return old.cursors.Close()
	}
	return nil
}

// takeCursorsNow takes over the values of resume of a connection that runs and has had none before.
func (b *Bridge) takeCursorsNow(c *connection) error {
	t := &c.tenure
	t.turn.Lock()
	defer t.turn.Unlock()
	if g := t.current(); g != nil {
		return b.takeCursorsOnce(b.closing, c, g)
	}
	return nil
}

// leaveCursors leaves the values of resume of a connection that has stopped to the next owner.
func (c *connection) leaveCursors(lost bool) {
	f := c.following.Swap(nil)
	switch {
	case f == nil:
	case lost: // it could save nothing any more
		go f.cursors.Drop()
	default:
		_ = f.cursors.Close() // its error was logged
	}
}

// saveCursors saves the values of resume of all connections, for those who take them over.
func (b *Bridge) saveCursors() {
	if b.cluster == nil {
		return
	}
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		_ = b.eachCursors((*resume.Cursors).Save) // errors were logged
	}()
	select {
	case <-saved:
	case <-time.After(leaveLeases):
	}
}

// eachCursors calls a function for the values of resume of each connection, all at once.
func (b *Bridge) eachCursors(do func(*resume.Cursors) error) error {
	var list []func() error
	b.mu.RLock()
	for _, c := range b.connections {
		if f := c.following.Load(); f != nil {
			list = append(list, func() error { return do(f.cursors) })
		}
	}
	b.mu.RUnlock()
	return allAtOnce(list)
}

// outage says since when messages of a connection may have been missed: from now on, if it is up.
func (c *connection) outage() lease.Outage {
	topics := c.settings.Load().connection.AutoJoin()
	t := &c.tenure
	t.mu.Lock()
	defer t.mu.Unlock()
	o := lease.Outage{Status: string(phoenix.StatusConnecting), Since: t.since, Never: !t.up}
	switch {
	case t.connected:
		o.Status = string(phoenix.StatusConnected)
	case t.over:
		o.Status = string(phoenix.StatusDisconnected)
	}
	if t.isUp(topics) {
		o.Since, o.Never = boottime.Now(), false
	}
	return o
}

// isUp reports whether all is there. It is called with mu held.
func (t *tenure) isUp(topics []string) bool {
	return t.connected && !slices.ContainsFunc(topics, func(topic string) bool { return !t.joined[topic] })
}

// noteTenure notes what an event says of the connection.
func (c *connection) noteTenure(ev *phoenix.Event) {
	topics := c.settings.Load().connection.AutoJoin()
	t := &c.tenure
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.isUp(topics)
	switch d := ev.Detail.(type) {
	case *phoenix.Connecting:
		t.over = false
	case *phoenix.Connected:
		t.connected = true
	case *phoenix.Disconnected: // on each of several sockets, the channels are lost, too
		t.connected, t.over = false, !d.WillReconnect
	case *phoenix.Joined:
		t.joined[ev.Topic] = true
	case *phoenix.Errored, *phoenix.Closed, *phoenix.Left:
		delete(t.joined, ev.Topic)
	}
	is := t.isUp(topics)
	t.up = t.up || is
	if was && !is {
		t.since = boottime.Now()
	}
}

// down returns the connections that are ours and not up. It is called by the keeper.
func (b *Bridge) down() map[string]lease.Outage {
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := map[string]lease.Outage{}
	for name, c := range b.connections {
		topics := c.settings.Load().connection.AutoJoin()
		t := &c.tenure
		t.mu.Lock()
		down := t.grant != nil && !t.isUp(topics)
		t.mu.Unlock()
		if down {
			list[name] = c.outage()
		}
	}
	return list
}

// missedSince is from when on messages may have been missed that the owner before did not get. A link may have been dead for as long as
// its heartbeats take to find that.
func (c *connection) missedSince() time.Time {
	o := c.settings.Load().options
	t := &c.tenure
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.grant == nil || !t.grant.Before || t.up {
		return time.Time{}
	}
	silence := o.HeartbeatTimeout
	if o.HeartbeatInterval > 0 {
		silence += o.HeartbeatInterval
	}
	return t.at.Add(-t.grant.Missed - silence)
}

// A turn is what a run of a connection may send under its lease; nil without leases.
type turn struct {
	grant *lease.Grant
	said  atomic.Bool // that it is over
}

// turnOf returns the turn of a run that begins.
func (b *Bridge) turnOf(c *connection) *turn {
	if !b.leased(c) {
		return nil
	}
	return &turn{grant: c.tenure.current()}
}

// epoch is that of what is sent now; 0: there is none.
func (t *turn) epoch() uint64 {
	if t == nil || t.grant == nil {
		return 0
	}
	return t.grant.Epoch()
}

// holds reports whether something may be sent. Any goroutine may ask.
func (t *turn) holds() bool { return t == nil || t.grant != nil && !t.said.Load() && t.grant.Holds() }

// mayEnd reports whether there is time to say that it is over.
func (t *turn) mayEnd() bool { return t.grant != nil && t.grant.MayEnd() }

// errElsewhere is the error of a call about a connection that another instance runs, or none.
func (b *Bridge) errElsewhere(name string) error {
	owner := b.ownerOf(name)
	if owner == "" {
		return newAPIError(http.StatusConflict, exit.LinkLost, fmt.Sprintf("no instance runs the connection %q at the moment", name),
			"try again; `phx ctl list` shows who runs what")
	}
	return newAPIError(http.StatusConflict, exit.LinkLost, fmt.Sprintf("the connection %q is run by the instance %s", name, owner),
		"ask the phx serve there, by its --control")
}

// checkLease returns an error if a connection is not ours to run or to push on.
func (b *Bridge) checkLease(name string) error {
	c := b.connection(name)
	if c == nil || !b.leased(c) {
		return nil
	}
	if g := c.tenure.current(); g == nil || !g.Holds() {
		return b.errElsewhere(name)
	}
	return nil
}

// ownerOf returns the instance that runs a connection, as far as is known; empty: none.
func (b *Bridge) ownerOf(name string) string {
	v := b.cluster.keeper.View()
	run := v.Runs[name]
	if _, lives := v.Sessions[run.Session]; !lives {
		return ""
	}
	return run.Instance
}

// place adds to what is known of a connection who runs it.
func (b *Bridge) place(d *Connection) {
	c := b.connection(d.Name)
	if c == nil || !b.leased(c) {
		return
	}
	if g := c.tenure.current(); g != nil {
		d.Instance, d.Epoch = b.cluster.keeper.Instance(), g.Epoch()
		return
	}
	v := b.cluster.keeper.View()
	if e, runs := elsewhere(v, d.Name); runs {
		d.Instance, d.Epoch, d.OtherConfig, d.Status = e.run.Instance, e.run.Revision, e.session.Config != v.Config, e.status
		d.Since, d.Session, d.Counters = time.Time{}, 0, map[string]uint64{}
	}
}

// A farRun is what is known of a connection that another instance runs.
type farRun struct {
	run     lease.RunEntry
	session lease.SessionEntry
	// status is what the instance has said last, and up that all of the connection is there.
	status string
	up     bool
}

// elsewhere returns what is known of a connection that another instance runs, and reports whether one does.
func elsewhere(v *lease.View, name string) (farRun, bool) {
	run := v.Runs[name]
	session, lives := v.Sessions[run.Session]
	e := farRun{run: run, session: session, status: string(phoenix.StatusConnecting)}
	switch down, isDown := session.Down[name]; {
	case session.Revision < run.Revision: // it has said nothing since it claimed the connection
	case isDown:
		e.status = down.Status
	default:
		e.status, e.up = string(phoenix.StatusConnected), true
	}
	return e, lives && run.Session != v.Session
}

// upElsewhere reports whether another instance runs a connection and has said, since it claimed it, that it is in the state.
func (b *Bridge) upElsewhere(c *connection, state string) bool {
	if !b.leased(c) || c.tenure.current() != nil {
		return false
	}
	e, runs := elsewhere(b.cluster.keeper.View(), c.name)
	return runs && (e.up || state == StateConnected && e.status == string(phoenix.StatusConnected))
}

// Instances returns what is known of the instances of the cluster, in the order of their names; nil without leases.
func (b *Bridge) Instances() []Instance {
	if b.cluster == nil {
		return nil
	}
	v := b.cluster.keeper.View()
	runs := map[string]int{}
	for _, run := range v.Runs {
		runs[run.Session]++
	}
	list := []Instance{}
	for id, s := range v.Sessions {
		list = append(list, Instance{Instance: s.Instance, Self: id == v.Session, Config: s.Config, SameConfig: s.Config == v.Config, Connections: runs[id]})
	}
	slices.SortFunc(list, func(a, b Instance) int { return strings.Compare(a.Instance+a.Config, b.Instance+b.Config) })
	return list
}

// leases returns what is known of the leases; nil: there are none.
func (b *Bridge) leases() *lease.Stats {
	if b.cluster == nil {
		return nil
	}
	s := b.cluster.keeper.Stats()
	return &s
}

// missingLeases says what is missing until it is known which connections are ours.
func (b *Bridge) missingLeases() []string {
	if b.cluster == nil {
		return nil
	}
	switch v := b.cluster.keeper.View(); {
	case v.Session == "":
		return []string{"leases: there is no session; the log of serve says why"}
	case !v.Settled:
		return []string{"leases: it is not known yet who runs what"}
	}
	return nil
}

// checkCluster returns what is wrong with the flag of a shard beside leases.
func checkCluster(shard lease.Shard, c config.Cluster) error {
	if shard.Of > 0 && c.Leases != "" {
		return exit.Usagef("leave --shard out, or cluster.leases", "there is a shard, %v, and the config has leases: either the number of processes is fixed, or they agree among themselves", shard)
	}
	return nil
}
