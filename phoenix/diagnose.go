package phoenix

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// errTooBig ends a session in which a message was larger than Options.MaxMessage.
var errTooBig = errors.New("a message is larger than the limit")

// classify makes a LinkError of what ended a dial or a session.
func classify(stage Stage, err error) *LinkError {
	if known := (*LinkError)(nil); errors.As(err, &known) { // it comes from a transport that has found out itself
		e := *known
		return &e
	}
	e := &LinkError{Stage: stage, Err: err}
	if closed, ok := asClose(err); ok {
		// 1006 is gorilla's word for an end of TCP without a close frame.
		if closed.Code == websocket.CloseAbnormalClosure {
			e.Reason, e.Err = ReasonEOF, io.ErrUnexpectedEOF
			return e
		}
		e.Reason, e.Code, e.CloseText, e.Err = ReasonClosedByRemote, closed.Code, closed.Text, nil
		switch closed.Code {
		case websocket.CloseMessageTooBig:
			e.Reason = ReasonMessageTooBig
		case websocket.CloseNoStatusReceived: // gorilla's word for a close frame without a code
			e.Code = 0
		}
		return e
	}
	var proxy *proxyRefusal
	if errors.As(err, &proxy) {
		e.Reason, e.HTTPStatus, e.RetryAfter = ReasonRefused, proxy.status, proxy.retryAfter
		return e
	}
	e.Reason = reasonOf(stage, err)
	return e
}

// asClose returns the close frame that err is.
func asClose(err error) (*websocket.CloseError, bool) {
	var closed *websocket.CloseError
	ok := errors.As(err, &closed)
	return closed, ok
}

// closeAnswer returns the code of the close frame that answers what ended a session; 0 is one without a code. False: nobody
// is there to read one.
func closeAnswer(err error) (code int, ok bool) {
	closed, isClose := asClose(err)
	switch {
	case isClose && closed.Code == websocket.CloseAbnormalClosure:
		return 0, false
	case isClose && closed.Code == websocket.CloseNoStatusReceived:
		return 0, true
	case isClose: // by one with the same code (RFC 6455, section 5.5.1)
		return closed.Code, true
	case violates(err) && strings.Contains(err.Error(), "invalid utf8"):
		return websocket.CloseInvalidFramePayloadData, true
	case violates(err):
		return websocket.CloseProtocolError, true
	case errors.Is(err, errTooBig):
		return websocket.CloseMessageTooBig, true
	}
	return 0, false
}

// violates reports whether a session ended for what WebSocket does not allow.
func violates(err error) bool {
	_, isClose := asClose(err)
	known := (*LinkError)(nil)
	return !isClose && !errors.As(err, &known) && reasonOf(StageSession, err) == ReasonProtocolError
}

// tooBigForServer reports whether the server ended a session for a message of ours.
func (e *LinkError) tooBigForServer() bool {
	return e.Code == websocket.CloseMessageTooBig || e.Reason == ReasonMessageTooBig && e.HTTPStatus != 0
}

// minSilence is how long nothing must have been written for an end to be taken for that of an idle session. What ends earlier ends
// for what was written.
const minSilence = time.Second / 2

// endsIdle reports whether a session ended as it does when a server or a proxy closes what is idle: Bandit with 1002, Cowboy with
// 1000 (PROTOCOL.md, section 7), proxies without a close frame.
func (e *LinkError) endsIdle() bool {
	switch e.Reason {
	case ReasonClosedByRemote:
		return (e.Code == websocket.CloseProtocolError || e.Code == websocket.CloseNormalClosure) && e.CloseText == ""
	case ReasonEOF, ReasonReset:
		return true
	}
	return false
}

func reasonOf(stage Stage, err error) Reason {
	var dns *net.DNSError
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case noDescriptors(err):
		return ReasonNoDescriptors
	case errors.As(err, &dns) && !dns.IsTimeout:
		return ReasonDNS
	case errors.Is(err, errTooBig):
		return ReasonMessageTooBig
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ReasonTimeout
	case errors.Is(err, syscall.ECONNREFUSED), stage == StageTCP && errors.Is(err, fs.ErrNotExist): // the latter: a Unix socket
		return ReasonConnectRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return ReasonUnreachable
	case errors.As(err, &certificate), isX509(err):
		return ReasonCertificate
	case isAlert(err):
		return ReasonTLS
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ReasonReset
	case stage == StageTLS:
		return ReasonTLS
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return ReasonEOF
	case stage == StageUpgrade:
		return ReasonNotWebSocket
	case stage == StageSession:
		return ReasonProtocolError
	}
	return ReasonUnreachable
}

// noDescriptors reports whether this process, or the system, has run out of file descriptors. A resolver tells it in words only.
func noDescriptors(err error) bool {
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		return strings.Contains(dns.Err, syscall.EMFILE.Error()) || strings.Contains(dns.Err, syscall.ENFILE.Error())
	}
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// isAlert reports whether a TLS alert of the server's is behind err. With TLS 1.3, the one about a client's certificate comes
// after the handshake, as the answer to the upgrade.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func isX509(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// refused makes a LinkError of an HTTP answer that is not an upgrade.
func refused(resp *http.Response, now time.Time) *LinkError {
	e := &LinkError{Stage: StageUpgrade, Reason: ReasonRefused, HTTPStatus: resp.StatusCode}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		e.Reason, e.HTTPStatus = ReasonNotWebSocket, 0
		e.Err = handshakeError(resp.Header)
		return e
	}
	if from, err := body(resp); err == nil {
		text, _ := io.ReadAll(io.LimitReader(from, 4<<10)) // what came before an error is all there is
		e.Body = string(text)
	}
	e.RetryAfter, _ = ParseRetryAfter(resp.Header, now)
	if u, err := url.Parse(resp.Header.Get("Location")); err == nil && u.Path+u.Host != "" {
		u.RawQuery, u.User, u.Fragment = "", nil, ""
		e.Location = u.String()
	}
	return e
}

// redact takes secrets out of the server's words in e, and makes them fit for people to see. Every LinkError of a dial or
// a session goes through it before anybody else gets it.
func (e *LinkError) redact(secrets *Redactor) {
	e.Body, e.CloseText, e.Location = words(secrets, e.Body), words(secrets, e.CloseText), words(secrets, e.Location)
	e.secrets = secrets
}

// words returns an excerpt of a server's words.
func words(secrets *Redactor, text string) string { return secrets.Excerpt(text, maxProse) }

// maxProse bounds the server's prose in errors and events, in bytes.
const maxProse = 300

// printable makes one line for people of what a server sent.
func printable(s string) string { return Excerpt(s, maxProse) }

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
// its own, without secrets.
func (e *LinkError) recognize(head []byte, secure bool, secrets *Redactor) {
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
	case errors.Is(e.Err, errAnswerTooLong) && (secure || bytes.HasPrefix(head, []byte("HTTP/"))):
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
		// Before it is cut and quoted: then nobody would find what is cut in two.
		e.Err = notHTTP([]byte(secrets.Redact(string(head))), secure || e.Spoken == ProtocolEcho)
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
	// A server that complains about the request may repeat its query, of which the names are nobody's business, either.
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

// certificateDetail says what is wrong with a server's certificate, and what it has instead.
func certificateDetail(err error, now time.Time) string {
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &host) && host.Certificate != nil:
		return printable(fmt.Sprintf("it is not for %s, but for %s", host.Host, certificateNames(host.Certificate)))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		if now.Before(invalid.Cert.NotBefore) {
			return "it is not valid before " + invalid.Cert.NotBefore.UTC().Format(time.RFC3339)
		}
		return "it expired at " + invalid.Cert.NotAfter.UTC().Format(time.RFC3339)
	case errors.As(err, &authority) && authority.Cert != nil:
		return printable(fmt.Sprintf("it is signed by an unknown authority, %q", authority.Cert.Issuer.String()))
	}
	return printable(err.Error())
}

// certificateNames lists what a certificate is for.
func certificateNames(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host at all"
	}
	return strings.Join(names, ", ")
}

// shownSecrets are what a connection has shown to the server, and nobody else may see.
type shownSecrets struct {
	mu sync.Mutex
	// request has those of the last dial, proxy those in the URL of the last proxy.
	request *Redactor
	proxy   Redactor
	// joins are those of the last join of each topic that is wanted: its params, and behind them the payloads of its pushes.
	joins map[string][][]byte
	// past are those of earlier dials and joins, the latest last: what a server repeats may be late.
	past []pastSecrets
	// answers are those that the server has given us to show again: tokens of long poll sessions and cookies, the latest last.
	answers []string
}

// pastSecrets are those of a dial, or of a join of topic.
type pastSecrets struct {
	topic string
	Redactor
}

// maxPast is of how many dials and joins past secrets are kept.
const maxPast = 32

// dialing sets those of a dial.
func (s *shownSecrets) dialing(request *Redactor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.request != nil && !slices.Equal(s.request.secrets, request.secrets) {
		s.retire(pastSecrets{Redactor: *s.request})
	}
	s.request = request
}

// through sets those of a proxy.
func (s *shownSecrets) through(proxy *url.URL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proxy = Redactor{}
	s.proxy.AddURL(proxy.String())
}

// given adds what the server has given us, as the latest. What is too short for a secret is left out.
func (s *shownSecrets) given(values ...string) {
	const short = 8
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range values {
		if len(v) < short {
			continue
		}
		if at := slices.Index(s.answers, v); at >= 0 {
			s.answers = slices.Delete(s.answers, at, at+1)
		} else if len(s.answers) == maxPast {
			s.answers = slices.Delete(s.answers, 0, 1)
		}
		s.answers = append(s.answers, v)
	}
}

// joining sets those of a join: its params, and the payloads of [Channel.OnJoin].
func (s *shownSecrets) joining(topic string, params Payload, onJoin []Push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := [][]byte{bytes.Clone(params.Data)}
	for _, p := range onJoin {
		texts = append(texts, bytes.Clone(p.Payload.Data))
	}
	if !slices.EqualFunc(s.joins[topic], texts, bytes.Equal) {
		s.over(topic)
	}
	if len(onJoin) == 0 && len(params.Data) <= len("{}") {
		return
	}
	if s.joins == nil {
		s.joins = map[string][][]byte{}
	}
	s.joins[topic] = texts
}

// renewing sets that of a push of [Channel.Renew], which takes the place of a part of those of the join.
func (s *shownSecrets) renewing(topic string, payload Payload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	params := []byte("{}")
	if texts := s.joins[topic]; texts != nil {
		params = texts[0]
		s.over(topic)
	} else if s.joins == nil {
		s.joins = map[string][][]byte{}
	}
	s.joins[topic] = [][]byte{params, bytes.Clone(payload.Data)}
}

// left makes those of a topic past.
func (s *shownSecrets) left(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over(topic)
}

// over is left, with mu held.
func (s *shownSecrets) over(topic string) {
	texts := s.joins[topic]
	if texts == nil {
		return
	}
	delete(s.joins, topic)
	past := pastSecrets{topic: topic}
	for _, text := range texts {
		past.AddJSON(text)
	}
	s.retire(past)
}

func (s *shownSecrets) retire(past pastSecrets) {
	if len(s.past) == maxPast {
		s.past = slices.Delete(s.past, 0, 1)
	}
	s.past = append(s.past, past)
}

// all returns a redactor of all there are.
func (s *shownSecrets) all() *Redactor { return s.redactor(func(string) bool { return true }) }

// of returns a redactor of what a channel may repeat.
func (s *shownSecrets) of(topic string) *Redactor {
	return s.redactor(func(other string) bool { return other == topic })
}

// ofPushes returns a redactor of what the pushes of [Channel.OnJoin] hold.
func (s *shownSecrets) ofPushes() *Redactor {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Redactor{}
	for _, texts := range s.joins {
		for _, text := range texts[1:] {
			r.AddJSON(text)
		}
	}
	return r
}

func (s *shownSecrets) redactor(of func(topic string) bool) *Redactor {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Redactor{}
	if s.request != nil {
		r.secrets = slices.Clone(s.request.secrets)
	}
	r.Add(s.proxy.secrets...)
	r.Add(s.answers...)
	for topic, texts := range s.joins {
		if of(topic) {
			for _, text := range texts {
				r.AddJSON(text)
			}
		}
	}
	for _, past := range s.past {
		if past.topic == "" || of(past.topic) {
			r.Add(past.secrets...)
		}
	}
	return r
}

// requestSecrets returns a redactor of what of a request nobody may see: values of its query, of its headers, and the auth token.
func requestSecrets(dialed string, header http.Header, c Credentials) *Redactor {
	var r Redactor
	r.AddURL(dialed)
	for name, values := range header {
		if name != "User-Agent" || !strings.HasPrefix(values[0], userAgent) {
			r.AddHeader(http.Header{name: values})
		}
	}
	r.Add(c.AuthToken)
	return &r
}
