package phoenix

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pureFiles are the machines of a connection, and what they call: they read no clock, do no I/O and start nothing.
var pureFiles = []string{"dealer.go", "machine.go", "link.go", "channel.go", "push.go", "presence.go", "codec.go", "rawjson/rawjson.go"}

// pureImports may be imported by a pure file. Nothing in them reads a clock or does I/O, except as pureNames says.
var pureImports = []string{
	"bytes", "cmp", "container/heap", "encoding/binary", "encoding/json", "errors", "fmt", "iter", "log/slog", "maps", "math", "math/bits",
	"math/rand/v2", "slices", "strconv", "strings", "time", "unicode/utf16", "unicode/utf8", "github.com/jpillora/backoff",
	// The seed of maphash is drawn once a process; nothing that is seen of a machine depends on it.
	"hash/maphash",
}

// pureNames are all that a pure file may use of a package that also has what is not pure.
var pureNames = map[string][]string{
	"time":     {"Time", "Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"},
	"log/slog": {"Level", "LevelDebug", "LevelInfo", "LevelWarn", "LevelError"},
	"fmt":      {"Errorf", "Sprintf", "Sprint", "Append", "Appendf"},
	// Draws, which is what jitter is: no state of the machine depends on them but delays.
	"math/rand/v2": {"N"},
}

func TestMachineIsPure(t *testing.T) {
	for _, name := range pureFiles {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range impurities(t, name, string(source)) {
			t.Error(fault)
		}
	}
}

// TestImpuritiesAreFound shows that impurities finds what it is there for.
func TestImpuritiesAreFound(t *testing.T) {
	for source, want := range map[string]int{
		`import "time"; var x time.Duration = time.Second`:        0,
		`import "time"; var x = time.Now()`:                       1,
		`import "time"; var now = time.Now`:                       1,
		`import clock "time"; var x = clock.Since(clock.Time{})`:  1,
		`import . "time"; var x = Now()`:                          1,
		`import "time"; var x = time.After(time.Second)`:          1,
		`import "time"; var x = time.NewTimer(1)`:                 1,
		`import "os"; var x = os.Args`:                            1,
		`import "net"; var x net.Conn`:                            1,
		`import "net/http"; var x http.Header`:                    1,
		`import "context"; var x context.Context`:                 1,
		`import "fmt"; func f() { fmt.Println() }`:                1,
		`import "log/slog"; func f() { slog.Info("") }`:           1,
		`import "math/rand/v2"; var x = rand.Int()`:               1,
		`import "sync"; var x sync.Mutex`:                         1,
		`func f() { go f() }`:                                     1,
		`func f(c chan int) { c <- 1 }`:                           1,
		`func f(c chan int) { select {} }`:                        1,
		`func f(c chan int) int { return <-c }`:                   1,
		`func f() { println() }`:                                  1,
		`import "phx/phoenix/rawjson"; var x = rawjson.MaxDepth`:  0,
		`import "phx/phoenix/phoenixtest"; var x phoenixtest.App`: 1,
	} {
		if found := impurities(t, "file.go", "package p; "+source); len(found) != want {
			t.Errorf("%s: %q, want %d faults", source, found, want)
		}
	}
}

// impurities says where a Go file does what a pure one may not.
func impurities(t *testing.T, name, source string) (faults []string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	fault := func(at token.Pos, what string) {
		faults = append(faults, files.Position(at).String()+": "+what+": the machine is pure")
	}
	limited := map[string]string{} // by name in the file, the import paths of which only some names are pure
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		local := strings.TrimSuffix(path, "/v2")
		local = local[strings.LastIndex(local, "/")+1:]
		if spec.Name != nil {
			local = spec.Name.Name
		}
		ours := strings.HasSuffix(path, "/phoenix/rawjson") // whatever the module is called
		if !slices.Contains(pureImports, path) && !ours || local == "." {
			fault(spec.Pos(), "imports "+path)
		}
		limited[local] = path
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.GoStmt:
			fault(n.Pos(), "starts a goroutine")
		case *ast.SendStmt:
			fault(n.Pos(), "sends on a channel")
		case *ast.SelectStmt:
			fault(n.Pos(), "selects")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				fault(n.Pos(), "receives from a channel")
			}
		case *ast.CallExpr:
			if called, ok := n.Fun.(*ast.Ident); ok && (called.Name == "print" || called.Name == "println") {
				fault(n.Pos(), "prints")
			}
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			if names, ok := pureNames[limited[pkg.Name]]; ok && !slices.Contains(names, n.Sel.Name) {
				fault(n.Pos(), "uses "+pkg.Name+"."+n.Sel.Name)
			}
		}
		return true
	})
	return faults
}
