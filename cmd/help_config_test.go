package cmd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"phx/cmd/config"
)

// TestHelpConfigHasEveryKey compares the page with the schema that is printed for editors.
func TestHelpConfigHasEveryKey(t *testing.T) {
	text := helpPage(t, "config")
	words := strings.FieldsFunc(text, func(r rune) bool { return !strings.ContainsRune("_-", r) && (r < '0' || r > 'z') })
	var schema any
	if err := json.Unmarshal([]byte(phx(t, "config", "schema").out.String()), &schema); err != nil {
		t.Fatal(err)
	}
	keys := 0
	eachProperty(schema, func(name string, property map[string]any) {
		keys++
		if !slices.ContainsFunc(words, func(word string) bool { return word == name || strings.HasSuffix(word, "."+name) }) {
			t.Errorf("the page lacks the key %s", name)
		}
		about, _ := property["description"].(string)
		if !strings.Contains(oneSpaced(text), about) {
			t.Errorf("the page lacks what %s is about: %s", name, about)
		}
	})
	if keys < 50 {
		t.Errorf("found %d keys in the schema", keys)
	}
}

// eachProperty calls visit for each property that a schema has anywhere.
func eachProperty(schema any, visit func(name string, property map[string]any)) {
	switch schema := schema.(type) {
	case []any:
		for _, item := range schema {
			eachProperty(item, visit)
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for name, property := range properties {
			visit(name, property.(map[string]any))
		}
		for _, value := range schema {
			eachProperty(value, visit)
		}
	}
}

func TestHelpConfigHasEveryFlag(t *testing.T) {
	lines := strings.Split(helpPage(t, "config"), "\n")
	flags := 0
	visitOptions(newRootCmd(testFactory()), func(_ string, o config.Option) {
		if o.Key == "" {
			return
		}
		flags++
		want := "--" + o.Flag
		if o.Env != "" {
			want += ", $" + o.Env
		}
		if !slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, "  "+o.Key+" ") && strings.HasSuffix(line, " "+want)
		}) {
			t.Errorf("the page lacks %s with %s", o.Key, want)
		}
	})
	if flags < 20 {
		t.Errorf("found %d flags with a key", flags)
	}
	if line := "  control.socket             text                                --control, $PHX_CONTROL"; !slices.Contains(lines, line) {
		t.Errorf("the page lacks %q", line)
	}
}

// TestHelpConfigExample takes the example from the page, as a reader would.
func TestHelpConfigExample(t *testing.T) {
	section := helpSection(t, "config", "Example")
	example, _, _ := strings.Cut(section, "\n\n")
	env := map[string]string{"HOOK_SECRET": "secret"}
	lookupEnv := func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
	findings, err := config.Validate("example", []byte(example), lookupEnv, compileWhere)
	if err != nil {
		t.Fatal(err)
	}
	if findings.Connections != 1 || findings.Sinks != 2 || findings.Routes != 2 {
		t.Errorf("%+v", findings)
	}
}

// TestHelpConfigVariables has the parser do what the page says of variables.
func TestHelpConfigVariables(t *testing.T) {
	section := helpSection(t, "config", "Variables")
	env := map[string]string{"VAR": "set", "EMPTY": ""}
	// What is shown is a config file again: a dollar sign is written as two.
	for reference, want := range map[string]string{"${VAR}": "set", "${VAR:-default}": "set", "${VAR:?message}": "set", "$$": "$$"} {
		if !strings.Contains(section, "  "+reference+" ") {
			t.Errorf("the page lacks %s", reference)
		}
		for _, variable := range []string{"VAR", "EMPTY", "UNSET"} {
			text := strings.ReplaceAll(reference, "VAR", variable)
			file := fmt.Sprintf("connections: {backend: {uri: 'ws://h/%s'}}", text)
			r := (&phxRun{stdin: file, env: env}).run(t.Context(), "config", "show", "-f", "-", "--json")
			wanted := want
			switch {
			case variable == "VAR" || reference == "$$":
			case reference == "${VAR:-default}":
				wanted = "default"
			case reference == "${VAR}" && variable == "EMPTY":
				wanted = ""
			default:
				if r.code != exitUsage {
					t.Errorf("%s: exit code %d", text, r.code)
				}
				continue
			}
			if r.code != exitOK || !strings.Contains(r.out.String(), `"ws://h/`+wanted+`"`) {
				t.Errorf("%s: exit code %d, %s", text, r.code, r.out.String())
			}
		}
	}
}
