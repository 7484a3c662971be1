package systemtest

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// startNATSEcho starts what looks like a NATS server, and refuses everybody by repeating what it was shown.
func startNATSEcho(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = fmt.Fprint(conn, `INFO {"server_id":"`+everything("nats_pass", "nats_token", "nats_pw")[:40]+`","version":"2.12.0","proto":1,"headers":true,"max_payload":1048576,"auth_required":true}`+"\r\n")
				shown, err := bufio.NewReader(conn).ReadString('\n')
				if err == nil {
					_, _ = fmt.Fprintf(conn, "-ERR 'Refused: %s %s'\r\n", strings.NewReplacer("'", "", "\r", "", "\n", "").Replace(shown), everything("nats_pass", "nats_token", "nats_pw"))
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// TestNoSecretOfNATSComesOut has a NATS server refuse what it is shown, by repeating it: to serve with a sink and a source, in each way in which
// a config file names a secret, and to the commands with --nats.
func TestNoSecretOfNATSComesOut(t *testing.T) {
	shown := map[string]func(g *given, from func(slot string) string) string{
		"token":    func(_ *given, from func(string) string) string { return "token: " + from("nats_token") },
		"password": func(_ *given, from func(string) string) string { return "user: me, password: " + from("nats_pw") },
	}
	for _, way := range slices.Sorted(maps.Keys(secretWays)) {
		for name, credentials := range shown {
			if testing.Short() && way != "file" {
				continue // make full runs each way
			}
			t.Run(name+" by "+way, func(t *testing.T) {
				t.Parallel()
				uri, _ := (&failing{session: friend}).start(t)
				g := newGiven(t, uri, "")
				g.environ = append(g.environ, "GIVEN_NATS=nats://"+startNATSEcho(t))
				config := g.write("phx.yaml", `
connections: {a: {uri: "${PHX_URI}", auto_join_channels: [room:a]}}
nats: {urls: "${GIVEN_NATS}", `+credentials(g, func(slot string) string { return secretWays[way](g, slot) })+`}
sinks: {bus: {nats: {}}}
sources: {control: {nats: {}}}
routes: [{to: bus}]
control: {socket: control.sock}
`)
				p := g.start("serve", "-f", config, "-v", "--trace")
				p.await(t, "there is no connection to NATS")
				p.await(t, "Refused")
				noLeak(t, "phx ctl sinks", g.run("ctl", "sinks", "--control", g.path("control.sock")))
				noLeak(t, "phx config show", g.run("config", "show", "-f", config))
				sendSignal(t, p.cmd, syscall.SIGTERM)
				p.check(t)
				noLeak(t, "what is left", g.left())
			})
		}
	}
	t.Run("commands", func(t *testing.T) {
		t.Parallel()
		g := newGiven(t, "ws://%s@127.0.0.1:1/socket?q=%s", "")
		address := startNATSEcho(t)
		g.environ = append(g.environ, "PHX_NATS=nats://"+url.UserPassword("me", secretSlots["nats_pass"]).String()+"@"+address)
		for _, args := range [][]string{
			{"listen", "--nats", "nats://" + address, "a.b", "--nats-token-file", g.path("nats_token"), "-v"},
			{"ctl", "--nats", "nats://" + address, "--nats-token-file", g.path("nats_token"), "list", "-v"},
			{"ctl", "list", "-v", "--log-format", "json"},
			{"ctl", "push", "a", "room:a", "ev", "{}", "-v"},
		} {
			if got := g.run(args...); !strings.Contains(got, "cannot connect to NATS") {
				t.Errorf("phx %s: %s", strings.Join(args, " "), got)
			}
		}
	})
}
