package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A natsServer is a nats-server with a stream for signals, and counts those that come.
type natsServer struct {
	command *exec.Cmd
	conn    *nats.Conn
	url     string

	mu   sync.Mutex
	left int
	done func()
}

// startNATS starts the nats-server of that path.
func (b *bench) startNATS(binary string) (*natsServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err = errors.Join(err, listener.Close()); err != nil {
		return nil, err
	}
	s := &natsServer{url: "nats://127.0.0.1:" + port}
	s.command = exec.Command(binary, "-a", "127.0.0.1", "-p", port, "-js", "-sd", filepath.Join(b.dir, "nats"))
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// prepare makes the stream, and subscribes to what goes there.
func (s *natsServer) prepare() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.conn, err = nats.Connect(s.url, nats.RetryOnFailedConnect(true), nats.ReconnectWait(50*time.Millisecond), nats.MaxReconnects(200))
	if err != nil {
		return err
	}
	if err := s.conn.FlushWithContext(ctx); err != nil {
		return err
	}
	js, err := jetstream.New(s.conn)
	if err != nil {
		return err
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "PHX", Subjects: []string{"jido.protocol.phoenix.>"}, Storage: jetstream.FileStorage, MaxBytes: 512 << 20,
	}); err != nil {
		return err
	}
	subscription, err := s.conn.Subscribe("jido.protocol.phoenix.>", func(m *nats.Msg) {
		n := bytes.Count(m.Data, []byte(`"phoenix_event":`))
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.left > 0 && s.left <= n {
			s.done()
		}
		s.left -= n
	})
	if err != nil {
		return err
	}
	return subscription.SetPendingLimits(-1, -1)
}

// expect implements [receiver].
func (s *natsServer) expect(messages int, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.done = messages, done
}

func (s *natsServer) stop() {
	if s.conn != nil {
		s.conn.Close()
	}
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
}

// writeNATSConfig writes the config of a serve with one connection, all of whose signals go to NATS. Its queue has room for all of them.
func (b *bench) writeNATSConfig(uri, url, batch string) (config string, err error) {
	dir, err := os.MkdirTemp(b.dir, "serve-")
	if err != nil {
		return "", err
	}
	config = filepath.Join(dir, "phx.yaml")
	return config, os.WriteFile(config, fmt.Appendf(nil, `control: {socket: %s}
nats: {urls: %q}
sinks: {bus: {nats: {stream: PHX, batch: %s}, queue: 4GiB}}
routes: [{match: '**', to: [bus]}]
defaults: {uri: %s, auto_join_channels: ['%s']}
connections: {%s0: {}}
`, filepath.Join(dir, "control.sock"), url, batch, uri, topic, serveName), 0o600)
}
