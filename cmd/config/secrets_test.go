package config

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
)

// configDir writes a config file with one connection and returns the connection and the directory of the file.
func configDir(t *testing.T, key string) (*Connection, string) {
	t.Helper()
	dir := t.TempDir()
	f, err := ParseFile(filepath.Join(dir, "phx.yaml"), []byte(only(key)), environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	c := NewConnection(Retry{})
	set := option.NewSet(c.Options())
	set.Use(f.Default())
	if err := set.Resolve(environment(nil)); err != nil {
		t.Fatal(err)
	}
	return c, dir
}

// logTo makes the connection log into the buffer that is returned.
func logTo(c *Connection) *bytes.Buffer {
	var log bytes.Buffer
	c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	return &log
}

func TestSecretsAreReadAgain(t *testing.T) {
	c, dir := configDir(t, "auth_token: {file: token}")
	log := logTo(c)
	for _, token := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		creds, err := c.credentials(t.Context())
		if err != nil || creds.AuthToken != token {
			t.Errorf("token %q, %v; want %q", creds.AuthToken, err, token)
		}
	}
	if log.Len() > 0 {
		t.Errorf("log %s", log)
	}
}

func TestFileOthersCanRead(t *testing.T) {
	c, dir := configDir(t, "auth_token: {file: token}")
	log := logTo(c)
	path := filepath.Join(dir, "token")
	if err := os.WriteFile(path, []byte("SECRET"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.credentials(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	text := log.String()
	if strings.Count(text, "\n") != 1 || !strings.Contains(text, "level=WARN") || !strings.Contains(text, "chmod o-r "+path) || strings.Contains(text, "SECRET") {
		t.Errorf("log %s", text)
	}
}

func TestSecretCommand(t *testing.T) {
	script := func(text string) string { return `auth_token: {command: [sh, -c, "` + text + `"]}` }
	tests := []struct {
		name, key, token, err, logged string
	}{
		{"prints", script("echo SECRET"), "SECRET", "", ""},
		{"complains and prints", script("echo careful >&2; echo SECRET"), "SECRET", "", `level=INFO msg="the command of a secret wrote to stderr, which is not shown" bytes=8 command=sh`},
		{"fails", script("echo SECRET; echo locked >&2; exit 3"), "", "the command sh for auth_token (", `level=WARN msg="the command of a secret wrote to stderr, which is not shown" bytes=7 command=sh`},
		{"tells its secret", script("echo SECRET >&2; echo SECRET"), "SECRET", "", "bytes=7"},
		{"leaves a child", script("sleep 60 & echo SECRET"), "SECRET", "", ""},
		{"prints line ends", script("printf 'SECRET\\\\r\\\\n\\\\n'"), "SECRET", "", ""},
		{"prints nothing", script("true"), "", "there is no token in the output of the command for auth_token (", ""},
		{"prints too much", script("head -c 1100000 /dev/zero"), "", "it printed more than 1048576 bytes", ""},
		{"is not there", "auth_token: {command: [no-such-program-at-all]}", "", "executable file not found in $PATH", ""},
		{"is not beside the file", "auth_token: {command: [./no-such]}", "", "no such file or directory", ""},
		{"no shell", "auth_token: {command: [echo, $$HOME;x]}", "$HOME;x", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := configDir(t, tt.key)
			log := logTo(c)
			creds, err := c.credentials(t.Context())
			if creds.AuthToken != tt.token && err == nil || (err == nil) != (tt.err == "") {
				t.Errorf("token %q, %v", creds.AuthToken, err)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "SECRET")) {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(log.String(), tt.logged) || strings.Contains(log.String(), "SECRET") {
				t.Errorf("log %s", log)
			}
		})
	}
}

func TestSecretCommandErrorCode(t *testing.T) {
	c, _ := configDir(t, "auth_token: {command: [false]}")
	_, err := c.credentials(t.Context())
	var failed *exit.Error
	if !errors.As(err, &failed) || failed.Code != exit.Read || failed.Hint == "" || errors.Unwrap(failed) == nil {
		t.Errorf("error %v", err)
	}
}

// TestSecretCommandIsBounded: a command that hangs, and its child that holds the output open, end with the connect timeout.
func TestSecretCommandIsBounded(t *testing.T) {
	c, _ := configDir(t, `auth_token: {command: [sh, -c, "sleep 5 & sleep 5"]}, connect_timeout_msec: 50`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := c.credentials(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("error %v", err)
	}
}

func TestSecretParamsAreReadAtEachJoin(t *testing.T) {
	c, dir := configDir(t, "auto_join_channels: [{topic: a, secret_params: {jwt: {file: jwt}}}]")
	if _, err := c.Channels(t.Context(), "a"); err == nil {
		t.Error("a file that is not there is not missed")
	}
	path := filepath.Join(dir, "jwt")
	var read func(context.Context) string
	for _, jwt := range []string{"one", `t"wo`} {
		if err := os.WriteFile(path, []byte(jwt), 0o600); err != nil {
			t.Fatal(err)
		}
		if read == nil {
			channels, err := c.Channels(t.Context(), "a", "b")
			if err != nil || channels[1].Params != nil {
				t.Fatal(channels, err)
			}
			read = func(ctx context.Context) string {
				params, err := channels[0].Params(ctx)
				if err != nil {
					t.Fatal(err)
				}
				return string(params.Data)
			}
		}
		if got, want := read(t.Context()), `{"jwt":"`+strings.ReplaceAll(jwt, `"`, `\"`)+`"}`; got != want {
			t.Errorf("params %s, want %s", got, want)
		}
	}
}

func TestJoinParamsOptionFirst(t *testing.T) {
	c, err := resolveFile(only("auto_join_channels: [{topic: a, params: {n: 1}}]"), "", []string{"--join-params", `{"n":2}`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	channels, err := c.Channels(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if params, err := channels[0].Params(t.Context()); err != nil || string(params.Data) != `{"n":2}` {
		t.Errorf("params %s, %v", params.Data, err)
	}
}

// What nobody can see at the ends of a text is taken off, and named anywhere else, without the text.
func TestInvisibleCharacters(t *testing.T) {
	for _, tt := range []struct{ text, token, err string }{
		{"QXZ\n", "QXZ", ""},
		{"QXZ\r\n\r\n\n", "QXZ", ""},
		{"\ufeffQXZ\n", "QXZ", ""},
		{"QX\nZ", "", "has a line break as character 3"},
		{"QX\rZ\n", "", "has a line break as character 3"},
		{"Q\u00f6\x00XZ", "", "has a NUL as character 3"},
		{"QXZ\x1b", "", "has the control character U+001B as character 4"},
		{"Q\u200bXZ", "", "has the invisible character U+200B as character 2"},
		{"\ufeff\ufeffQXZ", "", "has the invisible character U+FEFF as character 1"},
		{"Q\tXZ", "", "has a tab as character 2"},
	} {
		file, dir := configDir(t, "auth_token: {file: token}, headers: {A: b}")
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		variable := NewConnection(Retry{})
		set := option.NewSet(variable.Options())
		if err := set.Resolve(environment(map[string]string{"PHX_AUTH_TOKEN": tt.text, "PHX_URI": "ws://h/socket"})); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*Connection{file, variable} {
			creds, err := c.credentials(t.Context())
			switch {
			case tt.err == "" && (err != nil || creds.AuthToken != tt.token):
				t.Errorf("%q: token %q, error %v", tt.text, creds.AuthToken, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "XZ")):
				t.Errorf("%q: error %v, want %s", tt.text, err, tt.err)
			}
		}
	}
	for text, want := range map[string]string{
		"whsec_c2VjcmV0IQ==\r\n": "", "\ufeffwhsec_c2VjcmV0IQ==\n": "", "key\r\n": "",
		"whsec_c2Vj\u200bcmV0IQ==": "has the invisible character U+200B as character 11", "whsec_c2Vj\r\ncmV0": "has a line break as character 11",
		"k\tey": "has a tab as character 2",
	} {
		vars := environment(map[string]string{"KEY": text})
		f, err := ParseFile("phx.yaml", []byte("sinks: {h: {webhook: {url: http://h, secret: {env: KEY}}}}\nroutes: [{to: h}]"), vars)
		if err != nil {
			t.Fatal(err)
		}
		s, err := f.Serve(compileAny)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "c2Vj") {
				t.Errorf("%q: error %v, want %s", text, err, want)
			}
		} else if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got, err := s.Sinks[0].Webhook.Secret(t.Context()); err != nil || got == nil || strings.TrimSpace(strings.TrimPrefix(text, "\ufeff")) != string(got) {
			t.Errorf("%q is read as %q, %v", text, got, err)
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, source := range []string{"{file: '" + path + "'}", "{command: [cat, '" + path + "']}"} {
			s := mustServe(t, "sinks: {h: {webhook: {url: http://h, secret: "+source+"}}}\nroutes: [{to: h}]")
			got, err := s.Sinks[0].Webhook.Secret(t.Context())
			if want == "" && (err != nil || strings.TrimSpace(strings.TrimPrefix(text, "\ufeff")) != string(got)) ||
				want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "webhook.secret")) {
				t.Errorf("%q from %s: %q, %v", text, source, got, err)
			}
		}
	}
	for text, want := range map[string]string{"ws://h/socket\r": "", "\ufeffws://h/socket\r\n": "", "ws://h/so\u200bcket": "U+200B", "ws://h\x00/": "a NUL"} {
		c := NewConnection(Retry{})
		err := option.NewSet(c.Options()).Resolve(environment(map[string]string{"PHX_URI": text}))
		if want == "" && (err != nil || c.URI != "ws://h/socket") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %q, error %v", text, c.URI, err)
		}
	}
}

// The default config file may be in the home of somebody else; who asks for nothing of it does not need it.
func TestUnreadableDefaultFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "phx", "phx.yaml"), 0o700); err != nil { // which root cannot read, either
		t.Fatal(err)
	}
	for _, args := range []map[string]string{{}, {"PHX_CONNECTION": "backend"}, {"PHX_CONFIG": filepath.Join(dir, "phx", "phx.yaml")}} {
		var s Selection
		args["XDG_CONFIG_HOME"] = dir
		set := option.NewSet(s.Options())
		if err := set.Resolve(environment(args)); err != nil {
			t.Fatal(err)
		}
		entry, err := s.Choose(environment(args), nil)
		if wanted := len(args) > 1; (err != nil) != wanted || entry != nil || !wanted && s.NoChoice() == nil {
			t.Errorf("%v: %v, error %v, %v", args, entry, err, s.NoChoice())
		}
	}
}
