package phoenix

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// A page that repeats the request shows none of its secrets in an error.
func TestRefusalRepeatsTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		page := "no /socket/websocket?token=hunter22%2B&amp;n=1 for Bearer hunter33 or hunter22+ or hunter44"
		conn, err := New(Options{
			URL: "ws://phoenix.test/socket?token=hunter22%2B&n=1",
			Credentials: func(context.Context) (Credentials, error) {
				return Credentials{Header: http.Header{"Authorization": {"Bearer hunter33"}}, AuthToken: "hunter44", HasAuthToken: true}, nil
			},
			NetDial: answering(t, fmt.Sprintf("HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s", len(page), page)),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _, failed := conn.dial(t.Context(), nil)
		if want := "HTTP status 404: no /socket/websocket?token=...&amp;n=1 for ... or ... or ..."; failed == nil || failed.Detail() != want {
			t.Errorf("%v\nwant %s", failed, want)
		}
	})
}

func TestShortValuesAreNoSecrets(t *testing.T) {
	secrets := secretsOf("ws://h/socket?a=1&b=12345678", http.Header{"X-Env": {"prod"}}, "")
	if strings.Join(secrets, " ") != "12345678 12345678" {
		t.Errorf("secrets %q", secrets)
	}
}
