package config

import (
	"strings"
	"testing"
	"time"

	"phx/phoenix"
)

// TestProfileDefaults: the profile sets what no option says.
func TestProfileDefaults(t *testing.T) {
	tests := []struct {
		args, vars string
		url, vsn   string
		heartbeat  time.Duration
	}{
		{"-u https://abc.supabase.co --profile supabase", "", "https://abc.supabase.co/realtime/v1", "2.0.0", 25 * time.Second},
		{"-u https://abc.supabase.co/", "supabase", "https://abc.supabase.co/realtime/v1", "2.0.0", 25 * time.Second},
		{"-u https://abc.supabase.co --profile=", "supabase", "https://abc.supabase.co", "2.0.0", 30 * time.Second},
		{"-u ws://abc.localhost:4000/socket --profile supabase --heartbeat-interval 30s", "", "ws://abc.localhost:4000/socket", "2.0.0", 30 * time.Second},
		{"-u https://abc.supabase.co --profile supabase --vsn 1.0.0", "", "https://abc.supabase.co/realtime/v1", "1.0.0", 25 * time.Second},
		{"-u https://abc.supabase.co --profile supabase --transport longpoll", "", "https://abc.supabase.co/realtime/v1", "1.0.0", 25 * time.Second},
		{"-u https://abc.supabase.co --profile supabase --transport auto", "", "https://abc.supabase.co/realtime/v1", "1.0.0", 25 * time.Second},
		{"-u https://abc.supabase.co/realtime/v1/longpoll --profile supabase", "", "https://abc.supabase.co/realtime/v1/longpoll", "1.0.0", 25 * time.Second},
		{"-u https://abc.supabase.co/realtime/v1/longpoll --profile supabase --transport websocket", "", "https://abc.supabase.co/realtime/v1/longpoll", "2.0.0", 25 * time.Second},
		{"-u https://abc.supabase.co --transport longpoll", "", "https://abc.supabase.co", "2.0.0", 30 * time.Second},
	}
	for _, tt := range tests {
		c := NewConnection(Retry{})
		if err := resolve(c.Options(), strings.Fields(tt.args), map[string]string{"PHX_PROFILE": tt.vars}); err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		c.ApplyProfile()
		o, err := c.Build(nil)
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		if o.URL != tt.url || o.VSN != tt.vsn || o.HeartbeatInterval != tt.heartbeat {
			t.Errorf("%s: %s %s %v", tt.args, o.URL, o.VSN, o.HeartbeatInterval)
		}
		if profiled := c.Profile == Supabase; profiled != (o.Dialect != nil) || profiled != (o.JoinInterval > 0) {
			t.Errorf("%s: dialect %v, join interval %v", tt.args, o.Dialect, o.JoinInterval)
		}
		if warned := strings.Contains(c.MessageWarning(), "binary"); warned != (c.Profile == Supabase && tt.vsn == "1.0.0") {
			t.Errorf("%s: warning %q", tt.args, c.MessageWarning())
		}
	}
}

// TestProfileRefusals: what the server would not take is an error, with a place in a file.
func TestProfileRefusals(t *testing.T) {
	for args, want := range map[string]string{
		"--profile phoenix": `--profile "phoenix" is no profile: there is supabase`,
		"--profile supabase --transport longpoll --vsn 2.0.0":      "by long poll Supabase has no form of vsn 2.0.0",
		"--profile supabase --transport auto --vsn 2.0.0":          "by long poll Supabase has no form of vsn 2.0.0",
		"-u ws://h/?vsn=2.0.0 --profile supabase --transport auto": "by long poll Supabase has no form of vsn 2.0.0",
		"--profile supabase --on-join subscribe":                   `--on-join (on_join in a config file): the event "subscribe"`,
		"--profile supabase --heartbeat-timeout 28s":               "--heartbeat-timeout 28s is longer than --heartbeat-interval 25s",
	} {
		if _, _, err := build(t, Retry{}, "", strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	for text, want := range map[string]string{
		"profile: phoenix": `phx.yaml:1:43: profile "phoenix" is no profile: there is supabase`,
		"profile: supabase, transport: auto, vsn: 2.0.0":                                                        "phx.yaml:1:75: by long poll Supabase has no form of vsn 2.0.0",
		"profile: supabase, auto_join_channels: [{topic: t, on_join: [{event: presence}, {event: subscribe}]}]": `phx.yaml:1:73: the channel "t": the event "subscribe"`,
		"profile: supabase, heartbeat_timeout_msec: 28000":                                                      "phx.yaml:1:77: heartbeat_timeout_msec 28000 is longer than heartbeat_interval_msec 25000",
	} {
		_, err := entryOf(t, "connections: {a: {uri: 'ws://h', "+text+"}}", nil).Resolve(nil)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestProfileToken: the auth token is shown in joins, and not in the upgrade.
func TestProfileToken(t *testing.T) {
	file := write(t, "eyJ.e30.x")
	for _, args := range []string{"--profile supabase", ""} {
		c, o := mustBuild(t, append(strings.Fields(args), "--auth-token-file", file)...)
		creds, err := o.Credentials(t.Context())
		if err != nil || creds.HasAuthToken != (args == "") {
			t.Errorf("%q: %+v, %v", args, creds, err)
		}
		channels, err := c.Channels(t.Context(), "realtime:room1")
		if err != nil || (channels[0].Renew != nil) != (args != "") {
			t.Errorf("%q: %+v, %v", args, channels, err)
		}
	}
	if c, _ := mustBuild(t, "--profile", "supabase", "--auth-token-file", file+".missing"); c != nil {
		if _, err := c.Channels(t.Context(), "realtime:room1"); err == nil {
			t.Error("the token is missing, and that is no error before the dial")
		}
	}
}

func TestHasAPIKey(t *testing.T) {
	for args, want := range map[string]bool{
		"--param apikey=k": true, "--header x-api-key:k": true, "-u ws://h/?apikey=k": true, "--param key=k": false, "": false,
	} {
		if c, _ := mustBuild(t, strings.Fields(args)...); c.HasAPIKey() != want {
			t.Errorf("%q: %v", args, c.HasAPIKey())
		}
	}
}

// TestProfileBroadcast: broadcasts of an event are for the profile alone.
func TestProfileBroadcast(t *testing.T) {
	c, _ := mustBuild(t)
	if _, err := c.Broadcast("t", "e", phoenix.JSON("{}")); err == nil || c.CheckPush("t", "anything") != nil {
		t.Errorf("without a profile: %v, %v", err, c.CheckPush("t", "anything"))
	}
	c, _ = mustBuild(t, "--profile", "supabase")
	if p, err := c.Broadcast("t", "e", phoenix.JSON("{}")); err != nil || p.Name != "broadcast" || c.CheckPush("t", "anything") == nil {
		t.Errorf("%+v, %v, %v", p, err, c.CheckPush("t", "anything"))
	}
	c, _ = mustBuild(t, "--profile", "supabase", "--vsn", "1.0.0")
	if p, err := c.Broadcast("t", "e", phoenix.Binary([]byte{1})); err == nil {
		t.Errorf("binary with vsn 1.0.0: %+v", p)
	}
}
