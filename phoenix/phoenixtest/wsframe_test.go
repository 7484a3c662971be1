package phoenixtest

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"strings"
	"testing"
)

// masked is a client frame with this first byte, under the mask 0, which changes nothing.
func masked(first byte, payload string) string {
	header := appendFrameHeader(nil, 0, false, len(payload))
	header[0], header[1] = first, header[1]|0x80
	return string(header) + "\x00\x00\x00\x00" + payload
}

func newTestReader(input string, limit int) *frameReader {
	return &frameReader{br: bufio.NewReader(strings.NewReader(input)), limit: limit}
}

func TestFrameReaderJoinsFragments(t *testing.T) {
	r := newTestReader(masked(0x01, "a\xc3")+masked(0x89, "ping")+masked(0x80, "\xa9"), 100)
	frames, err := r.batch()
	if err != nil || len(frames) != 2 || string(frames[0].data) != "ping" || string(frames[1].data) != "aé" {
		t.Errorf("got %q, %v", frames, err)
	}
	if _, err := r.batch(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestFrameReaderSizes(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 0xFFFF, 0x10000} {
		frames, err := newTestReader(masked(0x82, strings.Repeat("x", n)), 1<<20).batch()
		if err != nil || len(frames) != 1 || len(frames[0].data) != n {
			t.Errorf("%d bytes: %d frames, %v", n, len(frames), err)
		}
	}
}

func TestFrameReaderViolations(t *testing.T) {
	for name, test := range map[string]struct {
		input string
		code  int
	}{
		"unmasked":              {"\x81\x01x", closeProtocolError},
		"reserved bit 2":        {masked(0xA1, "x"), closeProtocolError},
		"compressed":            {masked(0xC1, "x"), closeProtocolError},
		"reserved opcode":       {masked(0x83, "x"), closeProtocolError},
		"reserved control":      {masked(0x8B, "x"), closeProtocolError},
		"stray continuation":    {masked(0x80, "x"), closeProtocolError},
		"message in a message":  {masked(0x01, "x") + masked(0x81, "x"), closeProtocolError},
		"long ping":             {masked(0x89, strings.Repeat("x", 126)), closeProtocolError},
		"fragmented ping":       {masked(0x09, "x"), closeProtocolError},
		"invalid UTF-8":         {masked(0x81, "\xff"), closeInvalidPayload},
		"cut UTF-8":             {masked(0x81, "\xc3"), closeInvalidPayload},
		"over the limit":        {masked(0x82, strings.Repeat("x", 195)), closeTooBig},
		"message over it":       {masked(0x02, strings.Repeat("x", 150)) + masked(0x80, strings.Repeat("x", 51)), closeTooBig},
		"over all limits":       {"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", closeTooBig},
		"over what a number is": {"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", closeTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			frames, err := newTestReader(masked(0x81, "before")+test.input, 200).batch()
			var violation wireError
			if !errors.As(err, &violation) || violation.code != test.code {
				// The first batch ends before a frame that is not there as a whole.
				_, err = newTestReader(test.input, 200).batch()
			}
			if !errors.As(err, &violation) || violation.code != test.code {
				t.Errorf("got %q, %v, want %d", frames, err, test.code)
			}
		})
	}
}

func TestFrameReaderTruncated(t *testing.T) {
	whole := masked(0x82, strings.Repeat("x", 300))
	for _, n := range []int{1, 3, 7, 20} {
		if _, err := newTestReader(whole[:n], 1000).batch(); err == nil {
			t.Errorf("%d bytes are no frame", n)
		}
	}
}

func TestInflaterWithContextTakeover(t *testing.T) {
	var wire bytes.Buffer
	w, err := flate.NewWriter(&wire, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	in := &inflater{takeover: true}
	for _, message := range []string{strings.Repeat("hello ", 9000), strings.Repeat("hello ", 9000), "bye"} {
		wire.Reset()
		if _, err := w.Write([]byte(message)); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got, err := in.decompress(bytes.TrimSuffix(wire.Bytes(), []byte(deflateTail)), 1<<20)
		if err != nil || string(got) != message {
			t.Fatalf("got %d bytes, %v, want %d", len(got), err, len(message))
		}
	}
}

func TestInflaterLimits(t *testing.T) {
	bomb := newDeflater().compress(make([]byte, 1<<20))
	for name, test := range map[string]struct {
		data []byte
		code int
	}{
		"bomb": {bomb, closeTooBig},
		"junk": {[]byte("\xff\xff"), closeInvalidPayload},
	} {
		var violation wireError
		if _, err := (&inflater{}).decompress(test.data, 1000); !errors.As(err, &violation) || violation.code != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClientCloseCode(t *testing.T) {
	for payload, want := range map[string]int{
		"":             closeNoStatus,
		"\x03\xe8":     1000,
		"\x03\xe8bye":  1000,
		"\x0f\xa0":     4000,
		"\x03":         -closeProtocolError,
		"\x03\xe7":     -closeProtocolError, // 999
		"\x03\xed":     -closeProtocolError, // 1005
		"\x13\x88":     -closeProtocolError, // 5000
		"\x03\xe8\xff": -closeInvalidPayload,
	} {
		code, err := clientCloseCode([]byte(payload))
		var violation wireError
		if errors.As(err, &violation) {
			code = -violation.code
		}
		if code != want {
			t.Errorf("%q: %d, want %d", payload, code, want)
		}
	}
}

// FuzzFrameReader wants that no input panics or is taken for more than it holds.
func FuzzFrameReader(f *testing.F) {
	f.Add([]byte(masked(0x81, "text") + masked(0x01, "frag") + masked(0x89, "") + masked(0x80, "ment")))
	f.Add([]byte("\x82\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00x"))
	f.Add([]byte("\xc1\x82\x00\x00\x00\x00\x03\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newTestReader(string(data), 1000)
		r.inflate = &inflater{takeover: true}
		for {
			frames, err := r.batch()
			for _, frame := range frames {
				if len(frame.data) > 1000 {
					t.Fatalf("a message of %d bytes", len(frame.data))
				}
			}
			if err != nil {
				return
			}
		}
	})
}
