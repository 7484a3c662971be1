package serve

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// notifyEnv sets what systemd would set.
func notifyEnv(t *testing.T, socket, watchdog, pid string) {
	t.Helper()
	t.Setenv(envSocket, socket)
	t.Setenv(envWatchdog, watchdog)
	t.Setenv(envWatchdogFrom, pid)
}

// listenNotify stands in for systemd; the name of an abstract socket begins with '@'.
func listenNotify(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// receive returns the next datagram. The one who sent it did so before: there is nothing to wait for.
func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	buffer := make([]byte, 4096)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn := listenNotify(t, path)
	notifyEnv(t, path, "", "")
	n := NewNotifier(quiet)
	n.Reloading()() // tells nothing yet
	for _, test := range []struct {
		tell func()
		want string
	}{
		{n.Ready, "READY=1"},
		{func() { n.Status("3 of 4 connections are up") }, "STATUS=3 of 4 connections are up"},
		{func() { n.Status("no\nREADY=1") }, "STATUS=no READY=1"},
	} {
		test.tell()
		if got := receive(t, conn); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}

	before := monotonic()
	ended := n.Reloading()
	after := monotonic()
	text, ok := strings.CutPrefix(receive(t, conn), "RELOADING=1\nMONOTONIC_USEC=")
	if usec, err := strconv.ParseInt(text, 10, 64); !ok || err != nil || usec < before.Microseconds() || usec > after.Microseconds() {
		t.Errorf("a reload between %v and %v is told with %q", before, after, text)
	}
	ended()
	if got := receive(t, conn); got != "READY=1" {
		t.Errorf("the end of a reload is told with %q", got)
	}

	n.Stopping()
	if got := receive(t, conn); got != "STOPPING=1\nSTATUS=stopping" {
		t.Errorf("the end is told with %q", got)
	}
	n.Status("2 of 4 connections are up")
	n.notify("LAST=1")
	if got := receive(t, conn); got != "LAST=1" {
		t.Errorf("after the end, %q is told", got)
	}
}

// TestNotifyIsNotInherited: a child that spoke for the service could end it.
func TestNotifyIsNotInherited(t *testing.T) {
	notifyEnv(t, filepath.Join(t.TempDir(), "notify"), "1000000", strconv.Itoa(os.Getpid()))
	n := NewNotifier(quiet)
	if n.send == nil || n.interval != time.Second {
		t.Errorf("the notifier did not take what was there: interval %v", n.interval)
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "NOTIFY_") || strings.HasPrefix(v, "WATCHDOG_") {
			t.Errorf("children get %s", v)
		}
	}
}

func TestNotifyNobody(t *testing.T) {
	for _, socket := range []string{"", "vsock:2:1234"} {
		notifyEnv(t, socket, "1000000", "")
		var log bytes.Buffer
		n := NewNotifier(slog.New(slog.NewTextHandler(&log, nil)))
		if warned := log.Len() > 0; warned != (socket != "") {
			t.Errorf("socket %q: the log says %q", socket, &log)
		}
		n.Ready()
		n.Reloading()()
		n.Status("text")
		n.Stopping()
		n.Watchdog(t.Context(), func(context.Context) error {
			t.Errorf("socket %q: a watchdog that nobody wants asks for the health", socket)
			return nil
		})
	}
}

// TestNotifySomeoneGone: a service lives on when it cannot tell.
func TestNotifySomeoneGone(t *testing.T) {
	notifyEnv(t, filepath.Join(t.TempDir(), "nobody"), "", "")
	var log bytes.Buffer
	NewNotifier(slog.New(slog.NewTextHandler(&log, nil))).Ready()
	if !strings.Contains(log.String(), "READY=1") {
		t.Errorf("the log does not tell what was not told:\n%s", &log)
	}
}

func TestWatchdogInterval(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"30000000", "", 30 * time.Second},
		{"30000000", self, 30 * time.Second},
		{"30000000", "1", 0},
		{"30000000", self + "0", 0},
		{"0", self, 0},
		{"-5", self, 0},
		{"soon", self, 0},
		{"18446744073709551615", self, 0},
		{"9223372036854775807", self, 0},
	} {
		if got := watchdogInterval(test.usec, test.pid); got != test.want {
			t.Errorf("WATCHDOG_USEC=%s WATCHDOG_PID=%s: %v, want %v", test.usec, test.pid, got, test.want)
		}
	}
}

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var told []time.Duration
		var log bytes.Buffer
		n := &Notifier{
			send: func(message string) error {
				if message != "WATCHDOG=1" {
					t.Errorf("told %q", message)
				}
				told = append(told, time.Since(begin))
				return nil
			},
			log:      slog.New(slog.NewTextHandler(&log, nil)),
			interval: 10 * time.Second,
		}
		ctx, cancel := context.WithTimeout(t.Context(), 32*time.Second)
		defer cancel()
		n.Watchdog(ctx, func(context.Context) error {
			if at := time.Since(begin); at > 8*time.Second && at < 22*time.Second {
				return errors.New("not now")
			}
			return nil
		})
		if want := []time.Duration{0, 5 * time.Second, 25 * time.Second, 30 * time.Second}; !slices.Equal(told, want) {
			t.Errorf("told at %v, want %v", told, want)
		}
		if got := strings.Count(log.String(), "not now"); got != 1 {
			t.Errorf("the log says %d times that something is wrong, want once:\n%s", got, &log)
		}
		if got := time.Since(begin); got != 32*time.Second {
			t.Errorf("it ended after %v, want 32s", got)
		}
	})
}
