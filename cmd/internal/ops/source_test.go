package ops

import (
	"context"
	"errors"
	"log/slog"

	"phx/phoenix"
	"phx/router"
)

// A fakeSource answers what it is told to.
type fakeSource struct {
	alive       func(context.Context) error
	ready       func(context.Context) (bool, []string)
	connections []ConnectionMetrics
	sinks       []router.SinkStats
}

func (s *fakeSource) Alive(ctx context.Context) error { return s.alive(ctx) }

func (s *fakeSource) Ready(ctx context.Context) (bool, []string) { return s.ready(ctx) }

func (s *fakeSource) Connections() []ConnectionMetrics { return s.connections }

func (s *fakeSource) Sinks() []router.SinkStats { return s.sinks }

// quiet is a log that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// busySource has a connection in the middle of its work and one that is waiting for its server.
func busySource() *fakeSource {
	return &fakeSource{
		alive: func(context.Context) error { return nil },
		ready: func(context.Context) (bool, []string) { return true, nil },
		connections: []ConnectionMetrics{
			{
				Name: "backend", Status: phoenix.StatusConnected, Required: true, Sessions: 3, Reconnects: 2,
				Joined: 5, JoinErrors: 1, Messages: 1000, Channels: map[string]int{"joined": 2, "errored": 1},
			},
			{Name: "other", Status: phoenix.StatusConnecting},
		},
		sinks: []router.SinkStats{
			{Sink: "audit", Waiting: 7, WaitingBytes: 2100},
			{Sink: "audit", Connection: "backend", Delivered: 990, Dropped: 10},
			{Sink: "audit", Connection: "other", Delivered: 1},
			{Sink: "hook", Err: errors.New("no such command")},
		},
	}
}
