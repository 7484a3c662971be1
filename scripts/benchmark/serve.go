package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// serveName is the name of the connection of which there is one, or the beginning of those of which there are many.
const serveName = "c"

// wantsAll is the condition of a route that takes every signal.
const wantsAll = "match: '**'"

// writeServeConfig writes the config of a serve that has connections to one URI, all with the same channel, and file sinks that
// are the null device, each with a route of that condition. What has the event keptEvent goes to stdout, too. It returns the paths of the config and of the control socket.
func (b *bench) writeServeConfig(uri string, connections, sinks int, condition string) (config, socket string, err error) {
	dir, err := os.MkdirTemp(b.dir, "serve-")
	if err != nil {
		return "", "", err
	}
	config, socket = filepath.Join(dir, "phx.yaml"), filepath.Join(dir, "control.sock")
	text := fmt.Appendf(nil, "control: {socket: %s}\nsinks:\n", socket)
	routes := fmt.Appendf(nil, "routes:\n- {event: %s, to: [stdout]}\n", keptEvent)
	// Each sink needs a file of its own. Both devices drop what is written.
	for i, device := range []string{os.DevNull, "/dev/zero"}[:sinks] {
		text = fmt.Appendf(text, "  file%d: {file: {path: %s}, queue: 64MiB}\n", i, device)
		routes = fmt.Appendf(routes, "- {%s, to: [file%d]}\n", condition, i)
	}
	text = append(text, routes...)
	text = fmt.Appendf(text, "defaults: {uri: %s, auto_join_channels: ['%s']}\nconnections:\n", uri, topic)
	for i := range connections {
		text = fmt.Appendf(text, "  %s%d: {}\n", serveName, i)
	}
	return config, socket, os.WriteFile(config, text, 0o600)
}

// writeWebhookConfig writes the config of a serve with one connection, all of whose signals go to a webhook in batches. Its queue has
// room for all of them: the stream comes as fast as it is read.
func (b *bench) writeWebhookConfig(uri, url string) (config string, err error) {
	dir, err := os.MkdirTemp(b.dir, "serve-")
	if err != nil {
		return "", err
	}
	config = filepath.Join(dir, "phx.yaml")
	return config, os.WriteFile(config, fmt.Appendf(nil, `control: {socket: %s}
sinks: {hook: {webhook: {url: "%s", batch: 100, max_in_flight: 4}, queue: 4GiB}}
routes: [{match: '**', to: [hook]}]
defaults: {uri: %s, auto_join_channels: ['%s']}
connections: {%s0: {}}
`, filepath.Join(dir, "control.sock"), url, uri, topic, serveName), 0o600)
}

// A webReceiver is a web server to which signals are posted.
type webReceiver struct {
	http http.Server
	url  string

	mu   sync.Mutex
	left int
	done func()
}

func startReceiver() (*webReceiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &webReceiver{url: "http://" + listener.Addr().String() + "/"}
	r.http.Handler = http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		n := bytes.Count(body, []byte(`"phxevent":`))
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.left > 0 && r.left <= n {
			r.done()
		}
		r.left -= n
	})
	go r.http.Serve(listener)
	return r, nil
}

// expect implements [receiver].
func (r *webReceiver) expect(messages int, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left, r.done = messages, done
}

// A serving is a phx serve that is up: all its channels are joined.
type serving struct {
	command *exec.Cmd
	socket  string
	stderr  bytes.Buffer
}

// startServing starts phx serve and waits until it is up.
func (b *bench) startServing(connections int) (*serving, error) {
	config, socket, err := b.writeServeConfig(b.server.uri("push"), connections, 1, wantsAll)
	if err != nil {
		return nil, err
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	s := &serving{socket: socket, command: exec.Command(b.phx, "serve", "-f", config, "--quiet", "--ready-fd", "3")}
	s.command.Stderr, s.command.ExtraFiles = &s.stderr, []*os.File{tell}
	err = s.command.Start()
	tell.Close()
	if err != nil {
		return nil, err
	}
	if err := ready.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	line, err := io.ReadAll(ready)
	if err == nil && len(line) == 0 {
		err = errors.New("phx serve did not get ready")
	}
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// stop ends it as a service manager does.
func (s *serving) stop() error {
	hung := time.AfterFunc(patience, func() { s.command.Process.Kill() })
	defer hung.Stop()
	_ = s.command.Process.Signal(syscall.SIGTERM) // fails if it has ended already, which Wait tells
	if err := s.command.Wait(); err != nil {
		return fmt.Errorf("phx serve: %w\n%s", err, &s.stderr)
	}
	return nil
}

// perConnectionKiB returns how much memory each of further connections takes.
func (b *bench) perConnectionKiB() (float64, error) {
	// There are so many before that what the first one brings is not counted for the others.
	const before = 10
	few, err := b.residentKiB(before)
	if err != nil {
		return 0, err
	}
	many, err := b.residentKiB(before + b.connections)
	return float64(many-few) / float64(b.connections), err
}

// residentKiB returns how much memory phx serve needs with a number of connections that are up.
func (b *bench) residentKiB(connections int) (int, error) {
	s, err := b.startServing(connections)
	if err != nil {
		return 0, err
	}
	kib := statusKiB(s.command.Process.Pid, "VmRSS")
	return kib, s.stop()
}

// pushLatency returns how many milliseconds a push takes by the control API of phx serve. It prints those of a bare loop, too.
func (b *bench) pushLatency() (float64, error) {
	s, err := b.startServing(1)
	if err != nil {
		return 0, err
	}
	api, bare, err := s.pushLatencies(b.server.uri("push"))
	fmt.Printf(sizeFormat, "a push in a bare loop", bare, "ms", "")
	return api, errors.Join(err, s.stop())
}

func (s *serving) pushLatencies(uri string) (api, bare float64, err error) {
	const alternations = 2000
	ws, err := dialBare(uri, 0)
	if err != nil {
		return 0, 0, err
	}
	defer ws.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", s.socket)
	}}}
	defer client.CloseIdleConnections()
	var times [2][alternations]time.Duration
	for i := range alternations {
		for way, push := range []func() error{
			func() error { return pushByAPI(client, i) },
			func() error { return pushOnce(ws, i) },
		} {
			begin := time.Now()
			if err := push(); err != nil {
				return 0, 0, err
			}
			times[way][i] = time.Since(begin)
		}
	}
	median := func(way int) float64 {
		return medianOf(alternations, func(i int) float64 { return times[way][i].Seconds() * 1000 })
	}
	return median(0), median(1), nil
}

// pushByAPI makes the call of a push.
func pushByAPI(client *http.Client, i int) error {
	body := fmt.Sprintf(`{"topic":%q,"event":"echo","payload":%s}`, topic, pushPayload(i))
	resp, err := client.Post("http://phx/v1/connections/"+serveName+"0/push", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("a push by the control API: %s: %s", resp.Status, answer)
	}
	return nil
}
