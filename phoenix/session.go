package phoenix

import (
	"errors"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
)

// A session is one open transport with its reader and its writer. The loop owns it.
type session struct {
	transport transport
	out       *outbox
	// batches carries what was read; the last one has the error that ended the session. In band, so that what came
	// before the end is delivered before it (rule 22). It is closed when the reader has returned.
	batches chan *batch
	// wrote is closed when the writer has returned, with writeErr if a write failed.
	wrote    chan struct{}
	writeErr error
}

// readLinger is how long a session whose writes have failed is still read from: the server's last words may be on the way.
const readLinger = time.Second

// echoTimeout bounds the answer to a server's close frame.
const echoTimeout = 500 * time.Millisecond

func (c *Conn) startSession(t transport, out *outbox) *session {
	s := &session{transport: t, out: out, batches: make(chan *batch, 1), wrote: make(chan struct{})}
	r := &reader{
		transport: t, codec: c.endpoint.codec, skip: c.opts.Skip, presence: c.opts.Presence, trace: c.tracer(), log: c.opts.Logger,
		scratch: make([]byte, c.opts.ReadBuffer), maxMessage: c.opts.MaxMessage, batches: s.batches,
	}
	go func() {
		defer close(s.batches)
		defer c.contain(inReader)
		r.run()
	}()
	go func() {
		defer close(s.wrote)
		defer c.contain(inWriter)
		if s.writeErr = s.write(c.tracer()); s.writeErr != nil {
			c.opts.Logger.Debug("writing failed", "error", s.writeErr)
			t.endReads(time.Now().Add(readLinger))
		}
	}()
	return s
}

// write is the writer: it owns the write half until the outbox ends or a write fails.
func (s *session) write(trace func(TraceFrame)) error {
	for {
		job, ok := s.out.take()
		if !ok {
			return nil
		}
		for _, data := range job.pongs {
			traceOut(trace, "pong", []byte(data))
			if err := s.transport.pong([]byte(data)); err != nil {
				return err
			}
		}
		for _, f := range job.frames {
			traceOut(trace, frameKind(f.binary), f.data)
			if err := s.transport.write(f); err != nil {
				return err
			}
		}
		if err := s.transport.flush(); err != nil {
			return err
		}
		if job.close {
			traceOut(trace, "close", strconv.AppendInt(nil, int64(job.code), 10))
			return s.transport.writeClose(job.code, time.Now().Add(closeTimeout))
		}
	}
}

func traceOut(trace func(TraceFrame), kind string, data []byte) {
	if trace != nil {
		trace(TraceFrame{Out: true, Kind: kind, Data: data})
	}
}

// end ends the session after its reader has, and returns how and how many frames may have reached the server.
func (s *session) end(err error) (*LinkError, uint64) {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		// The answer to a close frame is one with the same code (RFC 6455, section 5.5.1).
		code := closed.Code
		if code == websocket.CloseNoStatusReceived {
			code = 0
		}
		s.out.close(code)
	case errors.Is(err, errTooBig):
		s.out.close(websocket.CloseMessageTooBig)
	}
	s.out.end()
	s.transport.endWrites(time.Now().Add(echoTimeout))
	<-s.wrote
	s.transport.close()
	link := classify(StageSession, err)
	if link.Reason == ReasonTimeout && s.writeErr != nil {
		link = classify(StageSession, s.writeErr) // it is why reads had a deadline
	}
	return link, s.out.attempted()
}

// abort ends the session at once. Nothing that it has read counts any more.
func (s *session) abort() {
	s.out.end()
	s.transport.close()
	for b := range s.batches {
		b.release()
	}
	<-s.wrote
}
