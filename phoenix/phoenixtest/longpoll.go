package phoenixtest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// What Phoenix.Transports.LongPoll has as constants, and as defaults.
const (
	// DefaultPollWindow is how long a poll waits for messages.
	DefaultPollWindow = 10 * time.Second
	// pubSubTimeout is how long a request waits for its session to answer at all.
	pubSubTimeout = 2 * time.Second
	// maxPollBatch is how many lines of a POST are looked at.
	maxPollBatch = 100
	// maxPollBody is what Plug reads of a body.
	maxPollBody = 8_000_000
)

// A pollSession is what a [Conn] has in place of a WebSocket: Phoenix.Transports.LongPoll.Server. All but token is owned by the
// transport goroutine.
type pollSession struct {
	token string
	// buffer is what has been sent and not been fetched.
	buffer []string
	// waiting is the poll that waits for a message.
	waiting chan<- pollAnswer
	polled  time.Time
}

// A pollRequest is what a request asks of its session; answer has room for one.
type pollRequest struct {
	// flush asks for the messages, dispatch hands one over; a request with neither asks whether the session is there.
	flush    bool
	dispatch *wsFrame
	answer   chan pollAnswer
	// settled says that it has been answered, or given up: which of the two comes first.
	settled *atomic.Bool
}

// A pollAnswer answers a request. Without messages a flush is to be sent again: now there are some.
type pollAnswer struct{ messages []string }

// longPoll is the long poll endpoint of a socket.
func (s *Server) longPoll(w http.ResponseWriter, r *http.Request, sock *UserSocket) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	switch {
	case !originAllowed(sock.CheckOrigin, r.Header.Get("Origin")):
		pollStatus(w, http.StatusForbidden)
	case r.Method == http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Headers", strings.Join(r.Header.Values("Access-Control-Request-Headers"), ", "))
		w.Header().Set("Access-Control-Allow-Methods", "get, post, options")
		w.Header().Set("Access-Control-Max-Age", "3600")
		respond(w, http.StatusOK, "", "")
	case r.Method == http.MethodGet:
		if c := s.resumePoll(r); c != nil {
			c.listenPoll(w, r)
			return
		}
		s.newPollSession(w, r, sock)
	case r.Method == http.MethodPost:
		if c := s.resumePoll(r); c != nil {
			c.publishPoll(w, r)
			return
		}
		pollStatus(w, http.StatusGone)
	default:
		respond(w, http.StatusBadRequest, "", "")
	}
}

// pollStatus answers with a status in the body, and 200.
func pollStatus(w http.ResponseWriter, status int) {
	sendPollJSON(w, `{"status":`+strconv.Itoa(status)+`}`)
}

// pollMessages answers with a status, a token and messages.
func pollMessages(w http.ResponseWriter, status int, token string, messages []string) {
	body := []byte(`{"messages":[`)
	for i, m := range messages {
		if i > 0 {
			body = append(body, ',')
		}
		if !utf8.ValidString(m) { // JSON has no place for it
			pollFailed(w, http.StatusInternalServerError)
			return
		}
		body = appendString(body, m)
	}
	body = append(body, `],"status":`+strconv.Itoa(status)+`,"token":`...)
	sendPollJSON(w, string(append(appendString(body, token), '}')))
}

func sendPollJSON(w http.ResponseWriter, body string) {
	w.Header().Set("Cache-Control", "no-store")
	respond(w, http.StatusOK, "application/json; charset=utf-8", body)
}

// pollFailed is the answer to an exception: that of the application's error view, without what the transport had set.
func pollFailed(w http.ResponseWriter, status int) {
	w.Header().Del("Access-Control-Allow-Origin")
	respond(w, status, "application/json; charset=utf-8", `{"errors":{"detail":"`+http.StatusText(status)+`"}}`)
}

// newPollSession starts a session. The application's error_handler has no say in how it is refused.
func (s *Server) newPollSession(w http.ResponseWriter, r *http.Request, sock *UserSocket) {
	s.count(func(st *Stats) { st.Attempts++ })
	if refusal := s.refusal(); refusal != nil {
		s.refuse(w, refusal)
		return
	}
	var token *string
	if given := r.Header.Values("X-Phoenix-AuthToken"); sock.AuthToken && len(given) > 0 {
		token = &given[0]
	}
	info, ser, err := connect(r, sock, token)
	if err != nil {
		s.count(func(st *Stats) { st.Refused++ })
		pollStatus(w, http.StatusForbidden)
		return
	}
	info.Context = context.WithoutCancel(r.Context())
	c := &Conn{srv: s, sock: sock, info: info, ser: ser, poll: &pollSession{token: newPollToken(), polled: time.Now()}}
	c.initProcess()
	if !s.register(c) {
		respond(w, http.StatusServiceUnavailable, "", "")
		return
	}
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		defer s.unregister(c)
		c.servePoll()
	}()
	pollMessages(w, http.StatusGone, c.poll.token, nil)
}

// newPollToken looks like Phoenix's, and has its usual length.
func newPollToken() string {
	const body, signature = 129, 32
	random := make([]byte, body+signature)
	_, _ = rand.Read(random) // it never fails
	encode := base64.RawURLEncoding.EncodeToString
	return "SFMyNTY." + encode(random[:body]) + "." + encode(random[body:])
}

// resumePoll finds the session of a request, nil if there is none, or none that answers in time. A header goes before the query.
func (s *Server) resumePoll(r *http.Request) *Conn {
	token := r.Header.Get("X-Phoenix-Longpoll-Token")
	if _, given := r.Header["X-Phoenix-Longpoll-Token"]; !given {
		params, err := plugParams(r.URL.RawQuery)
		if err != nil {
			return nil
		}
		token, _ = params["token"].(string)
	}
	s.state.mu.Lock()
	c := s.state.sessions[token]
	s.state.mu.Unlock()
	if c == nil {
		return nil
	}
	if _, ok := c.askPoll(r, pollRequest{}, pubSubTimeout); !ok {
		return nil
	}
	return c
}

// askPoll hands a request to the session and waits for its answer; false: there was none in time. When the client is gone, or the
// connection of the request is to be cut, it does not return; but only behind the answer: as with Phoenix, a poll whose client is gone
// still takes what is there.
func (c *Conn) askPoll(r *http.Request, req pollRequest, timeout time.Duration) (pollAnswer, bool) {
	if c.hole.Load() || c.stall.Load() && r.Method == http.MethodPost {
		c.hang(r)
	}
	req.answer, req.settled = make(chan pollAnswer, 1), new(atomic.Bool)
	c.box.put(envelope{poll: &req})
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case a := <-req.answer:
			switch {
			case c.hole.Load() || r.Context().Err() != nil:
				c.hang(r)
			case !req.flush || a.messages != nil:
				return a, true
			}
			c.box.put(envelope{poll: &req})
		case <-timer.C:
			if req.settled.CompareAndSwap(false, true) {
				return pollAnswer{}, false
			}
			timer.Reset(timeout) // the answer is on its way
		case <-c.srv.ctx.Done():
			panic(http.ErrAbortHandler)
		case <-c.cutOff:
			c.resetIfAsked(r)
			panic(http.ErrAbortHandler)
		}
	}
}

// hang never answers.
func (c *Conn) hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-c.srv.ctx.Done():
	case <-c.cutOff:
		c.resetIfAsked(r)
	}
	panic(http.ErrAbortHandler)
}

// resetIfAsked makes the end of the connection of a request a reset.
func (c *Conn) resetIfAsked(r *http.Request) {
	if nc, ok := r.Context().Value(connKey{}).(net.Conn); ok && c.resets.Load() {
		reset(nc)
	}
}

// listenPoll answers a poll.
func (c *Conn) listenPoll(w http.ResponseWriter, r *http.Request) {
	a, ok := c.askPoll(r, pollRequest{flush: true}, c.sock.PollWindow)
	if !ok {
		pollMessages(w, http.StatusNoContent, c.poll.token, nil)
		return
	}
	pollMessages(w, http.StatusOK, c.poll.token, a.messages)
}

// publishPoll takes a POST: one message, or lines of them.
func (c *Conn) publishPoll(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPollBody))
	if err != nil {
		pollFailed(w, http.StatusBadRequest)
		return
	}
	if types := r.Header.Values("Content-Type"); len(types) != 1 || types[0] != "application/x-ndjson" {
		pollStatus(w, c.dispatchPoll(r, wsFrame{op: opText, data: body}))
		return
	}
	lines := strings.Split(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n")
	for _, line := range lines[:min(len(lines), maxPollBatch)] {
		frame := wsFrame{op: opText, data: []byte(line)}
		if !strings.HasPrefix(line, "[") {
			frame.op = opBinary
			if frame.data, err = base64.StdEncoding.DecodeString(line); err != nil {
				pollFailed(w, http.StatusInternalServerError)
				return
			}
		}
		if status := c.dispatchPoll(r, frame); status != http.StatusOK {
			pollStatus(w, status)
			return
		}
	}
	pollStatus(w, http.StatusOK)
}

func (c *Conn) dispatchPoll(r *http.Request, frame wsFrame) (status int) {
	if _, ok := c.askPoll(r, pollRequest{dispatch: &frame}, c.sock.PollWindow); !ok {
		return http.StatusRequestTimeout
	}
	return http.StatusOK
}

// servePoll runs a session until it ends. Who asks it for something after that waits in vain.
func (c *Conn) servePoll() {
	// An exception ends it as anything else does.
	func() {
		defer func() { _ = recover() }()
		c.pollLoop()
	}()
	for topic := range c.channels {
		c.removeChannel(topic).kill()
	}
	c.end()
}

func (c *Conn) pollLoop() {
	// Phoenix looks once in one and a half windows whether somebody has polled in that time.
	idle := c.sock.PollWindow * 3 / 2
	look := time.NewTicker(idle)
	defer look.Stop()
	for {
		select {
		case <-c.box.ready():
			for _, e := range c.box.take() {
				switch {
				case e.poll != nil:
					c.handlePoll(e.poll)
				case e.order == orderHole:
				default:
					if _, ok := c.handleEnvelope(e); !ok {
						return
					}
				}
			}
		case <-look.C:
			if time.Since(c.poll.polled) > idle {
				return
			}
		case <-c.ended:
			return
		}
	}
}

// handlePoll handles what a request asks.
func (c *Conn) handlePoll(r *pollRequest) {
	switch {
	case r.flush:
		c.poll.polled = time.Now()
		switch {
		case len(c.poll.buffer) == 0:
			c.poll.waiting = r.answer
		case r.settled.CompareAndSwap(false, true):
			r.answer <- pollAnswer{messages: c.poll.buffer}
			c.poll.buffer, c.poll.waiting = nil, nil
		}
	case r.dispatch != nil:
		c.srv.tapIn(c, []wsFrame{*r.dispatch})
		switch m, err := c.decode(*r.dispatch); {
		case err == nil:
			c.dispatch(m)
		case !c.sock.DropMalformed:
			panic(err) // and so nobody answers
		}
		r.reply()
	default:
		r.reply()
	}
}

// reply answers a request that is still waited for.
func (r *pollRequest) reply() {
	if r.settled.CompareAndSwap(false, true) {
		r.answer <- pollAnswer{}
	}
}

// publish keeps a message for the next poll, and wakes one that waits.
func (p *pollSession) publish(message string) {
	p.buffer = append(p.buffer, message)
	if p.waiting != nil {
		p.waiting <- pollAnswer{}
		p.waiting = nil
	}
}

// Expire ends a long poll session as the server does with one that nobody polls: without a word.
func (c *Conn) Expire() { c.box.put(envelope{order: orderDrop}) }

// Transport is "websocket" or "longpoll".
func (c *Conn) Transport() string {
	if c.poll != nil {
		return "longpoll"
	}
	return "websocket"
}

// connKey is where the context of a request has its network connection.
type connKey struct{}
