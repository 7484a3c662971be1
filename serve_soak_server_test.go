package main_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"phx/phoenix/phoenixtest"
)

// A load is the application of the servers of a soak: every channel gets numbered events from its join to its end, and what was
// sent is remembered.
type load struct {
	// rate is how many events a second a channel gets.
	rate float64
	// stopping makes every channel say that its last event was the last.
	stopping atomic.Bool

	mu sync.Mutex
	// tokens are those that may connect.
	tokens []string
	// connects are the tokens that were shown by who could connect.
	connects []string
	// attempts counts the joins of refusedTopic.
	attempts int
	sessions []*session
	latest   map[string]*phoenixtest.Socket // by topic
}

// A session is what one join got.
type session struct {
	topic string
	// sent is how many numbered events there were; they are numbered from 1.
	sent atomic.Int64
	// orderly is set when the channel ended, and its connection did not: everything that was sent has to arrive.
	orderly atomic.Bool
}

// The events of a load: numbered ones, and the one behind them.
const (
	eventNumber = "n"
	eventLast   = "last"
)

// refusedTopic is a topic of which every other join is refused, the first among them.
const refusedTopic = "room:refused"

// beat is how often a channel sends what is due by its rate; burst bounds what it catches up with at once, and backlog what waits for
// a client that is slow: on a busy machine there is less load, and no more to do in the end.
const (
	beat    = 10 * time.Millisecond
	burst   = 100
	backlog = 500
)

func (l *load) app() phoenixtest.App {
	return func(s *phoenixtest.Server) {
		s.Mount("/socket", phoenixtest.UserSocket{
			AuthToken:   true,
			IdleTimeout: -1, // with the long heartbeats of the config, a client may be idle
			Connect:     l.connect,
			Channels:    []phoenixtest.Route{{Topic: "room:*", New: func() phoenixtest.Channel { return &loadRoom{load: l} }}},
		})
	}
}

// tokenOf returns the token that a client shows, by either of the ways there are.
func tokenOf(info *phoenixtest.ConnectInfo) string {
	if info.AuthToken != nil {
		return *info.AuthToken
	}
	token, _ := info.Params["token"].(string)
	return token
}

func (l *load) connect(info *phoenixtest.ConnectInfo) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	token := tokenOf(info)
	if !slices.Contains(l.tokens, token) {
		return &phoenixtest.Refusal{Status: http.StatusForbidden}
	}
	l.connects = append(l.connects, token)
	return nil
}

// rotate lets a token connect in the place of another one.
func (l *load) rotate(from, to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens = append(slices.DeleteFunc(l.tokens, func(t string) bool { return t == from }), to)
}

// connectsWith counts the connects with a token.
func (l *load) connectsWith(token string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, t := range l.connects {
		if t == token {
			n++
		}
	}
	return n
}

// session returns the one with a number, nil if there is none.
func (l *load) session(number int) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number < 1 || number > len(l.sessions) {
		return nil
	}
	return l.sessions[number-1]
}

// crash lets the channel of a topic crash.
func (l *load) crash(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latest[topic].Send(crashNow{})
}

// admit decides about a join. An accepted one is a new session, which has a number.
func (l *load) admit(s *phoenixtest.Socket) (*session, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Topic() == refusedTopic {
		if l.attempts++; l.attempts%2 == 1 {
			return nil, 0, phoenixtest.RefuseJoin(phoenixtest.Map{"reason": "not now"})
		}
	}
	one := &session{topic: s.Topic()}
	l.sessions = append(l.sessions, one)
	if l.latest == nil {
		l.latest = map[string]*phoenixtest.Socket{}
	}
	l.latest[s.Topic()] = s
	return one, len(l.sessions), nil
}

// What a channel of a load sends itself.
type (
	sendDue  struct{}
	crashNow struct{}
)

// A loadRoom is a channel of a load.
type loadRoom struct {
	load    *load
	session *session
	number  int
	begun   time.Time
}

// Join implements [phoenixtest.Channel].
func (r *loadRoom) Join(s *phoenixtest.Socket, _ phoenixtest.Payload) (_ any, err error) {
	if r.session, r.number, err = r.load.admit(s); err != nil {
		return nil, err
	}
	r.begun = time.Now()
	s.Send(sendDue{})
	return nil, nil
}

// HandleIn implements [phoenixtest.Channel].
func (r *loadRoom) HandleIn(_ *phoenixtest.Socket, event string, _ phoenixtest.Payload) phoenixtest.Result {
	return phoenixtest.NoClause(event)
}

// HandleInfo implements [phoenixtest.InfoHandler].
func (r *loadRoom) HandleInfo(s *phoenixtest.Socket, msg any) phoenixtest.Result {
	if msg == any(crashNow{}) {
		r.session.orderly.Store(true)
		panic("crash, as asked for")
	}
	if r.load.stopping.Load() {
		r.session.orderly.Store(true)
		s.Push(eventLast, phoenixtest.Map{"session": r.number})
		return phoenixtest.NoReply()
	}
	s.Pace(backlog)
	sent := r.session.sent.Load()
	due := min(int64(time.Since(r.begun).Seconds()*r.load.rate), sent+burst)
	for n := sent + 1; n <= due; n++ {
		s.Push(eventNumber, phoenixtest.RawJSON(fmt.Sprintf(`{"session":%d,"n":%d,"text":"some text that makes it a usual size"}`, r.number, n)))
		r.session.sent.Store(n)
	}
	s.SendAfter(beat, sendDue{})
	return phoenixtest.NoReply()
}
