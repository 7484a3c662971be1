package phoenixtest_test

import (
	"context"
	"flag"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

var updateWire = flag.Bool("update", false, "write what the official JavaScript client puts on the wire to testdata/phoenix_js/wire")

// A jsScenario is what the callbacks of the official client see in a scenario of testdata/phoenix_js, one
// client after the other, and what is done to the server meanwhile.
type jsScenario struct {
	want []string
	cues []cue
	// handshakes also logs headers, and what was refused. Such a scenario cannot stop the server.
	handshakes bool
}

// A cue is a line of the client upon which something is done; each is waited for after the one before.
type cue struct {
	line string
	do   func(t *testing.T, srv *phoenixtest.Server)
}

// jsScenarios are all scenarios.
func jsScenarios() map[string]jsScenario {
	all := map[string]jsScenario{}
	for _, some := range []map[string]jsScenario{jsConnects, jsJoins, jsMessages, jsLosses} {
		maps.Copy(all, some)
	}
	return all
}

// TestJavaScriptClient lets the judge be judged: the official client sees from our server what it sees from Phoenix. What
// it puts on the wire then is compared with testdata/phoenix_js/wire, which our own client is compared with.
func TestJavaScriptClient(t *testing.T) {
	needNode(t)
	scenarios := jsScenarios()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(scenarios)), slices.Sorted(slices.Values(node(t, nil)))); diff != "" {
		t.Errorf("the scenarios here (-) and of %s (+) differ:\n%s", phoenixJS, diff)
	}
	for name, sc := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc.run(t, name)
		})
	}
}

func (sc jsScenario) run(t *testing.T, name string) {
	var wire wireLog
	srv := phoenixtest.NewServer(peer.App(), phoenixtest.WithTap(wire.tap))
	defer srv.Close()
	url := srv.URL
	if sc.handshakes {
		front := httptest.NewServer(wire.handshakes(srv))
		defer front.Close()
		url = "ws://" + front.Listener.Addr().String() + "/socket"
	}
	cues := sc.cues
	lines := node(t, func(line string) {
		if len(cues) > 0 && line == cues[0].line {
			cues[0].do(t, srv)
			cues = cues[1:]
		}
	}, name, url)
	if len(cues) > 0 {
		t.Errorf("did not see %s", cues[0].line)
	}
	if diff := cmp.Diff(sc.want, byClient(lines)); diff != "" {
		t.Errorf("callbacks expected (-) and seen (+):\n%s", diff)
	}
	ctx, cancel := context.WithTimeout(t.Context(), nodeTimeout)
	defer cancel()
	if err := srv.Await(ctx, func(s phoenixtest.Stats) bool { return s.Open == 0 }); err != nil {
		t.Fatal(err)
	}
	wire.compare(t, name, *updateWire)
}

// byClient sorts lines by the client that printed them: between two there is no order.
func byClient(lines []string) []string {
	client := func(line string) string {
		name, _, _ := strings.Cut(line, ",")
		return name
	}
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(client(a), client(b)) })
	return lines
}
