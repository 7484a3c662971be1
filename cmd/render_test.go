package cmd

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestJSONStyleOfTexts(t *testing.T) {
	const text = "{\"b\" : [1.0, -2e3,\t\"x,\\\"y\\\"]:\", {}, [ ] , null,true,false],\"a\":{\"b\":\"\u009b\"},\"é\\\\\":12345678901234567890}"
	tests := []struct {
		name  string
		style jsonStyle
		text  string
		want  string
	}{
		{"as it is", jsonStyle{}, text, text + "\n"},
		{"escaped", jsonStyle{escape: true}, `{"a":` + "\t\"\u009b\"}", `{"a": "\u009b"}` + "\n"},
		{"indented", jsonStyle{indent: true, escape: true}, text, `{
  "b": [
    1.0,
    -2e3,
    "x,\"y\"]:",
    {},
    [],
    null,
    true,
    false
  ],
  "a": {
    "b": "\u009b"
  },
  "é\\": 12345678901234567890
}
`},
		{"coloured", jsonStyle{color: true}, `{"a":[1,"s",{"b":null}],"c":true}`,
			"{\x1b[34;1m\"a\"\x1b[0m:[\x1b[36m1\x1b[0m,\x1b[32m\"s\"\x1b[0m,{\x1b[34;1m\"b\"\x1b[0m:\x1b[2mnull\x1b[0m}]," +
				"\x1b[34;1m\"c\"\x1b[0m:\x1b[35mtrue\x1b[0m}\n"},
		{"a scalar", jsonStyle{indent: true}, "1.50", "1.50\n"},
		{"a string", jsonStyle{indent: true}, ` "s" `, "\"s\"\n"},
	}
	for _, tt := range tests {
		if got := string(tt.style.append(nil, []byte(tt.text))); got != tt.want {
			t.Errorf("%s: got\n%q\nwant\n%q", tt.name, got, tt.want)
		}
	}
}

func TestNewJSONStyle(t *testing.T) {
	plain, terminal := jsonStyle{}, jsonStyle{indent: true, color: true, escape: true}
	mono := jsonStyle{indent: true, escape: true}
	tests := []struct {
		name     string
		options  outputOptions
		terminal bool
		env      map[string]string
		want     jsonStyle
	}{
		{"a file", outputOptions{}, false, nil, plain},
		{"a terminal", outputOptions{}, true, nil, terminal},
		{"--pretty", outputOptions{Pretty: true}, false, nil, jsonStyle{indent: true}},
		{"--compact", outputOptions{Compact: true}, true, nil, jsonStyle{color: true, escape: true}},
		{"--color always", outputOptions{Color: colorAlways}, false, map[string]string{"NO_COLOR": "1"}, jsonStyle{color: true}},
		{"--color never", outputOptions{Color: colorNever}, true, map[string]string{"CLICOLOR_FORCE": "1"}, mono},
		{"NO_COLOR", outputOptions{}, true, map[string]string{"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, mono},
		{"empty NO_COLOR", outputOptions{}, true, map[string]string{"NO_COLOR": ""}, terminal},
		{"CLICOLOR_FORCE", outputOptions{}, false, map[string]string{"CLICOLOR_FORCE": "1", "TERM": "dumb"}, jsonStyle{color: true}},
		{"CLICOLOR_FORCE=0", outputOptions{}, false, map[string]string{"CLICOLOR_FORCE": "0"}, plain},
		{"a dumb terminal", outputOptions{}, true, map[string]string{"TERM": "dumb"}, mono},
	}
	for _, tt := range tests {
		s := &Streams{OutTerminal: tt.terminal, LookupEnv: func(name string) (string, bool) {
			value, ok := tt.env[name]
			return value, ok
		}}
		if got := newJSONStyle(tt.options, s); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// FuzzJSONStyle checks that a style changes no more than what it may.
func FuzzJSONStyle(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\u0000\\"}],"c":{},"d":[ ]}`))
	f.Add([]byte(" [\"\u009b\x7f\", -1.5e+10,true]\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var want bytes.Buffer
		if json.Compact(&want, text) != nil {
			return // not JSON
		}
		for _, l := range []jsonStyle{{indent: true}, {indent: true, escape: true}, {escape: true}} {
			got := l.append(nil, bytes.TrimSpace(text))
			var back bytes.Buffer
			if err := json.Compact(&back, got); err != nil {
				t.Fatalf("%+v made %q of %q: %v", l, got, text, err)
			}
			if !l.escape && !bytes.Equal(back.Bytes(), want.Bytes()) {
				t.Fatalf("%+v made %q of %q", l, got, text)
			}
		}
	})
}
