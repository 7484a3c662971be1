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
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A natsServer is a nats-server with a stream for signals.
type natsServer struct {
	command *exec.Cmd
	conn    *nats.Conn
	stream  jetstream.Stream
	url     string
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

// prepare makes the stream.
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
	if s.stream, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "PHX", Subjects: []string{"jido.protocol.phoenix.>"}, Storage: jetstream.FileStorage, MaxBytes: 512 << 20,
	}); err != nil {
		return err
	}
	return nil
}

// expect implements [receiver]: it looks at the number of the last signal in the stream, which begins empty.
func (s *natsServer) expect(messages int, done func()) {
	ctx := context.Background()
	if err := s.stream.Purge(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err) // and the contender counts as hung
		return
	}
	go func() {
		for range time.Tick(20 * time.Millisecond) {
			m, err := s.stream.GetLastMsgForSubject(ctx, "jido.protocol.phoenix.>")
			if errors.Is(err, nats.ErrConnectionClosed) {
				return // the server was stopped
			}
			if err != nil { // there is none yet, or a busy server has not answered
				continue
			}
			_, number, _ := bytes.Cut(m.Data[max(len(m.Data)-40, 0):], []byte(`"seq":`))
			if n, _ := strconv.Atoi(string(bytes.TrimRight(number, "}\n"))); n >= messages {
				done()
				return
			}
		}
	}()
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
