package bridge_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"phx/cmd/internal/control"
	"phx/phoenix/phoenixtest"
)

func TestAdd(t *testing.T) {
	s := started(t, two)
	c, err := s.Add(t.Context(), []byte(`{"name": "c", "uri": "${URI}", "auto_join_channels": ["room:c"]}`), "")
	must(t, err)
	if c.Name != "c" || !c.Required {
		t.Errorf("added %+v", c)
	}
	s.await("c", control.StateJoined)
}

// Relative paths of an entry begin where its sender says, or else where the config is.
func TestAddFindsFiles(t *testing.T) {
	elsewhere := t.TempDir()
	for what, c := range map[string]struct{ dir, token string }{"here": {"", "here"}, "elsewhere": {elsewhere, "elsewhere"}} {
		t.Run(what, func(t *testing.T) {
			tokens := make(chan any, 1)
			s := newStage(t, func(srv *phoenixtest.Server) {
				srv.Mount("/socket", phoenixtest.UserSocket{Connect: func(info *phoenixtest.ConnectInfo) error {
					tokens <- info.Params["token"]
					return nil
				}})
			}, `connections: {}`)
			must(t, os.WriteFile(filepath.Join(s.dir, "token"), []byte("here"), 0o600))
			must(t, os.WriteFile(filepath.Join(elsewhere, "token"), []byte("elsewhere"), 0o600))
			s.open()
			must(t, s.StartAll())
			_, err := s.Add(t.Context(), []byte(`{"name": "c", "uri": "${URI}", "params": {"token": {"file": "token"}}}`), c.dir)
			must(t, err)
			if token := <-tokens; token != c.token {
				t.Errorf("the token is %q, want %q", token, c.token)
			}
		})
	}
}

// An entry that cannot be taken is refused, and nothing is left of it.
func TestAddRefused(t *testing.T) {
	for what, c := range map[string]struct {
		entry        string
		status, code int
		says         string
	}{
		"no name":         {`{"uri": "${URI}"}`, http.StatusBadRequest, 2, "name"},
		"a reserved name": {`{"name": "push", "uri": "${URI}"}`, http.StatusBadRequest, 2, "reserved"},
		"a name there is": {`{"name": "a", "uri": "${URI}"}`, http.StatusConflict, 1, `connection "a" already`},
		"no uri":          {`{"name": "c"}`, http.StatusBadRequest, 2, "uri"},
		"an unknown key":  {`{"name": "c", "uri": "${URI}", "timeout": 3}`, http.StatusBadRequest, 2, `"timeout"`},
		"a bad value":     {`{"name": "c", "uri": "${URI}", "vsn": "3.0.0"}`, http.StatusBadRequest, 2, "vsn"},
		"no JSON":         {`{"name": `, http.StatusBadRequest, 2, "connection:1"},
		"no encryption":   {`{"name": "c", "uri": "ws://phoenix.test/socket"}`, http.StatusBadRequest, 2, "require_wss"},
	} {
		t.Run(what, func(t *testing.T) {
			s := started(t, "require_wss: true\n"+two)
			_, err := s.Add(t.Context(), []byte(c.entry), "")
			wantError(t, err, c.status, c.code, c.says)
			if names := s.names(); len(names) != 2 {
				t.Errorf("connections %q", names)
			}
		})
	}
}

func TestAddBeforeTheStart(t *testing.T) {
	s := stageOf(t, two)
	_, err := s.Add(t.Context(), []byte(`{"name": "c", "uri": "${URI}"}`), "")
	wantError(t, err, http.StatusServiceUnavailable, 1, "still starting")
}

// A name is free as soon as Remove has returned.
func TestRemove(t *testing.T) {
	s := joined(t)
	must(t, s.Remove(t.Context(), "a"))
	if names := s.names(); len(names) > 0 {
		t.Errorf("connections %q", names)
	}
	s.add(`{"name": "a", "uri": "${URI}"}`)
	if c := s.await("a", control.StateConnected); c.Session != 1 {
		t.Errorf("%+v", c)
	}
}
