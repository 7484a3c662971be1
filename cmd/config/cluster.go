package config

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/lease"
	"phx/cmd/internal/option"
	"phx/cmd/internal/strictyaml"
	"phx/signal"
)

// A Cluster is several serve processes with one config file.
type Cluster struct {
	// Shard is the part of the connections that this process runs; zero: all, or as leases say.
	Shard lease.Shard
	// Leases is the bucket of the leases; empty: there are none.
	Leases string
	// Replicas is how many the bucket has if it is made, TTL how long a session counts, Onward that connections go on while NATS cannot be
	// reached, and Instance what this process is called; empty: by its host and its process.
	Replicas int
	TTL      time.Duration
	Onward   bool
	Instance string
}

// shardKind is a part of the connections.
var shardKind = option.Kind[lease.Shard]{
	Name: "INDEX/OF", Schema: option.AnyOf(option.TextLike(`^[0-9]+/0*[1-9][0-9]*$`)), Parse: lease.ParseShard,
	JSON: func(s lease.Shard) any { return s.String() }, Canonical: func(s lease.Shard) any { return s.String() },
}

// Shard is a part of the connections, INDEX/OF.
func Shard(s *lease.Shard) option.Value { return shardKind.To(s, "") }

// clusterOptions declares what the map cluster has.
func clusterOptions(c *Cluster) []option.Option {
	return []option.Option{
		{Key: "shard", Value: Shard(&c.Shard), Example: "0/3",
			About: "INDEX/OF: this process runs one of OF parts of the connections, counted from 0. Which connection belongs to which part follows from its name."},
		{Key: "leases", Value: bucketKind.To(&c.Leases, ""), Example: "phx",
			About: "Bucket of JetStream KV in which the processes agree who runs which connection. It is made when it is not there. Takes nats: and a server of 2.11 or newer."},
		{Key: "replicas", Value: replicasKind.To(&c.Replicas, "1"), Example: "3",
			About: "On how many servers the bucket is, if it is made. With 1, connections stop when its server is away for longer than ttl_msec."},
		{Key: "ttl_msec", Value: leaseTTLKind.To(&c.TTL, "15s"),
			About: "Milliseconds after which the connections of a process that is gone are taken over; at least 3000, and the same for all processes."},
		{Key: "unreachable", Value: unreachableKind.To(&c.Onward, unreachableStop), Example: unreachableContinue,
			About: "What happens to connections while NATS cannot be reached for longer than a lease lasts. With continue they may run twice."},
		{Key: "instance", Value: instanceKind.To(&c.Instance, ""), Example: "phx-0",
			About: "What this process is called; each has another name. The default is made of the host and the process."},
	}
}

// bucketKind is the name of a bucket.
var bucketKind = wordKind("text", "the name of a bucket: letters, digits, - and _", "_")

// instanceKind is the name of a process.
var instanceKind = wordKind("text", "the name of an instance: letters, digits, -, _ and dots", ".")

// wordKind is a text of letters, digits, - and _, and further characters.
func wordKind(name, what, further string) option.Kind[string] {
	return option.Kind[string]{
		Name: name, Schema: option.AnyOf(option.TextLike(`^[A-Za-z0-9_`+further+`-]+$`), option.Shape{"type": []string{"number", "boolean"}}),
		Parse: func(text string) (string, error) {
			plain := strings.NewReplacer(further, "_").Replace(text)
			if text == "" || signal.Sanitize(plain) != plain {
				return "", errors.New("is not " + what)
			}
			return text, nil
		},
	}
}

// replicasKind is a number of servers.
var replicasKind = func() option.Kind[int] {
	k := option.ChoiceKind(strconv.Atoi, "1", "3", "5")
	k.Name, k.Literal, k.JSON = "number", true, option.Same[int]
	k.Schema = option.AnyOf(option.Shape{"enum": []int{1, 3, 5}}, option.Shape{"enum": []string{"1", "3", "5"}})
	return k
}()

// The bounds of the time of a lease. JetStream counts in seconds.
const leastLeaseTTL, mostLeaseTTL = 3 * time.Second, 59 * time.Minute

// leaseTTLKind is how long a lease counts.
var leaseTTLKind = func() option.Kind[time.Duration] {
	k := option.MsecKind.With(option.AnyOf(
		option.Shape{"type": "integer", "minimum": leastLeaseTTL.Milliseconds(), "maximum": mostLeaseTTL.Milliseconds()},
		option.TextLike(`^[+]?0*([3-9][0-9]{3}|[1-9][0-9]{4,5}|[12][0-9]{6}|3[0-4][0-9]{5}|35[0-3][0-9]{4}|3540000)$`)))
	read := k.Read
	k.Read = func(key string, n strictyaml.Node) (time.Duration, error) {
		d, err := read(key, n)
		if err == nil && (d < leastLeaseTTL || d > mostLeaseTTL) {
			err = n.Errorf("a right one: ttl_msec: 15000", "%q milliseconds are no time for a lease: it is from %d to %d", n.Raw(),
				leastLeaseTTL.Milliseconds(), mostLeaseTTL.Milliseconds())
		}
		return d, err
	}
	return k
}()

// The values of unreachable.
const (
	unreachableStop     = "stop"
	unreachableContinue = "continue"
)

var unreachableKind = option.ChoiceKind(func(text string) (bool, error) { return text == unreachableContinue, nil }, unreachableStop, unreachableContinue)

// readCluster reads the map cluster.
func (r *serveReader) readCluster() {
	n, said := r.file.serve["cluster"]
	if !said {
		return
	}
	found, err := option.ReadMap(n, clusterOptions(&r.serve.Cluster))
	r.wrong.Add(err)
	if err != nil {
		return
	}
	_, leases := found["leases"]
	if shard, said := found["shard"]; said && leases {
		r.wrong.Add(shard.Errorf("take one of them out", "cluster has shard and leases: either the number of processes is fixed, or they agree among themselves"))
	}
	for _, key := range []string{"replicas", "ttl_msec", "unreachable", "instance"} {
		if at, said := found[key]; said && !leases {
			r.wrong.Add(at.Errorf("give leases: the name of a bucket", "%s is about leases, and cluster has none", key))
		}
	}
	if _, nats := r.file.serve["nats"]; leases && !nats {
		r.wrong.Add(found["leases"].Errorf("give nats: {urls: [nats://127.0.0.1:4222]}", "leases are kept in NATS, and the file has no nats"))
	}
}
