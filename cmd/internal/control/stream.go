package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// A Stream is the signals that a server sends to a subscriber. One goroutine reads it.
type Stream struct {
	client   *Client
	ctx      context.Context
	response *http.Response
	reader   *bufio.Reader
	// long is the beginning of a line that is longer than the reader's buffer.
	long []byte
}

// streamBuffer is how much is read from the socket at a time.
const streamBuffer = 64 << 10

// Signals subscribes. When it returns, no signal is missed any more. The stream ends with ctx.
func (c *Client) Signals(ctx context.Context, r SubscribeRequest) (*Stream, error) {
	query := url.Values{}
	for name, text := range map[string]string{
		queryMatch: r.Match, querySubscribe: r.Subscribe, queryWhere: r.Where, queryFormat: r.Format.String(),
	} {
		if text != "" {
			query.Set(name, text)
		}
	}
	query[queryTopic], query[queryEvent] = r.Topic, r.Event
	response, err := c.do(ctx, http.MethodGet, "/v1/signals", query, nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		answer, _ := io.ReadAll(response.Body)
		if err := errorOf(response.StatusCode, answer); err != nil {
			return nil, err
		}
		return nil, c.strange(fmt.Errorf("HTTP status %d", response.StatusCode))
	}
	return &Stream{client: c, ctx: ctx, response: response, reader: bufio.NewReaderSize(response.Body, streamBuffer)}, nil
}

// Next waits for a line and returns it with its line break; it is valid until the next call. The error is the cause of the end of the context,
// or an [*Error] that says that the server has gone.
func (s *Stream) Next() ([]byte, error) {
	s.long = s.long[:0]
	for {
		part, err := s.reader.ReadSlice('\n')
		switch {
		case err == nil && len(s.long) == 0:
			return part, nil
		case err == nil:
			s.long = append(s.long, part...)
			return s.long, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, s.ended(err)
		}
		s.long = append(s.long, part...)
	}
}

// Ready reports whether Next has a line without waiting.
func (s *Stream) Ready() bool {
	waiting, _ := s.reader.Peek(s.reader.Buffered())
	return bytes.IndexByte(waiting, '\n') >= 0
}

// Close ends the stream.
func (s *Stream) Close() { _ = s.response.Body.Close() }

func (s *Stream) ended(err error) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	message := "phx serve has ended the stream of signals"
	if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		message = "lost the stream of signals from phx serve"
	}
	return &Error{
		Code: exitLinkLost, Message: fmt.Sprintf("%s at %s", message, s.client.path),
		Advice: "was it stopped? it also cuts off who reads too slowly: see its log",
	}
}
