package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A call is one request on its way through a handler.
type call struct {
	server  *Server
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	// name is the connection in the path, topic the topic in it.
	name, topic string
	// begun says that the header of the answer is written.
	begun bool
}

// answer answers with a value as JSON.
func (c *call) answer(status int, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	c.write(status, text)
	return nil
}

// answerWith is answer for what a method of the backend returned.
func answerWith[T any](c *call, status int, value T, err error) error {
	if err != nil {
		return err
	}
	return c.answer(status, value)
}

// answerSignal answers with a signal.
func (c *call) answerSignal(a Answer, err error) error {
	if err != nil {
		return err
	}
	c.write(a.HTTPStatus, bytes.TrimSuffix(a.Line, []byte("\n")))
	return nil
}

// write writes the answer: text in a line of its own. A caller that has gone, or does not read, misses it.
func (c *call) write(status int, text []byte) {
	c.begin(status, "application/json")
	_ = c.control.SetReadDeadline(time.Now().Add(bodyTimeout)) // for a body that nobody wanted, which net/http reads now
	_, _ = c.w.Write(append(text[:len(text):len(text)], '\n'))
}

// begin writes the header.
func (c *call) begin(status int, contentType string) {
	c.begun = true
	c.extend()
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(status)
}

// extend gives the caller some more time to take what is written next.
func (c *call) extend() {
	_ = c.control.SetWriteDeadline(time.Now().Add(c.server.writeTimeout)) // a connection that is gone fails at the write
}

// fail answers with an error.
func (c *call) fail(err error) {
	if c.begun {
		panic(http.ErrAbortHandler) // the stream must not look complete
	}
	e := asError(err)
	text, _ := json.Marshal(e.body()) // strings and a number
	c.write(e.Status, text)
}

// panicked answers a call whose handler panicked, if that can still be done.
func (c *call) panicked() {
	if c.begun {
		panic(http.ErrAbortHandler)
	}
	c.fail(&Error{
		Status: http.StatusInternalServerError, Code: exitFailure, Message: "serve made a mistake in this call; nothing else is harmed",
		Advice: "its log on stderr has more",
	})
}

// body reads the body, all of it.
func (c *call) body() ([]byte, error) {
	_ = c.control.SetReadDeadline(time.Now().Add(bodyTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, c.server.maxBody))
	_ = c.control.SetReadDeadline(time.Time{})
	switch {
	case err == nil && !utf8.Valid(data):
		return nil, BadRequest("JSON is UTF-8; bytes go as payload_base64", "the body is not valid UTF-8")
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, &Error{
			Status: http.StatusRequestEntityTooLarge, Code: exitUsage, Message: fmt.Sprintf("the body has more than %d bytes", c.server.maxBody), Advice: "send less",
		}
	case err != nil:
		return nil, BadRequest("send it again", "the body did not arrive: %v", err)
	}
	return data, nil
}

// decode reads the body into v: one JSON object, with no members but v's.
func (c *call) decode(v any, example string) error {
	data, err := c.body()
	if err != nil {
		return err
	}
	hint := "for example: " + example
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return BadRequest(hint, "the body is wrong: %s", explainJSON(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return BadRequest(hint, "the body is wrong: something follows the object")
	}
	return nil
}

// explainJSON says what is wrong with a body, without the names of Go's types.
func explainJSON(err error) string {
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		if kind.Field == "" {
			return "it is no object: " + kind.Value
		}
		return fmt.Sprintf("%s is of the wrong kind: %s", kind.Field, kind.Value)
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.HasPrefix(text, "unexpected end") {
		return "it ends too early"
	}
	return text
}

// query returns the query, in which nothing but the known names may be given, and only those that repeat more than once.
func (c *call) query(known []string, repeat ...string) (url.Values, error) {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, BadRequest("percent-encode what is not a letter or a digit", "the query is wrong: %v", err)
	}
	for name, texts := range values {
		switch {
		case slices.Contains(repeat, name):
		case !slices.Contains(known, name):
			hint := "this call takes no query"
			if names := slices.Concat(known, repeat); len(names) > 0 {
				hint = "there are: " + strings.Join(names, ", ")
			}
			return nil, BadRequest(hint, "the query has an unknown name, %q", name)
		case len(texts) > 1:
			return nil, BadRequest("give it once", "the query has more than one %q", name)
		}
	}
	return values, nil
}
