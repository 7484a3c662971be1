package config

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

// TestDescribeKeys has a key of each type, with what the schema says of it.
func TestDescribeKeys(t *testing.T) {
	keys := DescribeKeys()
	tests := []struct {
		in        []Key
		path, typ string
		def       string
		required  bool
	}{
		{keys.Top, "require_wss", "true or false", "false", false},
		{keys.Top, "connections", "map", "", false},
		{keys.Top, "routes", "list of maps", "", false},
		{keys.Top, "control", "map", "", false},
		{keys.Top, "control.socket", "text", "", false},
		{keys.Top, "http.listen", "HOST:PORT", "", false},
		{keys.Connection, "uri", "URL", "", false},
		{keys.Connection, "params", "map", "", false},
		{keys.Connection, "headers", "map or list of pairs", "", false},
		{keys.Connection, "auth_token", "secret", "", false},
		{keys.Connection, "auto_join_channels", "list", "", false},
		{keys.Connection, "vsn", "2.0.0 or 1.0.0", `"2.0.0"`, false},
		{keys.Connection, "tls.ca_file", "text", "", false},
		{keys.Connection, "max_retries", "number", "10", false},
		{keys.Connection, "max_message", "number or size", `"64MiB"`, false},
		{keys.Connection, "reconnect", "true or false", "true", false},
		{keys.Connection, "rejoin_after_msec", "list of numbers", "[100,500,1000,2000,5000,10000]", false},
		{keys.Sink, "file.path", "text", "", true},
		{keys.Sink, "exec.command", "list of texts", "", true},
		{keys.Sink, "stdout", "{}", "", false},
		{keys.Sink, "when_full", "drop-oldest or drop-newest", `"drop-oldest"`, false},
		{keys.Sink, "webhook.secret", "secret", "", false},
		{keys.Route, "match", "pattern", "", false},
		{keys.Route, "topic", "glob or list of globs", "", false},
		{keys.Route, "to", "text or list of texts", "", true},
		{keys.Secret, "command", "list of texts", "", false},
	}
	for _, tt := range tests {
		i := slices.IndexFunc(tt.in, func(k Key) bool { return k.Path == tt.path })
		if i < 0 {
			t.Errorf("%s is missing", tt.path)
			continue
		}
		if k := tt.in[i]; k.Type != tt.typ || string(k.Default) != tt.def || k.Required != tt.required || k.About == "" {
			t.Errorf("%s: %+v", tt.path, k)
		}
	}
}

// TestDescribeKeysIsWhole compares the keys with those of the schema.
func TestDescribeKeysIsWhole(t *testing.T) {
	var schema struct {
		Properties map[string]property `json:"properties"`
		Defs       map[string]property `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	keys := DescribeKeys()
	for name, tt := range map[string]struct {
		got        []Key
		properties map[string]property
	}{
		"top": {keys.Top, schema.Properties}, "connection": {keys.Connection, schema.Defs["connection"].Properties},
		"sink": {keys.Sink, schema.Defs["sink"].Properties}, "route": {keys.Route, schema.Defs["route"].Properties},
	} {
		want := map[string]bool{}
		collectPaths("", tt.properties, want)
		for _, builtIn := range builtInSinks {
			delete(want, "sinks."+builtIn) // a sink that may have this name, and no key
		}
		for _, k := range tt.got {
			if !want[k.Path] {
				t.Errorf("%s: there is no key %s", name, k.Path)
			}
			delete(want, k.Path)
		}
		if len(want) > 0 {
			t.Errorf("%s: %v are missing", name, slices.Sorted(maps.Keys(want)))
		}
	}
}

// A property is what a JSON Schema says of nested maps.
type property struct {
	Properties map[string]property `json:"properties"`
}

func collectPaths(prefix string, properties map[string]property, into map[string]bool) {
	for name, p := range properties {
		into[prefix+name] = true
		collectPaths(prefix+name+".", p.Properties, into)
	}
}

func TestOptionOf(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.Bool("other", false, "")
	var format string
	NewSet([]Option{{Flag: "format", Env: "FORMAT", Value: Choice(&format, "a", "b")}}).Bind(flags)
	if o, ok := OptionOf(flags.Lookup("format")); !ok || o.Env != "FORMAT" {
		t.Errorf("%+v, %v", o, ok)
	}
	if o, ok := OptionOf(flags.Lookup("other")); ok {
		t.Errorf("an option of somebody else: %+v", o)
	}
}
