package phoenix

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// A pollTransport is a long poll session (PROTOCOL.md, section 11): what the server has to say is fetched by one GET after the other,
// each of which waits until there is something; what we write goes by POST, one at a time. Each of the two has a network connection
// of its own, which is kept for the next request.
//
// It makes its HTTP requests itself: an http.Client sends a GET again when a kept connection breaks, and what the server has put
// into the answer to the first one would be lost unnoticed.
type pollTransport struct {
	conn        *Conn
	credentials Credentials
	// url is where requests go, without the session's token; header is that of each request.
	url     *url.URL
	header  http.Header
	cookies *cookiejar.Jar
	// token names the session to the server.
	token string
	// batches says that a POST may have several messages, and that they may be binary.
	batches bool

	// What the reading goroutine has: the answer to the poll under way, nil between two; when the poll was begun to be sent, and when that
	// was done, between which the process may have been stopped; and when the last answer that has been read to its end had been asked for.
	answer                *pollAnswer
	asked, sent, complete time.Time
	// emptied is complete once the messages of that answer have been handed over; reading is the wire of the last answer.
	emptied     time.Time
	reading     *wire
	handOver    func()
	whenDrained func(at time.Time)

	// What the writing goroutine has: the messages of the next POST, each ended by a line break, and how many there are.
	out     []byte
	pending int

	// ctx ends with the transport. It is that of dials.
	ctx    context.Context
	cancel context.CancelFunc

	// mu guards what other goroutines than the two may look at.
	mu         sync.Mutex
	poll, post *httpConn
	// readUntil and writeUntil are the deadlines of endReads and endWrites.
	readUntil, writeUntil time.Time
	// closing says that we have ended the poll, closed that the transport is.
	closing, closed bool
	// posting says that a POST is under way; postedAt is when the last one was sent, takenAt when the session has taken one. slow says
	// that it has not taken the last message in time: until it is known that it has, each goes alone.
	posting, slow     bool
	postedAt, takenAt time.Time
	// polled is when the last poll was answered that the session has had; window, how long the server waits for the session to take a
	// message, zero while that is not known.
	polled time.Time
	window time.Duration
	// drainFrom is since when a drain is under way, zero if none is. settle is how long a poll has to have been without an answer for
	// the server to have nothing.
	drainFrom time.Time
	settle    time.Duration
}

// The bounds of a POST: the server drops what comes behind the hundredth line (PROTOCOL.md, section 11), and takes no body of more than
// 8,000,000 bytes (Plug.Conn.read_body).
const (
	maxPostMessages = 100
	maxPostBytes    = 1 << 20
	maxServerBody   = 8_000_000
)

// The headers of Phoenix's long poll.
const (
	headerPollToken = "X-Phoenix-Longpoll-Token"
	headerAuthToken = "X-Phoenix-Authtoken"
)

// dialLongPoll opens a session. What it returns as an error may have secrets in it.
func (c *Conn) dialLongPoll(ctx context.Context, way *route, credentials Credentials) (*pollTransport, *LinkError) {
	u, header := c.endpoint.request(credentials, TransportLongPoll)
	c.secrets.dialing(requestSecrets(u, header, credentials))
	target, err := url.Parse(u)
	if err != nil {
		return nil, classify(StageUpgrade, err)
	}
	if credentials.HasAuthToken && !httpguts.ValidHeaderFieldValue(credentials.AuthToken) {
		return nil, &LinkError{Stage: StageCredentials, Reason: reasonOf(StageCredentials, errTokenHeader), Err: errTokenHeader}
	}
	header.Set("Accept", "application/json")
	if c.opts.Compress {
		header.Set("Accept-Encoding", "gzip")
	}
	cookies, _ := cookiejar.New(nil) // without options it cannot fail
	_, v1 := c.endpoint.codec.(codecV1)
	t := &pollTransport{conn: c, credentials: credentials, url: target, header: header, cookies: cookies, batches: !v1}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	// A dial that ends early closes what it has opened.
	stop := context.AfterFunc(ctx, t.close)
	failed := t.open(ctx, way)
	if !stop() && failed == nil {
		failed = classify(StageUpgrade, ctx.Err())
	}
	if failed != nil {
		t.close()
		return nil, failed
	}
	return t, nil
}

var errTokenHeader = errors.New("the auth token has characters that cannot stand in a header, in which long poll sends it")

// open opens the session by the first poll: 410 with a token is its success.
func (t *pollTransport) open(ctx context.Context, way *route) *LinkError {
	h, err := t.connect(ctx, way)
	if err != nil {
		return t.conn.dialError(ctx, way.stages.current(), nil, err)
	}
	t.mu.Lock()
	t.poll, t.reading = h, h.wire
	if t.closed { // ctx has ended meanwhile
		_ = h.Close()
	}
	t.mu.Unlock()
	req := t.request(http.MethodGet, nil, "")
	if t.credentials.HasAuthToken {
		req.Header.Set(headerAuthToken, t.credentials.AuthToken)
	}
	begun := time.Now()
	resp, err := h.exchange(req)
	if err != nil {
		failed := t.conn.dialError(ctx, StageUpgrade, nil, err)
		failed.recognize(h.wire.head, t.url.Scheme == "https", t.conn.secrets.all())
		return failed
	}
	const settled = 2
	t.settle = min(max(settled*time.Since(begun), minSettle), maxSettle)
	if resp.StatusCode != http.StatusOK {
		failed := refused(resp, time.Now())
		failed.recognize(h.wire.head, t.url.Scheme == "https", t.conn.secrets.all())
		return failed
	}
	t.keepCookies(resp)
	status, token, body, err := readSmallAnswer(resp)
	if err != nil {
		return t.conn.dialError(ctx, StageUpgrade, nil, err)
	}
	switch {
	case status == http.StatusGone && token != "":
		t.token, t.polled = token, time.Now()
		t.conn.secrets.given(token)
		t.release(&t.poll, resp)
		return nil
	case status != 0:
		return &LinkError{Stage: StageUpgrade, Reason: ReasonRefused, HTTPStatus: status}
	}
	return &LinkError{Stage: StageUpgrade, Reason: ReasonRefused, HTTPStatus: resp.StatusCode, Body: string(body)}
}

// minSettle and maxSettle bound pollTransport.settle, which is made of a round trip.
const (
	minSettle = time.Second
	maxSettle = 3 * time.Second
)

func (t *pollTransport) kind() Transport { return TransportLongPoll }

func (t *pollTransport) batch() int {
	if t.batches {
		return maxPostMessages
	}
	return 1
}

// request makes a request of the session. The token goes as a header, which Phoenix looks at first since 1.8.10, and as the last
// parameter of the query, which it looks at before that: of two parameters with a name the last one counts, so that a param of
// connect/3 that is called token, too, does no harm.
func (t *pollTransport) request(method string, body []byte, contentType string) *http.Request {
	u := *t.url
	header := t.header.Clone()
	if t.token != "" {
		u.RawQuery = appendQuery(u.RawQuery, "token="+url.QueryEscape(t.token))
		header.Set(headerPollToken, t.token)
	}
	req := &http.Request{Method: method, URL: &u, Host: u.Host, Header: header, ProtoMajor: 1, ProtoMinor: 1}
	if host := header.Get("Host"); host != "" {
		req.Host = host
		header.Del("Host")
	}
	if method == http.MethodPost {
		header.Set("Content-Type", contentType)
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	t.addCookies(req)
	return req
}

// addCookies adds the cookies that the server has set in this session, such as those by which a load balancer finds the node that
// has it. They take the place of given ones with the same name.
func (t *pollTransport) addCookies(req *http.Request) {
	set := t.cookies.Cookies(t.url)
	if len(set) == 0 {
		return
	}
	given := req.Cookies()
	req.Header.Del("Cookie")
	for _, c := range given {
		if !slices.ContainsFunc(set, func(s *http.Cookie) bool { return s.Name == c.Name }) {
			req.AddCookie(c)
		}
	}
	for _, c := range set {
		req.AddCookie(c)
	}
}

// keepCookies keeps what an answer sets. The values are secrets, and those that are still sent, and the token, stay some, however many
// the server sets.
func (t *pollTransport) keepCookies(resp *http.Response) {
	cookies := resp.Cookies()
	if len(cookies) == 0 {
		return
	}
	t.cookies.SetCookies(t.url, cookies)
	var values []string
	for _, c := range slices.Concat(cookies, t.cookies.Cookies(t.url)) {
		values = append(values, c.Value)
	}
	t.conn.secrets.given(append(values, t.token)...)
}

// connect makes a network connection to the server.
func (t *pollTransport) connect(ctx context.Context, way *route) (*httpConn, error) {
	ctx = httptrace.WithClientTrace(ctx, way.stages.trace())
	port, secure := "80", t.url.Scheme == "https"
	if secure {
		port = "443"
	}
	conn, w, err := way.open(ctx, "tcp", hostPort(t.url, port), secure, t.credentials.TLS)
	if err != nil {
		return nil, err
	}
	h := &httpConn{Conn: conn, wire: w}
	h.br = bufio.NewReaderSize(readerFunc(h.read), t.conn.opts.ReadBuffer)
	return h, nil
}

// reconnect is connect within the session.
func (t *pollTransport) reconnect() (*httpConn, error) {
	timeout := t.conn.current().ConnectTimeout
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	h, err := t.connect(ctx, &route{conn: t.conn, stages: &stageClock{}})
	switch {
	case err == nil:
	case t.ctx.Err() != nil: // of a dial, that is its deadline: see endAt
		err = os.ErrDeadlineExceeded
	case ctx.Err() != nil:
		err = &dialTimeout{timeout}
	}
	return h, err
}

// An httpConn is a network connection over which one request goes after the other.
type httpConn struct {
	net.Conn // the wire, or the TLS on it
	wire     *wire
	br       *bufio.Reader
	// head is how many bytes of the head of an answer may still be read, while one is.
	head    int
	reading bool
}

// readerFunc is a function as a reader.
type readerFunc func(p []byte) (int, error)

// Read implements [io.Reader].
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// read reads for br, and bounds heads.
func (h *httpConn) read(p []byte) (int, error) {
	if !h.reading {
		return h.Conn.Read(p)
	}
	if h.head <= 0 {
		return 0, errAnswerTooLong
	}
	n, err := h.Conn.Read(p[:min(len(p), h.head)])
	h.head -= n
	return n, err
}

// send writes a request at once.
func (h *httpConn) send(req *http.Request) error {
	var out bytes.Buffer
	if err := req.Write(&out); err != nil {
		return err
	}
	_, err := h.Conn.Write(out.Bytes())
	return err
}

// response reads the head of an answer; those that only announce one, of status 1xx, are left out.
func (h *httpConn) response(req *http.Request) (*http.Response, error) {
	h.reading, h.head = true, maxAnswer
	defer func() { h.reading = false }()
	for {
		resp, err := http.ReadResponse(h.br, req)
		if err != nil || resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
}

// exchange sends a request and reads the head of its answer.
func (h *httpConn) exchange(req *http.Request) (*http.Response, error) {
	if err := h.send(req); err != nil {
		return nil, err
	}
	return h.response(req)
}

// fresh reports whether a kept connection can take a request: the server has not closed it.
func (h *httpConn) fresh() bool {
	if h.br.Buffered() > 0 {
		return false
	}
	empty, known := h.wire.empty()
	return empty || !known
}

// body returns the body of an answer, decompressed.
func body(resp *http.Response) (io.Reader, error) {
	if resp.Header.Get("Content-Encoding") != "gzip" {
		return resp.Body, nil
	}
	return gzip.NewReader(resp.Body)
}

// readSmallAnswer reads an answer without messages: its status, 0 if it has none; a token; and the body.
func readSmallAnswer(resp *http.Response) (status int, token string, text []byte, err error) {
	r, err := body(resp)
	if err != nil {
		return 0, "", nil, err
	}
	if text, err = io.ReadAll(io.LimitReader(r, maxAnswer+1)); err != nil {
		return 0, "", nil, err
	}
	if len(text) > maxAnswer {
		return 0, "", nil, errAnswerTooLong
	}
	var a struct {
		Status int    `json:"status"`
		Token  string `json:"token"`
	}
	if json.Unmarshal(text, &a) != nil {
		return 0, "", text, nil
	}
	return a.Status, a.Token, text, nil
}

// take returns a kept connection, or a new one. conn is poll or post; until is its deadline.
func (t *pollTransport) take(conn **httpConn, until *time.Time) (*httpConn, error) {
	t.mu.Lock()
	h := *conn
	if h != nil && !h.fresh() {
		_ = h.Close()
		h, *conn = nil, nil // a deadline is now one of the new connection, and bounds its dial
	}
	t.mu.Unlock()
	if h != nil {
		return h, nil
	}
	if conn == &t.poll {
		t.waits()
	}
	h, err := t.reconnect()
	t.mu.Lock()
	defer t.mu.Unlock()
	*conn = h
	switch {
	case err != nil:
		*conn = nil
		return nil, err
	case t.closed:
		_ = h.Close()
		return nil, net.ErrClosed
	case !until.IsZero():
		h.setDeadline(*until)
	}
	return h, nil
}

// setDeadline sets a deadline for what is under way.
func (h *httpConn) setDeadline(until time.Time) {
	_ = h.wire.SetReadDeadline(until)
	_ = h.wire.SetWriteDeadline(until)
}

// release ends an answer, of which no more than the end is left, and keeps the connection for the next request if it can be.
func (t *pollTransport) release(conn **httpConn, resp *http.Response) {
	const rest = 4 << 10
	n, err := io.CopyN(io.Discard, resp.Body, rest)
	if errors.Is(err, io.EOF) && n < rest && !resp.Close {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = (*conn).Close()
	*conn = nil
}

// next asks for messages until there is one.
func (t *pollTransport) next() (io.Reader, bool, error) {
	for {
		if t.answer == nil {
			if err := t.ask(); err != nil {
				return nil, false, err
			}
		}
		more, binary, err := t.answer.next()
		switch {
		case err != nil:
			return nil, false, t.broken(err)
		case more:
			return t.answer, binary, nil
		}
		if err := t.answered(); err != nil {
			return nil, false, err
		}
	}
}

// ask sends a poll and waits for the head of its answer.
func (t *pollTransport) ask() error {
	h, err := t.take(&t.poll, &t.readUntil)
	if err != nil {
		return t.broken(err)
	}
	t.reading = h.wire
	h.wire.beforeRead, h.wire.drained = t.waits, t.probed
	req := t.request(http.MethodGet, nil, "")
	t.mu.Lock()
	t.asked = time.Now()
	draining := !t.drainFrom.IsZero()
	t.mu.Unlock()
	if err := h.send(req); err != nil {
		return t.broken(err)
	}
	t.sent = time.Now()
	if draining {
		h.wire.drain()
	}
	resp, err := h.response(req)
	if err != nil {
		return t.broken(err)
	}
	t.keepCookies(resp)
	if resp.StatusCode != http.StatusOK {
		return t.refusedPoll(resp)
	}
	r, err := body(resp)
	if err != nil {
		return t.broken(err)
	}
	t.answer = newPollAnswer(r, resp, t.conn.opts.ReadBuffer)
	return nil
}

// answered ends an answer that has been read.
func (t *pollTransport) answered() error {
	a := t.answer
	t.answer = nil
	t.release(&t.poll, a.resp)
	switch a.status {
	case http.StatusOK, http.StatusNoContent:
		// The server has sent before the next answer what it had to say until it was asked for this one.
		t.complete = t.asked
		t.found()
		return nil
	case http.StatusGone, http.StatusForbidden: // the latter: it was not found, and the server refuses to make a new one of this request
		if t.mayBeBusy(t.asked) {
			return nil
		}
		return errSessionGone
	}
	return &LinkError{Stage: StageSession, Reason: ReasonProtocolError, Err: fmt.Errorf("the answer to a poll has the status %d", a.status)}
}

// errSessionGone ends a session that the server does not know any more: nobody has polled for too long, its process has crashed, or
// somebody has ended it.
var errSessionGone = &LinkError{Stage: StageSession, Reason: ReasonClosedByRemote, Err: errors.New("the server has ended the long poll session (status 410)")}

// refusedPoll is the end by an answer to a poll that is none of Phoenix's. What the server wanted to say by it is lost.
func (t *pollTransport) refusedPoll(resp *http.Response) error {
	failed := sessionRefused(resp)
	if resp.StatusCode == http.StatusInternalServerError {
		// PROTOCOL.md, section 11: it is what a binary message does, which JSON has no place for.
		failed.Body = "the answer to a poll failed, and its messages are lost: long poll carries no binary messages of the server"
	}
	return failed
}

// sessionRefused makes an error of an answer that ends a session.
func sessionRefused(resp *http.Response) *LinkError {
	failed := refused(resp, time.Now())
	failed.Stage, failed.Reason = StageSession, ReasonClosedByRemote
	return failed
}

// broken is the end by an error of the network.
func (t *pollTransport) broken(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var failed *LinkError
	switch {
	case t.closing:
		return &LinkError{Stage: StageSession, Reason: ReasonClosedByUs}
	case errors.As(err, &failed), errors.Is(err, errTooBig):
		return err
	}
	return classify(StageSession, err)
}

func (t *pollTransport) ended(err error) error { return t.broken(err) }

func (t *pollTransport) beforeWait(f func()) { t.handOver = f }

// waits is called before the reading goroutine waits for the network.
func (t *pollTransport) waits() {
	if t.handOver != nil {
		t.handOver()
	}
	t.emptied = t.complete
	t.mu.Lock()
	drained := !t.drainFrom.IsZero() && !t.complete.Before(t.drainFrom)
	if drained {
		t.drainFrom = time.Time{}
	}
	t.mu.Unlock()
	if drained {
		t.whenDrained(t.complete)
	}
}

func (t *pollTransport) receivedAt() time.Time { return t.reading.readAt }

func (t *pollTransport) unread() int { return len(t.reading.ahead) }

// emptyAt is when the last answer that was read to its end had been asked for; while its messages are handed over, the one before.
func (t *pollTransport) emptyAt() time.Time { return t.emptied }

// burstAt: the server keeps what it cannot send, and sends all of it with the next answer.
func (t *pollTransport) burstAt() time.Time { return time.Time{} }

func (t *pollTransport) onDrained(f func(at time.Time)) { t.whenDrained = f }

// drain wakes the poll. It is over when a poll that was sent after it has been answered, which brings all that the server had sent; or when
// one has been without an answer, or without more of it, for so long that the server has nothing.
func (t *pollTransport) drain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.drainFrom.IsZero() {
		return
	}
	t.drainFrom = time.Now()
	if t.poll != nil {
		t.poll.wire.drain()
	}
}

// probed is called by the reading goroutine when nothing has arrived at a time, for a drain.
func (t *pollTransport) probed(at time.Time) {
	t.mu.Lock()
	if t.drainFrom.IsZero() {
		t.mu.Unlock()
		return
	}
	last := t.sent
	if t.answer != nil && t.reading.readAt.After(last) {
		last = t.reading.readAt
	}
	if wait := t.settle - at.Sub(last); wait > 0 {
		poll := t.reading
		t.mu.Unlock()
		time.AfterFunc(wait, poll.drain)
		return
	}
	t.drainFrom = time.Time{}
	t.mu.Unlock()
	t.whenDrained(at)
}

// write adds a message to the next POST. A join goes alone: the session takes nothing while it is joining, and drops what stands behind
// it in a POST that takes too long.
func (t *pollTransport) write(f outFrame) error {
	size := len(f.data)
	if f.binary {
		size = base64.StdEncoding.EncodedLen(size)
	}
	alone := f.join || !t.batches || t.isSlow()
	if t.pending > 0 && (alone || t.pending == maxPostMessages || len(t.out)+size > maxPostBytes) {
		if err := t.flush(); err != nil {
			return err
		}
	}
	t.pending++
	if f.binary {
		t.out = append(base64.StdEncoding.AppendEncode(t.out, f.data), '\n')
		return nil
	}
	start := len(t.out)
	t.out = append(append(t.out, f.data...), '\n')
	// A line break ends a message, and stands only between tokens, where JSON can do without.
	if line := t.out[start : len(t.out)-1]; bytes.IndexByte(line, '\n') >= 0 {
		line = slices.DeleteFunc(line, func(c byte) bool { return c == '\n' || c == '\r' })
		t.out = append(t.out[:start+len(line)], '\n')
	}
	if alone {
		return t.flush()
	}
	return nil
}

// flush sends what there is, and waits until the session has it.
func (t *pollTransport) flush() error {
	if t.pending == 0 {
		return nil
	}
	messages := t.pending
	text := t.out[:len(t.out)-1] // an empty line at the end would end the session
	contentType := "application/json"
	if messages > 1 || t.batches && text[0] != '[' {
		contentType = "application/x-ndjson"
	}
	t.pending, t.out = 0, t.out[:0]
	defer func() {
		if cap(t.out) > 2*maxHeld {
			t.out = nil
		}
	}()
	for {
		begun := time.Now()
		t.sending(begun)
		status, err := t.publish(text, contentType)
		if err != nil {
			return err
		}
		again := status == http.StatusGone && t.isSlow() && t.mayBeBusy(begun)
		t.taken(status, begun)
		if !again {
			return posted(status, messages)
		}
	}
}

// publish sends a POST and returns the status in the body of its answer.
func (t *pollTransport) publish(text []byte, contentType string) (status int, err error) {
	h, err := t.take(&t.post, &t.writeUntil)
	if err != nil {
		return 0, t.broken(err)
	}
	resp, err := h.exchange(t.request(http.MethodPost, text, contentType))
	if err != nil {
		return 0, t.broken(err)
	}
	t.keepCookies(resp)
	if resp.StatusCode != http.StatusOK {
		failed := sessionRefused(resp)
		if resp.StatusCode == http.StatusRequestEntityTooLarge || resp.StatusCode == http.StatusBadRequest && len(text) > maxServerBody {
			failed.Reason = ReasonMessageTooBig
		}
		return 0, failed
	}
	status, _, _, err = readSmallAnswer(resp)
	if err != nil {
		return 0, t.broken(err)
	}
	t.release(&t.post, resp)
	return status, nil
}

// posted judges the status of a POST of so many messages. It has 408 when the session did not take a message in time: it is busy with
// a join, or has crashed, as for a message that it cannot decode. Which of them it is tells the poll; but of several messages those
// that follow have been dropped.
func posted(status, messages int) error {
	switch {
	case status == http.StatusOK, status == http.StatusRequestTimeout && messages == 1:
		return nil
	case status == http.StatusRequestTimeout:
		return &LinkError{Stage: StageSession, Reason: ReasonClosedByRemote, Err: errors.New("the long poll session does not take messages (status 408)")}
	case status == http.StatusGone:
		return errSessionGone
	}
	return &LinkError{Stage: StageSession, Reason: ReasonProtocolError, Err: fmt.Errorf("the answer to a POST has the status %d", status)}
}

// What a busy session is. While a session joins a channel it answers nothing: to a request that comes meanwhile the server says after 2 s
// that there is none, as if it had ended (PROTOCOL.md, section 11). What was asked may be asked again then, because the session has not
// seen it.

// minNotFound is how long the server looks for a session that may be busy, at least. It is sooner when it does not accept the token.
const minNotFound = time.Second

// defaultWindow is Phoenix's.
const defaultWindow = 10 * time.Second

// mayBeBusy reports whether a session that a request, sent at a time, has not found may be there: since then it may have been about to take
// a message. One that has not been polled for three windows has ended, or ends as soon as it is not busy any more: it looks once in
// one and a half windows whether it was polled in the last one and a half.
func (t *pollTransport) mayBeBusy(asked time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	const windows = 3
	now := time.Now()
	busy := t.posting || t.slow || t.takenAt.After(asked)
	return busy && now.Sub(asked) >= minNotFound && now.Sub(t.polled) < windows*cmp.Or(t.window, defaultWindow)
}

func (t *pollTransport) isSlow() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.slow
}

// sending notes that a POST is sent at a time.
func (t *pollTransport) sending(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.posting, t.postedAt = true, now
}

// taken notes that the POST is over that was sent at a time, with a status.
func (t *pollTransport) taken(status int, begun time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.posting = false
	switch status {
	case http.StatusOK:
		t.slow, t.takenAt = false, time.Now()
	case http.StatusRequestTimeout:
		t.slow, t.window = true, time.Since(begun)
	}
}

// found notes that the session has answered a poll: it takes what comes.
func (t *pollTransport) found() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.polled = time.Now()
	if !t.posting && t.asked.After(t.postedAt) {
		t.slow = false
	}
}

// pong: there are no pings.
func (t *pollTransport) pong([]byte) error { return nil }

// writeClose ends the poll: there is no message for a close, and the server ends a session that nobody polls.
func (t *pollTransport) writeClose(int, time.Time) error {
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	t.endReads(time.Now())
	return nil
}

func (t *pollTransport) endReads(deadline time.Time) { t.endAt(deadline, &t.readUntil, &t.poll) }

func (t *pollTransport) endWrites(deadline time.Time) { t.endAt(deadline, &t.writeUntil, &t.post) }

// endAt sets a deadline for one of the two connections, also if it is being made just now.
func (t *pollTransport) endAt(deadline time.Time, until *time.Time, conn **httpConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*until = deadline
	if *conn != nil {
		(*conn).setDeadline(deadline)
		return
	}
	time.AfterFunc(time.Until(deadline), t.cancel)
}

// linger: there is nothing that the server could miss.
func (t *pollTransport) linger(time.Time) {}

func (t *pollTransport) close() {
	t.cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, h := range []*httpConn{t.poll, t.post} {
		if h != nil {
			_ = h.Close()
		}
	}
}
