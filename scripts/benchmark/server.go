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
	"math"
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
	// largeMessage is the size of a message at /large, and largeMessages how many there are.
	largeMessage, largeMessages = 8 << 20, 32
)

// A replayServer has four sockets; at each, every join and push is answered with its payload. At /stream frames follow as fast as
// they are read, at /large few large ones; at /single those that the owner of the connection writes.
type replayServer struct {
	http   http.Server
	addr   string
	frames int
	block  []byte
	// joined gets the time of a join, unless it has one already.
	joined chan time.Time
	// single gets the connections at /single that have joined.
	single chan net.Conn
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
		single: make(chan net.Conn, 1),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/push/websocket", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, func(net.Conn, *bufio.Writer) {})
	})
	mux.HandleFunc("/stream/websocket", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, func(_ net.Conn, out *bufio.Writer) {
			for range s.frames / blockFrames {
				out.Write(s.block)
			}
		})
	})
	mux.Handle("/stream/longpoll", newPollStream(s))
	mux.HandleFunc("/large/websocket", func(w http.ResponseWriter, r *http.Request) {
		frame := appendFrame(nil, message("new_msg", largeMessage))
		s.serve(w, r, func(_ net.Conn, out *bufio.Writer) {
			for range largeMessages {
				out.Write(frame)
			}
		})
	})
	mux.HandleFunc("/single/websocket", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, func(conn net.Conn, out *bufio.Writer) {
			out.Flush()
			s.single <- conn
		})
	})
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
		block = appendFrame(block, message(event, frameSize))
	}
	return block
}

// message returns a broadcast of a size.
func message(event string, size int) []byte {
	head := fmt.Sprintf(`[null,null,"%s","%s",{"body":"`, topic, event)
	const tail = `"}]`
	return []byte(head + strings.Repeat("x", size-len(head)-len(tail)) + tail)
}

// serve is one client's session; afterJoin is called when the answer to a join was written to out. What goes wrong on
// it goes wrong for the client, too, which is where it is reported.
func (s *replayServer) serve(w http.ResponseWriter, r *http.Request, afterJoin func(conn net.Conn, out *bufio.Writer)) {
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
		if string(parts[3]) == `"phx_join"` {
			select {
			case s.joined <- time.Now():
			default: // one of many, who are not measured by that
			}
			afterJoin(conn, out)
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
	switch n := len(message); {
	case n < 126:
		dst = append(dst, byte(n))
	case n <= math.MaxUint16:
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
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
