package phoenix

import (
	"strings"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	o, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string][2]time.Duration{
		"ConnectTimeout":    {o.ConnectTimeout, 10 * time.Second},
		"ReplyTimeout":      {o.ReplyTimeout, 10 * time.Second},
		"HeartbeatInterval": {o.HeartbeatInterval, 30 * time.Second},
		"HeartbeatTimeout":  {o.HeartbeatTimeout, 10 * time.Second},
		"StableAfter":       {o.StableAfter, 10 * time.Second},
	} {
		if d[0] != d[1] {
			t.Errorf("%s is %v, want %v", name, d[0], d[1])
		}
	}
	if o.VSN != "2.0.0" || o.MaxMessage != 64<<20 || o.ReadBuffer != 4<<10 || o.MaxRetries != 0 {
		t.Errorf("vsn %s, largest message %d, read buffer %d, retries %d", o.VSN, o.MaxMessage, o.ReadBuffer, o.MaxRetries)
	}
	if o.ReconnectAfter == nil || o.RejoinAfter == nil || o.Logger == nil {
		t.Error("a backoff or the logger has no default")
	}
}

// The default of the heartbeat's timeout is never longer than a short interval.
func TestHeartbeatTimeoutFollowsInterval(t *testing.T) {
	o, err := Options{HeartbeatInterval: time.Second}.withDefaults()
	if err != nil || o.HeartbeatTimeout != time.Second {
		t.Errorf("timeout %v, error %v", o.HeartbeatTimeout, err)
	}
}

// TestEffective: it refuses what New refuses, in the same words, and fills in the rest.
func TestEffective(t *testing.T) {
	for _, o := range []Options{{URL: "ws://localhost"}, {}, {URL: "ftp://localhost"}, {URL: "ws://localhost?vsn=3"}, {URL: "ws://localhost", MaxRetries: -2}} {
		effective, err := o.Effective()
		_, want := New(o)
		if (err == nil) != (want == nil) || err != nil && err.Error() != want.Error() {
			t.Errorf("%+v: %v, and of New %v", o, err, want)
		}
		if err == nil && effective.HeartbeatTimeout != 10*time.Second {
			t.Errorf("%+v", effective)
		}
	}
}

func TestInvalidOptions(t *testing.T) {
	const url = "ws://localhost/socket"
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{}, "URI"},
		{Options{URL: url, ConnectTimeout: -1}, "connect timeout"},
		{Options{URL: url, ReplyTimeout: -1}, "reply timeout"},
		{Options{URL: url, HeartbeatInterval: -2}, "heartbeat"},
		{Options{URL: url, HeartbeatTimeout: -1}, "heartbeat timeout"},
		{Options{URL: url, StableAfter: -1}, "stable time"},
		{Options{URL: url, HeartbeatInterval: time.Second, HeartbeatTimeout: 2 * time.Second}, "longer than the heartbeat interval"},
		{Options{URL: url, MaxRetries: -2}, "-1 (no limit)"},
		{Options{URL: url, MaxMessage: -1}, "largest message"},
		{Options{URL: url, ReadBuffer: -1}, "read buffer"},
		{Options{URL: url, VSN: "3.0.0"}, "vsn"},
		{Options{URL: url, Channels: []Channel{{}}}, "topic"},
		{Options{URL: url, Channels: []Channel{{Topic: "phoenix"}}}, "phoenix"},
		{Options{URL: url, Channels: []Channel{{Topic: "room:\xff"}}}, "UTF-8"},
	} {
		if _, err := New(c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one about %q", err, c.want)
		}
	}
}
