package ops

import (
	"context"

	"phx/phoenix"
	"phx/router"
)

// A Source is what is watched. Its methods are called by several goroutines at once. Only Alive and Ready may wait.
type Source interface {
	// Alive returns nil if whoever supervises the connections answers before ctx ends.
	Alive(ctx context.Context) error
	// Ready tells whether everything required is there; missing has a line for each thing that is not.
	Ready(ctx context.Context) (ready bool, missing []string)
	// Connections returns one entry for each connection, with unique names.
	Connections() []ConnectionMetrics
	// Sinks returns the stats of the router of all connections.
	Sinks() []router.SinkStats
}

// ConnectionMetrics is what there is to know about a connection. The counters count since the start of the process.
type ConnectionMetrics struct {
	Name     string
	Status   phoenix.LinkStatus
	Required bool
	// Sessions counts the successful connects, Reconnects those of them that came after the loss of a session.
	Sessions, Reconnects uint64
	// Joined and JoinErrors count the answers to joins.
	Joined, JoinErrors uint64
	// Messages counts the messages that the server sent on channels.
	Messages uint64
	// Channels counts the wanted channels by phoenix.ChannelStatus.State.
	Channels map[string]int
}
