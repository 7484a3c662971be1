package config

import (
	"fmt"
	"net/url"
)

// Elsewhere says, if that is so, that the credentials of a connection that nobody named go to another server than its own. The
// file counts for less than --uri and PHX_URI, and whoever gives one of them may not think of the file at all.
func (e *Entry) Elsewhere(c *Connection) string {
	if e == nil || e.named || !e.hasCredentials() {
		return ""
	}
	own, ok := e.field("uri")
	if !ok {
		return ""
	}
	// What the variables of a URI that is not used are is of no interest.
	text, err := own.Text()
	if err != nil || hostOf(text) == hostOf(c.URI) {
		return ""
	}
	return fmt.Sprintf("credentials of the connection %s in the config file are sent to %s, which is not its uri:"+
		" choose it with -n, or no file with --config /dev/null", e.Name, c.Address())
}

// hasCredentials reports whether the file has something for the connection that may be secret.
func (e *Entry) hasCredentials() bool {
	for _, key := range []string{"auth_token", "params", "headers"} {
		if _, ok := e.field(key); ok {
			return true
		}
	}
	return false
}

func hostOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return u.Host
}
