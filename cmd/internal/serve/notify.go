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

// A Notifier notifies systemd of the state of the service: sd_notify(3). Its methods may be called by several goroutines, and do
// nothing where systemd has not asked for it.
type Notifier struct {
	// send sends one datagram; nil: systemd has not asked for it.
	send func(message string) error
	log  *slog.Logger
	// interval is the longest time between two notifications of the watchdog; 0: it wants none.
	interval time.Duration
	// ready and stopping are set by what was sent.
	ready, stopping atomic.Bool
}

// The variables of systemd: the socket, the interval of the watchdog in microseconds, and the process that it is for.
const (
	envSocket       = "NOTIFY_SOCKET"
	envWatchdog     = "WATCHDOG_USEC"
	envWatchdogFrom = "WATCHDOG_PID"
)

// sendTime bounds a send, which waits while systemd has not read what was sent before.
const sendTime = time.Second

// NewNotifier returns the notifier that the environment asks for. It removes the variables from the environment, so that children do
// not notify systemd in the name of the service: it is called once, before there are children.
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

// watchdogInterval returns the interval of the watchdog; 0 if there is none, or it is for another process.
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

// Ready notifies that the service is ready.
func (n *Notifier) Ready() {
	n.ready.Store(true)
	n.notify("READY=1")
}

// Reloading notifies that a reload has begun; ended, that it is over, whether it succeeded or not. The end is sent as readiness, so
// nothing is sent for a reload before the service was ready.
func (n *Notifier) Reloading() (ended func()) {
	if !n.ready.Load() {
		return func() {}
	}
	n.notify("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
	return n.Ready
}

// Stopping notifies that the service ends. No status follows it: that something is missing then is no news.
func (n *Notifier) Stopping() {
	n.stopping.Store(true)
	n.notify("STOPPING=1", "STATUS=stopping")
}

// Status sends the line that `systemctl status` shows.
func (n *Notifier) Status(text string) {
	if n.stopping.Load() {
		return
	}
	n.notify("STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' ' // a line break would begin another assignment
		}
		return r
	}, text))
}

// Watchdog notifies until ctx ends that the service is alive, at twice the rate that systemd wants, while healthy returns nil. It
// returns at once if systemd wants no watchdog. healthy returns soon after its context ends.
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
			n.notify("WATCHDOG=1")
		case well:
			well = false
			n.log.Error("phx serve is unhealthy: unless that changes, systemd's watchdog will end the process", "error", err, "within", n.interval)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

// notify sends assignments in one datagram. A failure is logged: the service does its work without systemd, too.
func (n *Notifier) notify(assignments ...string) {
	if n.send == nil {
		return
	}
	if err := n.send(strings.Join(assignments, "\n")); err != nil {
		n.log.Warn("cannot notify systemd", "what", strings.Join(assignments, " "), "error", err)
	}
}
