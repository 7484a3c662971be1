package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

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
