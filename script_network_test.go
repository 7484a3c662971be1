package main_test

import (
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/proxytest"
)

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
