package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"phx/cmd/config"
)

func listConnections(c *call) error {
	all, err := c.server.backend.Connections(c.r.Context())
	for i := range all {
		all[i] = all[i].complete()
	}
	if all == nil {
		all = []Connection{}
	}
	return answerWith(c, http.StatusOK, connectionList{all}, err)
}

// connectionList is what GET /v1/connections answers.
type connectionList struct {
	Connections []Connection `json:"connections"`
}

// complete returns the connection as it is to be in JSON. Times are as exact as those of signals.
func (c Connection) complete() Connection {
	c.Since = c.Since.UTC().Truncate(time.Microsecond)
	c.Channels = append([]Channel{}, c.Channels...)
	for i := range c.Channels {
		c.Channels[i].JoinedAt = c.Channels[i].JoinedAt.UTC().Truncate(time.Microsecond)
	}
	if c.Counters == nil {
		c.Counters = map[string]uint64{}
	}
	return c
}

func getConnection(c *call) error {
	query, err := c.query([]string{"wait", "timeout"})
	if err != nil {
		return err
	}
	state := query.Get("wait")
	switch state {
	case "":
		if query.Has("timeout") || query.Has("wait") {
			return BadRequest("for example: ?wait=joined&timeout=30s", "the query has no state to wait for")
		}
		return answerConnection(c, http.StatusOK)(c.server.backend.Connection(c.r.Context(), c.name))
	case StateConnected, StateJoined:
		return await(c, state, query.Get("timeout"))
	}
	return BadRequest("it is connected or joined", "there is no state %q to wait for", state)
}

// await answers once the connection is in the state.
func await(c *call, state, timeout string) error {
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	defer context.AfterFunc(c.server.closing, cancel)()
	var limit time.Duration
	if timeout != "" {
		var err error
		if limit, err = parseTimeout(timeout); err != nil {
			return err
		}
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	conn, err := c.server.backend.Await(ctx, c.name, state)
	switch {
	case err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()):
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Error{
			Status: http.StatusGatewayTimeout, Code: exitTimeout,
			Message: fmt.Sprintf("%s is not %s within %v: %s", conn.Name, state, limit, conn.standing()),
			Advice:  "allow more time, or see the log of serve",
		}
	default:
		return ErrClosing
	}
	return answerConnection(c, http.StatusOK)(conn, err)
}

// standing says how far the connection is.
func (c Connection) standing() string {
	text := "it is " + c.Status
	if c.Status != StateConnected {
		return text
	}
	for _, channel := range c.Channels {
		if channel.State != StateJoined {
			text += fmt.Sprintf(", %s is %s", channel.Topic, channel.State)
		}
	}
	return text
}

// answerConnection answers with what a method of the backend returns.
func answerConnection(c *call, status int) func(Connection, error) error {
	return func(conn Connection, err error) error { return answerWith(c, status, conn.complete(), err) }
}

// An entryName is what has to be known of an entry before the backend gets it.
type entryName struct {
	Name *string `json:"name"`
}

func addConnection(c *call) error {
	query, err := c.query([]string{"dir"})
	if err != nil {
		return err
	}
	entry, err := c.body()
	if err != nil {
		return err
	}
	const hint = `for example: {"name":"backend","uri":"ws://localhost:4000/socket"}`
	var named entryName
	if err := json.Unmarshal(entry, &named); err != nil {
		return BadRequest(hint, "the body is wrong: %s", explainJSON(err))
	}
	if named.Name == nil || *named.Name == "" {
		return BadRequest(hint, "the connection has no name")
	}
	return answerConnection(c, http.StatusCreated)(c.server.backend.Add(c.r.Context(), entry, query.Get("dir")))
}

// done is what calls answer that have nothing else to tell.
type done struct {
	Name   string `json:"name,omitempty"`
	Status string `json:"status"`
}

func removeConnection(c *call) error {
	err := c.server.backend.Remove(c.r.Context(), c.name)
	return answerWith(c, http.StatusOK, done{c.name, "removed"}, err)
}

func startConnection(c *call) error {
	return answerConnection(c, http.StatusOK)(c.server.backend.Start(c.r.Context(), c.name))
}

func stopConnection(c *call) error {
	return answerConnection(c, http.StatusOK)(c.server.backend.Stop(c.r.Context(), c.name))
}

func restartConnection(c *call) error {
	return answerConnection(c, http.StatusOK)(c.server.backend.Restart(c.r.Context(), c.name))
}

func reload(c *call) error {
	return answerWith(c, http.StatusOK, done{Status: "reloaded"}, c.server.backend.Reload(c.r.Context()))
}

// parseTimeout parses the time that a call may take.
func parseTimeout(text string) (time.Duration, error) {
	d, err := config.ParseDuration(text)
	if err != nil {
		return 0, BadRequest("for example: timeout=30s", "timeout %q %v", text, err)
	}
	return d, nil
}
