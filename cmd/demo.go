package cmd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/realtime"
)

type demoOptions struct {
	factory *factory
	listen  string
	tls     bool
	quiet   bool
}

func newDemoCmd(f *factory) *cobra.Command {
	o := &demoOptions{factory: f}
	c := &cobra.Command{
		Use:   "demo",
		Short: "A Phoenix-speaking server on loopback, to try phx and to test scripts",
		Long: `Runs a server that speaks Phoenix Channels, until it is interrupted. It says on stderr what to type next, and then who
joins and what is pushed.

Topics: room:lobby ticks each second (event tick, payload {"n":1}, ...); room:private refuses; any
other room:* is quiet; in presence:* everyone is present under the join param user.

Events it takes: echo (replies with the payload), broadcast (sends the payload to everyone), fail
(an error reply), crash, close, silent (no reply), slow (replies after payload.ms milliseconds).

Any token but "bad" is accepted, as --param token=... or --auth-token-file.

Supabase Realtime is at /realtime/v1, with apikey=sb_publishable_demo: broadcast, presence and postgres_changes in
realtime:*. A POST to /realtime/v1/api/broadcast broadcasts; a POST of a row to /rest/v1/TABLE is an insert, and PATCH
and DELETE with ?id=eq.1 an update and a delete, of which nothing is kept.`,
		Example: `  phx demo
  phx demo --listen 127.0.0.1:0 --tls`,
		Args: noArgs,
	}
	f.bind(c, func(ctx context.Context) error { return demoRun(ctx, o) }, []option.Option{
		{Flag: "listen", Value: option.Listen(&o.listen, "127.0.0.1:4000"),
			Usage: "`ADDRESS` to listen on; port 0 takes a free one", Example: "127.0.0.1:4000"},
		{Flag: "tls", Value: option.Switch(&o.tls),
			Usage: "speak TLS; the certificate of its CA is written to a file, and removed at the end"},
		{Flag: "quiet", Value: option.Switch(&o.quiet),
			Usage: "do not say who joins and what is pushed"},
	})
	return c
}

func demoRun(ctx context.Context, o *demoOptions) error {
	ctx, stop := interruptible(ctx, o.factory.die, o.factory.stderr.Gone(), endingSignals...)
	defer stop()
	options := []phoenixtest.Option{phoenixtest.WithAddr(o.listen)}
	export := ""
	if o.tls {
		ca, err := newDemoCA(o.listen)
		if err != nil {
			return err
		}
		defer ca.remove()
		options = append(options, phoenixtest.WithTLS(&tls.Config{Certificates: []tls.Certificate{ca.server}}))
		export = " SSL_CERT_FILE=" + ca.path
	}
	server, err := phoenixtest.Listen(demoApp(o), options...)
	if err != nil {
		return listenError(o.listen, err)
	}
	defer server.Close()
	o.printLine("in another terminal, type: export PHX_URI=" + server.URL + export)
	o.printLine("then for example: phx listen room:lobby")
	<-ctx.Done()
	return context.Cause(ctx)
}

// demoApp is the demo of Phoenix, and Supabase beside it.
func demoApp(o *demoOptions) phoenixtest.App {
	var supabase realtime.Config
	demo := phoenixtest.Demo()
	if !o.quiet {
		demo = phoenixtest.Demo(o.say)
		supabase.Watch = o.say
	}
	return func(s *phoenixtest.Server) {
		demo(s)
		realtime.New(supabase).Mount(s)
	}
}

// printLine writes a line for people.
func (o *demoOptions) printLine(text string) {
	fmt.Fprintln(o.factory.streams.Err, linePrefix+text)
}

// demoPayload is how much of a payload is said, in bytes.
const demoPayload = 200

// say says what a client did, in a line.
func (o *demoOptions) say(a phoenixtest.DemoActivity) {
	line := []byte(linePrefix + a.Peer + " ")
	add := func(words, name string) { line = appendVisible(append(line, words...), name) }
	switch payload := a.Payload.Bytes(); {
	case a.Refused:
		add("was refused ", a.Topic)
	case a.Event == "":
		add("joined ", a.Topic)
	default:
		add("pushed ", a.Event)
		add(" to ", a.Topic)
		if a.Payload.IsBinary() {
			line = fmt.Appendf(line, ": %d bytes", len(payload))
			break
		}
		shown := payload[:min(len(payload), demoPayload)]
		line = appendVisible(append(line, ": "...), strings.ToValidUTF8(string(shown), ""))
		if len(shown) < len(payload) {
			line = append(line, ellipsis...)
		}
	}
	width := 0
	if o.factory.streams.ErrTerminal {
		width = o.factory.streams.ErrWidth()
	}
	// It holds up no client: stderr has a queue, which takes a line or counts it as lost.
	_, _ = o.factory.streams.Err.Write(append(appendCut(nil, line, width), '\n'))
}

func listenError(address string, err error) error {
	f := &exit.Error{
		Code:    exit.Failure,
		Message: "cannot listen on " + address + ": " + exit.SystemText(err),
		Hint:    "check the address given with --listen",
		Err:     err,
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		f.Hint = "is there another phx demo? --listen 127.0.0.1:0 takes a free port"
	}
	return f
}

// A demoCA is a certificate authority that lives as long as the demo. Its keys never leave memory; its certificate is in a
// file, for clients to trust.
type demoCA struct {
	path   string
	server tls.Certificate
}

// newDemoCA makes a CA, a certificate of it for the host of the address, and the file.
func newDemoCA(address string) (*demoCA, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := demoCertificate("phx demo CA")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, demoServerCertificate(address), ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	path, err := writePEM(caDER)
	if err != nil {
		return nil, err
	}
	return &demoCA{path: path, server: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}

// remove removes the file.
func (ca *demoCA) remove() { os.Remove(ca.path) }

func demoCertificate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(30 * 24 * time.Hour),
	}
}

// demoServerCertificate is good for loopback and for the host of the address.
func demoServerCertificate(address string) *x509.Certificate {
	c := demoCertificate("phx demo")
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	c.DNSNames = []string{"localhost"}
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); ip != nil {
		c.IPAddresses = append(c.IPAddresses, ip)
	} else if err == nil && host != "" {
		c.DNSNames = append(c.DNSNames, host)
	}
	return c
}

// writePEM writes a certificate to a new file and returns its path.
func writePEM(der []byte) (string, error) {
	failed := func(err error) error {
		return &exit.Error{Code: exit.Write, Err: err, Hint: "check the directory, or set TMPDIR to another one",
			Message: fmt.Sprintf("cannot write the certificate of the CA into %s: %s", os.TempDir(), exit.SystemText(err))}
	}
	file, err := os.CreateTemp("", "phx-demo-ca-*.pem")
	if err != nil {
		return "", failed(err)
	}
	err = pem.Encode(file, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(file.Name())
		return "", failed(err)
	}
	return file.Name(), nil
}
