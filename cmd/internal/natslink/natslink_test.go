//go:build unix

package natslink

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/secret"
	"phx/cmd/phxtest"
)

// startServer starts a nats-server for the test.
func startServer(t *testing.T, config string) *phxtest.NATSServer {
	t.Helper()
	if testing.Short() {
		t.Skip("needs nats-server, which takes minutes to build")
	}
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	s, err := phxtest.StartNATS(ctx, t.TempDir(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// openLink returns a link that the test closes.
func openLink(t *testing.T, o Options) *Link {
	t.Helper()
	l := New(o)
	t.Cleanup(func() { l.Close(t.Context()) })
	return l
}

// roundTrip has a message come back over the link.
func roundTrip(t *testing.T, l *Link) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	if err := l.AwaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := conn.SubscribeSync("test.subject")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		if err := conn.Publish("test.subject", []byte("hi")); err != nil { // the connection was lost just now
			if err := l.AwaitUp(ctx); err != nil {
				t.Fatal(err)
			}
			continue
		}
		break
	}
	if m, err := sub.NextMsgWithContext(ctx); err != nil || string(m.Data) != "hi" {
		t.Fatalf("got %v, %v", m, err)
	}
}

func file(t *testing.T, text string) *secret.Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return secret.File("the test", path)
}

func rewrite(t *testing.T, s *secret.Source, text string) {
	t.Helper()
	if err := os.WriteFile(s.Path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newSeed returns the seed of a new user and its public key.
func newSeed(t *testing.T) (seed, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	text, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return string(text), public
}

// TestConnIsLazy: nothing is dialed before somebody wants the connection, and all get the same.
func TestConnIsLazy(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	l := New(Options{URLs: []string{"nats://" + listener.Addr().String()}})
	l.Close(t.Context())
	if _, err := l.Conn(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed link: %v", err)
	}
	_ = listener.Close()
	if conn, ok := <-accepted; ok {
		t.Errorf("it was dialed, from %v", conn.RemoteAddr())
	}
}

// TestOneConnection: many who want the connection at once get the same one.
func TestOneConnection(t *testing.T) {
	s := startServer(t, "")
	l := openLink(t, Options{URLs: []string{s.URL}})
	conns := make([]*nats.Conn, 20)
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() { conns[i], _ = l.Conn(t.Context()) })
	}
	all.Wait()
	for _, conn := range conns {
		if conn == nil || conn != conns[0] {
			t.Fatal("there are several connections, or none")
		}
	}
	roundTrip(t, l)
}

// TestCredentials shows each kind of credentials, and again after they have changed, with a server
// that has been told of the new ones meanwhile.
func TestCredentials(t *testing.T) {
	seed, public := newSeed(t)
	newSeed, newPublic := newSeed(t)
	tests := map[string]struct {
		config, newConfig string
		text, newText     string
		options           func(s *secret.Source) Options
	}{
		"token": {
			`authorization: {token: "first"}`, `authorization: {token: "second"}`, "first", "second\n",
			func(s *secret.Source) Options { return Options{Token: s} },
		},
		"password": {
			`authorization: {user: phx, password: "first"}`, `authorization: {user: phx, password: "second"}`, "first\n", "second",
			func(s *secret.Source) Options { return Options{User: "phx", Password: s} },
		},
		"nkey": {
			`authorization: {users: [{nkey: ` + public + `}]}`, `authorization: {users: [{nkey: ` + newPublic + `}]}`, seed, newSeed,
			func(s *secret.Source) Options { return Options{NKey: s} },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, test.config)
			source := file(t, test.text)
			o := test.options(source)
			o.URLs = []string{s.URL}
			l := openLink(t, o)
			roundTrip(t, l)

			s.Kill()
			if err := s.Configure(test.newConfig); err != nil {
				t.Fatal(err)
			}
			rewrite(t, source, test.newText)
			lost := l.lost.wait()
			if l.connected.Load() {
				<-lost
			}
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			roundTrip(t, l)
		})
	}
}

// TestCreds shows a credentials file, of an operator with one account.
func TestCreds(t *testing.T) {
	config, creds := operator(t)
	s := startServer(t, config)
	l := openLink(t, Options{URLs: []string{s.URL}, Creds: file(t, creds)})
	roundTrip(t, l)
	if _, err := New(Options{URLs: []string{s.URL}, FailFast: true}).Conn(t.Context()); codeOf(err) != exit.Refused {
		t.Errorf("without credentials: %v", err)
	}
	if _, err := New(Options{URLs: []string{s.URL}, FailFast: true, Creds: file(t, "no creds")}).Conn(t.Context()); codeOf(err) != exit.Usage {
		t.Errorf("with a file that is none of credentials: %v", err)
	}
}

// operator returns the configuration of a server with an operator and an account, and the credentials
// of a user of that account. The claims are those of github.com/nats-io/jwt, version 2.
func operator(t *testing.T) (config, creds string) {
	t.Helper()
	create := func(create func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public string) {
		pair, err := create()
		if err == nil {
			public, err = pair.PublicKey()
		}
		if err != nil {
			t.Fatal(err)
		}
		return pair, public
	}
	sign := func(issuer nkeys.KeyPair, subject string, claims map[string]any) string {
		by, _ := issuer.PublicKey()
		claims["version"] = 2
		payload, _ := json.Marshal(map[string]any{"jti": subject, "iat": 1, "iss": by, "sub": subject, "name": subject, "nats": claims})
		text := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
		signature, err := issuer.Sign([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	account := func() map[string]any {
		return map[string]any{"type": "account", "limits": map[string]any{
			"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
		}}
	}
	operator, operatorKey := create(nkeys.CreateOperator)
	owner, ownerKey := create(nkeys.CreateAccount)
	_, systemKey := create(nkeys.CreateAccount)
	user, userKey := create(nkeys.CreateUser)
	config = fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {%s: %s, %s: %s}\n",
		sign(operator, operatorKey, map[string]any{"type": "operator"}), systemKey,
		ownerKey, sign(operator, ownerKey, account()), systemKey, sign(operator, systemKey, account()))
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	jwt := sign(owner, userKey, map[string]any{"type": "user", "subs": -1, "data": -1, "payload": -1})
	return config, fmt.Sprintf("-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", jwt, seed)
}

func codeOf(err error) exit.Code {
	var e *exit.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return -1
}

// TestFailures: the error of the first attempt has the code of what went wrong, and no secret.
func TestFailures(t *testing.T) {
	s := startServer(t, `authorization: {user: phx, password: "right"}`)
	address := strings.TrimPrefix(s.URL, "nats://")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := listener.Addr().String()
	_ = listener.Close()
	tests := []struct {
		name string
		o    Options
		want exit.Code
	}{
		{"nobody there", Options{URLs: []string{"nats://user:canary@" + free}}, exit.Connect},
		{"wrong password", Options{URLs: []string{"nats://phx:canary@" + address}}, exit.Refused},
		{"wrong password from a file", Options{URLs: []string{s.URL}, User: "phx", Password: file(t, "canary")}, exit.Refused},
		{"no such host", Options{URLs: []string{"nats://user:canary@host.invalid:4222"}}, exit.DNS},
		{"no TLS there", Options{URLs: []string{"tls://user:canary@" + address}}, exit.TLS},
		{"no such file", Options{URLs: []string{s.URL}, Token: secret.File("nats.token", "/nowhere/canary")}, exit.Read},
	}
	for _, test := range tests {
		var log bytes.Buffer
		test.o.FailFast = true
		test.o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		_, err := New(test.o).Conn(t.Context())
		if codeOf(err) != test.want {
			t.Errorf("%s: code %d, want %d: %v", test.name, codeOf(err), test.want, err)
		}
		if text := fmt.Sprint(err, exit.HintOf(err), log.String()); strings.Contains(text, "canary") && test.name != "no such file" {
			t.Errorf("%s: the secret is in %s", test.name, text)
		}
	}
}

// TestReconnects: a server that was killed and is there again has the subscriptions as before, and
// the log tells of the outage once.
func TestReconnects(t *testing.T) {
	s := startServer(t, "")
	log := &phxtest.Watched{}
	l := openLink(t, Options{URLs: []string{s.URL}, Logger: slog.New(slog.NewTextHandler(log, nil))})
	roundTrip(t, l)
	conn, err := l.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sub, err := conn.SubscribeSync("stays")
	if err != nil {
		t.Fatal(err)
	}
	lost := l.lost.wait()
	s.Kill()
	<-lost
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, l)
	if err := conn.Publish("stays", []byte("here")); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsgWithContext(t.Context()); err != nil {
		t.Error(err)
	}
	l.Close(t.Context())
	text := log.String()
	if n := strings.Count(text, "the connection to NATS is lost"); n != 1 {
		t.Errorf("the log tells of the loss %d times:\n%s", n, text)
	}
	if n := strings.Count(text, "connected to NATS again"); n != 1 {
		t.Errorf("the log tells of the end of the outage %d times:\n%s", n, text)
	}
}

// TestNoServerYet: without FailFast a link waits for a server that comes later.
func TestNoServerYet(t *testing.T) {
	s := startServer(t, "")
	s.Kill()
	log := &phxtest.Watched{}
	l := openLink(t, Options{URLs: []string{s.URL}, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if _, err := l.Conn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, l)
	if text := log.String(); strings.Count(text, "there is no connection to NATS yet") > 1 {
		t.Errorf("the log repeats itself:\n%s", text)
	}
}

// TestClosedForGood: a connection that the server ends for good is replaced, here after a line that is
// longer than any server takes.
func TestClosedForGood(t *testing.T) {
	s := startServer(t, "")
	l := openLink(t, Options{URLs: []string{s.URL}})
	roundTrip(t, l)
	conn, err := l.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closed := conn.StatusChanged(nats.CLOSED)
	if err := conn.Publish(strings.Repeat("a", 5022), nil); err != nil {
		t.Fatal(err)
	}
	<-closed
	deadline, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
	defer cancel()
	for {
		other, err := l.Conn(deadline)
		if err != nil {
			t.Fatal(err)
		}
		if other != conn {
			break
		}
		<-l.ended // the callback comes a moment later
	}
	roundTrip(t, l)
}

// TestCloseIsBounded: a server that reads nothing any more does not hold up the end.
func TestCloseIsBounded(t *testing.T) {
	s := startServer(t, "")
	l := New(Options{URLs: []string{s.URL}})
	roundTrip(t, l)
	if err := s.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	publishing := make(chan struct{})
	go func() {
		defer close(publishing)
		for conn.Publish("nobody.reads", make([]byte, 1<<16)) == nil { // until the socket takes no more
		}
	}()
	l.Close(ctx)
	if err := s.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-publishing
}
