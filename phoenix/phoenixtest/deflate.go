package phoenixtest

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"strings"
)

// deflateTail ends every message of permessage-deflate and is left out on the wire,
// RFC 7692 section 7.2.1. The final block behind it makes flate see an end.
const (
	deflateTail  = "\x00\x00\xff\xff"
	deflateFinal = "\x01\x00\x00\xff\xff"
	// deflateWindow is how far back a client may refer to earlier messages.
	deflateWindow = 32 << 10
)

// An extension is the outcome of negotiating permessage-deflate.
type extension struct {
	params         []string // as answered
	clientTakeover bool     // the client may refer to its earlier messages
}

// negotiateDeflate accepts an offer as Bandit and Cowboy do; nil: nothing was agreed on.
func negotiateDeflate(offers []string) *extension {
	for _, offer := range strings.Split(strings.Join(offers, ","), ",") {
		name, rest, _ := strings.Cut(offer, ";")
		if strings.TrimSpace(name) != "permessage-deflate" {
			continue
		}
		ext := &extension{params: []string{"permessage-deflate"}, clientTakeover: true}
		offered := map[string]bool{}
		for param := range strings.SplitSeq(rest, ";") {
			key, _, _ := strings.Cut(strings.TrimSpace(param), "=")
			offered[key] = true
		}
		if offered["server_no_context_takeover"] {
			ext.params = append(ext.params, "server_no_context_takeover")
		}
		if offered["client_no_context_takeover"] {
			ext.params = append(ext.params, "client_no_context_takeover")
			ext.clientTakeover = false
		}
		if offered["client_max_window_bits"] {
			ext.params = append(ext.params, "client_max_window_bits=15")
		}
		return ext
	}
	return nil
}

// An inflater decompresses the messages of one client.
type inflater struct {
	takeover bool
	window   []byte
}

func (f *inflater) decompress(data []byte, limit int) ([]byte, error) {
	src := io.MultiReader(bytes.NewReader(data), strings.NewReader(deflateTail+deflateFinal))
	r := flate.NewReaderDict(src, f.window)
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, wireError{closeInvalidPayload}
	case len(out) > limit:
		return nil, wireError{closeTooBig}
	}
	if f.takeover {
		f.window = append(f.window, out...)
		f.window = f.window[max(0, len(f.window)-deflateWindow):]
	}
	return out, nil
}

// A deflater compresses messages, each on its own: always allowed, and no state to keep.
type deflater struct {
	buf bytes.Buffer
	w   *flate.Writer
}

func newDeflater() *deflater {
	d := &deflater{}
	d.w, _ = flate.NewWriter(&d.buf, flate.DefaultCompression) // only a bad level is an error
	return d
}

// compress returns a slice that is valid until the next call.
func (d *deflater) compress(data []byte) []byte {
	d.buf.Reset()
	d.w.Reset(&d.buf)
	// A bytes.Buffer takes every write.
	_, _ = d.w.Write(data)
	_ = d.w.Flush()
	return bytes.TrimSuffix(d.buf.Bytes(), []byte(deflateTail))
}
