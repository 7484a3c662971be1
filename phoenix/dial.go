package phoenix

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// waitTurn waits until the connection may dial, and returns how long that took.
func (c *Conn) waitTurn(ctx context.Context) (time.Duration, *LinkError) {
	if c.hooks.turn == nil {
		return 0, nil
	}
	defer blame(inHooks)
	begun := time.Now()
	if err := c.hooks.turn(ctx); err != nil {
		return 0, classify(StageCredentials, err)
	}
	return time.Since(begun), nil
}

// writeBuffers are gorilla's, 4 KiB each. They are shared: a connection that has nothing to write needs none.
var writeBuffers = new(sync.Pool)

// dial opens a session's transport. It takes ConnectTimeout at most.
func (c *Conn) dial(ctx context.Context, onControl func(kind, data string)) (transport, Timings, *LinkError) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.ConnectTimeout)
	defer cancel()
	var stages stageClock
	stages.begin(StageCredentials)
	credentials, err := c.credentials(ctx)
	if err != nil {
		return nil, Timings{}, &LinkError{Stage: StageCredentials, Reason: reasonOf(StageCredentials, err), Err: err}
	}

	var w *wire
	way := route{conn: c, stages: &stages}
	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := way.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			stages.begin(StageUpgrade)
			w = &wire{Conn: conn}
			return w, nil
		},
		TLSClientConfig: cmp.Or(credentials.TLS, c.opts.TLS),
		Subprotocols:    subprotocols(credentials),
		ReadBufferSize:  c.opts.ReadBuffer,
		WriteBufferPool: writeBuffers,
		// A context that ends must end a dial that waits for the server's answer, too.
		HandshakeTimeout:  c.opts.ConnectTimeout,
		EnableCompression: c.opts.Compress,
	}
	url, header := c.endpoint.request(credentials)
	stop := context.AfterFunc(ctx, func() {
		defer c.contain(inDial)
		if conn := stages.conn(); conn != nil {
			_ = conn.Close()
		}
	})
	ws, resp, err := dialer.DialContext(httptrace.WithClientTrace(ctx, stages.trace()), url, header)
	timings, stage := stages.end()
	if !stop() && err == nil {
		_ = ws.Close()
		err = ctx.Err()
	}
	if err == nil {
		if err = checkSubprotocol(resp.Header, offeredSubprotocols(dialer.Subprotocols, header)); err == nil {
			_ = w.SetDeadline(time.Time{})
			return newWSTransport(ws, w, onControl), timings, nil
		}
		_ = ws.Close()
	}
	failed := c.dialError(ctx, stage, resp, secretsOf(url, header, credentials.AuthToken), err)
	failed.Proxy = way.proxy
	if w != nil {
		failed.recognize(w.head, c.endpoint.url.Scheme == "wss")
	}
	c.opts.Logger.Debug("the dial failed", timings.attrs(failed.Stage)...)
	return nil, timings, failed
}

// dialError makes a LinkError of what ended a dial at a stage; resp is the answer to the upgrade, if there was one. It may repeat
// the request, and the request's secrets.
func (c *Conn) dialError(ctx context.Context, stage Stage, resp *http.Response, secrets []string, err error) *LinkError {
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil:
		resp.Body = hide(resp.Body, secrets)
		return refused(resp, time.Now())
	case ctx.Err() != nil:
		err = ctx.Err()
	case resp != nil && !errors.Is(err, ErrSubprotocol):
		// It is the only thing left that gorilla finds wrong with an answer.
		err = fmt.Errorf("%w: it compresses in a way that was not offered", ErrHandshake)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		err = &dialTimeout{c.opts.ConnectTimeout}
	}
	return classify(stage, err)
}

// A dialTimeout says that a dial has had its time, whichever of the deadlines under it was noticed first.
type dialTimeout struct{ after time.Duration }

// Error says how long that was.
func (e *dialTimeout) Error() string { return fmt.Sprintf("not finished within %v", e.after) }

// Unwrap returns the error of a context that has had its time.
func (e *dialTimeout) Unwrap() error { return context.DeadlineExceeded }

// attrs is what a log says about a dial that failed at a stage: that, and how long each stage took up to then.
func (t Timings) attrs(failed Stage) []any {
	attrs := []any{"stage", string(failed)}
	for _, s := range []struct {
		stage Stage
		took  time.Duration
	}{{StageDNS, t.DNS}, {StageTCP, t.TCP}, {StageTLS, t.TLS}, {StageUpgrade, t.Upgrade}} {
		if s.took > 0 {
			attrs = append(attrs, string(s.stage), s.took)
		}
		if s.stage == failed { // what was booked on a later one is the moments before the name was looked up
			break
		}
	}
	return attrs
}

func (c *Conn) credentials(ctx context.Context) (Credentials, error) {
	if c.opts.Credentials == nil {
		return Credentials{}, nil
	}
	defer blame(inCredentials)
	return c.opts.Credentials(ctx)
}

// A stageClock follows a dial through its stages. The resolver and the dialer may call it from goroutines of their own.
type stageClock struct {
	mu      sync.Mutex
	stage   Stage
	since   time.Time
	timings Timings
	netConn net.Conn
}

// begin ends the current stage and begins the next.
func (s *stageClock) begin(next Stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(time.Now())
	s.stage = next
}

func (s *stageClock) account(now time.Time) {
	if !s.since.IsZero() {
		took := now.Sub(s.since)
		switch s.stage {
		case StageDNS:
			s.timings.DNS += took
		case StageTCP, StageProxy:
			s.timings.TCP += took
		case StageTLS:
			s.timings.TLS += took
		case StageUpgrade:
			s.timings.Upgrade += took
		}
	}
	s.since = now
}

// end ends the last stage, which it returns, and what each took.
func (s *stageClock) end() (Timings, Stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account(time.Now())
	return s.timings, s.stage
}

func (s *stageClock) conn() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.netConn
}

func (s *stageClock) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { s.begin(StageDNS) },
		DNSDone: func(info httptrace.DNSDoneInfo) {
			if info.Err == nil {
				s.begin(StageTCP)
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.netConn = info.Conn
		},
		TLSHandshakeStart: func() { s.begin(StageTLS) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				s.begin(StageUpgrade)
			}
		},
	}
}
