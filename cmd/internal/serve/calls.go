package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"phx/cmd/config"
	"phx/cmd/internal/exit"
	"phx/phoenix"
	"phx/router"
	"phx/router/glob"
	"phx/signal"
)

// The calls of the control API: the Bridge is a [Backend].
var _ Backend = (*Bridge)(nil)

// Connections implements [Backend].
func (b *Bridge) Connections(ctx context.Context) ([]Connection, error) {
	list := []Connection{}
	for _, name := range b.supervisor.Names() {
		c, err := b.Connection(ctx, name)
		var unknown *Error
		switch {
		case errors.As(err, &unknown): // removed meanwhile
		case err != nil:
			return nil, err
		default:
			list = append(list, c)
		}
	}
	return list, nil
}

// Connection implements [Backend].
func (b *Bridge) Connection(ctx context.Context, name string) (Connection, error) {
	status, err := b.look(ctx, name)
	if err != nil {
		return Connection{}, callError(name, err)
	}
	return b.describe(status), nil
}

// describe makes of a status what the API tells.
func (b *Bridge) describe(s phoenix.ConnectionStatus) Connection {
	d := Connection{
		Name: s.Name, Status: string(s.Link), URI: s.URI, Session: s.Session, Since: s.Since.UTC(), Required: s.Required,
		Channels: make([]Channel, len(s.Channels)), Counters: map[string]uint64{},
	}
	if s.Link == phoenix.StatusConnecting {
		d.Attempt = s.Retries + 1
	}
	for i, c := range s.Channels {
		d.Channels[i] = Channel{Topic: c.Topic, State: c.State}
		if !c.JoinedAt.IsZero() {
			d.Channels[i].JoinedAt = c.JoinedAt.UTC()
		}
	}
	if c := b.connection(s.Name); c != nil {
		d.Counters = c.counters.all()
	}
	if s.Err != nil {
		d.Error = s.Err.Error()
	}
	return d
}

// Await implements [Backend].
func (b *Bridge) Await(ctx context.Context, name, state string) (Connection, error) {
	c := b.connection(name)
	if c == nil {
		return Connection{}, UnknownConnection(name)
	}
	status, err := b.supervisor.Await(ctx, name, func(s phoenix.ConnectionStatus) bool {
		if state == StateJoined {
			return len(missingOf(&s, wantedTopics(&s, c.settings.Load()))) == 0
		}
		return s.Link == phoenix.StatusConnected
	})
	if errors.Is(err, phoenix.ErrUnknownConnection) {
		return Connection{}, UnknownConnection(name)
	}
	return b.describe(status), err
}

// Add implements [Backend].
func (b *Bridge) Add(ctx context.Context, entry []byte, dir string) (Connection, error) {
	if dir == "" {
		dir = b.opts.Dir()
	}
	e, err := config.ParseEntry(filepath.Join(dir, "connection"), entry, b.opts.LookupEnv)
	if err != nil {
		return Connection{}, badEntry(err)
	}
	_, done, err := b.change(ctx)
	if err != nil {
		return Connection{}, callError(e.Name, err)
	}
	defer done()
	e.Under(b.file) // require_wss is for all connections
	p, err := b.planConnection(e)
	if err != nil {
		return Connection{}, badEntry(err)
	}
	p.added.Store(true)
	if err := b.add(p); err != nil {
		return Connection{}, callError(p.name, err)
	}
	for _, warning := range e.Warnings(p.connection) {
		b.log.Warn(warning)
	}
	return b.Start(ctx, p.name)
}

// badEntry is the error of a call with a connection that is configured wrongly.
func badEntry(err error) error {
	hint := exit.HintOf(err)
	if hinted := (interface{ Hint() string })(nil); errors.As(err, &hinted) {
		hint = hinted.Hint()
	}
	return BadRequest(hint, "%v", err)
}

// Remove implements [Backend].
func (b *Bridge) Remove(ctx context.Context, name string) error {
	ctx, done, err := b.change(ctx)
	if err != nil {
		return callError(name, err)
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	return callError(name, b.remove(ctx, name))
}

// Start implements [Backend].
func (b *Bridge) Start(ctx context.Context, name string) (Connection, error) {
	return b.after(ctx, name, b.supervisor.Start(name))
}

// Stop implements [Backend].
func (b *Bridge) Stop(ctx context.Context, name string) (Connection, error) {
	return b.after(ctx, name, b.supervisor.Stop(ctx, name))
}

// Restart implements [Backend].
func (b *Bridge) Restart(ctx context.Context, name string) (Connection, error) {
	return b.after(ctx, name, b.supervisor.Restart(ctx, name))
}

// after answers a call that changed a connection with the connection as it is then.
func (b *Bridge) after(ctx context.Context, name string, err error) (Connection, error) {
	if err != nil {
		return Connection{}, callError(name, err)
	}
	return b.Connection(ctx, name)
}

// Join implements [Backend].
func (b *Bridge) Join(ctx context.Context, name, topic string, params json.RawMessage) (Answer, error) {
	conn, c, err := b.running(name)
	if err != nil {
		return Answer{}, err
	}
	want := c.settings.Load().connection.UnreadChannels(topic)[0]
	if params != nil {
		payload := phoenix.Payload{Data: bytes.Clone(params)}
		want.Params = func(context.Context) (phoenix.Payload, error) { return payload, nil }
	}
	ev, err := conn.JoinEvent(ctx, want)
	if errors.Is(err, phoenix.ErrNotJoined) {
		return Answer{}, &Error{
			Status: http.StatusConflict, Code: exitChannel, Message: "the topic was left again before the server had answered the join",
			Advice: "was the connection stopped? `phx ctl status " + name + "` shows it",
		}
	}
	return answer(name, &ev, err)
}

// Leave implements [Backend].
func (b *Bridge) Leave(ctx context.Context, name, topic string) (Answer, error) {
	conn, _, err := b.running(name)
	if err != nil {
		return Answer{}, err
	}
	ev, err := conn.LeaveEvent(ctx, topic)
	return answer(name, &ev, err)
}

// Push implements [Backend].
func (b *Bridge) Push(ctx context.Context, name string, p Push) (Answer, error) {
	conn, _, err := b.running(name)
	if err != nil {
		return Answer{}, err
	}
	push := phoenix.Push{Topic: p.Topic, Name: p.Event, Payload: phoenix.Payload{Data: p.Payload}, Timeout: p.Timeout}
	if p.Binary != nil {
		push.Payload = phoenix.Binary(p.Binary)
	}
	if !p.NoReply {
		ev, err := conn.PushEvent(ctx, push)
		return answer(name, &ev, err)
	}
	ref, err := conn.SendRef(ctx, push)
	if lost := (*phoenix.PushError)(nil); errors.As(err, &lost) {
		// Its event is in the stream; here it is told without its number.
		return answer(name, &phoenix.Event{Time: time.Now(), Topic: p.Topic, Name: p.Event, Detail: lost}, nil)
	}
	if err != nil {
		return Answer{}, callError(name, err)
	}
	return NewRefAnswer(ref), nil
}

// running returns the connection of a name and its current run.
func (b *Bridge) running(name string) (*phoenix.Conn, *connection, error) {
	conn, err := b.supervisor.Conn(name)
	c := b.connection(name)
	switch {
	case err != nil:
		return nil, nil, callError(name, err)
	case c == nil: // removed meanwhile
		return nil, nil, UnknownConnection(name)
	}
	return conn, c, nil
}

// callError makes of an error of a connection one that says what to do about it, with the exit code that other commands have.
func callError(name string, err error) error {
	var link *phoenix.LinkError
	var invalid *phoenix.InvalidError
	known := &Error{Status: http.StatusConflict, Code: 1}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, phoenix.ErrUnknownConnection):
		return UnknownConnection(name)
	case errors.Is(err, phoenix.ErrShutdown):
		return ErrClosing
	case errors.As(err, &invalid):
		return BadRequest("give another topic, event or payload", "%v", err)
	case errors.Is(err, phoenix.ErrConnectionExists):
		known.Message = fmt.Sprintf("serve has a connection %q already", name)
		known.Advice = "give the new one another name, or `phx ctl remove` the old one"
	case errors.Is(err, phoenix.ErrNotRunning), errors.Is(err, phoenix.ErrClosed), errors.As(err, &link):
		known.Code = exitLinkLost
		known.Message = fmt.Sprintf("the connection %q is not running", name)
		known.Advice = "`phx ctl start " + name + "` starts it"
	case errors.Is(err, phoenix.ErrJoined):
		known.Message, known.Advice = "the topic is joined already, or wanted", "leave it first, to join it with other params"
	case errors.Is(err, phoenix.ErrNotJoined):
		known.Code = exitChannel
		known.Message, known.Advice = "the topic is not joined", "`phx ctl status "+name+"` shows the channels"
	case errors.Is(err, context.DeadlineExceeded):
		known.Status, known.Code = http.StatusGatewayTimeout, exitTimeout
		known.Message, known.Advice = "not finished in time", "see in serve's log what the server is doing"
	default:
		return err
	}
	return known
}

// answer makes the signal of the event that answered a call. It has the id and the number of the one that is routed.
func answer(name string, ev *phoenix.Event, err error) (Answer, error) {
	if err != nil {
		return Answer{}, callError(name, err)
	}
	status := http.StatusOK
	switch d := ev.Detail.(type) {
	case *phoenix.PushTimeout:
		status = http.StatusGatewayTimeout
	case *phoenix.PushError:
		status = http.StatusBadGateway
	case *phoenix.JoinError:
		status = http.StatusBadGateway
		if d.Reason == phoenix.JoinTimeout {
			status = http.StatusGatewayTimeout
		}
	}
	return Answer{HTTPStatus: status, Line: signal.NewEncoder(signal.FormatSignal, name).Append(nil, ev)}, nil
}

// subscriptionLimit bounds in bytes what waits for a subscriber. One that is slower loses the oldest, and is told so.
const subscriptionLimit = 1 << 20

// Subscribe implements [Backend].
func (b *Bridge) Subscribe(r SubscribeRequest) (Subscription, error) {
	var f router.Filter
	for _, p := range []struct {
		text string
		into **router.Pattern
	}{{r.Match, &f.Match}, {r.Subscribe, &f.Subscribe}} {
		if p.text == "" {
			continue
		}
		pattern, err := router.CompilePattern(p.text)
		if err != nil {
			return nil, BadRequest("a right one: phoenix.backend.**", "%v", err)
		}
		*p.into = &pattern
	}
	for _, g := range []struct {
		texts []string
		into  *[]glob.Glob
	}{{r.Topic, &f.Topic}, {r.Event, &f.Event}} {
		for _, text := range g.texts {
			compiled, err := glob.Compile(text)
			if err != nil {
				return nil, BadRequest("a right one: room:*", "the glob %q: %v", text, err)
			}
			*g.into = append(*g.into, compiled)
		}
	}
	if r.Where != "" {
		var err error
		if f.Where, err = b.opts.Where(r.Where); err != nil {
			return nil, badExpression(err)
		}
	}
	return &subscription{b.router.Subscribe(f, r.Format, subscriptionLimit), nil}, nil
}

// badExpression is the error of a subscriber's jq expression that does not compile.
func badExpression(err error) error {
	e := BadRequest("check the expression of where", "%v", err)
	e.Code = exitJQCompile
	return e
}

// A subscription is a stream of signals for a caller of the control API.
type subscription struct {
	*router.Subscription
	taken *router.Chunk
}

// Next implements [Subscription].
func (s *subscription) Next(ctx context.Context) ([]byte, error) {
	s.release()
	c, err := s.Take(ctx)
	if err != nil {
		return nil, err
	}
	s.taken = c
	return c.Bytes(), nil
}

func (s *subscription) release() {
	if s.taken != nil {
		s.Release(s.taken)
		s.taken = nil
	}
}

// Close implements [Subscription].
func (s *subscription) Close() {
	s.release()
	s.Subscription.Close()
}
