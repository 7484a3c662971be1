package natslink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"phx/router"
)

// A Publisher publishes to JetStream by a link, for one [router.NATSDrain].
type Publisher struct {
	link *Link
	o    PublisherOptions
	// patience is how long there may be no acknowledgement while one is due.
	patience time.Duration

	// What follows belongs to the goroutine that publishes.

	conn *nats.Conn // on which answers is subscribed
	sub  *nats.Subscription
	// answers is the subject that the answers to messages begin with, and base what is added to
	// the number of a message in its window.
	answers string
	base    uint64

	mu     sync.Mutex
	window *window // nil: none is open
}

// PublisherOptions say where a [Publisher] publishes.
type PublisherOptions struct {
	// Stream is the stream that the messages must get into; empty: whichever takes their subjects.
	Stream string
	// Subjects are those that a stream for the messages has to take.
	Subjects string
	// Create makes such a stream when there is none: in files, without a replica and without limits.
	Create bool
}

// defaultStream is how a stream is called that is created, or proposed, without a name.
const defaultStream = "PHX"

// NewPublisher returns a publisher.
func (l *Link) NewPublisher(o PublisherOptions) *Publisher {
	return &Publisher{link: l, o: o, patience: ackTimeout}
}

// Ready implements [router.NATSPublisher].
func (p *Publisher) Ready(ctx context.Context) error { return p.link.AwaitUp(ctx) }

// ackTimeout is the patience of publishers, and bounds the creation of a stream.
const ackTimeout = 5 * time.Second

// A window is messages that were published and not yet acknowledged.
type window struct {
	base uint64
	// answered has an element for each message: what its answer says.
	answered []answer
	progress chan struct{} // holds a token when there is an answer
}

type answer struct {
	there bool
	err   error
}

// Publish implements [router.NATSPublisher]. All messages go out by one connection to a server, or
// not at all: after a reconnect, a message could otherwise overtake one that was lost with the old
// connection.
func (p *Publisher) Publish(ctx context.Context, messages []router.NATSMessage, acked func()) error {
	done := 0
	count := func() { done++; acked() }
	err := p.publish(ctx, messages, count)
	if failure := (*router.NATSFailure)(nil); p.o.Create && errors.As(err, &failure) && failure.Kind == router.NATSNoStream {
		if createErr := p.create(ctx); createErr != nil {
			return &router.NATSFailure{Kind: router.NATSNoStream, Err: fmt.Errorf("the stream cannot be created: %w", p.link.redact(createErr))}
		}
		err = p.publish(ctx, messages[done:], count)
	}
	return err
}

func (p *Publisher) publish(ctx context.Context, messages []router.NATSMessage, acked func()) error {
	conn, err := p.link.Conn(ctx)
	lost, dials := p.link.lost.wait(), p.link.dials.Load() // before anything is sent
	if err == nil {
		err = p.listen(conn)
	}
	if err != nil {
		return p.unreachable(ctx, err)
	}
	w := p.open(len(messages))
	defer p.close()
	sent := 0
	for err == nil && sent < len(messages) {
		if err = p.send(conn, &messages[sent], w.base+uint64(sent), dials); err == nil {
			sent++
		}
	}
	stopped := err
	late := time.NewTimer(p.patience)
	defer late.Stop()
	for next := 0; ; {
		before := next
		for next < sent {
			a := p.answerTo(w, next)
			if !a.there {
				break
			}
			if a.err != nil {
				return p.judge(a.err, &messages[next])
			}
			next++
			acked()
		}
		if next == sent {
			if stopped != nil {
				return p.judge(stopped, &messages[next])
			}
			return nil
		}
		if next > before {
			late.Reset(p.patience)
		}
		select {
		case <-w.progress:
		case <-lost:
			if len(w.progress) == 0 {
				return p.unreachable(ctx, nats.ErrDisconnected)
			}
		case <-late.C:
			return &router.NATSFailure{Kind: router.NATSLate, Err: fmt.Errorf("no acknowledgement within %v", p.patience)}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// send publishes one message if there was no dial since dials was read.
func (p *Publisher) send(conn *nats.Conn, m *router.NATSMessage, number, dials uint64) error {
	header := make(nats.Header, len(m.Header)+2)
	for _, h := range m.Header {
		header[h[0]] = []string{h[1]}
	}
	header[nats.MsgIdHdr] = []string{m.ID}
	if p.o.Stream != "" {
		header[nats.ExpectedStreamHdr] = []string{p.o.Stream}
	}
	p.link.publishing.Add(1)
	defer p.link.publishing.Add(-1)
	if p.link.dials.Load() != dials {
		return nats.ErrDisconnected
	}
	return conn.PublishMsg(&nats.Msg{Subject: m.Subject, Reply: p.answers + strconv.FormatUint(number, 36), Header: header, Data: m.Data})
}

// listen subscribes to the answers.
func (p *Publisher) listen(conn *nats.Conn) error {
	if p.conn == conn {
		return nil
	}
	answers := conn.NewRespInbox() + "."
	sub, err := conn.Subscribe(answers+"*", p.answer)
	if err != nil {
		return err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil { // the window bounds them
		return err
	}
	p.conn, p.sub, p.answers = conn, sub, answers
	return nil
}

// Close ends the subscription to the answers.
func (p *Publisher) Close() {
	if p.sub != nil {
		_ = p.sub.Unsubscribe() // else the connection is gone
	}
}

func (p *Publisher) open(size int) *window {
	w := &window{base: p.base, answered: make([]answer, size), progress: make(chan struct{}, 1)}
	p.base += uint64(size)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.window = w
	return w
}

func (p *Publisher) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.window = nil
}

func (p *Publisher) answerTo(w *window, i int) answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.answered[i]
}

// answer notes the answer to a message. One to a window that is closed says nothing.
func (p *Publisher) answer(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.window
	if w == nil || number < w.base || number-w.base >= uint64(len(w.answered)) {
		return
	}
	w.answered[number-w.base] = answer{there: true, err: answerError(m)}
	select {
	case w.progress <- struct{}{}:
	default:
	}
}

// answerError returns what JetStream has against a message; nil: it is in the stream.
func answerError(m *nats.Msg) error {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return nats.ErrNoResponders
	}
	if bytes.HasPrefix(m.Data, []byte(`{"stream":"`)) { // as a server writes it that has no error
		return nil
	}
	var said struct {
		Stream string              `json:"stream"`
		Error  *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &said); {
	case err != nil:
		return errors.New("the answer is no acknowledgement of JetStream")
	case said.Error != nil:
		return said.Error
	case said.Stream == "":
		return errors.New("the answer is no acknowledgement of JetStream")
	}
	return nil
}

// Error codes of the JetStream API (server/errors.json of nats-server).
const (
	apiMessageTooLarge = 10054 // JSStreamMessageExceedsMaximumErr
	apiHeaderTooLarge  = 10097 // JSStreamHeaderExceedsMaximumErr
	apiWrongStream     = 10060 // JSStreamNotMatchErr
	apiNotStored       = 10077 // JSStreamStoreFailedF: a limit of the stream with discard new, or storeTooLarge
	apiNoSpace         = 10023 // JSInsufficientResourcesErr
	apiNoSpaceAccount  = 10002 // JSAccountResourcesExceededErr
	apiNoMemory        = 10028 // JSMemoryResourcesExceededErr
	apiNoStorage       = 10047 // JSStorageResourcesExceededErr
)

// storeTooLarge is what the server says of a message that no store takes, of more than 32 MiB (ErrMsgTooLarge in server/store.go).
const storeTooLarge = "message too large"

// judge returns what an error of a message comes to.
func (p *Publisher) judge(err error, m *router.NATSMessage) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return &router.NATSFailure{Kind: router.NATSTooLarge, Err: fmt.Errorf("a message of %d bytes is larger than the server's max_payload", len(m.Data))}
	case errors.Is(err, nats.ErrNoResponders):
		return &router.NATSFailure{Kind: router.NATSNoStream, Err: fmt.Errorf("no stream takes the subject %s: %s, or `create: true` in the sink",
			m.Subject, p.createCommand())}
	case errors.As(err, &api):
		f := &router.NATSFailure{Kind: router.NATSRefused, Err: fmt.Errorf("JetStream refused a message: %w (code %d)", p.link.redact(errors.New(api.Description)), api.ErrorCode)}
		switch api.ErrorCode {
		case apiMessageTooLarge, apiHeaderTooLarge:
			f.Kind = router.NATSTooLarge
		case apiNotStored, apiNoSpace, apiNoSpaceAccount, apiNoMemory, apiNoStorage:
			f.Kind = router.NATSFull
			if api.Description == storeTooLarge {
				f.Kind = router.NATSTooLarge
			}
		case apiWrongStream:
			f.Err = fmt.Errorf("another stream than %s takes the subject %s", p.o.Stream, m.Subject)
		}
		return f
	case errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed):
		return &router.NATSFailure{Kind: router.NATSUnreachable, Err: errors.New("there is no connection to NATS")}
	}
	return &router.NATSFailure{Kind: router.NATSRefused, Err: p.link.redact(err)}
}

// unreachable is the failure of a message that has not reached a server, or the cause of ctx's end.
func (p *Publisher) unreachable(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, nats.ErrDisconnected):
		err = errors.New("there is no connection to NATS")
	}
	return &router.NATSFailure{Kind: router.NATSUnreachable, Err: err}
}

// createCommand is what creates the stream that [Publisher.create] does.
func (p *Publisher) createCommand() string {
	return fmt.Sprintf("`nats stream add %s --subjects '%s' --defaults`", p.streamName(), p.o.Subjects)
}

func (p *Publisher) streamName() string {
	if p.o.Stream == "" {
		return defaultStream
	}
	return p.o.Stream
}

// create creates the stream.
func (p *Publisher) create(ctx context.Context) error {
	js, err := jetstream.New(p.conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: p.streamName(), Subjects: []string{p.o.Subjects}, Storage: jetstream.FileStorage})
	if err == nil {
		p.link.log.Info("the stream was created", "stream", p.streamName(), "subjects", p.o.Subjects)
	}
	return err
}
