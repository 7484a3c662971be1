package phoenixtest

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// upgrade is the WebSocket endpoint of a socket. The checks are in Phoenix's order: the
// request is only looked at as a WebSocket upgrade after the application said yes.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, sock *UserSocket) {
	s.count(func(st *Stats) { st.Attempts++ })
	if r.Method != http.MethodGet {
		respond(w, http.StatusBadRequest, "", "")
		return
	}
	if refusal := s.refusal(); refusal != nil {
		s.refuse(w, refusal)
		return
	}
	protocol, token, err := subprotocol(sock, r.Header)
	if err != nil {
		s.refuse(w, err)
		return
	}
	if !originAllowed(sock.CheckOrigin, r.Header.Get("Origin")) {
		s.refuse(w, errForbidden)
		return
	}
	info, ser, err := connect(r, sock, token)
	if err != nil {
		s.refuse(w, err)
		return
	}
	if why := notAnUpgrade(r.Header); why != "" {
		respond(w, http.StatusBadRequest, "", why)
		return
	}
	s.accept(w, r, &Conn{srv: s, sock: sock, info: info, ser: ser}, protocol)
}

func (s *Server) refusal() *Refusal {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return s.state.refusal
}

var errForbidden = errors.New("forbidden")

const authTokenPrefix = "base64url.bearer.phx."

// errAuthToken is how a token that is not base64 is answered: by an exception.
var errAuthToken = &Refusal{
	Status: http.StatusInternalServerError,
	Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
	Body:   `{"errors":{"detail":"Internal Server Error"}}`,
}

// subprotocol reads Sec-WebSocket-Protocol: the subprotocol to answer ("": none) and the
// token (nil: none). A socket without auth_token does not look at the header at all.
func subprotocol(sock *UserSocket, h http.Header) (protocol string, token *string, err error) {
	asked := tokens(h, "Sec-WebSocket-Protocol", func(s string) string { return s })
	if !sock.AuthToken || len(asked) == 0 {
		return "", nil, nil
	}
	isToken := func(s string) bool { return strings.HasPrefix(s, authTokenPrefix) }
	if i := slices.IndexFunc(asked, isToken); i >= 0 {
		// Whatever the prefix says, the server decodes the standard alphabet.
		encoded := strings.TrimRight(strings.TrimPrefix(asked[i], authTokenPrefix), "=")
		decoded, err := base64.RawStdEncoding.DecodeString(encoded)
		if err != nil {
			return "", nil, errAuthToken
		}
		text := string(decoded)
		token = &text
	}
	protocols := slices.DeleteFunc(asked, isToken)
	switch {
	case len(protocols) == 0:
		return "", token, nil
	case slices.Contains(protocols, "phoenix"):
		return "phoenix", token, nil
	default:
		return "", nil, errForbidden
	}
}

// originAllowed is check_origin: no Origin header passes always.
func originAllowed(hosts []string, origin string) bool {
	if hosts == nil || origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && slices.Contains(hosts, u.Hostname())
}

// connect reads the query and asks the application.
func connect(r *http.Request, sock *UserSocket, token *string) (*ConnectInfo, serializer, error) {
	params, err := plugParams(r.URL.RawQuery)
	if err != nil {
		return nil, nil, &Refusal{Status: http.StatusBadRequest}
	}
	vsn, given := params["vsn"]
	if !given {
		vsn = "1.0.0"
	}
	text, _ := vsn.(string)
	ser := newSerializer(text, sock.Versions)
	if ser == nil {
		return nil, nil, errForbidden
	}
	info := connectInfo(r, params, token)
	if sock.Connect == nil {
		return info, ser, nil
	}
	return info, ser, sock.Connect(info)
}

// plugParams decodes a query string as Plug does: a[]=1 makes lists, m[k]=v makes objects,
// and of two values that cannot both be, the last one stays.
func plugParams(query string) (Map, error) {
	params := Map{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(rawKey)
		if err != nil {
			return nil, err
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return nil, err
		}
		name, path := splitKey(key)
		params[name] = assignParam(params[name], path, value)
	}
	return params, nil
}

// splitKey splits m[a][] into m and the path a, "".
func splitKey(key string) (name string, path []string) {
	name, rest, nested := strings.Cut(key, "[")
	if !nested || name == "" || !strings.HasSuffix(rest, "]") {
		return key, nil
	}
	return name, strings.Split(strings.TrimSuffix(rest, "]"), "][")
}

// assignParam returns old with value put at path; "" in a path appends to a list.
func assignParam(old any, path []string, value string) any {
	if len(path) == 0 {
		return value
	}
	if path[0] == "" {
		list, _ := old.([]any)
		return append(list, assignParam(nil, path[1:], value))
	}
	object, ok := old.(Map)
	if !ok {
		object = Map{}
	}
	object[path[0]] = assignParam(object[path[0]], path[1:], value)
	return object
}

func connectInfo(r *http.Request, params Map, token *string) *ConnectInfo {
	info := &ConnectInfo{
		Context:   r.Context(),
		Params:    params,
		Headers:   map[string]string{},
		AuthToken: token,
		Peer:      r.RemoteAddr,
	}
	uri := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	if r.TLS != nil {
		uri.Scheme = "https"
	}
	info.URI = uri.String()
	for name, values := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-") {
			info.Headers[name] = values[len(values)-1]
		}
	}
	if agent, ok := r.Header["User-Agent"]; ok {
		info.UserAgent = &agent[0]
	}
	return info
}

// notAnUpgrade says what is missing, in WebSockAdapter's words.
func notAnUpgrade(h http.Header) string {
	for _, must := range []struct{ header, token string }{
		{"Connection", "upgrade"}, {"Upgrade", "websocket"},
	} {
		if !slices.Contains(tokens(h, must.header, strings.ToLower), must.token) {
			return fmt.Sprintf("'%s' header must contain '%s', got %s",
				strings.ToLower(must.header), must.token, inspect(h[must.header]))
		}
	}
	if h.Get("Sec-WebSocket-Key") == "" {
		return "'sec-websocket-key' header is absent"
	}
	if version := h["Sec-Websocket-Version"]; len(version) != 1 || version[0] != "13" {
		return fmt.Sprintf("'sec-websocket-version' header must equal '13', got %s", inspect(version))
	}
	return ""
}

// inspect is a list of strings as Elixir prints it.
func inspect(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// tokens are the comma-separated values of a header.
func tokens(h http.Header, name string, normal func(string) string) []string {
	var list []string
	for part := range strings.SplitSeq(strings.Join(h.Values(name), ","), ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, normal(part))
		}
	}
	return list
}

// accept answers 101 and runs the socket until it ends.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, c *Conn, protocol string) {
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		respond(w, http.StatusInternalServerError, "", err.Error())
		return
	}
	defer nc.Close()
	// The context of the request, which ends with it, is not for use from here on.
	c.info.Context = context.WithoutCancel(r.Context())
	c.init(nc, rw.Reader)
	answer := s.upgradeHeader(r, protocol)
	if params, takeover := negotiateDeflate(r.Header.Values("Sec-WebSocket-Extensions")); c.sock.Compress && params != nil {
		answer.Set("Sec-Websocket-Extensions", s.flavor.extensionHeader(params))
		c.fr.inflate, c.defl = &inflater{takeover: takeover}, newDeflater()
	}
	// A client that has its answer is among Conns already, so that tests need not wait.
	if !s.register(c) {
		return
	}
	defer s.unregister(c)
	_, _ = c.out.WriteString("HTTP/1.1 101 Switching Protocols\r\n") // errors stay until the flush
	_ = answer.Write(c.out)
	_, _ = c.out.WriteString("\r\n")
	if c.flush(); c.err == nil {
		c.serve()
	}
}

// upgradeHeader is what every upgrade answers.
func (s *Server) upgradeHeader(r *http.Request, protocol string) http.Header {
	header := http.Header{}
	s.flavor.stamp(header, true)
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	header.Set("Upgrade", "websocket")
	header.Set("Connection", "Upgrade")
	header.Set("Sec-Websocket-Accept", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
	if protocol != "" {
		header.Set("Sec-Websocket-Protocol", protocol)
	}
	return header
}

func acceptKey(key string) string {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 section 1.3
	sum := sha1.Sum([]byte(key + guid))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// negotiateDeflate accepts an offer of permessage-deflate as Bandit and Cowboy do. It returns the parameters to answer, nil if
// nothing was agreed on, and whether the client may refer to its earlier messages.
func negotiateDeflate(offers []string) (params []string, clientTakeover bool) {
	for _, offer := range strings.Split(strings.Join(offers, ","), ",") {
		name, rest, _ := strings.Cut(offer, ";")
		if strings.TrimSpace(name) != "permessage-deflate" {
			continue
		}
		params, clientTakeover = []string{"permessage-deflate"}, true
		offered := map[string]bool{}
		for param := range strings.SplitSeq(rest, ";") {
			key, _, _ := strings.Cut(strings.TrimSpace(param), "=")
			offered[key] = true
		}
		if offered["server_no_context_takeover"] {
			params = append(params, "server_no_context_takeover")
		}
		if offered["client_no_context_takeover"] {
			params = append(params, "client_no_context_takeover")
			clientTakeover = false
		}
		if offered["client_max_window_bits"] {
			params = append(params, "client_max_window_bits=15")
		}
		return params, clientTakeover
	}
	return nil, false
}

// refuse answers a client that may not connect.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	s.count(func(st *Stats) { st.Refused++ })
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		refusal = &Refusal{Status: http.StatusForbidden}
	}
	for name, values := range refusal.Header {
		w.Header()[name] = values
	}
	respond(w, refusal.Status, w.Header().Get("Content-Type"), refusal.Body)
}

// respond writes a plain answer. Without a content type there is none, as with Plug, where
// net/http would guess one.
func respond(w http.ResponseWriter, status int, contentType, body string) {
	if contentType == "" {
		w.Header()["Content-Type"] = nil
	} else {
		w.Header().Set("Content-Type", contentType)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // it fails when the client is gone already
}
