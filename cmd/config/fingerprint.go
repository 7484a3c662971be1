package config

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Fingerprint is equal for equal effective settings, however they are written, and tells nothing of them. Its error is that of
// [Entry.Resolve].
func (e *Entry) Fingerprint() (string, error) {
	c, err := e.Resolve(nil)
	if err != nil {
		return "", err
	}
	return c.fingerprint(), nil
}

// fingerprint hashes everything that makes a difference to the running connection. require_wss makes none.
func (c *Connection) fingerprint() string {
	retries, failFast := c.retries()
	proxy := ""
	if c.network.proxyURL != nil {
		proxy = c.network.proxyURL.String()
	}
	channels := make([]any, len(c.autoJoin))
	for i, channel := range c.autoJoin {
		channels[i] = []any{channel.topic, canonicalJSON(channel.params), canonicalPairs(channel.secrets, asIs)}
	}
	return hashOf([]any{
		c.Name, c.URI, c.vsn, c.Required, c.Presence, c.noJitter, retries, failFast, c.maxMessage,
		c.ConnectTimeout, c.ReplyTimeout, c.heartbeatInterval, c.effectiveHeartbeatTimeout(), c.reconnectAfter, c.rejoinAfter,
		canonicalPairs(c.params, asIs), canonicalPairs(c.headers, http.CanonicalHeaderKey), c.authToken.canonical(), channels,
		c.tls.ca.canonical(), c.tls.cert.canonical(), c.tls.key.canonical(), c.tls.serverName, c.tls.insecure,
		proxy, c.network.origin, c.network.unixSocket, c.network.compress,
	})
}

const defaultHeartbeatTimeout = 10 * time.Second

// effectiveHeartbeatTimeout is what package phoenix makes of it: who writes the default out says nothing new.
func (c *Connection) effectiveHeartbeatTimeout() time.Duration {
	return cmp.Or(c.heartbeatTimeout, min(defaultHeartbeatTimeout, c.heartbeatInterval))
}

func asIs(name string) string { return name }

// canonical says where the text comes from, and nothing about where that is said.
func (s *Source) canonical() any {
	switch {
	case s == nil:
		return nil
	case s.run != nil:
		return []any{"command", s.words}
	case s.path != "":
		return []any{"file", s.path}
	}
	return []any{"text", strconv.QuoteToASCII(s.literal)} // which tells texts apart that are no UTF-8
}

// canonicalPairs orders pairs by name; several of one name stay in their order.
func canonicalPairs(pairs []pair, canonicalName func(string) string) [][]any {
	list := make([][]any, len(pairs))
	for i, p := range pairs {
		list[i] = []any{canonicalName(p.name), p.value.canonical()}
	}
	slices.SortStableFunc(list, func(a, b []any) int { return cmp.Compare(a[0].(string), b[0].(string)) })
	return list
}

// canonicalJSON orders the keys of objects; numbers stay as they are spelled.
func canonicalJSON(text json.RawMessage) any {
	if len(text) == 0 {
		return map[string]any{} // as the server sees it
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	_ = decoder.Decode(&value) // it was made by us
	return value
}

// hashOf returns a hash of what encodes as JSON.
func hashOf(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic("config: a fingerprint of what is no JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
