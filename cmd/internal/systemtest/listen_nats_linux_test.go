package systemtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"phx/cmd/phxtest"
)

// startStream starts a NATS server with a stream for a subject.
func startStream(t *testing.T, subject string) (*phxtest.NATSServer, jetstream.JetStream) {
	t.Helper()
	server, err := phxtest.StartNATS(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	conn, err := nats.Connect(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "PHX", Subjects: []string{subject}}); err != nil {
		t.Fatal(err)
	}
	return server, js
}

// publishNumbered publishes signals from..to, each with so many bytes besides.
func publishNumbered(t *testing.T, js jetstream.JetStream, subject string, from, to, size int) {
	t.Helper()
	for n := from; n <= to; n++ {
		line := fmt.Sprintf(`{"specversion":"1.0","id":"01952f0e-8a00-7000-8000-%012d","source":"/jidoka/phoenix/a","type":"phoenix.a.room_a.msg","subject":"room:a",`+
			`"time":"2026-02-07T12:00:06.123456Z","datacontenttype":"application/json","data":{"payload":{"n":%d,"x":"%s"}},`+
			`"metadata":{"connection_name":"a","phoenix_topic":"room:a","phoenix_event":"msg","session":1,"seq":%d}}`, n, n, strings.Repeat("x", size), n)
		if _, err := js.Publish(t.Context(), subject, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
}

// startListen starts phx with a pipe to read its stdout from.
func startListen(t *testing.T, args ...string) (cmd *exec.Cmd, stdout io.Reader) {
	t.Helper()
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(binary(t), args...)
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		pipe.Close()
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait() // it may have ended
	})
	return cmd, pipe
}

// readNumbered reads signals, whose numbers have to be those from 1 on.
func readNumbered(t *testing.T, stdout io.Reader, want int) {
	t.Helper()
	lines := bufio.NewReader(stdout)
	for next := 1; ; next++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && next == want+1 {
			return
		}
		if err != nil {
			t.Fatalf("after %d of %d lines: %v", next-1, want, err)
		}
		var s struct {
			Data struct{ Payload struct{ N int } }
		}
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatal(err)
		}
		if s.Data.Payload.N != next {
			t.Fatalf("line %d has the number %d", next, s.Data.Payload.N)
		}
	}
}

// TestListenNATSSlowReader: a reader that takes longer than the server waits for acknowledgements gets each signal of a durable consumer
// once, in its order, and the server delivers none to another one.
func TestListenNATSSlowReader(t *testing.T) {
	long(t)
	server, js := startStream(t, "a.>")
	const wait = 2 * time.Second
	const n = 300
	publishNumbered(t, js, "a.b", 1, n, 2000)
	for _, name := range []string{"reader", "clock"} {
		_, err := js.CreateConsumer(t.Context(), "PHX", jetstream.ConsumerConfig{Durable: name, FilterSubjects: []string{"a.>"}, AckPolicy: jetstream.AckExplicitPolicy, AckWait: wait})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Much less than all fits into the pipe and the buffer: the rest waits before that.
	cmd, stdout := startListen(t, "listen", "--nats", server.URL, "a.>", "--durable", "reader", "--buffer", "64KiB", "--until", fmt.Sprint(".data.payload.n == ", n+1))
	first := make([]byte, 1)
	if _, err := stdout.Read(first); err != nil {
		t.Fatal(err)
	}
	// A message that nobody acknowledges is the clock.
	clock, err := js.Consumer(t.Context(), "PHX", "clock")
	if err != nil {
		t.Fatal(err)
	}
	for delivered := uint64(0); delivered < 4; {
		batch, err := clock.Fetch(1, jetstream.FetchContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				t.Fatal(err)
			}
			if meta.Sequence.Stream != 1 {
				_ = m.Ack() // those behind it are of no use
				continue
			}
			delivered = meta.NumDelivered
		}
	}
	publishNumbered(t, js, "a.b", n+1, n+1, 1)
	readNumbered(t, io.MultiReader(strings.NewReader(string(first)), stdout), n+1)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	reader, err := js.Consumer(t.Context(), "PHX", "reader")
	if err != nil {
		t.Fatal(err)
	}
	if info := reader.CachedInfo(); info.AckFloor.Stream != n+1 || info.NumAckPending != 0 {
		t.Errorf("acknowledged up to %d, %d are pending", info.AckFloor.Stream, info.NumAckPending)
	}
}

// TestListenNATSLargeMessages: what the server sends ahead of a reader that takes nothing is bounded in bytes: the memory is, and the server
// does not end the connection of a slow consumer.
func TestListenNATSLargeMessages(t *testing.T) {
	long(t)
	server, js := startStream(t, "a.>")
	const (
		n      = 200
		size   = 900_000
		buffer = 8 << 20
	)
	publishNumbered(t, js, "a.b", 1, n, size)
	for _, durable := range []bool{false, true} {
		args := []string{"listen", "--nats", server.URL, "a.>", "--since", "all", "--buffer", fmt.Sprint(buffer), "-c", fmt.Sprint(n)}
		most := buffer + 72<<20 + 3*size
		if durable {
			args = append(args, "--durable", "d")
			most += buffer
		}
		cmd, stdout := startListen(t, args...)
		stream, err := js.Stream(t.Context(), "PHX")
		if err != nil {
			t.Fatal(err)
		}
		for delivered := uint64(0); delivered < 20; pause() { // which is more than its buffer
			for info := range stream.ListConsumers(t.Context()).Info() {
				if durable == (info.Name == "d") {
					delivered = max(delivered, info.Delivered.Consumer)
				}
			}
		}
		readNumbered(t, stdout, n)
		peak := int64(0)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			peak = usage.Maxrss << 10
		}
		if peak > int64(most) && !phxtest.Race() {
			t.Errorf("durable %v: it took %d KiB, want at most %d", durable, peak>>10, most>>10)
		}
		t.Logf("durable %v: %d KiB", durable, peak>>10)
	}
	if log := server.Log().String(); strings.Contains(log, "Slow Consumer") {
		t.Errorf("the server says:\n%s", log)
	}
}

// TestListenNATSForeign: a message that somebody else has published ends listen, and is shown.
func TestListenNATSForeign(t *testing.T) {
	long(t)
	server, js := startStream(t, "a.>")
	for i, text := range []string{"hello", `{"a":1}`, ""} {
		subject := fmt.Sprint("a.", i)
		if _, err := js.Publish(t.Context(), subject, []byte(text)); err != nil {
			t.Fatal(err)
		}
		publishNumbered(t, js, subject, 1, 1, 1)
		var stderr strings.Builder
		cmd := exec.Command(binary(t), "listen", "--nats", server.URL, subject, "--since", "all", "-c", "1", "--max-time", "60")
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if text == "" { // which has no line
			if err != nil || !strings.Contains(string(out), `"n":1`) {
				t.Errorf("an empty message: %v, %s%s", err, out, stderr.String())
			}
			continue
		}
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "no signal of phx, in any format: "+text) || len(out) > 0 {
			t.Errorf("%s: %v, %s%s", text, err, out, stderr.String())
		}
	}
}
