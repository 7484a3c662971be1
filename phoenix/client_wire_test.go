package phoenix_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

// officialWire is what the official JavaScript client puts on the wire, a file a scenario. The tests of phoenixtest, where
// node runs it, see to it that this is true.
const officialWire = "../testdata/phoenix_js/wire"

// TestClientWire compares what our client puts on the wire with what the official one does in the same scenario against the
// same server, frame by frame. Every difference is intended, and one of wireDifferences.
func TestClientWire(t *testing.T) {
	for name, want := range official(t) {
		t.Run(name, func(t *testing.T) {
			play, ok := wireScenarios[name]
			if !ok {
				t.Fatal("there is no such scenario for our client")
			}
			for _, d := range wireDifferences {
				want = d.apply(name, want)
			}
			if diff := cmp.Diff(want, playWire(t, play, hasHeaders(want))); diff != "" {
				t.Errorf("the official client and the listed differences (-), and ours (+):\n%s", diff)
			}
		})
	}
}

// TestWireDifferences wants everything that is listed to be there: each difference in each of its scenarios.
func TestWireDifferences(t *testing.T) {
	wires := official(t)
	for i, d := range wireDifferences {
		in := d.in
		if in == nil {
			in = slices.Collect(maps.Keys(wires))
		}
		found := 0
		for _, name := range in {
			wire := wires[name]
			for _, before := range wireDifferences[:i] {
				wire = before.apply(name, wire)
			}
			if !cmp.Equal(wire, d.apply(name, wire)) {
				found++
			} else if d.in != nil {
				t.Errorf("%s: %s: not so any more", name, d.what)
			}
		}
		if found == 0 {
			t.Errorf("%s: not so any more", d.what)
		}
	}
	for name := range wireScenarios {
		if _, ok := wires[name]; !ok {
			t.Errorf("%s: there is no such scenario for the official client", name)
		}
	}
}

// official reads what the official client puts on the wire: of each scenario the lines of each connection.
func official(t *testing.T) map[string][][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.FromSlash(officialWire + "/*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s (error %v)", officialWire, err)
	}
	wires := map[string][][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		for paragraph := range strings.SplitSeq(string(text), "\n\n") {
			wires[name] = append(wires[name], strings.Split(strings.TrimSuffix(paragraph, "\n"), "\n"))
		}
	}
	return wires
}

// hasHeaders tells whether the headers of the requests were logged, too.
func hasHeaders(wire [][]string) bool { return slices.Contains(wire[0], "Upgrade: websocket") }

// A wireUser is a user of our client in a scenario.
type wireUser struct {
	t   *testing.T
	srv *phoenixtest.Server
	log *wireLog
}

// playWire plays a scenario and returns what our client put on the wire.
func playWire(t *testing.T, play func(u *wireUser), headers bool) [][]string {
	t.Helper()
	var log wireLog
	bubble(t, peer.App(), func(t *testing.T, srv *phoenixtest.Server) {
		play(&wireUser{t: t, srv: srv, log: &log})
	}, phoenixtest.WithTap(log.tap))
	wire, err := log.lines(headers)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// A wireClient is a connection in a scenario.
type wireClient struct {
	*phoenix.Conn
	t *testing.T
}

// dial makes a connection, which is up when it returns, unless it was refused.
func (u *wireUser) dial(o phoenix.Options) *wireClient {
	u.t.Helper()
	o.NetDial = u.log.dial(u.srv)
	conn, _ := start(u.t, u.srv, o)
	settle(0)
	return &wireClient{Conn: conn, t: u.t}
}

// join joins a topic with params, or without.
func (c *wireClient) join(topic string, params ...string) {
	c.t.Helper()
	if _, err := c.Join(c.t.Context(), channelWith(topic, params...)); err != nil {
		c.t.Error(err)
	}
}

// channelWith is a channel with params for its joins, one after the other.
func channelWith(topic string, params ...string) phoenix.Channel {
	if len(params) == 0 {
		return phoenix.Channel{Topic: topic}
	}
	return phoenix.Channel{Topic: topic, Params: func(context.Context) (phoenix.Payload, error) {
		text := params[0]
		if len(params) > 1 {
			params = params[1:]
		}
		return phoenix.JSON(text), nil
	}}
}

// token are credentials that are an auth token.
func token(text string) func(context.Context) (phoenix.Credentials, error) {
	return func(context.Context) (phoenix.Credentials, error) {
		return phoenix.Credentials{AuthToken: text, HasAuthToken: true}, nil
	}
}

// push pushes JSON and waits for a reply.
func (c *wireClient) push(topic, name, payload string) {
	c.t.Helper()
	c.pushPayload(topic, name, phoenix.JSON(payload))
}

func (c *wireClient) pushPayload(topic, name string, payload phoenix.Payload) {
	c.t.Helper()
	if _, err := c.Push(c.t.Context(), phoenix.Push{Topic: topic, Name: name, Payload: payload}); err != nil {
		c.t.Error(err)
	}
}

// send pushes and waits for nothing.
func (c *wireClient) send(topic, name string, payload phoenix.Payload) {
	c.t.Helper()
	send(c.t, c.Conn, phoenix.Push{Topic: topic, Name: name, Payload: payload})
}

func (c *wireClient) leave(topic string) {
	c.t.Helper()
	if err := c.Leave(c.t.Context(), topic); err != nil {
		c.t.Error(err)
	}
}

// close closes the connection.
func (c *wireClient) close() {
	c.t.Helper()
	if err := c.Close(c.t.Context()); err != nil {
		c.t.Error(err)
	}
}
