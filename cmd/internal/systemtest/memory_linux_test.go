package systemtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gorilla/websocket"

	"phx/cmd/phxtest"
)

// The memory of listen whose reader takes nothing, and then everything, stays under its buffer, 32 MiB and three times the largest
// message. Before large buffers were handed on, 32 MiB messages took 410 MiB.
func TestMemoryOfLargeMessages(t *testing.T) {
	long(t)
	if phxtest.Race() {
		t.Skip("the race detector takes memory of its own")
	}
	const (
		buffer   = 64 << 20
		messages = 6
	)
	for _, c := range []struct {
		name     string
		size     int
		compress bool
	}{{"plain", 32 << 20, false}, {"compressed", 60 << 20, true}} {
		t.Run(c.name, func(t *testing.T) {
			sent := make(chan int, messages)
			srv := httptest.NewServer(largeMessages(t, c.size, messages, c.compress, sent))
			defer srv.Close()
			stdout, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdout.Close()
			cmd := exec.Command(binary(t), "listen", "room:a", "-u", srv.URL, "--compress="+strconv.FormatBool(c.compress), "--buffer", fmt.Sprint(buffer))
			cmd.Stdout = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			defer func() { _ = cmd.Wait() }() // it dies of a signal
			defer func() { _ = cmd.Process.Signal(syscall.SIGKILL) }()
			for range 2 { // which are in its memory then, or on their way
				<-sent
			}
			lines := bufio.NewReaderSize(stdout, 64<<10)
			for n := range messages {
				if size := lineLength(t, lines); size < c.size {
					t.Fatalf("line %d has %d bytes", n, size)
				}
			}
			peak := peakMemory(t, cmd.Process.Pid)
			if most := buffer + 32<<20 + 3*c.size; peak > most {
				t.Errorf("it took %d KiB, want at most %d", peak>>10, most>>10)
			}
			t.Logf("%d KiB", peak>>10)
		})
	}
}

// largeMessages is a server that answers a join, sends messages of a size, and tells how many it has sent.
func largeMessages(t *testing.T, size, messages int, compress bool, sent chan<- int) http.HandlerFunc {
	const head, tail = `[null,null,"room:a","large",{"x":"`, `"}]`
	message, err := websocket.NewPreparedMessage(websocket.TextMessage, []byte(head+strings.Repeat("x", size-len(head)-len(tail))+tail))
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{EnableCompression: compress}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.Close()
		var join []json.RawMessage
		if err := ws.ReadJSON(&join); err != nil || len(join) != 5 {
			t.Errorf("the join is %s: %v", join, err)
			return
		}
		answer := fmt.Sprintf(`[%s,%s,%s,"phx_reply",{"status":"ok","response":{}}]`, join[0], join[1], join[2])
		err = ws.WriteMessage(websocket.TextMessage, []byte(answer))
		for n := 1; n <= messages && err == nil; n++ {
			err = ws.WritePreparedMessage(message)
			sent <- n
		}
		_, _, _ = ws.ReadMessage() // until the client is gone
	}
}

// lineLength reads a line and returns its length.
func lineLength(t *testing.T, r *bufio.Reader) (length int) {
	t.Helper()
	for {
		part, err := r.ReadSlice('\n')
		length += len(part)
		switch err {
		case nil:
			return length
		case bufio.ErrBufferFull:
		default:
			t.Fatalf("after %d bytes of a line: %v", length, err)
		}
	}
}

// peakMemory returns the largest resident memory of a process so far, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer status.Close()
	text, err := io.ReadAll(status)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
