package phoenixtest_test

import (
	"testing"

	"phx/phoenix/phoenixtest"
)

// BenchmarkBroadcast is one broadcast to one client that reads it, over TCP.
func BenchmarkBroadcast(b *testing.B) {
	srv := phoenixtest.NewServer(phoenixtest.Demo())
	defer srv.Close()
	c := dial(b, srv)
	c.join("room:1")
	payload := phoenixtest.JSON(phoenixtest.Map{"body": "a message of the usual length, more or less"})
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			srv.Broadcast("room:1", "new_msg", payload)
		}
	}()
	for range b.N {
		c.read()
	}
	b.StopTimer()
}
