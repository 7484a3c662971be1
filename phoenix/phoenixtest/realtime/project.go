package realtime

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"phx/phoenix/phoenixtest"
)

// Config says how a project differs from one with the server's defaults. A duration or limit of 0 is the default, a negative one is none.
type Config struct {
	// Secret signs the tokens that are good; "" is [Secret].
	Secret string
	// Policy stands for row level security; nil: see the package.
	Policy func(role, topic string, private bool) Policy

	ConnectBackoff time.Duration // before a refused handshake is answered; 2 s
	JoinBackoff    time.Duration // before a refused join is answered; 5 s

	SubscribeAfter     time.Duration // from a join to the subscription to Postgres; 100 ms
	ResubscribeAfter   time.Duration // from another token, or a restart, to the next subscription; 1 s
	RetryAfter         time.Duration // from a subscription that failed to the next; 5 s
	TokenCheck         time.Duration // between two looks at a token; 5 min
	ReplicationTimeout time.Duration // how long a channel waits for the replication connection; 60 s
	ReplicationDelay   time.Duration // from a broadcast in the database to its delivery; none

	MaxJoins   int // a second; 100
	MaxClients int // that have joined; 200
	MaxTopics  int // of one client; 100
	MaxPayload int // of a broadcast or a presence, in bytes; 3,000,500

	// Watch is told of every join and push, by the goroutine that handles it; it may be nil.
	Watch func(phoenixtest.DemoActivity)
}

// A Policy is what row level security allows on a private topic. It has no say on public ones.
type Policy struct{ Read, Write bool }

// defaultPolicy is that of the package.
func defaultPolicy(role, _ string, _ bool) Policy {
	return Policy{Read: role != "nobody", Write: role != "nobody" && role != "readonly"}
}

// A Project is a tenant of Realtime. It serves one [phoenixtest.Server]. Its methods may be called from any goroutine.
type Project struct {
	cfg Config
	srv *phoenixtest.Server

	mu           sync.Mutex
	places       map[place][]*channel
	channels     map[*phoenixtest.Conn]int // that are joined
	joins        []time.Time               // in the last second
	stored       map[string][]stored
	lastID       int
	presences    map[place][]*tracked
	lastPresence int
	lastKey      int
	failure      subscriptionFailure
	noReplicas   bool
	misreport    bool
	refusal      *connectRefusal
	refusedJoins []joinRefusal
}

type connectRefusal struct {
	status  int
	message string
}

type joinRefusal struct {
	name, reason string
	times        int
}

// New makes a project.
func New(cfg Config) *Project {
	orDuration := func(d *time.Duration, byDefault time.Duration) {
		if *d == 0 {
			*d = byDefault
		}
		*d = max(*d, 0)
	}
	orCount := func(n *int, byDefault int) {
		switch {
		case *n == 0:
			*n = byDefault
		case *n < 0:
			*n = int(^uint(0) >> 1)
		}
	}
	orDuration(&cfg.ConnectBackoff, 2*time.Second)
	orDuration(&cfg.JoinBackoff, 5*time.Second)
	orDuration(&cfg.SubscribeAfter, 100*time.Millisecond)
	orDuration(&cfg.ResubscribeAfter, time.Second)
	orDuration(&cfg.RetryAfter, 5*time.Second)
	orDuration(&cfg.TokenCheck, 5*time.Minute)
	orDuration(&cfg.ReplicationTimeout, time.Minute)
	orCount(&cfg.MaxJoins, 100)
	orCount(&cfg.MaxClients, 200)
	orCount(&cfg.MaxTopics, 100)
	orCount(&cfg.MaxPayload, 3_000_500)
	if cfg.Secret == "" {
		cfg.Secret = Secret
	}
	if cfg.Policy == nil {
		cfg.Policy = defaultPolicy
	}
	return &Project{
		cfg:       cfg,
		places:    map[place][]*channel{},
		channels:  map[*phoenixtest.Conn]int{},
		stored:    map[string][]stored{},
		presences: map[place][]*tracked{},
	}
}

// App serves the project at /realtime/v1 and at /socket.
func (p *Project) App() phoenixtest.App {
	return func(s *phoenixtest.Server) {
		p.Mount(s)
		p.mountAt(s, "/socket", "")
	}
}

// Mount serves the project as the gateway of Supabase does: Realtime at /realtime/v1, and what stands for PostgREST at /rest/v1.
func (p *Project) Mount(s *phoenixtest.Server) {
	p.srv = s
	p.mountAt(s, "/realtime/v1", "/realtime/v1")
	p.handleRest(s)
}

// mountAt serves the socket at one path, and the routes of Realtime below another.
func (p *Project) mountAt(s *phoenixtest.Server, socket, routes string) {
	s.Mount(socket, phoenixtest.UserSocket{
		Connect:       p.connect,
		Channels:      []phoenixtest.Route{{Topic: "realtime:*", New: func() phoenixtest.Channel { return &channel{project: p} }}},
		DecodeBinary:  decodePush,
		DropMalformed: true,
		MaxFrameSize:  5_000_000,
		MaxChannels:   -1,
	})
	p.handleBroadcasts(s, routes)
}

// connect decides about a client (lib/realtime_web/channels/user_socket.ex).
func (p *Project) connect(info *phoenixtest.ConnectInfo) error {
	status, message := p.connectError(tokenOf(info))
	if status == 0 {
		return nil
	}
	timer := time.NewTimer(p.cfg.ConnectBackoff)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-info.Context.Done():
	}
	return &phoenixtest.Refusal{
		Status: status,
		Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		Body:   string(phoenixtest.JSON(phoenixtest.Map{"error": message}).Bytes()),
	}
}

// connectError is why a client may not connect; a status of 0: it may.
func (p *Project) connectError(token string) (status int, message string) {
	p.mu.Lock()
	refusal := p.refusal
	p.mu.Unlock()
	if refusal != nil {
		return refusal.status, refusal.message
	}
	if token == "" {
		return http.StatusUnauthorized, "API key is missing"
	}
	if _, failed := checkToken(p.cfg.Secret, token); failed != nil {
		return http.StatusUnauthorized, failed.handshake
	}
	return 0, ""
}

// tokenOf is the token that a client has connected with.
func tokenOf(info *phoenixtest.ConnectInfo) string {
	if token, given := info.Headers["x-api-key"]; given {
		return token
	}
	token, _ := info.Params["apikey"].(string)
	return token
}

// isKey tells a key of a project, which only the gateway takes for a token.
func isKey(token string) bool { return strings.HasPrefix(token, "sb_") }

func topicName(topic string) string { return strings.TrimPrefix(topic, "realtime:") }

// RefuseConnects refuses further clients with a status and the error of its JSON, as ConnectErrors has them; 0 takes clients again.
func (p *Project) RefuseConnects(status int, message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusal = nil
	if status != 0 {
		p.refusal = &connectRefusal{status, message}
	}
}

// ConnectErrors are the statuses and errors with which Realtime refuses a handshake, beside those about the token, which are 401.
var ConnectErrors = map[string]int{
	"Realtime was disabled for this tenant": http.StatusForbidden,
	"Tenant not found":                      http.StatusNotFound,
	"Too many connected users":              http.StatusTooManyRequests,
	"Too many joins per second":             http.StatusTooManyRequests,
	"Error connecting to Realtime":          http.StatusInternalServerError,
}

// RefuseJoins refuses the next joins of a topic, "" for all, so many times, always if that is negative. code is one of [Refusals], or a reason itself.
// It takes the place of what was said about the topic before.
func (p *Project) RefuseJoins(name, code string, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	same := func(r joinRefusal) bool { return r.name == name }
	p.refusedJoins = append(slices.DeleteFunc(p.refusedJoins, same), joinRefusal{name, reasonOf(code), times})
}

// refusedByName is the topic that is refused, with the code of the refusal behind it.
const refusedByName = "refuse-"

// mayJoin decides about a join before its token and its topic are looked at.
func (p *Project) mayJoin(conn *phoenixtest.Conn, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if code, ok := strings.CutPrefix(name, refusedByName); ok {
		return joinError(reasonOf(code))
	}
	for i := range p.refusedJoins {
		if r := &p.refusedJoins[i]; (r.name == "" || r.name == name) && r.times != 0 {
			r.times = max(r.times-1, min(r.times, -1))
			return joinError(r.reason)
		}
	}
	now := time.Now()
	p.joins = slices.DeleteFunc(p.joins, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	switch {
	case p.channels[conn] == 0 && len(p.channels) >= p.cfg.MaxClients:
		return joinError(reasonOf("ConnectionRateLimitReached"))
	case len(p.joins) >= p.cfg.MaxJoins:
		return joinError(reasonOf("ClientJoinRateLimitReached"))
	case p.channels[conn] >= p.cfg.MaxTopics:
		return joinError(reasonOf("ChannelRateLimitReached"))
	}
	p.joins = append(p.joins, now)
	return nil
}

// policyOf is what a role may do in a place.
func (p *Project) policyOf(c claims, in place) Policy {
	if !in.private {
		return Policy{Read: true, Write: true}
	}
	return p.cfg.Policy(c.role, in.name, in.private)
}

func (p *Project) newKey() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastKey++
	return fmt.Sprintf("00000000-0000-1000-8000-%012d", p.lastKey)
}

func (p *Project) add(ch *channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places[ch.place] = append(p.places[ch.place], ch)
	p.channels[ch.sock.Conn()]++
}

func (p *Project) remove(ch *channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places[ch.place] = slices.DeleteFunc(p.places[ch.place], func(o *channel) bool { return o == ch })
	if conn := ch.sock.Conn(); p.channels[conn] > 1 {
		p.channels[conn]--
	} else {
		delete(p.channels, conn)
	}
}

// each calls f for each channel of a topic, "" for all, with the mutex held.
func (p *Project) each(name string, f func(ch *channel)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for in, channels := range p.places {
		for _, ch := range channels {
			if name == "" || in.name == name {
				f(ch)
			}
		}
	}
}

// Joined is how many channels are joined to a topic, public and private ones; "" is any topic.
func (p *Project) Joined(name string) (n int) {
	p.each(name, func(*channel) { n++ })
	return n
}

// System sends a system message to all channels of a topic, "" for all.
func (p *Project) System(name, extension, status, message string) {
	p.each(name, func(ch *channel) { ch.sock.Send(system{extension, status, message}) })
}

// Shutdown ends all channels of a topic, "" for all, as the server ends one that has lost its rights or exceeded a limit: with a system message, and a
// phx_close behind it.
func (p *Project) Shutdown(name, message string) {
	p.each(name, func(ch *channel) { ch.sock.Send(shutdown{message}) })
}

// Drain does what a deployment of Realtime does: it tells all channels, and closes all sockets with 1012. New clients are taken all the time.
func (p *Project) Drain() {
	p.each("", func(ch *channel) {
		ch.sock.Deliver("system", phoenixtest.Map{"extension": "system", "status": "ok", "message": "Server requested disconnect"})
	})
	p.srv.CloseConns(1012)
}

// SetReplication says whether the replication connection is there, which a channel may wait for. It is, unless it was said that it is not.
func (p *Project) SetReplication(ready bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noReplicas = !ready
}

func (p *Project) replicates() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.noReplicas
}

// MisreportSubscriptions says whether the reply to a join leaves out the last of the subscriptions to Postgres, so that it does not mirror what was
// asked for.
func (p *Project) MisreportSubscriptions(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.misreport = on
}

func (p *Project) asReported(all []subscription) []subscription {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.misreport {
		return all[:max(0, len(all)-1)]
	}
	return all
}

// saw tells the watcher.
func (p *Project) saw(s *phoenixtest.Socket, event string, payload phoenixtest.Payload, refused bool) {
	if p.cfg.Watch == nil {
		return
	}
	if push, ok := payload.Term().(userBroadcast); ok {
		payload = phoenixtest.Binary(push.payload)
		if push.isJSON {
			payload = phoenixtest.RawJSON(string(push.payload))
		}
	}
	p.cfg.Watch(phoenixtest.DemoActivity{
		Peer:    s.Conn().Info().Peer,
		Topic:   s.Topic(),
		Event:   event,
		Refused: refused,
		Payload: payload,
	})
}
