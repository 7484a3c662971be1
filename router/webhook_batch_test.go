package router_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"phx/router"
)

// inBatches lets a webhook post batches of so many.
func inBatches(n int) func(*router.WebhookOptions) {
	return func(o *router.WebhookOptions) { o.Batch = n }
}

func events(from, to int) (lines []string) {
	for i := from; i <= to; i++ {
		lines = append(lines, fmt.Sprintf(`{"id":"%d"}`, i))
	}
	return lines
}

// array is a batch as it is posted.
func array(lines ...string) string { return "[" + strings.Join(lines, ",") + "]" }

// TestWebhookBatches: a batch is an array, also one of a single event, and a batch is not larger than it may be.
func TestWebhookBatches(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*router.WebhookOptions)
		want   []string
	}{
		{"count", inBatches(3), []string{array(events(1, 3)...), array(events(4, 6)...), array(events(7, 7)...)}},
		{"bytes", func(o *router.WebhookOptions) { o.Batch, o.BatchBytes = 10, 25 },
			[]string{array(events(1, 2)...), array(events(3, 4)...), array(events(5, 6)...), array(events(7, 7)...)}},
		{"one is larger", func(o *router.WebhookOptions) { o.Batch, o.BatchBytes = 10, 1 },
			[]string{array(line1), array(line2), array(line3), array(`{"id":"4"}`), array(`{"id":"5"}`), array(`{"id":"6"}`), array(`{"id":"7"}`)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &endpoint{answers: []string{"200"}}
			s, _ := postAll(t, e, events(1, 7), test.change)
			wantPosted(t, e, test.want...)
			s.wantCounted(t, 7, 0)
			if got := e.request.Header.Get("Content-Type"); got != "application/cloudevents-batch+json; charset=utf-8" {
				t.Errorf("Content-Type: %s", got)
			}
		})
	}
}

// A batch that is not full waits for more, but not longer than it may.
func TestWebhookBatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answers: []string{"200"}}
		s := newSource()
		d := router.NewWebhookDrain(router.WebhookOptions{URL: "http://example.com", Transport: e, Batch: 3, BatchWait: time.Second})
		ended := running(t.Context(), d, s.Queue)
		at := func(after time.Duration, want ...string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			wantPosted(t, e, want...)
		}
		s.put(t, 1, line1)
		at(900 * time.Millisecond)
		s.put(t, 2, line2)
		at(0)
		first := array(line1, line2)
		at(101*time.Millisecond, first)
		s.put(t, 3, events(3, 5)...)
		second := array(events(3, 5)...)
		at(0, first, second)
		s.put(t, 6, events(6, 6)...)
		s.CloseInput(nil)
		if err := ended(); err != nil {
			t.Errorf("Run: %v", err)
		}
		wantPosted(t, e, first, second, array(events(6, 6)...))
	})
}

// blaming refuses each batch with one of these ids.
func blaming(e *judge, status int, ids ...string) http.RoundTripper {
	e.answer = func(batch []string) int {
		for _, id := range ids {
			if slices.Contains(batch, id) {
				return status
			}
		}
		return 200
	}
	return e
}

// A judge answers batches by their ids, and remembers them.
type judge struct {
	mu       sync.Mutex
	answer   func(ids []string) int
	accepted []string
	requests int
}

// RoundTrip implements [http.RoundTripper].
func (j *judge) RoundTrip(r *http.Request) (*http.Response, error) {
	var batch []struct{ ID string }
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range batch {
		ids = append(ids, e.ID)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.requests++
	status := j.answer(ids)
	if status == 200 {
		j.accepted = append(j.accepted, ids...)
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}, nil
}

// Of a refused batch only the records are lost that are refused alone; a status that says nothing of a record loses all, by one request.
func TestWebhookFindsTheBadRecord(t *testing.T) {
	for _, test := range []struct {
		status       int
		bad          []string
		lost         uint64
		mostRequests int
	}{
		{400, []string{"37"}, 1, 16}, {422, []string{"1", "100"}, 2, 32}, {413, []string{"50"}, 1, 16}, {409, []string{"3", "4"}, 2, 32},
		{401, []string{"37"}, 100, 1}, {404, []string{"37"}, 100, 1}, {302, []string{"1"}, 100, 1},
	} {
		t.Run(strconv.Itoa(test.status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &judge{}
				s := source{router.NewQueue(1<<20, router.DropOldest, nil), router.NewOrigin("backend")}
				s.put(t, 1, events(1, 100)...)
				s.CloseInput(nil)
				d := router.NewWebhookDrain(router.WebhookOptions{URL: "http://example.com", Transport: blaming(j, test.status, test.bad...), Batch: 100})
				if err := d.Run(t.Context(), s.Queue); err != nil {
					t.Fatal(err)
				}
				s.wantCounted(t, 100-test.lost, test.lost)
				if j.requests > test.mostRequests {
					t.Errorf("%d requests, want at most %d", j.requests, test.mostRequests)
				}
				if !slices.IsSortedFunc(j.accepted, func(a, b string) int { return len(a)*1000 - len(b)*1000 + strings.Compare(a, b) }) {
					t.Errorf("accepted in another order: %v", j.accepted)
				}
			})
		})
	}
}

// What a status means can be changed; a single one goes before a class.
func TestWebhookStatuses(t *testing.T) {
	ranges := func(texts ...string) (list []router.StatusRange) {
		for _, text := range texts {
			r, err := router.ParseStatusRange(text)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, r)
		}
		return list
	}
	for _, test := range []struct {
		answer      string
		retry, drop []router.StatusRange
		lost        uint64
	}{
		{"404", nil, nil, 1},
		{"404", ranges("404"), nil, 0},
		{"404", ranges("4xx"), nil, 0},
		{"404", ranges("4xx"), ranges("404"), 1},
		{"404", ranges("404"), ranges("4xx"), 0},
		{"503", nil, ranges("5xx"), 1},
		{"503", ranges("503"), ranges("5xx"), 0},
		{"500", ranges("503"), ranges("5xx"), 1},
		{"429", nil, ranges("429"), 1},
	} {
		e := &endpoint{answers: []string{test.answer, "200"}}
		s, _ := postAll(t, e, []string{line1}, func(o *router.WebhookOptions) { o.RetryOn, o.DropOn = test.retry, test.drop })
		if s.wantCounted(t, 1-test.lost, test.lost); t.Failed() {
			t.Fatalf("%+v", test)
		}
	}
	for _, wrong := range []string{"", "200", "299", "600", "410", "2xx", "6xx", "xx", "4x", "40", "4040", "-404", "0404", " 404"} {
		if r, err := router.ParseStatusRange(wrong); err == nil {
			t.Errorf("%q is %v", wrong, r)
		}
	}
}

// A batch has an id that says what is in it, and a signature with that.
func TestWebhookSignsBatches(t *testing.T) {
	var ids []string
	for _, lines := range [][]string{{line1, line2}, {line1, line2}, {line1, line3}} {
		_, _, _ = postTo(t, func(w http.ResponseWriter, r *http.Request) {
			ids = append(ids, r.Header.Get("webhook-id"))
			if r.Header.Get("webhook-signature") == "" {
				t.Error("no signature")
			}
		}, func(o *router.WebhookOptions) {
			o.Batch = 10
			o.Secret = func(context.Context) ([]byte, error) { return []byte("key"), nil }
		}, lines...)
	}
	if len(ids) != 3 || ids[0] != ids[1] || ids[0] == ids[2] || !strings.HasPrefix(ids[0], "batch_") {
		t.Errorf("ids of batches: %q", ids)
	}
}

// ofTopics returns events of so many topics in turn.
func ofTopics(topics, n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf(`{"id":"%d","phxconnection":"backend","phxtopic":"room:%d"}`, i, i%topics))
	}
	return lines
}

// With several requests at once a topic whose request hangs holds up no other topic, and comes in its order.
func TestWebhookInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := map[string][]int{}
		under, most, hung := 0, 0, false
		handler := func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			var event struct{ ID, PhxTopic string }
			_ = json.Unmarshal(body, &event)
			mu.Lock()
			under++
			most = max(most, under)
			hang := event.PhxTopic == "room:0" && !hung
			hung = hung || hang
			mu.Unlock()
			if hang {
				<-r.Context().Done()
			} else {
				time.Sleep(time.Millisecond)
			}
			mu.Lock()
			defer mu.Unlock()
			under--
			if hang {
				for topic := 1; topic < 4; topic++ {
					if n := len(got["room:"+strconv.Itoa(topic)]); n != 10 {
						t.Errorf("while a topic hung, %d of 10 of another one came", n)
					}
				}
				return nil, r.Context().Err()
			}
			n, _ := strconv.Atoi(event.ID)
			got[event.PhxTopic] = append(got[event.PhxTopic], n)
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		}
		s := newSource()
		s.put(t, 1, ofTopics(4, 40)...)
		s.CloseInput(nil)
		d := router.NewWebhookDrain(router.WebhookOptions{URL: "http://example.com", Transport: tripper(handler), MaxInFlight: 3})
		if err := d.Run(t.Context(), s.Queue); err != nil {
			t.Fatal(err)
		}
		s.wantCounted(t, 40, 0)
		if most != 3 {
			t.Errorf("%d requests were under way at once, want 3", most)
		}
		for topic, ids := range got {
			if len(ids) != 10 || !slices.IsSorted(ids) {
				t.Errorf("%s came as %v", topic, ids)
			}
		}
	})
}

type tripper func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Records of a topic that always fails hold up no other, and take no room in the queue but their own: the others, between which they stand,
// are all delivered.
func TestWebhookStuckTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := map[string]int{}
		handler := func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			var batch []struct{ PhxTopic string }
			_ = json.Unmarshal(body, &batch)
			time.Sleep(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			for _, event := range batch {
				if event.PhxTopic == "room:0" {
					return &http.Response{StatusCode: 500, Body: http.NoBody}, nil
				}
			}
			for _, event := range batch {
				got[event.PhxTopic]++
			}
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		}
		s := newSource()
		s.LimitRecords(500)
		ctx, cancel := context.WithCancel(t.Context())
		ended := running(ctx, router.NewWebhookDrain(router.WebhookOptions{URL: "http://example.com", Transport: tripper(handler), MaxInFlight: 3, Batch: 4}), s.Queue)
		lines := ofTopics(20, 4000) // 200 of each topic
		for i := 0; i < len(lines); i += 20 {
			s.put(t, uint64(i+1), lines[i:i+20]...)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		mu.Lock()
		for topic := 1; topic < 20; topic++ {
			if n := got["room:"+strconv.Itoa(topic)]; n != 200 {
				t.Errorf("%d of 200 of topic %d came", n, topic)
			}
		}
		mu.Unlock()
		if n := s.origin.Dropped.Load(); n != 0 {
			t.Errorf("%d records are lost", n)
		}
		cancel()
		_ = ended()
	})
}

// Several requests go through few connections that are kept, and through one by HTTP/2.
func TestWebhookConnections(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		var opened, requests atomic.Int64
		var arrived sync.WaitGroup
		arrived.Add(3) // the first three requests wait for each other: they are under way at once
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 2 != http2 {
				t.Errorf("a request came by %s", r.Proto)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			if requests.Add(1) <= 3 {
				arrived.Done()
				arrived.Wait()
			}
			_, _ = io.WriteString(w, "thanks")
		}))
		server.EnableHTTP2 = http2
		listener := &countingListener{Listener: server.Listener, opened: &opened}
		server.Listener = listener
		transport := http.RoundTripper(nil)
		if http2 {
			server.StartTLS()
			transport = server.Client().Transport
		} else {
			server.Start()
		}
		s := newSource()
		s.put(t, 1, ofTopics(3, 300)...)
		s.CloseInput(nil)
		d := router.NewWebhookDrain(router.WebhookOptions{URL: server.URL, Transport: transport, MaxInFlight: 3})
		if err := d.Run(t.Context(), s.Queue); err != nil {
			t.Error(err)
		}
		server.Close()
		s.wantCounted(t, 300, 0)
		most := int64(3)
		if http2 {
			most = 1
		}
		// Each of the first requests may have dialed before another one's connection could be used.
		if n := opened.Load(); n > 2*most+1 {
			t.Errorf("HTTP/2 %v: %d connections for %d requests", http2, n, requests.Load())
		}
	}
}

// A countingListener counts the connections that it accepts.
type countingListener struct {
	net.Listener
	opened *atomic.Int64
}

// Accept implements [net.Listener].
func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.opened.Add(1)
	}
	return c, err
}
