package cmd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/config"
)

// foreignVariables are read by the libraries that phx is made of.
var foreignVariables = []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "PATH"}

// TestHelpEnvironmentIsWhole compares the page with the options of all commands, with what the help of commands speaks of, and
// with what the program's files look up.
func TestHelpEnvironmentIsWhole(t *testing.T) {
	root := newRootCmd(testFactory())
	read := map[string]bool{}
	for _, name := range foreignVariables {
		read[name] = true
	}
	visitOptions(root, func(command string, o config.Option) {
		if o.Env == "" {
			return
		}
		read[o.Env] = true
		if text := oneSpaced(helpSection(t, "environment", "Settings, in place of a flag")); !regexp.MustCompile(o.Env + ` --` + o.Flag + ` of [a-z, ]*\b` + command + `\b`).MatchString(text) {
			t.Errorf("the page does not say that %s is --%s of %s", o.Env, o.Flag, command)
		}
	})
	for name := range lookedUp(t) {
		read[name] = true
	}
	listed := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^  ([A-Z_]+) `).FindAllStringSubmatch(helpPage(t, "environment"), -1) {
		if listed[found[1]] {
			t.Errorf("the page has %s twice", found[1])
		}
		listed[found[1]] = true
	}
	if got, want := slices.Sorted(maps.Keys(listed)), slices.Sorted(maps.Keys(read)); !slices.Equal(got, want) {
		t.Errorf("the page has\n%v\nand phx reads\n%v", got, want)
	}
	mentioned := regexp.MustCompile(`\$([A-Z_]{3,})`)
	eachCommand(root, func(c *cobra.Command) {
		texts := c.Long
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { texts += f.Usage })
		for _, found := range mentioned.FindAllStringSubmatch(texts, -1) {
			if !listed[found[1]] {
				t.Errorf("the help of %s speaks of $%s, which is not on the page", c.CommandPath(), found[1])
			}
		}
	})
}

func eachCommand(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, visit)
	}
}

// testFactory makes commands that are not run.
func testFactory() *factory { return &factory{streams: &Streams{}} }

// lookups are the functions that read a variable.
var lookups = []string{"LookupEnv", "lookupEnv", "Getenv", "env", "takeEnv"}

// lookedUp returns the variables that the files of the program look up by name.
func lookedUp(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, dir := range []string{".", "../phoenix", "../signal", "../router"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err == nil {
				collectLookups(t, file, found)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !found["XDG_CONFIG_HOME"] || !found["NOTIFY_SOCKET"] {
		t.Fatalf("found %v: that cannot be all", found)
	}
	return found
}

func collectLookups(t *testing.T, file *ast.File, found map[string]bool) {
	t.Helper()
	constants := constantsOf(file)
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 || !slices.Contains(lookups, nameOf(call.Fun)) {
			return true
		}
		switch arg := call.Args[0].(type) {
		case *ast.BasicLit:
			name, err := strconv.Unquote(arg.Value)
			if err != nil {
				t.Fatal(err)
			}
			found[name] = true
		case *ast.Ident:
			if name, ok := constants[arg.Name]; ok {
				found[name] = true
			}
		}
		return true
	})
}

// constantsOf returns the constants of a file that are texts.
func constantsOf(file *ast.File) map[string]string {
	constants := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, value := range spec.Values {
			if literal, ok := value.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					constants[spec.Names[i].Name] = text
				}
			}
		}
		return true
	})
	return constants
}

// nameOf returns the last name of a function, also of one that is a member.
func nameOf(function ast.Expr) string {
	switch function := function.(type) {
	case *ast.Ident:
		return function.Name
	case *ast.SelectorExpr:
		return function.Sel.Name
	}
	return ""
}
