//go:build unix

package systemtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"phx/cmd/phxtest"
	"phx/phoenix/phoenixtest"
)

const (
	clusterConnections = 100
	// clusterTTL is long enough for the servers to elect another leader meanwhile. A follower of nats-server 2.15 waits for 4 to 9 s before it
	// stands for election (minElectionTimeout and maxElectionTimeout in its raft.go), and a session is lost electionTime after its last
	// renewal but one, at the earliest: 11 s. With a time to live of 10 s that was 5.7 s, and so leases were lost now and then.
	clusterTTL   = 20 * time.Second
	electionTime = clusterTTL*9/10 - clusterTTL/3
)

// TestCluster has three phx serve share a hundred connections by leases that are on three NATS servers: `make e2e-nats` runs it alone. One phx
// is killed, then the NATS server that leads the bucket, then a phx is asked to end. Each connection runs in one place at each moment, and its epoch says where.
func TestCluster(t *testing.T) {
	long(t)
	servers, err := phxtest.StartNATSCluster(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	var urls []string
	for _, s := range servers {
		t.Cleanup(s.Kill)
		urls = append(urls, s.URL)
	}
	app := phoenixtest.NewServer(phoenixtest.Demo())
	t.Cleanup(app.Close)

	dir := t.TempDir()
	var config strings.Builder
	fmt.Fprintf(&config, "defaults: {uri: %q, auto_join_channels: [room:news]}\nconnections:\n", app.URL)
	for i := range clusterConnections {
		fmt.Fprintf(&config, "  c%d: {}\n", i)
	}
	fmt.Fprintf(&config, "nats: {urls: [%s]}\nroutes: [{to: signals}]\n", strings.Join(urls, ", "))
	members := map[string]*served{}
	for _, name := range []string{"a", "b", "c"} {
		members[name] = startServe(t, config.String()+fmt.Sprintf("cluster: {leases: phx, replicas: 3, ttl_msec: %d, instance: %s}\nsinks: {signals: {file: {path: %s}}}\n",
			clusterTTL.Milliseconds(), name, filepath.Join(dir, name+".ndjson")), nil)
	}

	awaitSettled(t, members["a"], "a", "b", "c")
	broadcastToCluster(t, app, dir, 1)

	sendSignal(t, members["a"].cmd, syscall.SIGKILL)
	awaitEnd(t, members["a"].ended)
	before := awaitSettled(t, members["b"], "b", "c")
	broadcastToCluster(t, app, dir, 2)

	leader := leaderOf(t, servers)
	others := slices.DeleteFunc(slices.Clone(servers), func(s *phxtest.NATSServer) bool { return s == leader })
	killed := time.Now()
	leader.Kill()
	// What it was asked meanwhile the others answer: a connection that stops for want of a lease does so within a time to live.
	if !stays(t, members["b"], before, clusterTTL) {
		checkLosses(t, killed, others, members["b"], members["c"])
		awaitSettled(t, members["b"], "b", "c")
	}
	broadcastToCluster(t, app, dir, 3)
	if err := leader.Start(t.Context()); err != nil {
		t.Fatal(err)
	}

	members["b"].stop(t)
	awaitOwners(t, members["c"], "c")
	broadcastToCluster(t, app, dir, 4)
	members["c"].stop(t)
	checkEpochs(t, dir)
}

// lostPattern is how serve says that its session is lost, and electedPattern how nats-server says that there is a leader.
var (
	lostPattern    = regexp.MustCompile(`(?m)^phx: (\S+) .*the session of this instance is lost`)
	electedPattern = regexp.MustCompile(`(?m)^.*JetStream cluster new (stream|metadata) leader.*$`)
)

// leaderOf returns the server that leads the bucket of the leases: it says so when it begins to.
func leaderOf(t *testing.T, servers []*phxtest.NATSServer) *phxtest.NATSServer {
	t.Helper()
	leader, latest := (*phxtest.NATSServer)(nil), ""
	for _, s := range servers {
		for _, line := range electedPattern.FindAllString(s.Log().String(), -1) {
			if _, said, _ := strings.Cut(line, "] "); strings.Contains(line, "> KV_phx'") && said > latest { // the time stands there
				leader, latest = s, said
			}
		}
	}
	if leader == nil {
		t.Fatal("no server says that it leads the bucket")
	}
	return leader
}

// checkLosses looks at why connections have moved when a server was killed: no session may have been lost before it had to be. Later than
// that one is lost on a machine that is so busy that an election takes long.
func checkLosses(t *testing.T, killed time.Time, servers []*phxtest.NATSServer, members ...*served) {
	t.Helper()
	lost := 0
	for _, m := range members {
		for _, match := range lostPattern.FindAllStringSubmatch(m.log.String(), -1) {
			at, err := time.Parse(time.RFC3339Nano, match[1])
			if err != nil {
				t.Fatal(err)
			}
			if at.Before(killed) {
				continue
			}
			lost++
			t.Logf("a session was lost %v after the kill", at.Sub(killed))
			if at.Sub(killed) < electionTime-time.Second { // its renewals are not sent on time to the millisecond
				t.Errorf("that is too early, with a time to live of %v", clusterTTL)
			}
		}
	}
	if lost == 0 {
		t.Error("connections have moved, and no session was lost")
	}
	for _, s := range servers {
		t.Logf("killed at %v; the elections:\n%s", killed, strings.Join(electedPattern.FindAllString(s.Log().String(), -1), "\n"))
	}
}

// awaitSettled is awaitOwners once nothing moves any more: what an instance that comes is to have moves after a third of the time to live.
func awaitSettled(t *testing.T, s *served, instances ...string) []ownership {
	t.Helper()
	for {
		if all := awaitOwners(t, s, instances...); stays(t, s, all, clusterTTL/3+2*time.Second) {
			return all
		}
		if t.Context().Err() != nil {
			t.Fatal("connections move again and again")
		}
	}
}

// An ownership says who runs a connection, and since when.
type ownership struct {
	Name, Status, Instance string
	Epoch                  uint64
}

// awaitOwners waits until every connection is up, and each of the instances, and no other, runs some.
func awaitOwners(t *testing.T, s *served, instances ...string) []ownership {
	t.Helper()
	var all []ownership
	for deadline := time.Now().Add(2 * phxtest.Patience); time.Now().Before(deadline); {
		all = owners(t, s)
		up := map[string]bool{}
		for _, o := range all {
			if o.Status != "connected" {
				up["none"] = true
				continue
			}
			up[o.Instance] = true
		}
		var names []string
		for name := range up {
			names = append(names, name)
		}
		slices.Sort(names)
		if len(all) == clusterConnections && slices.Equal(names, instances) {
			return all
		}
		pause()
	}
	t.Fatalf("%q do not run all: %v", instances, all)
	return nil
}

func owners(t *testing.T, s *served) (all []ownership) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(s.ctl(t, "list")))
	for decoder.More() {
		var o ownership
		if err := decoder.Decode(&o); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

// stays reports whether the owners stay as they are for a while.
func stays(t *testing.T, s *served, before []ownership, d time.Duration) bool {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); pause() {
		if !slices.Equal(owners(t, s), before) {
			return false
		}
	}
	return true
}

// pause is between two looks at what nothing tells of.
func pause() { <-time.After(100 * time.Millisecond) }

// broadcastToCluster sends a numbered message to everybody, and waits until each connection has told of it. It is told once, whatever number of instances
// there are.
func broadcastToCluster(t *testing.T, app *phoenixtest.Server, dir string, n int) {
	t.Helper()
	app.Broadcast("room:news", "numbered", map[string]int{"n": n})
	for deadline := time.Now().Add(phxtest.Patience); ; pause() {
		got := map[string]int{}
		for _, s := range clusterSignals(t, dir) {
			if s.Data.Payload.N == n {
				got[s.Metadata.Connection]++
			}
		}
		if len(got) == clusterConnections {
			for name, times := range got {
				if times != 1 {
					t.Errorf("%s has told %d times of message %d", name, times, n)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections have told of message %d", len(got), n)
		}
	}
}

// A clusterSignal is what is looked at of a signal.
type clusterSignal struct {
	Time     time.Time
	Data     struct{ Payload struct{ N int } }
	Metadata struct {
		Connection string `json:"connection_name"`
		Epoch      uint64
	}
	instance string
}

// clusterSignals reads what every instance has written so far, whole lines only.
func clusterSignals(t *testing.T, dir string) (all []clusterSignal) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(file)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break // what is not a whole line yet comes the next time
			}
			s := clusterSignal{instance: filepath.Base(path)}
			if err := json.Unmarshal(line, &s); err != nil {
				t.Fatalf("%s: %v: %s", path, err, line)
			}
			all = append(all, s)
		}
		file.Close()
	}
	return all
}

// checkEpochs looks at every signal: each has an epoch, an epoch of a connection is of one instance, and ends before the next one begins.
func checkEpochs(t *testing.T, dir string) {
	t.Helper()
	type key struct {
		connection string
		epoch      uint64
	}
	type span struct {
		first, last time.Time
		instance    string
	}
	spans := map[key]span{}
	epochs := map[string][]uint64{}
	for _, s := range clusterSignals(t, dir) {
		k := key{s.Metadata.Connection, s.Metadata.Epoch}
		of, known := spans[k]
		switch {
		case k.epoch == 0:
			t.Fatalf("a signal of %s has no epoch", k.connection)
		case !known:
			of = span{s.Time, s.Time, s.instance}
			epochs[k.connection] = append(epochs[k.connection], k.epoch)
		case of.instance != s.instance:
			t.Errorf("%s and %s have signals of %s with the epoch %d", of.instance, s.instance, k.connection, k.epoch)
		}
		if s.Time.Before(of.first) {
			of.first = s.Time
		}
		if s.Time.After(of.last) {
			of.last = s.Time
		}
		spans[k] = of
	}
	moved := 0
	for connection, list := range epochs {
		slices.Sort(list)
		moved += len(list) - 1
		for i, epoch := range list[1:] {
			before, after := spans[key{connection, list[i]}], spans[key{connection, epoch}]
			if before.last.After(after.first) {
				t.Errorf("%s: epoch %d of %s ends at %v, after %d of %s has begun at %v", connection, list[i], before.instance, before.last, epoch, after.instance, after.first)
			}
		}
	}
	if moved < clusterConnections/2 {
		t.Errorf("%d moves in all: that was no test", moved)
	}
}
