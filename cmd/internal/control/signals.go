package control

import (
	"context"
	"net/http"

	"phx/signal"
)

// The names in the query of GET /v1/signals.
const (
	queryMatch     = "match"
	querySubscribe = "subscribe"
	queryTopic     = "topic"
	queryEvent     = "event"
	queryWhere     = "where"
	queryFormat    = "format"
)

// subscribeRequest reads the query.
func (c *call) subscribeRequest() (SubscribeRequest, error) {
	query, err := c.query([]string{queryMatch, querySubscribe, queryWhere, queryFormat}, queryTopic, queryEvent)
	if err != nil {
		return SubscribeRequest{}, err
	}
	r := SubscribeRequest{
		Match: query.Get(queryMatch), Subscribe: query.Get(querySubscribe),
		Topic: nonEmpty(query[queryTopic]), Event: nonEmpty(query[queryEvent]), Where: query.Get(queryWhere),
	}
	if format := query.Get(queryFormat); format != "" {
		if r.Format, err = signal.ParseFormat(format); err != nil {
			return r, BadRequest("leave it out for the default", "%v", err)
		}
	}
	return r, nil
}

// nonEmpty leaves out what is empty: "topic=" asks for nothing.
func nonEmpty(texts []string) []string {
	var kept []string
	for _, text := range texts {
		if text != "" {
			kept = append(kept, text)
		}
	}
	return kept
}

// streamSignals writes signals as they come, until the caller has gone or stops reading, or the server is to end.
func streamSignals(c *call) error {
	request, err := c.subscribeRequest()
	if err != nil {
		return err
	}
	subscription, err := c.server.backend.Subscribe(request)
	if err != nil {
		return err
	}
	defer subscription.Close()
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	defer context.AfterFunc(c.server.closing, cancel)()
	// The header goes out at once: who has it knows that no signal from now on is missed.
	c.begin(http.StatusOK, "application/x-ndjson")
	for err = c.control.Flush(); err == nil; err = c.control.Flush() {
		lines, err := subscription.Next(ctx)
		c.extend() // also for the end of the body
		if err != nil {
			return nil // the stream has ended, for everybody or for this one
		}
		if _, err := c.w.Write(lines); err != nil {
			break
		}
	}
	c.server.log.Debug("a subscriber of signals has gone, or did not read for too long", "timeout", c.server.writeTimeout)
	return nil
}
