package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"phx/phoenix"
	"phx/router"
)

// lookTime bounds a look at one connection.
const lookTime = time.Second

// Alive implements [Source]: the registries of connections answer, which everything else needs.
func (b *Bridge) Alive(context.Context) error {
	b.supervisor.Names()
	b.connection("")
	return nil
}

// Ready implements [Source]: every required connection is connected, and each of its auto_join_channels is joined.
func (b *Bridge) Ready(ctx context.Context) (ready bool, missing []string) {
	if !b.started.Load() {
		return false, []string{"serve is starting"}
	}
	for _, name := range b.supervisor.Names() {
		c := b.connection(name)
		if c == nil || !c.settings.Load().connection.Required {
			continue
		}
		status, err := b.look(ctx, name)
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s: no status: %v", name, err))
			continue
		}
		missing = append(missing, missingOf(&status, c.settings.Load().connection.AutoJoin())...)
	}
	return len(missing) == 0, missing
}

// errStuck says that a connection does not answer: something that runs for it hangs.
var errStuck = errors.New("the connection does not answer")

// look returns the status of a connection. Of one that does not answer in lookTime it is what is known without asking it, with
// errStuck in it: the others are to be seen all the same.
func (b *Bridge) look(ctx context.Context, name string) (phoenix.ConnectionStatus, error) {
	short, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	status, err := b.supervisor.Status(short, name)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		status.Err, err = errStuck, nil
	}
	return status, err
}

// missingOf says what is missing for a connection to be up, with these of its channels joined.
func missingOf(s *phoenix.ConnectionStatus, topics []string) []string {
	switch {
	case errors.Is(s.Err, errStuck):
		return []string{s.Name + ": " + errStuck.Error()}
	case s.Link != phoenix.StatusConnected:
		return []string{s.Name + ": " + string(s.Link)}
	}
	var missing []string
	for _, topic := range topics {
		i := slices.IndexFunc(s.Channels, func(c phoenix.ChannelStatus) bool { return c.Topic == topic })
		switch {
		case i < 0:
			missing = append(missing, fmt.Sprintf("%s: %s: left", s.Name, topic))
		case s.Channels[i].State != "joined":
			missing = append(missing, fmt.Sprintf("%s: %s: %s", s.Name, topic, s.Channels[i].State))
		}
	}
	return missing
}

// wantedTopics are those of the config and those that somebody has joined besides.
func wantedTopics(s *phoenix.ConnectionStatus, of *settings) []string {
	topics := of.connection.AutoJoin()
	for _, c := range s.Channels {
		if !slices.Contains(topics, c.Topic) {
			topics = append(topics, c.Topic)
		}
	}
	return topics
}

// lookInterval is how far apart looks at all connections are: a server with a thousand that starts changes often.
const lookInterval = 50 * time.Millisecond

// WatchReady calls tell with what [Bridge.Ready] says, now and soon after that changes, until ctx ends.
func (b *Bridge) WatchReady(ctx context.Context, tell func(ready bool, missing []string)) {
	var last []string
	for first := true; ; first = false {
		changed := b.supervisor.Changed() // before the look, so that no change is missed
		ready, missing := b.Ready(ctx)
		if ctx.Err() != nil {
			return
		}
		if first || !slices.Equal(missing, last) {
			last = missing
			tell(ready, missing)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(lookInterval):
		case <-ctx.Done():
			return
		}
	}
}

// Metrics returns what is measured.
func (b *Bridge) Metrics() *Metrics { return b.metrics }

// A source is the bridge as others watch it. It is a type of its own because the control API, too, asks for Connections.
type source struct{ *Bridge }

// Source returns the bridge as what is watched.
func (b *Bridge) Source() Source { return source{b} }

// Connections implements [Source].
func (s source) Connections() []ConnectionMetrics {
	var list []ConnectionMetrics
	for _, name := range s.supervisor.Names() {
		c := s.connection(name)
		status, err := s.look(context.Background(), name)
		if c == nil || err != nil {
			continue // removed meanwhile
		}
		m := ConnectionMetrics{
			Name: name, Status: status.Link, Required: status.Required, Channels: map[string]int{},
			Sessions: uint64(status.Session), Reconnects: c.counters.reconnects.Load(),
			Joined: c.counters.joins.Load(), JoinErrors: c.counters.joinErrors.Load(), Messages: c.counters.messages.Load(),
		}
		for _, channel := range status.Channels {
			m.Channels[channel.State]++
		}
		list = append(list, m)
	}
	return list
}

// Sinks implements [Source].
func (s source) Sinks() []router.SinkStats { return s.router.Stats() }
