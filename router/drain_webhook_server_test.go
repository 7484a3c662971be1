package router_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"phx/phoenix"
	"phx/router"
	"phx/signal"
)

// postTo posts lines to a handler by HTTP. It returns what the log has.
func postTo(t *testing.T, handler http.HandlerFunc, change func(*router.WebhookOptions), lines ...string) (s source, connections int64, logged string) {
	t.Helper()
	var opened atomic.Int64
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	log, book := newLog()
	options := router.WebhookOptions{URL: server.URL, Logger: log}
	if change != nil {
		change(&options)
	}
	s = newSource()
	s.put(t, 1, lines...)
	s.CloseInput(nil)
	if err := router.NewWebhookDrain(options).Run(t.Context(), s.Queue); err != nil {
		t.Errorf("Run: %v", err)
	}
	return s, opened.Load(), book.String()
}

// All requests go through one connection, though answers have bodies.
func TestWebhookKeepsItsConnection(t *testing.T) {
	s, connections, _ := postTo(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("thanks ", 1000))
	}, nil, line1, line2, line3)
	if connections != 1 {
		t.Errorf("%d connections were opened", connections)
	}
	s.wantCounted(t, 3, 0)
}

func TestWebhookFollowsNoRedirect(t *testing.T) {
	var paths []string
	s, _, logged := postTo(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}, nil, line1)
	if len(paths) != 1 { // the announcement of these tests is no event
		t.Errorf("requests went to %q", paths)
	}
	s.wantCounted(t, 0, 1)
	wantContains(t, "the log", logged, "307 Temporary Redirect, and redirects are not followed")
}

// newEvent is a message whose topic has all that a header must not have.
func newEvent() *phoenix.Event {
	return &phoenix.Event{
		Time: time.Date(2026, 2, 7, 12, 0, 6, 0, time.UTC), Seq: 6, Session: 1, Topic: `rö "m%`, Name: "new_msg",
		Detail: phoenix.Message{}, Payload: phoenix.Payload{Data: []byte(`{"n":1.0, "b":"<ü>"}`)},
	}
}

func TestWebhookModes(t *testing.T) {
	line := string(signal.NewEncoder(signal.FormatCloudEvents, "backend").Append(nil, newEvent()))
	line = strings.TrimSuffix(line, "\n")
	_, rest, _ := strings.Cut(line, `"id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	for _, binary := range []bool{false, true} {
		var header http.Header
		var body string
		s, _, _ := postTo(t, func(_ http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			header, body = r.Header, string(text)
		}, func(o *router.WebhookOptions) { o.Binary = binary }, line)
		s.wantCounted(t, 1, 0)
		want := map[string]string{"Content-Type": "application/cloudevents+json; charset=utf-8", "Ce-Id": ""}
		wantBody := line
		if binary {
			want = map[string]string{
				"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Source": "/jidoka/phoenix/backend",
				"Ce-Type": "phoenix.backend.r___m_.new_msg", "Ce-Subject": "r%C3%B6%20%22m%25", "Ce-Time": "2026-02-07T12:00:06.000000Z",
				"Ce-Phxconnection": "backend", "Ce-Phxtopic": "r%C3%B6%20%22m%25", "Ce-Phxevent": "new_msg", "Ce-Phxsession": "1",
				"Ce-Sequence": "0000000006", "Ce-Data": "", "Ce-Datacontenttype": "",
			}
			wantBody = `{"payload":{"n":1.0, "b":"<ü>"}}`
		}
		for name, value := range want {
			if got := header.Get(name); got != value {
				t.Errorf("%s: %q, want %q", name, got, value)
			}
		}
		if body != wantBody {
			t.Errorf("the body is %s, want %s", body, wantBody)
		}
	}
}

// The signature is what a receiver computes who knows the specification.
func TestWebhookSignature(t *testing.T) {
	const key = "a key of 24 bytes, truly"
	for _, test := range []struct {
		secret string
		ok     bool
	}{{key, true}, {"whsec_" + base64.StdEncoding.EncodeToString([]byte(key)), true}, {"whsec_!", false}} {
		s, _, logged := postTo(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			id, timestamp := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
			mac := hmac.New(sha256.New, []byte(key))
			_, _ = io.WriteString(mac, id+"."+timestamp+"."+string(body))
			seconds, err := strconv.ParseInt(timestamp, 10, 64)
			if age := time.Since(time.Unix(seconds, 0)); err != nil || id != "1" || age < 0 || age > 5*time.Minute ||
				r.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
				w.WriteHeader(http.StatusForbidden)
			}
		}, func(o *router.WebhookOptions) {
			o.Secret = func(context.Context) ([]byte, error) { return []byte(test.secret), nil }
			o.MaxRetries = -1
		}, line1)
		if test.ok {
			s.wantCounted(t, 1, 0)
		} else {
			s.wantCounted(t, 0, 1)
			wantContains(t, "the log", logged, "not base64")
		}
	}
}
