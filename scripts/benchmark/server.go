package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// topic is the one that everybody joins.
	topic = "room:bench"
	// keptEvent is the event of the last frame of each block.
	keptEvent = "kept"
	// blockFrames is how many frames are written at once.
	blockFrames = 1000
	// frameSize is the size of a message in a stream.
	frameSize = 110
)

// A replayServer has two sockets. At /stream a join is answered, and then frames are written as fast as they are read; at /push
// every push is answered with its payload.
type replayServer struct {
	http   http.Server
	addr   string
	frames int
	block  []byte
	// joined gets the time of a join, unless it has one already.
	joined chan time.Time
}

func startReplayServer(frames int) (*replayServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &replayServer{
		addr:   listener.Addr().String(),
		frames: frames,
		block:  frameBlock(),
		joined: make(chan time.Time, 1),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/stream/websocket", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, true) })
	mux.HandleFunc("/push/websocket", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, false) })
	s.http.Handler = mux
	go s.http.Serve(listener)
	return s, nil
}

func (s *replayServer) uri(socket string) string { return "ws://" + s.addr + "/" + socket }

// frameBlock returns blockFrames frames; only the last one has the event keptEvent.
func frameBlock() []byte {
	var block []byte
	for i := range blockFrames {
		event := "new_msg"
		if i == blockFrames-1 {
			event = keptEvent
		}
		head := fmt.Sprintf(`[null,null,"%s","%s",{"body":"`, topic, event)
		const tail = `"}]`
		block = appendFrame(block, []byte(head+strings.Repeat("x", frameSize-len(head)-len(tail))+tail))
	}
	return block
}

// serve is one client's session. What goes wrong on it goes wrong for the client, too, which is where it is reported.
func (s *replayServer) serve(w http.ResponseWriter, r *http.Request, stream bool) {
	conn, buffered, err := upgrade(w, r)
	if err != nil {
		return
	}
	defer conn.Close()
	in, out := bufio.NewReaderSize(buffered, 64<<10), bufio.NewWriterSize(conn, 64<<10)
	var message, reply []byte
	for {
		var opcode byte
		opcode, message, err = readFrame(in, message)
		if err != nil {
			return
		}
		if opcode == opClose {
			out.Write([]byte{0x80 | opClose, byte(len(message))})
			out.Write(message)
			out.Flush()
			return
		}
		// A message of ours has no commas before its payload, except between its elements.
		parts := bytes.SplitN(message[1:len(message)-1], []byte(","), 5)
		reply = fmt.Appendf(reply[:0], `[%s,%s,%s,"phx_reply",{"status":"ok","response":%s}]`, parts[0], parts[1], parts[2], parts[4])
		out.Write(appendFrame(nil, reply))
		isJoin := string(parts[3]) == `"phx_join"`
		if isJoin {
			select {
			case s.joined <- time.Now():
			default: // one of many, who are not measured by that
			}
		}
		if isJoin && stream {
			for range s.frames / blockFrames {
				out.Write(s.block)
			}
		}
		// Replies to pushes that have come already go out together.
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
}

// upgrade makes a WebSocket of a request.
func upgrade(w http.ResponseWriter, r *http.Request) (net.Conn, io.Reader, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	digest := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(digest[:]))
	return conn, buffered, err
}

// The WebSocket opcodes that matter here.
const (
	opText  = 1
	opClose = 8
)

// appendFrame appends a text frame as a server sends it.
func appendFrame(dst, message []byte) []byte {
	dst = append(dst, 0x80|opText)
	if len(message) < 126 {
		dst = append(dst, byte(len(message)))
	} else {
		dst = append(dst, 126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(message)))
	}
	return append(dst, message...)
}

// readFrame reads a frame as a client sends it, in one piece and masked, into buffer.
func readFrame(r *bufio.Reader, buffer []byte) (opcode byte, message []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return 0, nil, err
	}
	opcode = head[0] & 0x0f
	size := int(head[1] & 0x7f)
	switch size {
	case 126:
		if _, err := io.ReadFull(r, head[:2]); err != nil {
			return 0, nil, err
		}
		size = int(binary.BigEndian.Uint16(head[:2]))
	case 127:
		return 0, nil, errors.New("no contender sends frames this large")
	}
	mask := head[:4]
	if _, err := io.ReadFull(r, mask); err != nil {
		return 0, nil, err
	}
	message = append(buffer[:0], make([]byte, size)...)
	if _, err := io.ReadFull(r, message); err != nil {
		return 0, nil, err
	}
	for i := range message {
		message[i] ^= mask[i%4]
	}
	return opcode, message, nil
}
