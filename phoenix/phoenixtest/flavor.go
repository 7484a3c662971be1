package phoenixtest

import (
	"net/http"
	"strings"
	"time"
)

// A Flavor is the web server under Phoenix. All differences that were found between the
// two are here.
type Flavor int

// The flavors. Bandit is Phoenix's default.
const (
	Bandit Flavor = iota
	Cowboy
)

// idleClose is the close code of an idle timeout.
func (f Flavor) idleClose() int {
	if f == Cowboy {
		return closeNormal
	}
	return closeProtocolError
}

// idleAfter is when a client that was silent since the given time is found idle. Cowboy
// looks only at each tenth of the timeout since the start, and closes at the eleventh look.
func (f Flavor) idleAfter(start, heard time.Time, timeout time.Duration) time.Time {
	if f != Cowboy {
		return heard.Add(timeout)
	}
	tick := timeout / 10
	ticksBefore := heard.Sub(start) / tick
	return start.Add((ticksBefore + 11) * tick)
}

// answerTo is the close code that answers a close frame of the client.
func (f Flavor) answerTo(code int) int {
	if f == Cowboy {
		return code
	}
	return closeNormal
}

// crashClose is the close code of an exception in the transport; ok is false where the
// connection just ends.
func (f Flavor) crashClose() (code int, ok bool) { return closeInternalError, f != Cowboy }

// extensionHeader is the value of Sec-WebSocket-Extensions.
func (f Flavor) extensionHeader(params []string) string {
	if f == Cowboy {
		return strings.Join(params, "; ")
	}
	return strings.Join(params, ";")
}

// stamp sets the headers that every answer has. An upgrade has no body and so no vary.
func (f Flavor) stamp(h http.Header, upgrade bool) {
	h.Set("Cache-Control", "max-age=0, private, must-revalidate")
	switch {
	case f == Cowboy:
		h.Set("Server", "Cowboy")
	case !upgrade:
		h.Set("Vary", "accept-encoding")
	}
}
