package bridge

import (
	"context"
	"net/http"

	"phx/cmd/internal/control"
	"phx/phoenix"
	"phx/router"
	"phx/router/glob"
	"phx/signal"
)

// answer makes the signal of the event that answered a call. It has the id and the number of the one that is routed.
func answer(name string, ev *phoenix.Event, err error) (control.Answer, error) {
	if err != nil {
		return control.Answer{}, callError(name, err)
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
	return control.Answer{HTTPStatus: status, Line: signal.NewEncoder(signal.FormatSignal, name).Append(nil, ev)}, nil
}

// subscriptionLimit bounds in bytes what waits for a subscriber. One that is slower loses the oldest, and is told so.
const subscriptionLimit = 1 << 20

// Subscribe implements [control.Backend].
func (b *Bridge) Subscribe(r control.SubscribeRequest) (control.Subscription, error) {
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
			return nil, control.BadRequest("a right one: phoenix.backend.**", "%v", err)
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
				return nil, control.BadRequest("a right one: room:*", "the glob %q: %v", text, err)
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
	e := control.BadRequest("check the expression of where", "%v", err)
	e.Code = exitJQCompile
	return e
}

const exitJQCompile = 3

// A subscription is a stream of signals for a caller of the control API.
type subscription struct {
	*router.Subscription
	taken *router.Chunk
}

// Next implements [control.Subscription].
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

// Close implements [control.Subscription].
func (s *subscription) Close() {
	s.release()
	s.Subscription.Close()
}
