package main

import (
	"fmt"
	"os"

	"github.com/gorilla/websocket"
)

// dialBare connects to a socket of the replay server and joins. A read buffer of 0 bytes is the default one.
func dialBare(uri string, readBuffer int) (*websocket.Conn, error) {
	dialer := *websocket.DefaultDialer
	dialer.ReadBufferSize = readBuffer
	ws, _, err := dialer.Dial(uri+"/websocket?vsn=2.0.0", nil)
	if err != nil {
		return nil, err
	}
	join := `["1","1","` + topic + `","phx_join",{}]`
	if err := ws.WriteMessage(websocket.TextMessage, []byte(join)); err != nil {
		return nil, err
	}
	_, _, err = ws.ReadMessage()
	return ws, err
}

// bareListen reads a number of frames and drops them.
func bareListen(uri string, frames, readBuffer int) error {
	ws, err := dialBare(uri, readBuffer)
	if err != nil {
		return err
	}
	for range frames {
		if _, _, err := ws.ReadMessage(); err != nil {
			return err
		}
	}
	return ws.Close()
}

// barePrint writes each frame to stdout, with a newline, until the server ends.
func barePrint(uri string) error {
	ws, err := dialBare(uri, 0)
	if err != nil {
		return err
	}
	for {
		_, message, err := ws.ReadMessage()
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(append(message, '\n')); err != nil {
			return err
		}
	}
}

// barePush writes a number of pushes and reads as many replies, with never more than window pushes under way.
func barePush(uri string, pushes, window int) error {
	ws, err := dialBare(uri, 0)
	if err != nil {
		return err
	}
	var message []byte
	for sent, answered := 0, 0; answered < pushes; answered++ {
		for ; sent < pushes && sent-answered < window; sent++ {
			message = fmt.Appendf(message[:0], `["1","%d","%s","echo",%s]`, sent+2, topic, pushPayload(sent))
			if err := ws.WriteMessage(websocket.TextMessage, message); err != nil {
				return err
			}
		}
		if _, _, err := ws.ReadMessage(); err != nil {
			return err
		}
	}
	return ws.Close()
}

// pushOnce writes a push and reads its reply.
func pushOnce(ws *websocket.Conn, i int) error {
	message := fmt.Sprintf(`["1","%d","%s","echo",%s]`, i+2, topic, pushPayload(i))
	if err := ws.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		return err
	}
	_, _, err := ws.ReadMessage()
	return err
}

// pushPayload is what every contender pushes.
func pushPayload(i int) string { return fmt.Sprintf(`{"n":%d}`, i) }
