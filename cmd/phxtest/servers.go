//go:build unix

package phxtest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
	"phx/phoenix/phoenixtest/proxytest"
	"phx/phoenix/phoenixtest/realtime"
)

// demoJob is the name of the job that is the demo server.
const demoJob = "demo"

// cmdDemo starts the real `phx demo`, as a job called demo, and points PHX_URI at it:
//
//	demo [FLAG...]
//
// It takes a free port unless told otherwise. DEMO_ADDR is the address, for another one at the same place. With --tls,
// SSL_CERT_FILE is set, too. SUPABASE_URL and SUPABASE_KEY are those of its Supabase.
func cmdDemo(ts *testscript.TestScript, args []string) {
	j := startJob(ts, demoJob, false, append([]string{"phx", "demo", "--listen", "127.0.0.1:0"}, args...)...)
	match := j.await(ts, "stderr", `export PHX_URI=(wss?://(\S+)/socket)(?: SSL_CERT_FILE=(\S+))?\n`)
	ts.Setenv("PHX_URI", match[1])
	ts.Setenv("DEMO_ADDR", match[2])
	ts.Setenv("SSL_CERT_FILE", match[3])
	ts.Setenv("SUPABASE_URL", strings.Replace(strings.TrimSuffix(match[1], "/socket"), "ws", "http", 1))
	ts.Setenv("SUPABASE_KEY", "sb_publishable_demo")
}

// servers are those of a script that live in the test's own process.
type servers struct {
	phoenix *phoenixtest.Server
	// project is what phoenix serves, if that is Supabase.
	project *realtime.Project
	nats    *NATSServer
	closers []func()
}

func (s *servers) close() {
	for _, f := range s.closers {
		f()
	}
}

// apps are the applications that serve knows.
var apps = map[string]phoenixtest.App{
	"demo": phoenixtest.Demo(),
	// Every event in room:* is recorded and answered with ok; at each 700th the server dies under it.
	"recorder": recorder(700),
	// The recorded application; its package says what it does.
	"peer": peer.App(),
	// The same, with permessage-deflate.
	"compressing": peer.Config{Compress: true}.App(),
	// The same, which closes after a second without anything from the client, and takes no frame of more than 1,000 bytes.
	"strict": peer.Config{IdleTimeout: time.Second, MaxFrameSize: 1000}.App(),
	// The same, which takes 30 channels on a socket.
	"crowded": peer.Config{MaxChannels: 30}.App(),
	// The same, for pages of localhost and 127.0.0.1.
	"origins": peer.Config{CheckOrigin: true}.App(),
}

// recorder is an application that tells everybody who joins a record what events have come, as messages on that topic: topic, event,
// payload, and the number of the connection. Each time that so many have come, it drops all connections, before it answers.
func recorder(deadly int) phoenixtest.App {
	return func(srv *phoenixtest.Server) {
		var mu sync.Mutex
		var got []phoenixtest.Map
		numbers := map[*phoenixtest.Conn]int{}
		record := func(s *phoenixtest.Socket, event string, payload phoenixtest.Payload) bool {
			mu.Lock()
			defer mu.Unlock()
			if numbers[s.Conn()] == 0 {
				numbers[s.Conn()] = len(numbers) + 1
			}
			got = append(got, phoenixtest.Map{"topic": s.Topic(), "event": event, "payload": payload, "connection": numbers[s.Conn()]})
			return len(got)%deadly != 0
		}
		srv.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{
			phoenixtest.RouteFuncs("room:*", phoenixtest.ChannelFuncs{
				OnIn: func(s *phoenixtest.Socket, event string, payload phoenixtest.Payload) phoenixtest.Result {
					if !record(s, event, payload) {
						srv.DropConns()
					}
					return phoenixtest.OK(phoenixtest.Map{"topic": s.Topic(), "event": event, "payload": payload})
				},
			}),
			phoenixtest.RouteFuncs("record", phoenixtest.ChannelFuncs{
				OnJoin: func(s *phoenixtest.Socket, _ phoenixtest.Payload) (any, error) {
					mu.Lock()
					defer mu.Unlock()
					return phoenixtest.Map{"got": slices.Clone(got)}, nil
				},
			}),
		}})
	}
}

// cmdServe starts a server whose link can be played with, see server, and points PHX_URI at it:
//
//	serve demo|recorder|peer|compressing|strict|crowded|origins
func cmdServe(ts *testscript.TestScript, args []string) {
	s := &sceneOf(ts).servers
	if len(args) != 1 || apps[args[0]] == nil || s.phoenix != nil {
		ts.Fatalf("usage, once a script: serve demo|recorder|peer|compressing|strict|crowded|origins")
	}
	server, err := phoenixtest.Listen(apps[args[0]])
	ts.Check(err)
	s.phoenix = server
	s.closers = append(s.closers, server.Close)
	ts.Setenv("PHX_URI", server.URL)
	ts.Setenv("SERVER_ADDR", server.Addr())
}

// serverVerbs are what the command server can do.
var serverVerbs = map[string]struct {
	args int
	do   func(s *phoenixtest.Server, args []string) error
}{
	// stop is what a deployment begins with: it closes all connections, and takes no new ones.
	"stop": {0, func(s *phoenixtest.Server, _ []string) error { s.Stop(); return nil }},
	// drop and reset end the connections without a close frame; hole makes them half-open.
	"drop":  {0, func(s *phoenixtest.Server, _ []string) error { s.DropConns(); return nil }},
	"reset": {0, func(s *phoenixtest.Server, _ []string) error { s.ResetConns(); return nil }},
	"hole":  {0, func(s *phoenixtest.Server, _ []string) error { s.BlackHole(); return nil }},
	// kill N ends the N-th of the connections, from 1, without a close frame.
	"kill": {1, func(s *phoenixtest.Server, args []string) error {
		n, err := strconv.Atoi(args[0])
		if conns := s.Conns(); n >= 1 && n <= len(conns) {
			conns[n-1].Drop()
			return err
		}
		return fmt.Errorf("there is no connection %s", args[0])
	}},
	// close CODE closes the connections.
	"close": {1, func(s *phoenixtest.Server, args []string) error {
		code, err := strconv.Atoi(args[0])
		s.CloseConns(code)
		return err
	}},
	// refuse STATUS BODY refuses further connections.
	"refuse": {2, func(s *phoenixtest.Server, args []string) error {
		status, err := strconv.Atoi(args[0])
		s.Refuse(&phoenixtest.Refusal{Status: status, Body: args[1]})
		return err
	}},
	// accept takes connections again.
	"accept": {0, func(s *phoenixtest.Server, _ []string) error { s.Refuse(nil); return nil }},
	// text TEXT sends a frame to everyone, whether it is a message or not.
	"text": {1, func(s *phoenixtest.Server, args []string) error {
		for _, c := range s.Conns() {
			c.SendText(args[0])
		}
		return nil
	}},
	// binary HEX sends the bytes as a binary frame to everyone.
	"binary": {1, func(s *phoenixtest.Server, args []string) error {
		data, err := hex.DecodeString(args[0])
		for _, c := range s.Conns() {
			c.SendBinary(data)
		}
		return err
	}},
	// raw HEX writes the bytes to everyone as they are, whatever frame that is.
	"raw": {1, func(s *phoenixtest.Server, args []string) error {
		data, err := hex.DecodeString(args[0])
		for _, c := range s.Conns() {
			c.SendRaw(data)
		}
		return err
	}},
	// broadcast TOPIC EVENT PAYLOAD sends a message to everyone in the topic.
	"broadcast": {3, func(s *phoenixtest.Server, args []string) error {
		s.Broadcast(args[0], args[1], phoenixtest.RawJSON(args[2]))
		return nil
	}},
	// closed waits until no connection is open, and asked N until so many joins have come, answered or not.
	"closed": {0, func(s *phoenixtest.Server, _ []string) error {
		return await(s, func(st phoenixtest.Stats) bool { return st.Open == 0 })
	}},
	"asked": {1, func(s *phoenixtest.Server, args []string) error {
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		return await(s, func(st phoenixtest.Stats) bool { return st.Joins >= n })
	}},
}

func await(s *phoenixtest.Server, what func(phoenixtest.Stats) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	return s.Await(ctx, what)
}

// cmdServer plays with the server that serve has started:
//
//	server VERB [ARG...]
func cmdServer(ts *testscript.TestScript, args []string) {
	server := sceneOf(ts).servers.phoenix
	if server == nil || len(args) == 0 {
		ts.Fatalf("usage, after serve: server VERB [ARG...]")
	}
	verb, ok := serverVerbs[args[0]]
	if !ok || len(args)-1 != verb.args {
		ts.Fatalf("server cannot do this: %s", strings.Join(args, " "))
	}
	ts.Check(verb.do(server, args[1:]))
}

// cmdServeUnix starts the demo's application at a Unix socket:
//
//	serve-unix PATH
func cmdServeUnix(ts *testscript.TestScript, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: serve-unix PATH")
	}
	l, err := net.Listen("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	application := phoenixtest.NewPipeServer(phoenixtest.Demo())
	front := &http.Server{Handler: application}
	go func() { _ = front.Serve(l) }() // it ends with Close
	s := &sceneOf(ts).servers
	s.closers = append(s.closers, application.Close, func() { front.Close() })
}

// cmdReceiver starts a web server that answers posts, and sets RECEIVER_URL, under which the path says how:
//
//	receiver [FILE]
//
// RECEIVER_URL/503,200 is answered with 503 the first time, and with 200 from then on. FILE gets the bodies that were answered with 200,
// each with a line break behind it.
func cmdReceiver(ts *testscript.TestScript, args []string) {
	var mu sync.Mutex
	accepted := io.Discard
	if len(args) == 1 {
		file, err := os.Create(ts.MkAbs(args[0]))
		ts.Check(err)
		ts.Defer(func() { file.Close() })
		accepted = file
	}
	posts := map[string]int{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		statuses := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), ",")
		status, err := strconv.Atoi(statuses[min(posts[r.URL.Path], len(statuses)-1)])
		if err != nil {
			status = http.StatusNotFound
		}
		posts[r.URL.Path]++
		if status == http.StatusOK {
			body, _ := io.ReadAll(r.Body)
			_, _ = accepted.Write(append(body, '\n'))
		}
		w.WriteHeader(status)
	}))
	s := &sceneOf(ts).servers
	s.closers = append(s.closers, receiver.Close)
	ts.Setenv("RECEIVER_URL", receiver.URL)
}

// proxies are the kinds of proxies that there are.
var proxies = map[string]func(proxytest.Config) (*proxytest.Proxy, error){
	"http":   proxytest.Connect,
	"socks5": proxytest.SOCKS5,
}

// cmdProxy starts a proxy that connects everybody to the server of PHX_URI, and sets PROXY_ADDR:
//
//	proxy http|socks5 USER PASSWORD REFUSE
//
// USER and PASSWORD are asked for, unless they are empty. REFUSE is the status that everybody gets, or 0.
func cmdProxy(ts *testscript.TestScript, args []string) {
	if len(args) != 4 || proxies[args[0]] == nil {
		ts.Fatalf("usage: proxy http|socks5 USER PASSWORD REFUSE")
	}
	target, err := url.Parse(ts.Getenv("PHX_URI"))
	ts.Check(err)
	refuse, err := strconv.Atoi(args[3])
	ts.Check(err)
	p, err := proxies[args[0]](proxytest.Config{Target: target.Host, User: args[1], Password: args[2], Refuse: refuse})
	ts.Check(err)
	s := &sceneOf(ts).servers
	s.closers = append(s.closers, p.Close)
	ts.Setenv("PROXY_ADDR", p.Addr)
}

// cmdGateway starts a reverse proxy in front of the server of PHX_URI, through which no WebSocket passes, and sets GATEWAY_ADDR:
//
//	gateway STATUS
//
// STATUS is how an upgrade is answered; 0: it is let through, and no frame behind it.
func cmdGateway(ts *testscript.TestScript, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: gateway STATUS")
	}
	target, err := url.Parse(ts.Getenv("PHX_URI"))
	ts.Check(err)
	refuse, err := strconv.Atoi(args[0])
	ts.Check(err)
	p, err := proxytest.Gateway(proxytest.Config{Target: target.Host, Refuse: refuse})
	ts.Check(err)
	s := &sceneOf(ts).servers
	s.closers = append(s.closers, p.Close)
	ts.Setenv("GATEWAY_ADDR", p.Addr)
}

// tlsServers are the servers that serve-tls knows: what is special about their certificate, or about what they ask for.
var tlsServers = map[string]func(c *x509.Certificate, config *tls.Config){
	"good":    func(*x509.Certificate, *tls.Config) {},
	"expired": func(c *x509.Certificate, _ *tls.Config) { c.NotAfter = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC) },
	"early": func(c *x509.Certificate, _ *tls.Config) {
		c.NotBefore = time.Date(2101, 2, 3, 4, 5, 6, 0, time.UTC)
		c.NotAfter = c.NotBefore.AddDate(1, 0, 0)
	},
	"elsewhere": func(c *x509.Certificate, _ *tls.Config) { c.IPAddresses = nil },
	// It wants a certificate of the same CA.
	"mutual": func(_ *x509.Certificate, config *tls.Config) { config.ClientAuth = tls.RequireAndVerifyClientCert },
}

// cmdServeTLS starts the demo's application behind TLS and points PHX_URI at it:
//
//	serve-tls good|expired|early|elsewhere|mutual
//
// Its certificate is for 127.0.0.1, unless it is for elsewhere, and for phoenix.test. The files ca.pem, client.pem and
// client.key are written for clients.
func cmdServeTLS(ts *testscript.TestScript, args []string) {
	if len(args) != 1 || tlsServers[args[0]] == nil {
		ts.Fatalf("usage: serve-tls good|expired|early|elsewhere|mutual")
	}
	ca := newAuthority(ts)
	template := certificateTemplate("phoenix.test")
	config := &tls.Config{ClientCAs: x509.NewCertPool()}
	config.ClientCAs.AddCert(ca.certificate)
	tlsServers[args[0]](template, config)
	config.Certificates = []tls.Certificate{ca.issue(ts, template)}

	client := ca.issue(ts, certificateTemplate("client.test"))
	key, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	ts.Check(err)
	writePEM(ts, "ca.pem", "CERTIFICATE", ca.certificate.Raw)
	writePEM(ts, "client.pem", "CERTIFICATE", client.Certificate[0])
	writePEM(ts, "client.key", "PRIVATE KEY", key)

	server, err := phoenixtest.Listen(phoenixtest.Demo(), phoenixtest.WithTLS(config))
	ts.Check(err)
	s := &sceneOf(ts).servers
	s.closers = append(s.closers, server.Close)
	ts.Setenv("PHX_URI", server.URL)
}

// An authority is a CA that lives as long as a script.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(ts *testscript.TestScript) *authority {
	template := certificateTemplate("script CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	ca := &authority{key: newKey(ts)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key)
	ts.Check(err)
	ca.certificate, err = x509.ParseCertificate(der)
	ts.Check(err)
	return ca
}

func (ca *authority) issue(ts *testscript.TestScript, template *x509.Certificate) tls.Certificate {
	key := newKey(ts)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
	ts.Check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newKey(ts *testscript.TestScript) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	return key
}

func certificateTemplate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func writePEM(ts *testscript.TestScript, name, kind string, der []byte) {
	data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o600))
}

// strangers are what may listen at an address instead of a Phoenix server.
var strangers = map[string]func(net.Conn){
	// nobody is special: nothing listens at the address.
	"nobody": nil,
	// silent takes what comes and never answers.
	"silent": discard,
	// hangup closes at once.
	"hangup": func(net.Conn) {},

	// web is an HTTP server that has never heard of WebSocket.
	"web": answer("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<p>hi</p>"),
	// redirect is one that has moved.
	"redirect": answer("HTTP/1.1 301 Moved Permanently\r\nLocation: https://elsewhere.example/socket/websocket?token=SECRET\r\nContent-Length: 0\r\n\r\n"),
	// limited is one that has had enough.
	"limited": answer("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\nslow\r\n\x1b\x07d"),
	// parrot refuses, and says why by repeating the whole request.
	"parrot": parrot,
	// https is one that wants TLS, and says so.
	"https": answer("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"),

	// Those that do not speak HTTP/1: mail, ssh, what wants TLS and answers by an alert, what wants HTTP/2, and what sends back
	// what it gets.
	"mail":  answer("220 mail.example ESMTP\r\n"),
	"ssh":   answer("SSH-2.0-OpenSSH_9.6\r\n"),
	"tls":   answer("\x15\x03\x01\x00\x02\x02\x46"),
	"http2": answer("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"),
	"echo":  func(nc net.Conn) { _, _ = io.Copy(nc, nc) },

	// cache answers 101, and with the key of somebody else.
	"cache": answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"),
	// graphql, mute, picky and odd are WebSocket servers: with a subprotocol of their own, without a word, with a close frame
	// (1003) for whatever comes, and with an error for a heartbeat.
	"graphql": upgrade("Sec-WebSocket-Protocol: graphql-ws\r\n", discard),
	"mute":    upgrade("", discard),
	"picky":   upgrade("", answer("\x88\x02\x03\xeb")),
	// rude has channels, each with a message, and answers neither a leave nor a close; curt hangs up at a close.
	"rude": upgrade("", func(nc net.Conn) { _, _ = io.Copy(io.Discard, channels(nc)) }), // until the client hangs up
	"curt": upgrade("", func(nc net.Conn) { channels(nc) }),
	// noise sends twenty thousand frames that are no messages, and late as many replies that nothing waits for; then they close.
	"noise": upgrade("", flood("\x81\x01x")),
	"late":  upgrade("", flood(textFrame(`[null,"99","phoenix","phx_reply",{"status":"ok","response":{}}]`))),
	// gateway closes at once with the code that says that what is behind it failed.
	"gateway": upgrade("", answer("\x88\x12\x03\xf6upstream is away")),
	"odd":     upgrade("", answer(textFrame(`[null,"1","phoenix","phx_reply",{"status":"error","response":{"reason":"nobody"}}]`))),
}

// parrot refuses an upgrade with a body that has the request as it came, and once more in base64.
func parrot(nc net.Conn) {
	var request [8192]byte
	n, _ := nc.Read(request[:])
	body := string(request[:n]) + base64.StdEncoding.EncodeToString(request[:n])
	fmt.Fprintf(nc, "HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// channels answers every message of a client, a leave excepted, until one is none. It returns what follows.
func channels(nc net.Conn) io.Reader {
	r := bufio.NewReader(nc)
	for {
		text, err := readClientFrame(r)
		var m []json.RawMessage
		if err != nil || json.Unmarshal(text, &m) != nil || len(m) != 5 {
			return r
		}
		if string(m[3]) == `"phx_leave"` {
			continue
		}
		answer := textFrame(fmt.Sprintf(`[%s,%s,%s,"phx_reply",{"status":"ok","response":{}}]`, m[0], m[1], m[2]))
		if string(m[3]) == `"phx_join"` {
			answer += textFrame(fmt.Sprintf(`[%s,null,%s,"hello",{}]`, m[0], m[2]))
		}
		if _, err := io.WriteString(nc, answer); err != nil {
			return r
		}
	}
}

// readClientFrame returns the payload of a short frame of a client (RFC 6455, section 5.2).
func readClientFrame(r io.Reader) ([]byte, error) {
	var header [6]byte
	if _, err := io.ReadFull(r, header[:2]); err != nil {
		return nil, err
	}
	size, masked := int(header[1]&0x7f), header[1]&0x80 != 0
	if size > 125 || !masked {
		return nil, fmt.Errorf("a frame of %d bytes, masked: %v", size, masked)
	}
	if _, err := io.ReadFull(r, header[2:]); err != nil {
		return nil, err
	}
	payload := make([]byte, size)
	_, err := io.ReadFull(r, payload)
	for i := range payload {
		payload[i] ^= header[2+i%4]
	}
	return payload, err
}

func discard(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) }

// answer waits for something and answers it.
func answer(text string) func(net.Conn) {
	return func(nc net.Conn) {
		var request [4096]byte
		if _, err := nc.Read(request[:]); err == nil {
			_, _ = io.WriteString(nc, text) // it fails when the client is gone already
		}
	}
}

// flood sends a frame twenty thousand times, for the most part before it has waited for something, and closes with 1000.
func flood(frame string) func(net.Conn) {
	return func(nc net.Conn) {
		const at, times = 1000, 20
		frames := strings.Repeat(frame, at)
		for range times - 1 {
			if _, err := io.WriteString(nc, frames); err != nil {
				return
			}
		}
		answer(frames + "\x88\x02\x03\xe8")(nc)
	}
}

// upgrade opens a WebSocket with a further header line, and goes on.
func upgrade(header string, then func(net.Conn)) func(net.Conn) {
	return func(nc net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(nc))
		if err != nil {
			return
		}
		const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455, section 1.3
		sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + guid))
		fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\n%s\r\n", base64.StdEncoding.EncodeToString(sum[:]), header)
		then(nc)
	}
}

// textFrame is a short WebSocket frame of a server.
func textFrame(text string) string { return "\x81" + string([]byte{byte(len(text))}) + text }

// cmdStranger points PHX_URI at something else than a Phoenix server, one of strangers:
//
//	stranger NAME
//
// STRANGER_ADDR is its address.
func cmdStranger(ts *testscript.TestScript, args []string) {
	names := strings.Join(slices.Sorted(maps.Keys(strangers)), "|")
	if len(args) != 1 {
		ts.Fatalf("usage: stranger %s", names)
	}
	serve, known := strangers[args[0]]
	if !known {
		ts.Fatalf("usage: stranger %s", names)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("STRANGER_ADDR", l.Addr().String())
	ts.Setenv("PHX_URI", "ws://"+l.Addr().String()+"/socket")
	if serve == nil {
		ts.Check(l.Close())
		return
	}
	s := &sceneOf(ts).servers
	s.closers = append(s.closers, func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				serve(nc)
			}()
		}
	}()
}
