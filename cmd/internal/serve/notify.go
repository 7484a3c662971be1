package serve

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A Notifier tells systemd how the service does: sd_notify(3). Its methods may be called by several goroutines, and do nothing
// where nobody is told.
type Notifier struct {
	// send sends one datagram; nil: nobody is told.
	send func(message string) error
	log  *slog.Logger
	// interval is how often the watchdog wants to hear something at least; 0: never.
	interval time.Duration
	// ready and stopping are what was told.
	ready, stopping atomic.Bool
}

// What systemd puts into the environment: where to send, how often in microseconds, and who is meant.
const (
	envSocket       = "NOTIFY_SOCKET"
	envWatchdog     = "WATCHDOG_USEC"
	envWatchdogFrom = "WATCHDOG_PID"
)

// sendTime bounds a send, which waits while systemd has not read what was sent before.
const sendTime = time.Second

// NewNotifier returns the notifier that the environment asks for, and takes its variables out of the environment, so that
// children do not speak for the service. It is called once, before there are children.
func NewNotifier(log *slog.Logger) *Notifier {
	n := &Notifier{log: log}
	socket, watchdog, from := takeEnv(envSocket), takeEnv(envWatchdog), takeEnv(envWatchdogFrom)
	switch {
	case socket == "":
		return n
	case socket[0] != '/' && socket[0] != '@':
		log.Warn("systemd wants to be notified in a way that is not supported", envSocket, socket)
		return n
	}
	n.send = func(message string) error { return sendTo(socket, message) }
	n.interval = watchdogInterval(watchdog, from)
	return n
}

func takeEnv(name string) string {
	value := os.Getenv(name)
	_ = os.Unsetenv(name) // fails for an impossible name only
	return value
}

// watchdogInterval returns how often the watchdog has to hear something, 0 if it does not, or not of this process.
func watchdogInterval(microseconds, pid string) time.Duration {
	if pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	n, err := strconv.ParseInt(microseconds, 10, 64)
	if err != nil || n <= 0 || n > int64(time.Duration(1<<63-1)/time.Microsecond) {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// sendTo sends one datagram. The name of an abstract socket begins with '@'.
func sendTo(socket, message string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(sendTime)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(message))
	return err
}

// Ready tells that the service is ready.
func (n *Notifier) Ready() {
	n.ready.Store(true)
	n.tell("READY=1")
}

// Reloading tells that a reload has begun; ended, that it is over, whether it succeeded or not. The end is told as readiness, so
// of a reload before the service was ready nothing is told.
func (n *Notifier) Reloading() (ended func()) {
	if !n.ready.Load() {
		return func() {}
	}
	n.tell("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
	return n.Ready
}

// Stopping tells that the service ends, and is the last status: that something is missing then is no news.
func (n *Notifier) Stopping() {
	n.stopping.Store(true)
	n.tell("STOPPING=1", "STATUS=stopping")
}

// Status shows a line to those who ask `systemctl status`.
func (n *Notifier) Status(text string) {
	if n.stopping.Load() {
		return
	}
	n.tell("STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' ' // a line break would begin another assignment
		}
		return r
	}, text))
}

// Watchdog tells until ctx ends that the service is alive, twice as often as systemd wants to hear it, while healthy returns nil.
// It returns at once if systemd does not want to hear it. healthy has to heed its context.
func (n *Notifier) Watchdog(ctx context.Context, healthy func(context.Context) error) {
	if n.send == nil || n.interval <= 0 {
		return
	}
	ticks := time.NewTicker(max(n.interval/2, 1))
	defer ticks.Stop()
	for well := true; ; {
		switch err := healthy(ctx); {
		case ctx.Err() != nil:
			return
		case err == nil:
			well = true
			n.tell("WATCHDOG=1")
		case well:
			well = false
			n.log.Error("not well: unless that changes, systemd's watchdog will end the process", "error", err, "within", n.interval)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

// tell sends assignments in one datagram. A service does its work also when nobody can be told.
func (n *Notifier) tell(assignments ...string) {
	if n.send == nil {
		return
	}
	if err := n.send(strings.Join(assignments, "\n")); err != nil {
		n.log.Warn("cannot notify systemd", "what", strings.Join(assignments, " "), "error", err)
	}
}
