package phoenix_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"phx/phoenix"
	"phx/phoenix/phoenixtest"
)

// inUse is the memory that lives: heap and stacks.
func inUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

// BenchmarkConnectionMemory tells what a further supervised connection with one joined channel takes, heap and stacks. The
// server's side is in this process, too; what it takes is found out with bare sockets, and subtracted. What the garbage collector
// lets lie comes on top: up to the heap's part again.
func BenchmarkConnectionMemory(b *testing.B) {
	const crowd = 1000
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	srv := phoenixtest.NewServer(phoenixtest.Demo())
	defer srv.Close()
	await := func(joined int) {
		if err := srv.Await(ctx, func(st phoenixtest.Stats) bool { return st.Joined == joined }); err != nil {
			b.Fatal(err)
		}
	}

	before := inUse()
	bare := make([]net.Conn, crowd)
	for i := range bare {
		ws, resp, err := websocket.DefaultDialer.DialContext(ctx, srv.URL+"/websocket?vsn=2.0.0", nil)
		if err == nil {
			_ = resp.Body.Close()
			err = ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `["1","1","room:%d","phx_join",{}]`, i))
		}
		if err != nil {
			b.Fatal(err)
		}
		bare[i] = ws.NetConn()
	}
	await(crowd)
	server := inUse() - before

	s := phoenix.NewSupervisor(phoenix.SupervisorOptions{DialInterval: -1})
	before = inUse()
	for i := range crowd {
		name := fmt.Sprint("c", i)
		err := s.Add(phoenix.Spec{
			Name:    name,
			Options: phoenix.Options{URL: srv.URL, MaxRetries: -1, Channels: topics(fmt.Sprint("room:", i))},
			Consume: func(events *phoenix.Stream) {
				for range events.All(context.Background()) {
				}
			},
		})
		if err == nil {
			err = s.Start(name)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	await(2 * crowd)
	b.ReportMetric((inUse()-before-server)/crowd/1024, "KiB/connection")
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(bare)
	if err := s.Shutdown(ctx); err != nil {
		b.Fatal(err)
	}
	for _, conn := range bare {
		_ = conn.Close()
	}
}
