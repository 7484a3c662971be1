// Package natslink is the one connection of a process to NATS. It is opened when something first
// uses it, connects again for as long as it takes, and reads its secrets again each time.
//
// [Link.Conn] is for whoever subscribes or has requests; [Publisher] publishes to JetStream.
package natslink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/secret"
	"phx/phoenix"
)

// Options say where the servers are and what is shown to them.
type Options struct {
	// URLs are those of servers, of any scheme that NATS has. They may hold secrets: show
	// [Options.Addresses].
	URLs []string
	// At most one of these is given: Creds, a credentials file with a JWT and a seed; NKey, the seed
	// of a user; Token; User with Password.
	Creds, NKey, Token, Password *secret.Source
	User                         string
	// TLS is what is said about TLS. A URL of the scheme tls, and a server that wants it, have it
	// anyway.
	TLS secret.TLS
	// InboxPrefix begins the subjects of answers to us; empty: _INBOX.
	InboxPrefix string
	// FailFast makes the first attempt to connect decide. Otherwise it is tried again for ever.
	FailFast bool
	// Logger logs what happens to the connection. It may be nil.
	Logger *slog.Logger
}

// Addresses returns the URLs without what may be secret.
func (o *Options) Addresses() string {
	var list []string
	for _, text := range o.URLs {
		u, err := url.Parse(text)
		if err != nil {
			continue
		}
		list = append(list, (&url.URL{Scheme: u.Scheme, Host: u.Host}).String())
	}
	return strings.Join(list, ", ")
}

// Sources are the secrets, nil among them.
func (o *Options) Sources() []*secret.Source {
	return []*secret.Source{o.Creds, o.NKey, o.Token, o.Password, o.TLS.CA, o.TLS.Cert, o.TLS.Key}
}

const (
	// connectTimeout bounds one attempt to connect, and so how long a call of nats.go can be held up
	// by one.
	connectTimeout = 5 * time.Second
	// Attempts begin firstDelay apart; the delay doubles up to lastDelay, with up to half of it less.
	firstDelay, lastDelay = 100 * time.Millisecond, 2 * time.Second
	// A dead peer is noticed after pingInterval times maxPings.
	pingInterval, maxPings = 10 * time.Second, 2
	// writeTimeout bounds a write to a peer that reads nothing.
	writeTimeout = 10 * time.Second
)

// A Link is a connection to NATS. Its methods may be called from any goroutine.
//
// nats.go holds its lock while it dials, and calls the dialer and what shows credentials with it.
// So no method of a connection is called with one of the mutexes of the link locked.
type Link struct {
	o   Options
	log *slog.Logger

	mu     sync.Mutex
	conn   *nats.Conn
	ended  chan struct{} // closed when conn has ended for good
	opened chan struct{} // closed when the attempt to make conn is over; nil: there is none
	err    error         // of the last attempt
	closed bool

	shownMu sync.Mutex
	shown   shown // what was read for the last dial
	dialErr error // of the last dial

	// dials counts dials. A message must not go out behind one that a dial has lost, so publishing
	// counts those who publish, and a dial fails while there is one who may not know of it.
	dials      atomic.Uint64
	publishing atomic.Int64
	// lost is signalled by each dial and each disconnect, up when a connection is there.
	lost, up  changes
	connected atomic.Bool
}

// shown is what a server is shown.
type shown struct {
	creds, nkey, token, password string
	tls                          *tls.Config
	redactor                     *phoenix.Redactor
}

// changes hands out channels that the next change closes.
type changes struct {
	mu   sync.Mutex
	next chan struct{}
}

func (c *changes) wait() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = make(chan struct{})
	}
	return c.next
}

func (c *changes) signal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

// New returns a link that is not opened yet.
func New(o Options) *Link {
	l := &Link{o: o, log: o.Logger}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.log = l.log.With("nats", o.Addresses())
	return l
}

// ErrClosed is what a link returns after [Link.Close].
var ErrClosed = errors.New("the link to NATS is closed")

// Conn returns the connection, as [Link.Open] does.
func (l *Link) Conn(ctx context.Context) (*nats.Conn, error) {
	conn, _, err := l.Open(ctx)
	return conn, err
}

// Open returns the connection, which it opens if there is none: one that has ended for good is
// replaced. ended is closed when this one has. Without [Options.FailFast] the connection may still be on its way to a server. The
// error is the cause of ctx's end or [ErrClosed], else an [*exit.Error]: the first attempt has
// failed, or secrets cannot be read.
func (l *Link) Open(ctx context.Context) (conn *nats.Conn, ended <-chan struct{}, err error) {
	for waited := false; ; waited = true {
		l.mu.Lock()
		conn, opened, err := l.conn, l.opened, l.err
		switch {
		case l.closed:
			err = ErrClosed
		case opened != nil:
		case conn != nil && !isClosed(l.ended):
			ended := l.ended
			l.mu.Unlock()
			return conn, ended, nil
		case waited && err != nil:
		default:
			opened, err = make(chan struct{}), nil
			l.opened = opened
			go l.open(opened)
		}
		l.mu.Unlock()
		if opened == nil {
			return nil, nil, err
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// open makes a connection.
func (l *Link) open(opened chan struct{}) {
	ended := make(chan struct{})
	conn, err := l.connect(ended)
	if err != nil {
		conn, err = nil, l.explain(err)
	}
	l.mu.Lock()
	l.conn, l.ended, l.opened, l.err = conn, ended, nil, err
	closed := l.closed
	l.mu.Unlock()
	if closed && conn != nil {
		conn.Close()
	}
	close(opened)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// connect connects. ended is closed when the connection has ended for good.
func (l *Link) connect(ended chan struct{}) (*nats.Conn, error) {
	o := nats.GetDefaultOptions()
	o.Name, o.Servers = "phx", l.o.URLs
	o.CustomDialer = dialer{l}
	o.Timeout, o.FlusherTimeout = connectTimeout, writeTimeout
	o.PingInterval, o.MaxPingsOut = pingInterval, maxPings
	// What is published while there is no connection is refused, and not kept to be sent later.
	o.ReconnectBufSize = -1
	o.MaxReconnect, o.IgnoreAuthErrorAbort = -1, true
	o.RetryOnFailedConnect = !l.o.FailFast
	o.CustomReconnectDelayCB = func(attempts int) time.Duration {
		delay := min(firstDelay<<min(attempts-1, 10), lastDelay)
		return delay - time.Duration(rand.Int64N(int64(delay/2)))
	}
	if l.o.InboxPrefix != "" {
		o.InboxPrefix = l.o.InboxPrefix
	}
	if err := l.authenticateBy(&o); err != nil {
		return nil, err
	}
	l.secureBy(&o)
	outage := &outage{log: l.log}
	o.DisconnectedErrCB = func(conn *nats.Conn, err error) {
		l.connected.Store(false)
		l.lost.signal()
		if !conn.IsClosed() {
			outage.began(l.redact(err))
		}
	}
	o.ReconnectErrCB = func(_ *nats.Conn, err error) { outage.goesOn(l.redact(err)) }
	connected := func(conn *nats.Conn) {
		l.connected.Store(true)
		l.up.signal()
		outage.ended(conn.ConnectedServerName())
	}
	o.ReconnectedCB, o.ConnectedCB = connected, connected
	o.ClosedCB = func(conn *nats.Conn) {
		close(ended)
		l.connected.Store(false)
		l.lost.signal()
		l.mu.Lock()
		meant := l.closed
		l.mu.Unlock()
		if err := conn.LastError(); err != nil && !meant {
			l.log.Error("the NATS server has ended the connection for good; another one is opened when it is needed", "error", l.redact(err))
		}
	}
	o.AsyncErrorCB = func(_ *nats.Conn, s *nats.Subscription, err error) {
		subject := ""
		if s != nil {
			subject = s.Subject
		}
		l.log.Warn("NATS reports an error", "error", l.redact(err), "subject", subject)
	}
	return o.Connect()
}

// An outage logs the beginning and the end of each time without a connection.
type outage struct {
	log *slog.Logger
	mu  sync.Mutex
	on  bool
	was bool // a connection was there before
	at  time.Time
}

func (o *outage) began(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.on {
		return
	}
	o.on, o.at = true, time.Now()
	message := "the connection to NATS is lost; it is tried again"
	if !o.was {
		message = "there is no connection to NATS yet; it is tried again"
	}
	if err == nil {
		o.log.Warn(message)
		return
	}
	o.log.Warn(message, "error", err)
}

func (o *outage) goesOn(err error) {
	o.mu.Lock()
	first := !o.was && !o.on
	o.mu.Unlock()
	if first {
		o.began(err)
		return
	}
	o.log.Debug("still no connection to NATS", "error", err)
}

func (o *outage) ended(server string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.on && o.was:
		o.log.Info("connected to NATS again", "server", server, "after", time.Since(o.at).Round(time.Millisecond))
	case o.on || !o.was:
		o.log.Info("connected to NATS", "server", server)
	}
	o.on, o.was = false, true
}

// authenticateBy has nats.go show what was read for the dial.
func (l *Link) authenticateBy(o *nats.Options) error {
	switch {
	case l.o.Creds != nil:
		o.UserJWT = func() (string, error) {
			jwt, err := nkeys.ParseDecoratedJWT([]byte(l.current().creds))
			if err != nil {
				err = exit.Usagef("give the file that `nsc generate creds` writes", "there is no user JWT in %s", l.o.Creds.Name())
			}
			return jwt, err
		}
		o.SignatureCB = func(nonce []byte) ([]byte, error) {
			return signWith(l.current().creds, nonce, l.o.Creds.Name())
		}
	case l.o.NKey != nil:
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		public, err := l.publicKey(ctx)
		if err != nil {
			return err
		}
		o.Nkey = public
		o.SignatureCB = func(nonce []byte) ([]byte, error) { return signWith(l.current().nkey, nonce, l.o.NKey.Name()) }
	case l.o.Token != nil:
		o.TokenHandler = func() string { return l.current().token }
	case l.o.User != "":
		o.UserInfo = func() (string, string) { return l.o.User, l.current().password }
	}
	return nil
}

// current returns what was read for the last dial.
func (l *Link) current() shown {
	l.shownMu.Lock()
	defer l.shownMu.Unlock()
	return l.shown
}

// publicKey returns the public key of the seed as it is now.
func (l *Link) publicKey(ctx context.Context) (string, error) {
	text, err := l.reader().Required(ctx, l.o.NKey, "seed")
	if err != nil {
		return "", err
	}
	pair, err := seedOf(text, l.o.NKey.Name())
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

// seedOf returns the key pair of a seed: alone, or in the decorated form of a credentials file.
func seedOf(text, name string) (nkeys.KeyPair, error) {
	pair, err := nkeys.ParseDecoratedNKey([]byte(text))
	if err != nil {
		return nil, exit.Usagef("give the seed of a user, which begins with SU", "there is no seed of a user in %s", name)
	}
	return pair, nil
}

func signWith(text string, nonce []byte, name string) ([]byte, error) {
	pair, err := seedOf(text, name)
	if err != nil {
		return nil, err
	}
	defer pair.Wipe()
	return pair.Sign(nonce)
}

// secureBy has nats.go use the certificates that were read for the dial.
func (l *Link) secureBy(o *nats.Options) {
	if l.o.TLS == (secret.TLS{}) {
		return
	}
	o.Secure = true
	o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: l.o.TLS.ServerName, InsecureSkipVerify: l.o.TLS.Insecure}
	if l.o.TLS.CA != nil {
		o.RootCAsCB = func() (*x509.CertPool, error) { return l.current().tls.RootCAs, nil }
	}
	if l.o.TLS.Cert != nil {
		o.TLSCertCB = func() (tls.Certificate, error) { return l.current().tls.Certificates[0], nil }
	}
}

// reader reads the secrets. nats.go waits for a dial, so a command has no longer than that.
func (l *Link) reader() secret.Reader { return secret.Reader{Timeout: connectTimeout, Log: l.log} }

// read reads what is shown to a server.
func (l *Link) read(ctx context.Context) (s shown, err error) {
	s.redactor = &phoenix.Redactor{}
	for _, text := range l.o.URLs {
		s.redactor.AddURL(text)
	}
	r := l.reader()
	if l.o.Creds != nil {
		if s.creds, err = r.Text(ctx, l.o.Creds); err != nil {
			return s, err
		}
		s.redactor.Add(s.creds)
		for line := range strings.Lines(s.creds) {
			if line = strings.TrimSpace(line); len(line) > 40 {
				s.redactor.Add(line)
			}
		}
	}
	for _, one := range []struct {
		source *secret.Source
		what   string
		into   *string
	}{{l.o.NKey, "seed", &s.nkey}, {l.o.Token, "token", &s.token}, {l.o.Password, "password", &s.password}} {
		if one.source == nil {
			continue
		}
		if *one.into, err = r.Required(ctx, one.source, one.what); err != nil {
			return s, err
		}
		s.redactor.Add(*one.into)
	}
	s.tls, err = l.o.TLS.Config(ctx, r)
	return s, err
}

// A dialer dials for nats.go, which holds its lock meanwhile.
type dialer struct{ l *Link }

// errBusy fails a dial that would let a message of the last connection out on the next one. It is
// tried again at once, when who publishes has noticed.
var errBusy = errors.New("a message is just being published")

// Dial implements [nats.CustomDialer].
func (d dialer) Dial(network, address string) (net.Conn, error) {
	l := d.l
	read, conn, err := l.dial(network, address)
	l.shownMu.Lock()
	defer l.shownMu.Unlock()
	if l.dialErr = err; read != nil {
		l.shown = *read
	}
	return conn, err
}

func (l *Link) dial(network, address string) (*shown, net.Conn, error) {
	l.dials.Add(1)
	l.lost.signal()
	if l.publishing.Load() > 0 {
		return nil, nil, errBusy
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	read, err := l.read(ctx)
	if err == nil && l.o.NKey != nil {
		err = l.checkKey(read)
	}
	if err != nil {
		return nil, nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	return &read, conn, err
}

// checkKey ends the connection if the seed is that of another user now: nats.go takes a public key
// once. [Link.Conn] opens another one then.
func (l *Link) checkKey(read shown) error {
	pair, err := seedOf(read.nkey, l.o.NKey.Name())
	if err != nil {
		return err
	}
	defer pair.Wipe()
	public, err := pair.PublicKey()
	if err != nil {
		return err
	}
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil || conn.Opts.Nkey == public {
		return nil
	}
	go conn.Close()
	return errors.New("the seed is another one now")
}

// redact returns an error without secrets, as a user is shown it; nil of nil.
func (l *Link) redact(err error) error {
	if err == nil {
		return nil
	}
	r := l.current().redactor
	if r == nil { // nothing was dialed
		r = &phoenix.Redactor{}
		for _, text := range l.o.URLs {
			r.AddURL(text)
		}
	}
	return errors.New(phoenix.Excerpt(r.Redact(strings.TrimPrefix(err.Error(), "nats: ")), 200))
}

// AwaitUp waits until there is a connection. Its errors are those of [Link.Conn].
func (l *Link) AwaitUp(ctx context.Context) error {
	for {
		up, lost := l.up.wait(), l.lost.wait() // before looking, so that no change is missed
		if _, err := l.Conn(ctx); err != nil {
			return err
		}
		if l.connected.Load() {
			return nil
		}
		select {
		case <-up:
		case <-lost: // for good, perhaps
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close ends the connection, and sends what was published before. It does not wait longer than ctx.
func (l *Link) Close(ctx context.Context) {
	l.mu.Lock()
	l.closed = true
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return
	}
	done := make(chan struct{})
	go func() { // a write, or a dial, may be under way
		defer close(done)
		conn.Close()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// explain makes of the error of an attempt to connect what a user is told.
func (l *Link) explain(err error) error {
	l.shownMu.Lock()
	dialErr := l.dialErr
	l.shownMu.Unlock()
	if errors.Is(err, nats.ErrNoServers) && dialErr != nil {
		err = dialErr // nats.go does not tell it
	}
	if own := (*exit.Error)(nil); errors.As(err, &own) {
		return own
	}
	f := &exit.Error{Code: exit.Connect, Err: err, Hint: "is a NATS server listening there?"}
	f.Message = fmt.Sprintf("cannot connect to NATS at %s: %v", l.o.Addresses(), l.redact(err))
	var unknown x509.UnknownAuthorityError
	var verification *tls.CertificateVerificationError
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		f.Code, f.Hint = exit.DNS, "check the host of the URL"
	case errors.As(err, &unknown), errors.As(err, &verification):
		f.Code, f.Hint = exit.Certificate, "trust its issuer with --cacert, or tls.ca_file in the config file"
	case errors.Is(err, nats.ErrTLS), errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		f.Code, f.Hint = exit.TLS, "does the server speak TLS, and want a client certificate?"
	case slices.ContainsFunc([]error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired}, func(target error) bool { return errors.Is(err, target) }):
		f.Code, f.Hint = exit.Refused, "check the credentials, the user or the token"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.As(err, &timeout) && timeout.Timeout():
		f.Code, f.Hint = exit.Timeout, "is it a NATS server that listens there?"
	}
	return f
}
