package phoenix

import (
	"context"
	"time"
)

// A LinkStatus is what a connection is doing.
type LinkStatus string

// The values of Status.Link.
const (
	StatusDisconnected  LinkStatus = "disconnected"
	StatusConnecting    LinkStatus = "connecting" // dialing, or waiting for the next dial
	StatusConnected     LinkStatus = "connected"
	StatusDisconnecting LinkStatus = "disconnecting"
)

// A Status is a snapshot of a connection.
type Status struct {
	Link LinkStatus
	// Session counts the successful connects.
	Session int
	// Retries counts the retries since the link was last stable.
	Retries int
	// Channels are the wanted topics, in the order in which they were wanted.
	Channels []ChannelStatus
}

// A ChannelStatus is a snapshot of a channel.
type ChannelStatus struct {
	Topic string
	// State is "waiting", "joining", "joined", "errored" (between two joins) or "leaving".
	State string
	// JoinedAt is when the current join was accepted, zero unless the channel is joined.
	JoinedAt time.Time
}

// Status returns a snapshot. Of a connection that is not running it is the zero Status with StatusDisconnected.
func (c *Conn) Status(ctx context.Context) (Status, error) {
	if !c.started.Load() {
		return Status{Link: StatusDisconnected}, nil
	}
	return c.status(ctx)
}

// status is Status of a connection that is running, or will be: then it waits for Serve.
func (c *Conn) status(ctx context.Context) (Status, error) {
	result := make(chan Status, 1)
	err := c.do(ctx, c.urgent, func(l *loop, _ time.Time) { result <- l.m.status() })
	if err != nil {
		select {
		case <-c.done:
			return Status{Link: StatusDisconnected}, nil
		default:
			return Status{}, err
		}
	}
	return await(ctx, c, result)
}

func (m *machine) status() Status {
	s := Status{Link: m.linkStatus(), Session: m.session, Retries: m.link.retries}
	for _, c := range m.order {
		cs := ChannelStatus{Topic: c.Topic, State: c.state.String()}
		if c.state == channelJoined {
			cs.JoinedAt = c.joinedAt
		}
		s.Channels = append(s.Channels, cs)
	}
	return s
}

func (m *machine) linkStatus() LinkStatus {
	switch m.phase {
	case dialing, waiting:
		return StatusConnecting
	case up:
		return StatusConnected
	case dropping, closing:
		return StatusDisconnecting
	}
	return StatusDisconnected
}
