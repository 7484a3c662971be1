package phoenix

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestEndpointURL(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"ws://host/socket", "ws://host/socket/websocket?vsn=2.0.0"},
		{"wss://host/socket", "wss://host/socket/websocket?vsn=2.0.0"},
		{"http://host/socket", "ws://host/socket/websocket?vsn=2.0.0"},
		{"HTTPS://host/socket", "wss://host/socket/websocket?vsn=2.0.0"},
		{"ws://host:4000/socket/", "ws://host:4000/socket/websocket?vsn=2.0.0"},
		{"ws://host/socket/websocket", "ws://host/socket/websocket?vsn=2.0.0"},
		{"ws://host/socket/websocket/", "ws://host/socket/websocket/?vsn=2.0.0"},
		{"ws://host", "ws://host/websocket?vsn=2.0.0"},
		{"ws://host/", "ws://host/websocket?vsn=2.0.0"},
		{"ws://[::1]:4000/socket", "ws://[::1]:4000/socket/websocket?vsn=2.0.0"},
		{"ws://host/a%2Fb/socket", "ws://host/a%2Fb/socket/websocket?vsn=2.0.0"},
		{"ws://host/socket#fragment", "ws://host/socket/websocket?vsn=2.0.0"},
		// A query is kept as it was written, and vsn comes last, as with the official client.
		{"ws://host/socket?b=2&a=1", "ws://host/socket/websocket?b=2&a=1&vsn=2.0.0"},
		{"ws://host/socket?a[]=%20+", "ws://host/socket/websocket?a[]=%20+&vsn=2.0.0"},
		{"ws://host/socket?vsn=1.0.0", "ws://host/socket/websocket?vsn=1.0.0"},
		{"ws://host/socket?vsn=2.0.9&a=1", "ws://host/socket/websocket?vsn=2.0.9&a=1"},
		{"ws://user:pass@host/socket", "ws://host/socket/websocket?vsn=2.0.0"},
	} {
		e, err := newEndpoint(c.raw, "2.0.0")
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		if got, _ := e.request(Credentials{}); got != c.want {
			t.Errorf("%s: dials %s, want %s", c.raw, got, c.want)
		}
	}
}

// The vsn of the URL wins over that of the options, and of two the last: the server takes that one, too.
func TestEndpointVersion(t *testing.T) {
	for _, c := range []struct {
		raw, vsn string
		want     codec
	}{
		{"ws://host/socket", "2.0.0", codecV2{}},
		{"ws://host/socket", "1.0.0", codecV1{}},
		{"ws://host/socket?vsn=1.0.0", "2.0.0", codecV1{}},
		{"ws://host/socket?vsn=1.0.0&vsn=2.0.0", "1.0.0", codecV2{}},
	} {
		e, err := newEndpoint(c.raw, c.vsn)
		if err != nil || e.codec != c.want {
			t.Errorf("%s with %s: codec %T, error %v, want %T", c.raw, c.vsn, e.codec, err, c.want)
		}
	}
}

// What is wrong with a URL is said without the URL: it may hold secrets.
func TestEndpointErrors(t *testing.T) {
	for _, raw := range []string{
		"",
		"host/socket?token=hunter2",
		"ftp://hunter2@host/socket",
		"ws://?token=hunter2",
		"ws:///socket?token=hunter2",
		"ws://ho st/socket?token=hunter2",
		"ws://host:port/socket?token=hunter2",
		"ws://user:hunter2@host:x/socket",
		"ws://host/%zz?token=hunter2",
		"ws://host/socket?vsn=2.1.0&token=hunter2",
		"ws://host/socket\x7f?token=hunter2",
	} {
		_, err := newEndpoint(raw, "2.0.0")
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: error %v", raw, err)
		}
	}
}

func TestEndpointRequest(t *testing.T) {
	e, err := newEndpoint("ws://user:p%40ss@host/socket?a=1", "2.0.0")
	if err != nil {
		t.Fatal(err)
	}
	c := Credentials{Params: url.Values{"token": {"a&b"}}, Header: http.Header{"X-Key": {"1", "2"}}}
	got, header := e.request(c)
	if want := "ws://host/socket/websocket?token=a%26b&a=1&vsn=2.0.0"; got != want {
		t.Errorf("dials %s, want %s", got, want)
	}
	if got, want := header.Get("Authorization"), "Basic dXNlcjpwQHNz"; got != want { // user:p@ss
		t.Errorf("authorization %q, want %q", got, want)
	}
	if got := header["X-Key"]; len(got) != 2 || got[1] != "2" {
		t.Errorf("header %q", got)
	}
	if len(c.Header) != 1 {
		t.Error("the header of the credentials was changed")
	}
	if got, want := e.public(), "ws://host/socket/websocket"; got != want {
		t.Errorf("shows %s, want %s", got, want)
	}
	c.Header.Set("Authorization", "Bearer x")
	if _, header = e.request(c); header.Get("Authorization") != "Bearer x" {
		t.Error("the URL's userinfo beats a header that was given")
	}
}

// The token goes in the standard alphabet, unpadded, whatever the name of the subprotocol says (rule 24).
func TestSubprotocols(t *testing.T) {
	for _, c := range []struct {
		credentials Credentials
		want        string
	}{
		{Credentials{}, ""},
		{Credentials{AuthToken: "ignored"}, ""},
		{Credentials{HasAuthToken: true}, "phoenix, base64url.bearer.phx."},
		{Credentials{HasAuthToken: true, AuthToken: "a"}, "phoenix, base64url.bearer.phx.YQ"},
		{Credentials{HasAuthToken: true, AuthToken: "\xfb\xff\xfe?"}, "phoenix, base64url.bearer.phx.+//+Pw"},
	} {
		if got := strings.Join(subprotocols(c.credentials), ", "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.credentials, got, c.want)
		}
	}
}
