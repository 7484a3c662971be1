package phoenix

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A Protocol is what the other end was found to speak where it did not open a WebSocket.
type Protocol string

// The protocols that are told apart.
const (
	ProtocolTLS   Protocol = "tls"   // TLS, at a ws URL
	ProtocolHTTP  Protocol = "http"  // HTTP without TLS, at a wss URL
	ProtocolHTTP2 Protocol = "http2" // HTTP/2, and nothing older
	ProtocolSSH   Protocol = "ssh"
	ProtocolEcho  Protocol = "echo" // it sends back what it is sent
)

// Errors of a dial that reached something which took part in the upgrade, and got it wrong.
var (
	// ErrSubprotocol: the server chose a subprotocol that was not offered.
	ErrSubprotocol = errors.New("the server chose a subprotocol that was not offered")
	// ErrHandshake: the server answered 101, and not as a WebSocket server has to.
	ErrHandshake = errors.New("the server answered 101, and not as a WebSocket server has to")
)

// recognize adds what the answer to a dial tells about the other end; head is the answer's first bytes, below TLS. In place of
// the error of the HTTP parser, which quotes whatever came, our own request and its secrets included, it puts a quotation of
// its own.
func (e *LinkError) recognize(head []byte, secure bool) {
	var record tls.RecordHeaderError
	switch {
	case errors.As(e.Err, &record):
		if string(record.RecordHeader[:]) == "HTTP/" {
			e.Spoken = ProtocolHTTP
		}
		return
	case isAlert(e.Err):
		if strings.Contains(e.Err.Error(), "no application protocol") {
			e.Spoken = ProtocolHTTP2
		}
		return
	case e.Reason == ReasonRefused:
		if e.HTTPStatus == http.StatusBadRequest && wantsTLS(e.Body) {
			e.Spoken = ProtocolTLS
		}
		return
	case e.Stage != StageUpgrade, errors.Is(e.Err, ErrSubprotocol), errors.Is(e.Err, ErrHandshake):
		return
	}
	switch {
	case !secure:
		e.Spoken = protocolOf(head)
	case e.Err != nil && strings.Contains(e.Err.Error(), http2Quoted):
		e.Spoken = ProtocolHTTP2
	}
	if e.Spoken != "" && e.Reason != ReasonTimeout {
		e.Reason = ReasonNotWebSocket
	}
	if e.Reason == ReasonNotWebSocket {
		e.Err = notHTTP(head, secure || e.Spoken == ProtocolEcho)
	}
}

// wantsTLS reports whether the body of a 400 is how a server of HTTPS answers HTTP: those of Go, nginx and Apache say so.
func wantsTLS(body string) bool {
	for _, words := range []string{"to an HTTPS server", "to HTTPS port", "to an SSL-enabled server port"} {
		if strings.Contains(body, words) {
			return true
		}
	}
	return false
}

// http2Quoted is in what the HTTP parser says of the first frame of HTTP/2, which inside of TLS nobody else sees.
const http2Quoted = `\x04\x00\x00\x00\x00\x00`

// protocolOf recognizes a protocol by how its servers begin; empty if it cannot.
func protocolOf(head []byte) Protocol {
	const (
		tlsAlert         = "\x15\x03"
		http2SettingsAt  = 3 // behind the length of the frame
		http2SettingsTag = "\x04\x00\x00\x00\x00\x00"
	)
	switch {
	case bytes.HasPrefix(head, []byte(tlsAlert)):
		return ProtocolTLS
	case bytes.HasPrefix(head, []byte("SSH-")):
		return ProtocolSSH
	case bytes.HasPrefix(head, []byte("GET ")):
		return ProtocolEcho
	case len(head) > http2SettingsAt && bytes.HasPrefix(head[http2SettingsAt:], []byte(http2SettingsTag)):
		return ProtocolHTTP2
	}
	return ""
}

// notHTTP is the error of an answer that no HTTP server gives, with its first words, unless they are not for people to see.
func notHTTP(head []byte, hidden bool) error {
	words, _, _ := bytes.Cut(head, []byte("\n"))
	// A server that complains about the request may repeat its query.
	words, _, _ = bytes.Cut(words, []byte("?"))
	text := printable(string(words))
	if hidden || text == "" || text != strings.TrimSpace(string(words)) { // the last: they are no words
		return errors.New("its answer is not HTTP")
	}
	return fmt.Errorf("its answer is not HTTP: %q", text)
}

// checkSubprotocol: the server may choose none, or one of those offered (RFC 6455, section 4.1).
func checkSubprotocol(answer http.Header, offered []string) error {
	const header = "Sec-Websocket-Protocol"
	chosen := strings.Join(answer.Values(header), ", ")
	switch {
	case chosen == "" || slices.Contains(offered, chosen):
		return nil
	case strings.Contains(chosen, tokenSubprotocol): // which it may repeat, and which is a secret
		return ErrSubprotocol
	}
	return fmt.Errorf("%w: %q", ErrSubprotocol, printable(chosen))
}

// offeredSubprotocols are those of the credentials, or of a header that was given.
func offeredSubprotocols(fromCredentials []string, header http.Header) []string {
	offered := slices.Clone(fromCredentials)
	for _, value := range header.Values("Sec-Websocket-Protocol") {
		for name := range strings.SplitSeq(value, ",") {
			offered = append(offered, strings.TrimSpace(name))
		}
	}
	return offered
}

// handshakeError says what is wrong with an answer 101.
func handshakeError(header http.Header) error {
	switch {
	case !strings.EqualFold(header.Get("Upgrade"), "websocket"):
		return fmt.Errorf("%w: the header Upgrade is not websocket", ErrHandshake)
	case header.Get("Sec-Websocket-Accept") == "":
		return fmt.Errorf("%w: there is no header Sec-WebSocket-Accept", ErrHandshake)
	case !strings.Contains(strings.ToLower(header.Get("Connection")), "upgrade"):
		return fmt.Errorf("%w: the header Connection is not Upgrade", ErrHandshake)
	}
	return fmt.Errorf("%w: Sec-WebSocket-Accept does not answer our key", ErrHandshake)
}
