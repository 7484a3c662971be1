package router_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
	"phx/router"
	"phx/signal"
)

// An endpoint answers requests as it is told, in memory, and remembers what was posted and when.
type endpoint struct {
	answers []string // status, then headers "Name: value", divided by '|'; the last one repeats. "hang" is none, "fail" an error.
	posted  []string // bodies
	after   []time.Duration
	last    time.Time
	request *http.Request // the last one
	mu      sync.Mutex    // for a test that looks while the drain runs
}

var errNetwork = errors.New("no route to the endpoint")

// RoundTrip implements [http.RoundTripper].
func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	if e.last.IsZero() {
		e.last = time.Now()
	}
	e.posted = append(e.posted, string(body))
	e.after = append(e.after, time.Since(e.last))
	e.last, e.request = time.Now(), r
	parts := strings.Split(e.answers[min(len(e.posted), len(e.answers))-1], "|")
	e.mu.Unlock()
	switch parts[0] {
	case "hang":
		<-r.Context().Done()
		return nil, r.Context().Err()
	case "fail":
		return nil, errNetwork
	}
	status, err := strconv.Atoi(parts[0])
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	for _, line := range parts[1:] {
		name, value, _ := strings.Cut(line, ": ")
		header.Set(name, value)
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(header.Get("Body")))}, nil
}

// postAll puts some lines to a webhook in one chunk and runs it to its end. For more options there
// is change.
func postAll(t *testing.T, e *endpoint, lines []string, change func(*router.WebhookOptions)) (s source, logged string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log, book := newLog()
		options := router.WebhookOptions{URL: "https://user:hunter2@example.com/hook?key=hunter3", Transport: e, Logger: log}
		if change != nil {
			change(&options)
		}
		s = source{router.NewQueue(1<<20, router.DropOldest, func(dst []byte, l router.Loss) []byte {
			return fmt.Appendf(dst, "{\"lost\":\"%d %d-%d\"}\n", l.Count, l.FirstSeq, l.LastSeq)
		}), router.NewOrigin("backend")}
		s.put(t, 1, lines...)
		s.CloseInput(nil)
		if err := router.NewWebhookDrain(options).Run(t.Context(), s.Queue); err != nil {
			t.Errorf("Run: %v", err)
		}
		logged = book.String()
	})
	wantLacks(t, "the log", logged, "hunter")
	return s, logged
}

func wantPosted(t *testing.T, e *endpoint, want ...string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := strings.Join(e.posted, " "); got != strings.Join(want, " ") {
		t.Errorf("posted %q, want %q", e.posted, want)
	}
}

const line1, line2, line3 = `{"id":"1"}`, `{"id":"2"}`, `{"id":"3"}`

func TestWebhookPostsInOrder(t *testing.T) {
	e := &endpoint{answers: []string{"200", "204", "202"}}
	s, logged := postAll(t, e, []string{line1, line2, line3}, nil)
	wantPosted(t, e, line1, line2, line3)
	s.wantCounted(t, 3, 0)
	if logged != "" {
		t.Errorf("logged %s", logged)
	}
	r := e.request
	if r.Method != http.MethodPost || r.URL.RawQuery != "key=hunter3" || r.Header.Get("User-Agent") != "phx" ||
		r.Header.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" {
		t.Errorf("posted by %s to %s with %v", r.Method, r.URL, r.Header)
	}
	if user, password, _ := r.BasicAuth(); user != "user" || password != "hunter2" {
		t.Errorf("posted as %s with %s", user, password)
	}
}

// Failures that may pass are tried again, after a growing delay.
func TestWebhookTriesAgain(t *testing.T) {
	e := &endpoint{answers: []string{"500", "429", "fail", "hang", "503", "599", "200"}}
	s, logged := postAll(t, e, []string{line1, line2}, nil)
	wantPosted(t, e, line1, line1, line1, line1, line1, line1, line1, line2)
	s.wantCounted(t, 2, 0)
	for i, ceiling := range []time.Duration{0, 100, 200, 400, 800 + 10_000, 1600, 3200} {
		ceiling *= time.Millisecond
		if got := e.after[i]; got > ceiling || got < ceiling/2 {
			t.Errorf("attempt %d was %v after the one before, want half of %v to all of it", i, got, ceiling)
		}
	}
	wantContains(t, "the log", logged, "url=https://example.com/hook", "500 Internal Server Error", "works again")
	if n := strings.Count(logged, "\n"); n != 2 {
		t.Errorf("logged %d lines:\n%s", n, logged)
	}
}

// What came of each attempt is counted, and the last error is kept without a secret, also of an
// answer that is no HTTP.
func TestWebhookCountsAttempts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := []string{"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 hunter2\r\n\r\n", "HTTP/1.1 204 Fine\r\n\r\n"}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		for _, answer := range answers {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, answer)
			}
			conn.Close()
		}
	}()
	hidden := errors.New("cannot read the secret")
	d := router.NewWebhookDrain(router.WebhookOptions{
		URL: "http://" + l.Addr().String() + "/hook?key=hunter2", Transport: &http.Transport{DisableKeepAlives: true},
		Headers: func(context.Context) (http.Header, error) {
			err := hidden
			hidden = nil
			return nil, err
		},
	})
	r := router.New(nil)
	sink := router.NewSink(router.SinkOptions{Name: "hook", Kind: "webhook", Format: signal.FormatCloudEvents, Bytes: 1 << 20, Policy: router.DropOldest, Drain: d})
	if err := r.Apply([]*router.Sink{sink}, []router.Route{{To: []string{"hook"}}}); err != nil {
		t.Fatal(err)
	}
	p := r.Publisher("backend")
	p.Publish(&phoenix.Event{Topic: "room:a", Name: "tick", Payload: phoenix.JSON("{}"), Detail: &phoenix.Message{}, Seq: 1, Time: time.Unix(1, 0)})
	p.Flush()
	<-answered
	stats := r.Stats()
	for len(stats[0].Connections) == 0 || stats[0].Connections[0].Delivered == 0 {
		runtime.Gosched()
		stats = r.Stats()
	}
	want := map[string]uint64{"not sent": 1, "503": 1, "no answer": 1, "204": 1}
	got := stats[0]
	if !maps.Equal(got.Attempts, want) || got.Failing || got.LastErrorAt.IsZero() {
		t.Errorf("%+v, want attempts %v", got, want)
	}
	wantContains(t, "the last error", got.LastError, "malformed HTTP")
	wantLacks(t, "the last error", got.LastError, "hunter")
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// A signal that is lost is announced before the next one, also when it is the last.
func TestWebhookGivesUp(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers []string
		posted  []string
		logged  string
		lost    uint64
	}{
		{"refused", []string{"400|Body: no {field}", "200"}, []string{line1, `{"lost":"1 1-1"}`, line2}, "400 Bad Request: no {field}", 1},
		{"redirect", []string{"302|Location: https://o.example/", "200"}, []string{line1, `{"lost":"1 1-1"}`, line2}, "redirects are not followed", 1},
		{"retries", []string{"500", "fail", "500", "200"}, []string{line1, line1, line1, `{"lost":"1 1-1"}`, line2}, "500", 1},
		{"last", []string{"200", "404", "200"}, []string{line1, line2, `{"lost":"1 2-2"}`}, "404 Not Found", 1},
		{"all", []string{"401"}, []string{line1, `{"lost":"1 1-1"}`, line2, `{"lost":"2 1-2"}`}, "401 Unauthorized", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &endpoint{answers: test.answers}
			s, logged := postAll(t, e, []string{line1, line2}, func(o *router.WebhookOptions) {
				o.MaxRetries = 2
			})
			wantPosted(t, e, test.posted...)
			s.wantCounted(t, 2-test.lost, test.lost)
			wantContains(t, "the log", logged, "which is lost", test.logged)
		})
	}
}

// A receiver that is away for however long loses nothing while the queue has room.
func TestWebhookRetriesWhileThereIsRoom(t *testing.T) {
	for _, failure := range []string{"500", "429", "fail", "hang"} {
		answers := []string{}
		for range 1000 { // more than eight hours
			answers = append(answers, failure)
		}
		e := &endpoint{answers: append(answers, "200")}
		s, logged := postAll(t, e, []string{line1, line2}, nil)
		s.wantCounted(t, 2, 0)
		wantContains(t, "the log", logged, "works again")
		if n := len(e.posted); n != 1002 {
			t.Errorf("%s: there were %d requests, want 1002", failure, n)
		}
	}
}

func TestWebhookRetriesAreBounded(t *testing.T) {
	for retries, attempts := range map[int]int{-1: 1, 3: 4} {
		e := &endpoint{answers: []string{"500"}}
		s, _ := postAll(t, e, []string{line1}, func(o *router.WebhookOptions) { o.MaxRetries = retries })
		if n := strings.Count(strings.Join(e.posted, " "), line1); n != attempts {
			t.Errorf("with MaxRetries %d there were %d attempts, want %d", retries, n, attempts)
		}
		s.wantCounted(t, 0, 1)
	}
}

// A record is dropped by the policy between two attempts: the newest ones get through in the end.
func TestWebhookDropsWhatItRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answers: []string{"503|Retry-After: 60", "200"}}
		s := newSource()
		s.LimitRecords(2)
		ended := running(t.Context(), router.NewWebhookDrain(router.WebhookOptions{URL: "http://example.com", Transport: e}), s.Queue)
		for seq, line := range []string{line1, line2, line3} {
			s.put(t, uint64(seq+1), line)
			synctest.Wait()
		}
		s.wantCounted(t, 0, 1)
		s.CloseInput(nil)
		if err := ended(); err != nil {
			t.Errorf("Run: %v", err)
		}
		wantPosted(t, e, line1, line2, line3) // the announcement of these tests is no event
		s.wantCounted(t, 2, 1)
	})
}

// The announcement of a loss is posted once, and no second one before something was accepted, so
// that a receiver that fails gets no more requests for it.
func TestWebhookAnnouncesOnce(t *testing.T) {
	e := &endpoint{answers: []string{"400", "503", "503", "400", "400", "200"}}
	s, _ := postAll(t, e, []string{line1, line2, line3, `{"id":"4"}`, `{"id":"5"}`}, nil)
	wantPosted(t, e, line1, `{"lost":"1 1-1"}`, line2, line2, line3, `{"id":"4"}`, `{"id":"5"}`, `{"lost":"3 1-3"}`)
	s.wantCounted(t, 2, 3)
}

// A receiver that is too slow gets signals at its own rate, not only announcements, whatever the
// policy and the number of connections.
func TestWebhookTooSlow(t *testing.T) {
	for _, policy := range []router.Policy{router.DropOldest, router.DropNewest} {
		for _, connections := range []int{1, 40} {
			synctest.Test(t, func(t *testing.T) {
				slow := &slowEndpoint{}
				sink := router.NewSink(router.SinkOptions{
					Name: "hook", Format: signal.FormatCloudEvents, Records: 100, Bytes: 64 << 20, Policy: policy,
					Drain: router.NewWebhookDrain(router.WebhookOptions{URL: "http://example.com", Transport: slow}),
				})
				r := router.New(nil)
				if err := r.Apply([]*router.Sink{sink}, []router.Route{{To: []string{"hook"}}}); err != nil {
					t.Fatal(err)
				}
				publishers := make([]*router.Publisher, connections)
				for i := range publishers {
					publishers[i] = r.Publisher("c" + strconv.Itoa(i))
				}
				for i := range 20 * 120 {
					p := publishers[i%connections]
					ev := newEvent()
					ev.Seq = uint64(i/connections + 1)
					p.Publish(ev)
					p.Flush()
					time.Sleep(50 * time.Millisecond)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				_ = r.Shutdown(ctx)
				// 120 s at 0.3 s a request are 400 requests.
				if slow.events < 240 || slow.events < 370 && policy == router.DropOldest {
					t.Errorf("%v, %d connections: of %d requests, only %d were signals", policy, connections, slow.requests, slow.events)
				}
				if slow.inARow > 1 {
					t.Errorf("%v, %d connections: %d announcements came in a row", policy, connections, slow.inARow)
				}
			})
		}
	}
}

// A slowEndpoint takes 0.3 s for each request.
type slowEndpoint struct{ requests, events, row, inARow int }

// RoundTrip implements [http.RoundTripper].
func (e *slowEndpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(300 * time.Millisecond):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	e.requests++
	if strings.Contains(string(body), "phoenix.signal.dropped") {
		e.row++
		e.inARow = max(e.inARow, e.row)
	} else {
		e.events++
		e.row = 0
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// After 410 nothing more is posted, and what waits is lost.
func TestWebhookIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answers: []string{"200", "410|Body: moved out", "200"}}
		s := newSource()
		s.put(t, 1, line1, line2, line3)
		err := router.NewWebhookDrain(router.WebhookOptions{URL: "http://example.com", Transport: e}).Run(t.Context(), s.Queue)
		if err == nil {
			t.Fatal("Run went on")
		}
		wantContains(t, "the error", err.Error(), "410 Gone: moved out", "until the configuration is reloaded")
		s.Abort(err)
		wantPosted(t, e, line1, line2)
		s.wantCounted(t, 1, 2)
	})
}

func TestWebhookHonoursRetryAfter(t *testing.T) {
	for _, test := range []struct {
		value string
		want  time.Duration
	}{
		{"7", 7 * time.Second},
		{"1.5", 1500 * time.Millisecond},
		{"86400", 5 * time.Minute},
		{"99999999999999999999", 5 * time.Minute},
		{"Sat, 01 Jan 2000 00:00:42 GMT", 42 * time.Second}, // bubbles begin in 2000
		{"Sat, 01 Jan 2050 00:00:42 GMT", 5 * time.Minute},
		{"Fri, 01 Jan 1999 00:00:42 GMT", 0},
		{"-3", 0},
		{"soon", 0},
	} {
		e := &endpoint{answers: []string{"503|Retry-After: " + test.value, "200"}}
		postAll(t, e, []string{line1}, nil)
		if got := e.after[1]; got <= test.want || got > max(test.want*3/2, 100*time.Millisecond) {
			t.Errorf("Retry-After: %s led to a delay of %v, want more than %v, by up to half", test.value, got, test.want)
		}
	}
}

// A wait and a request that hangs end with the context, and what is left counts as lost.
func TestWebhookEndsWithItsContext(t *testing.T) {
	for _, answer := range []string{"503|Retry-After: 200", "hang"} {
		synctest.Test(t, func(t *testing.T) {
			e := &endpoint{answers: []string{"200", answer}}
			s := newSource()
			s.put(t, 1, line1, line2, line3)
			ctx, cancel := context.WithCancelCause(t.Context())
			ended := running(ctx, router.NewWebhookDrain(router.WebhookOptions{URL: "http://example.com", Transport: e}), s.Queue)
			synctest.Wait()
			cause := errors.New("cause")
			cancel(cause)
			if err := ended(); err != cause {
				t.Errorf("Run: %v", err)
			}
			s.Abort(cause)
			wantPosted(t, e, line1, line2)
			s.wantCounted(t, 1, 2)
		})
	}
}

// What is posted slowly is counted before the chunk is done.
func TestWebhookCountsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answers: []string{"503|Retry-After: 2", "200", "hang"}}
		s := newSource()
		s.put(t, 1, line1, line2, line3)
		ctx, cancel := context.WithCancel(t.Context())
		ended := running(ctx, router.NewWebhookDrain(router.WebhookOptions{URL: "http://example.com", Transport: e}), s.Queue)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		s.wantCounted(t, 1, 0)
		cancel()
		if err := ended(); err != context.Canceled {
			t.Errorf("Run: %v", err)
		}
	})
}

// Headers and the secret are asked for at each request, also while they are not to be had. A
// server that repeats them does not get them into the log.
func TestWebhookSecretsChange(t *testing.T) {
	asked := 0
	e := &endpoint{answers: []string{"500", "200", "403|Body: you sent token-3 \n and c2lnbmVy" + strings.Repeat(" word", 100)}}
	s, logged := postAll(t, e, []string{line1, line2}, func(o *router.WebhookOptions) {
		o.Headers = func(context.Context) (http.Header, error) {
			asked++
			if asked == 1 {
				return nil, errors.New("the vault is closed")
			}
			return http.Header{
				"X-Key": {"token-" + strconv.Itoa(asked-1)}, "Authorization": {"Bearer hunter4"},
				"Host": {"inner.example"}, "Content-Type": {"text/plain"},
			}, nil
		}
		o.Secret = func(context.Context) ([]byte, error) { return []byte("c2lnbmVy"), nil }
	})
	wantPosted(t, e, line1, line1, line2, `{"lost":"1 2-2"}`)
	s.wantCounted(t, 1, 1)
	wantContains(t, "the log", logged, "the vault is closed", "you sent ... and ... word", `word..."`)
	wantLacks(t, "the log", logged, "token", "c2lnbmVy")
	r := e.request
	if r.Header.Get("X-Key") != "token-4" || r.Header.Get("Authorization") != "Bearer hunter4" || r.Host != "inner.example" ||
		r.Header.Get("Host") != "" || r.Header.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" {
		t.Errorf("posted to %s with %v", r.Host, r.Header)
	}
}

func TestWebhookIsNotAURL(t *testing.T) {
	for _, url := range []string{"", "example.com/hook", "ftp://user:hunter2@example.com", "http://user:hunter2@:x y", "http:///hunter2"} {
		d := router.NewWebhookDrain(router.WebhookOptions{URL: url})
		err := d.Run(canceled, newSource().Queue)
		if err == nil || strings.Contains(err.Error(), "hunter") || err.Error() != d.Open().Error() {
			t.Errorf("Run with the URL %q: %v", url, err)
		}
	}
}

// What is no event is lost, and not retried.
func TestWebhookNeedsEvents(t *testing.T) {
	for _, test := range []struct {
		line   string
		binary bool
	}{{"[1]", false}, {`{"data":{},"metadata":{}}`, true}} {
		e := &endpoint{answers: []string{"200"}}
		s, logged := postAll(t, e, []string{test.line, line2}, func(o *router.WebhookOptions) { o.Binary = test.binary })
		s.wantCounted(t, 1, 1)
		wantContains(t, "the log", logged, "needs the format cloudevents")
	}
}

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
		Detail: &phoenix.Message{}, Payload: phoenix.Payload{Data: []byte(`{"n":1.0, "b":"<ü>"}`)},
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
	const key = "a key that needs a padding"
	for _, test := range []struct {
		secret string
		ok     bool
	}{{key, true}, {"whsec_" + base64.StdEncoding.EncodeToString([]byte(key)), true},
		{"whsec_" + base64.RawStdEncoding.EncodeToString([]byte(key)), true}, {"whsec_!", false}} {
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
