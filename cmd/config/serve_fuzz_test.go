package config

import (
	"encoding/json"
	"errors"
	"testing"

	"phx/cmd/internal/strictyaml"
)

// positioned fails if one of the errors joined in err says not where it is.
func positioned(t *testing.T, data []byte, err error) {
	t.Helper()
	var all problems
	all.add(err)
	for _, one := range all.found {
		var e *strictyaml.Error
		if !errors.As(one, &e) || e.Line < 1 || e.File == "" || e.Message == "" || e.Hint() == "" {
			t.Fatalf("%q: %#v", data, one)
		}
	}
}

// FuzzServe reads whatever as a config for a server. What is wrong is said with its place; what is right can be shown, and is right
// again then; and an entry can be sent.
func FuzzServe(f *testing.F) {
	for _, seed := range []string{rightConnections, rightServe, secretFile, everySink, rawFile, "{}", `{"sinks":{"a":{"stdout":null}}}`,
		"a: &a {to: *a}\nroutes: [*a]", "sinks: &s {a: *s}", "connections: &c {a: *c}", "routes: [{to: [&x stdout, *x]}]"} {
		f.Add([]byte(seed))
	}
	vars := environment(map[string]string{"KEY": "value", "SECRET": "x"})
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseFile("phx.yaml", data, vars)
		if err != nil {
			positioned(t, data, err)
			return
		}
		var wrong problems
		_, err = file.Serve(compileAny)
		wrong.add(err)
		for _, e := range file.Entries {
			_, err := e.Resolve(nil)
			wrong.add(err)
			raw, rawErr := e.Raw()
			positioned(t, data, rawErr)
			if rawErr == nil && !json.Valid(raw) {
				t.Fatalf("%q: %s is not JSON", data, raw)
			}
			if err == nil && rawErr == nil {
				sameEntry(t, data, e, raw)
			}
		}
		positioned(t, data, wrong.err())
		shown, err := file.Show("", compileAny)
		if (err == nil) != (wrong.err() == nil) {
			t.Fatalf("%q: %v, but shown: %v", data, wrong.err(), err)
		}
		if err != nil {
			positioned(t, data, err)
			return
		}
		text, err := strictyaml.FromJSON(shown)
		if err != nil {
			t.Fatalf("%q: %s: %v", data, shown, err)
		}
		if _, err := Validate("phx.yaml", text, vars, compileAny); err != nil {
			t.Fatalf("%q is shown as\n%s\nwhich is wrong: %v", data, text, err)
		}
	})
}

// sameEntry sends an entry, which comes to the same.
func sameEntry(t *testing.T, data []byte, e *Entry, raw []byte) {
	t.Helper()
	sent, err := ParseEntry("phx.yaml", raw, environment(map[string]string{"KEY": "value", "SECRET": "x"}))
	if err != nil {
		t.Fatalf("%q is sent as %s: %v", data, raw, err)
	}
	want, err := e.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sent.Fingerprint(); err != nil || got != want {
		t.Fatalf("%q is sent as %s, which is another: %v", data, raw, err)
	}
}
