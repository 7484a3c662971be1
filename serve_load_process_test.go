package main_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A served is a running phx serve that is watched over HTTP.
type served struct {
	cmd    *exec.Cmd
	log    watched
	socket string // of the control API
	web    string // where health and metrics are
	client *http.Client
	ready  chan bool // tells once whether it became ready
	ended  chan struct{}
}

// startServe runs phx serve with a config that does not say where to listen.
func startServe(t *testing.T, config string, stdout io.Writer) *served {
	t.Helper()
	needBinary(t)
	dir := t.TempDir()
	s := &served{
		socket: filepath.Join(dir, "control.sock"), client: &http.Client{Transport: &http.Transport{}},
		ready: make(chan bool, 1), ended: make(chan struct{}),
	}
	path := filepath.Join(dir, "phx.yaml")
	config += fmt.Sprintf("control: {socket: %s}\nhttp: {listen: \"127.0.0.1:0\"}\n", s.socket)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(filepath.Join(binDir, "phx"), "serve", "-f", path, "--ready-fd", "3")
	s.cmd.Env = append(os.Environ(), raceOptions)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.ExtraFiles = stdout, &s.log, []*os.File{readyW}
	err = s.cmd.Start()
	readyW.Close()
	if err != nil {
		readyR.Close()
		t.Fatal(err)
	}
	go func() {
		defer readyR.Close()
		line, _ := io.ReadAll(readyR) // a pipe has no other error than its end
		s.ready <- len(line) > 0
	}()
	go func() {
		_ = s.cmd.Wait() // how it ended is in ProcessState
		s.log.change(func() { s.log.atEnd = true })
		close(s.ended)
	}()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		_ = s.cmd.Process.Kill() // it fails when there is no process any more
		<-s.ended
		if t.Failed() {
			t.Logf("stderr of phx serve:\n%s", s.log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	match, ok := s.log.await(ctx, regexp.MustCompile(`http://127\.0\.0\.1:\d+`))
	if !ok {
		t.Fatal("phx serve does not say where its HTTP server is")
	}
	s.web = match[0]
	return s
}

// awaitReady waits until every connection is connected and joined.
func (s *served) awaitReady(t *testing.T) {
	t.Helper()
	select {
	case ready := <-s.ready:
		if !ready {
			t.Fatal("phx serve ended before it was ready")
		}
	case <-time.After(patience):
		t.Fatal("phx serve does not get ready")
	}
	if status, body := s.get(t, "/readyz"); status != http.StatusOK {
		t.Fatalf("/readyz, after it was told to be ready: %d %s", status, body)
	}
}

func (s *served) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	resp, err := s.client.Get(s.web + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// ctl runs phx ctl and returns what it prints.
func (s *served) ctl(t *testing.T, args ...string) string {
	t.Helper()
	return phxOutput(t, append([]string{"ctl", "--control", s.socket}, args...)...)
}

// cutPattern is how serve says that it had no time left for some connections: five seconds is all it takes, on any machine.
var cutPattern = regexp.MustCompile(`(\d+) connections were not stopped in time`)

// stop ends phx serve as a service manager does. It has to end by itself, in order, but for the connections that it says were cut.
func (s *served) stop(t *testing.T) (cut int) {
	t.Helper()
	sendSignal(t, s.cmd, syscall.SIGTERM)
	awaitEnd(t, s.ended)
	if got := endOf(s.cmd.ProcessState); got != "0" {
		t.Errorf("phx serve ended with %s, want 0", got)
	}
	match := cutPattern.FindStringSubmatch(s.log.String())
	if match != nil {
		cut, _ = strconv.Atoi(match[1]) // it is digits
	} else if strings.Contains(s.log.String(), "not everything ended as it should") {
		t.Error("phx serve did not end everything, and does not say that connections were cut")
	}
	return cut
}

// A usage is what a process holds.
type usage struct{ goroutines, files, heap float64 }

func (s *served) usage(t *testing.T) usage {
	t.Helper()
	status, metrics := s.get(t, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d %s", status, metrics)
	}
	u := usage{
		goroutines: value(t, metrics, "go_goroutines"),
		files:      value(t, metrics, "process_open_fds"),
		heap:       value(t, metrics, "go_memstats_heap_inuse_bytes"),
	}
	if u.goroutines == 0 || u.heap == 0 {
		t.Fatalf("/metrics does not tell what is in use: %+v", u)
	}
	return u
}

// looks is how many looks tell what a process holds while nothing happens. Each look takes some goroutines itself, now more and now
// less: what is low, and was seen usual times, will be seen again.
const looks, usual = 30, 3

// atRest returns what the process holds of each while nothing happens.
func (s *served) atRest(t *testing.T) usage {
	t.Helper()
	var goroutines, files, heap [looks]float64
	for i := range looks {
		u := s.usage(t)
		goroutines[i], files[i], heap[i] = u.goroutines, u.files, u.heap
	}
	low := func(seen [looks]float64) float64 {
		slices.Sort(seen[:])
		return seen[usual-1]
	}
	return usage{low(goroutines), low(files), low(heap)}
}

// awaitUsage waits until what the process holds is as asked for.
func (s *served) awaitUsage(t *testing.T, what string, enough func(usage) bool) (u usage) {
	t.Helper()
	s.await(t, func() (bool, string) {
		u = s.usage(t)
		return enough(u), fmt.Sprintf("%s: it holds %+v", what, u)
	})
	return u
}

// awaitMetric waits until a series has a value.
func (s *served) awaitMetric(t *testing.T, series string, want float64) {
	t.Helper()
	s.await(t, func() (bool, string) {
		_, metrics := s.get(t, "/metrics")
		got := value(t, metrics, series)
		return got == want, fmt.Sprintf("%s is %v, want %v", series, got, want)
	})
}

// await looks until what it sees is right. A process that does not get there shows its goroutines and ends.
func (s *served) await(t *testing.T, look func() (right bool, seen string)) {
	t.Helper()
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	tooLong := time.After(patience)
	for {
		right, seen := look()
		if right {
			return
		}
		select {
		case <-ticks.C:
		case <-tooLong:
			sendSignal(t, s.cmd, syscall.SIGQUIT)
			<-s.ended
			t.Fatal(seen)
		}
	}
}

// awaitBack waits until the process holds no more than it did, but for some memory.
func (s *served) awaitBack(t *testing.T, what string, before usage, heap float64) usage {
	t.Helper()
	return s.awaitUsage(t, fmt.Sprintf("%s; before: %+v", what, before), func(u usage) bool {
		return u.goroutines <= before.goroutines && u.files <= before.files && u.heap <= before.heap+heap
	})
}
