package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestHealth(t *testing.T) {
	problem := errors.New("a problem")
	for _, want := range []error{nil, problem} {
		h := NewHealth(&fakeSource{alive: func(context.Context) error { return want }})
		for range 2 { // the end of a check makes room for the next
			if err := h.Check(t.Context()); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
	}
}

// TestHealthOfWhoDoesNotAnswer: the answer comes after a second, and all who ask wait for one and the same.
func TestHealthOfWhoDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		release := make(chan struct{})
		h := NewHealth(&fakeSource{alive: func(context.Context) error {
			asked.Add(1)
			<-release // and does not heed its context
			return nil
		}})
		for range 3 {
			begin := time.Now()
			if err := h.Check(t.Context()); !errors.Is(err, errNoAnswer) {
				t.Errorf("got %v, want %v", err, errNoAnswer)
			}
			if took := time.Since(begin); took != time.Second {
				t.Errorf("the answer took %v", took)
			}
		}
		if got := asked.Load(); got != 1 {
			t.Errorf("the source was asked %d times while it did not answer", got)
		}
		close(release)
		synctest.Wait()
		if err := h.Check(t.Context()); err != nil || asked.Load() != 2 {
			t.Errorf("after it answered again: %v, asked %d times, want nil and 2", err, asked.Load())
		}
	})
}

// TestHealthOfWhoDoesNotWait: who goes away takes no answer from others.
func TestHealthOfWhoDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth(&fakeSource{alive: func(ctx context.Context) error {
			select {
			case <-time.After(answerTime / 2):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		impatient, cancel := context.WithTimeout(t.Context(), answerTime/4)
		defer cancel()
		first := make(chan error, 1)
		go func() { first <- h.Check(impatient) }()
		synctest.Wait() // the impatient one asks first
		if err := h.Check(t.Context()); err != nil {
			t.Errorf("the patient one got %v", err)
		}
		if err := <-first; err == nil {
			t.Error("the impatient one got an answer that was not there yet")
		}
	})
}

// startServer serves a source, and returns the URL and how to begin the end; the error of Serve comes on ended.
func startServer(t *testing.T, source Source) (url string, stop func(), ended <-chan error) {
	t.Helper()
	l, err := ListenHTTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		result <- NewWeb(source, NewMetrics(source, testBuild), quiet).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return "http://" + l.Addr().String(), cancel, result
}

// request returns status, headers and body.
func request(t *testing.T, method, url string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func TestServer(t *testing.T) {
	well := busySource()
	unwell := busySource()
	unwell.alive = func(context.Context) error { return errors.New("stuck") }
	unwell.ready = func(context.Context) (bool, []string) {
		return false, []string{"backend: connecting", "other: room:lobby is not joined,\nand that is\nto be one line"}
	}
	silent := busySource()
	silent.ready = func(context.Context) (bool, []string) { return false, nil }
	for name, tests := range map[string]struct {
		source Source
		tests  []serverTest
	}{
		"well": {well, []serverTest{
			{"GET", "/healthz", 200, "ok\n"},
			{"HEAD", "/healthz", 200, ""},
			{"POST", "/healthz", 405, "Method Not Allowed\n"},
			{"GET", "/readyz", 200, "ready\n"},
			{"HEAD", "/readyz", 200, ""},
			{"DELETE", "/readyz", 405, "Method Not Allowed\n"},
			{"HEAD", "/metrics", 200, ""},
			{"PUT", "/metrics", 405, "Method Not Allowed\n"},
			{"GET", "/", 404, "404 page not found\n"},
			{"GET", "/metrics/", 404, "404 page not found\n"},
			{"GET", "/debug/pprof/", 404, "404 page not found\n"},
			{"POST", "/v1/reload", 404, "404 page not found\n"},
		}},
		"unwell": {unwell, []serverTest{
			{"GET", "/healthz", 503, "stuck\n"},
			{"GET", "/readyz", 503, "backend: connecting\nother: room:lobby is not joined, and that is to be one line\n"},
			{"HEAD", "/readyz", 503, ""},
		}},
		"silent": {silent, []serverTest{{"GET", "/readyz", 503, "not ready\n"}}},
	} {
		t.Run(name, func(t *testing.T) {
			url, _, _ := startServer(t, tests.source)
			for _, test := range tests.tests {
				status, header, body := request(t, test.method, url+test.path)
				if status != test.status || body != test.body {
					t.Errorf("%s %s: %d %q, want %d %q", test.method, test.path, status, body, test.status, test.body)
				}
				if allow := header.Get("Allow"); (allow == "GET, HEAD") != (status == 405) {
					t.Errorf("%s %s: Allow: %q", test.method, test.path, allow)
				}
			}
		})
	}
}

type serverTest struct {
	method, path string
	status       int
	body         string
}

func TestServerMetrics(t *testing.T) {
	url, _, _ := startServer(t, busySource())
	status, header, body := request(t, "GET", url+"/metrics")
	if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("status %d, type %q", status, header.Get("Content-Type"))
	}
	if got := len(parse(t, strings.NewReader(body))["phx_connection_up"].GetMetric()); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
}

// TestServerEnds: at the end nobody new is let in, and who is there gets an answer.
func TestServerEnds(t *testing.T) {
	source := busySource()
	asked, release := make(chan struct{}), make(chan struct{})
	source.ready = func(context.Context) (bool, []string) {
		close(asked)
		<-release
		return true, nil
	}
	url, stop, ended := startServer(t, source)
	answered := make(chan string, 1)
	go func() {
		resp, err := http.Get(url + "/readyz")
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answered <- string(body)
	}()
	<-asked
	stop()
	for { // until the listener is closed
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		conn.Close()
	}
	close(release)
	if got := <-answered; got != "ready\n" {
		t.Errorf("the request at the end got %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve ended with %v", err)
	}
}

func TestServerWhoseListenerFails(t *testing.T) {
	l, err := ListenHTTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	source := busySource()
	if err := NewWeb(source, NewMetrics(source, testBuild), quiet).Serve(t.Context(), l); err == nil {
		t.Error("Serve ended well without a listener")
	}
}

func TestListenErrors(t *testing.T) {
	taken, err := ListenHTTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	_, err = ListenHTTP(addr)
	var listenErr *ListenError
	if !errors.As(err, &listenErr) || !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("an address in use: %v", err)
	}
	if got, want := err.Error(), "cannot listen on "+addr+" (http.listen): address already in use"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if hint := listenErr.Hint(); !strings.Contains(hint, "stop who uses") {
		t.Errorf("hint: %q", hint)
	}
	_, err = ListenHTTP("9464")
	if !errors.As(err, &listenErr) || !strings.Contains(listenErr.Hint(), "HOST:PORT") {
		t.Errorf("an address without host: %v", err)
	}
}
