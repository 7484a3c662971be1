package peer

import (
	"sync"

	"phx/phoenix/phoenixtest"
)

// logs are the logs of a server, by topic. The entries of one are numbered from 1, and nothing else is kept of them.
type logs struct {
	mu sync.Mutex
	of map[string]*numberedLog
}

type numberedLog struct {
	mu      sync.Mutex
	last    int
	readers []*phoenixtest.Socket
}

func (l *logs) log(topic string) *numberedLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[string]*numberedLog{}
	}
	if l.of[topic] == nil {
		l.of[topic] = &numberedLog{}
	}
	return l.of[topic]
}

// logReader is a channel log:*. It sends the entries of the log as {"n":N} with the event entry: after a join with {"since":N} those
// from N+1 on, else those that come. The push append adds {"count":N} entries.
type logReader struct {
	logs *logs
	log  *numberedLog
	sent int
}

// more says that there are entries to send.
type more struct{}

// maxUnsent is how many frames may wait for a client of a log.
const maxUnsent = 256

// Join implements [phoenixtest.Channel].
func (r *logReader) Join(s *phoenixtest.Socket, params phoenixtest.Payload) (any, error) {
	r.log = r.logs.log(s.Topic())
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.sent = phoenixtest.Field(params, "since", r.log.last)
	r.log.readers = append(r.log.readers, s)
	s.Send(more{})
	return phoenixtest.Map{"last": r.log.last}, nil
}

// HandleIn implements [phoenixtest.Channel].
func (r *logReader) HandleIn(_ *phoenixtest.Socket, event string, p phoenixtest.Payload) phoenixtest.Result {
	if event != "append" {
		return phoenixtest.NoClause(event)
	}
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.log.last += phoenixtest.Field(p, "count", 1)
	for _, reader := range r.log.readers { // one that has ended takes it, and does nothing
		reader.Send(more{})
	}
	return phoenixtest.OK(phoenixtest.Map{"last": r.log.last})
}

// HandleInfo implements [phoenixtest.InfoHandler].
func (r *logReader) HandleInfo(s *phoenixtest.Socket, _ any) phoenixtest.Result {
	r.log.mu.Lock()
	last := r.log.last
	r.log.mu.Unlock()
	for range min(last-r.sent, maxUnsent) {
		r.sent++
		s.Push("entry", phoenixtest.Map{"n": r.sent})
	}
	if r.sent < last {
		s.Pace(maxUnsent)
		s.Send(more{})
	}
	return phoenixtest.NoReply()
}
