package systemtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows are those of ARCHITECTURE.md: each directory, what is below it included, with those it may import. main.go, at the
// top, is ".".
var arrows = map[string][]string{
	".":                   {"cmd"},
	"cmd":                 {"router", "signal", "phoenix", "phoenix/rawjson", "phoenix/boottime", "phoenix/supabase", "phoenix/phoenixtest"},
	"router":              {"signal", "phoenix", "phoenix/rawjson"},
	"signal":              {"phoenix", "phoenix/rawjson"},
	"phoenix":             {"phoenix/rawjson", "phoenix/boottime"},
	"phoenix/boottime":    {},
	"phoenix/rawjson":     {},
	"phoenix/supabase":    {"phoenix", "phoenix/rawjson"},
	"phoenix/phoenixtest": {},
	"scripts":             {"cmd"},
	"cmd/phxtest":         {"phoenix/phoenixtest"},

	// A module of its own, of tests alone: nothing of ours imports it.
	"signal/cloudeventstest": {"router", "signal", "phoenix"},
}

// forTests may be imported by the tests of every directory.
var forTests = []string{"phoenix/phoenixtest", "cmd/phxtest"}

// module is the prefix of our import paths. Another name than phx comes of `make publish-as`.
var module = func() string {
	info, _ := debug.ReadBuildInfo() // a test binary of a module has it
	return info.Main.Path
}()

// A sourceFile is what matters of a Go file: its path from the top, with slashes, and its imports.
type sourceFile struct {
	path    string
	imports []string
}

func TestArrows(t *testing.T) {
	files := sourceFiles(t)
	seen := map[string]bool{}
	for _, file := range files {
		seen[ownerOf(path.Dir(file.path))] = true
		for _, complaint := range complaints(file) {
			t.Error(complaint)
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(arrows)) {
		if !seen[owner] {
			t.Errorf("no file belongs to %q: take it out of arrows, or see what is wrong here", owner)
		}
	}
}

// TestArrowsThatTurnBack shows that complaints sees what it is there for.
func TestArrowsThatTurnBack(t *testing.T) {
	tests := []struct {
		file, imported string
		allowed        bool
	}{
		{"phoenix/loop.go", "phx/signal", false},
		{"phoenix/loop.go", "phx/router", false},
		{"phoenix/loop.go", "phx/cmd/config", false},
		{"phoenix/loop.go", "phx/phoenix/phoenixtest", false},
		{"phoenix/loop_test.go", "phx/phoenix/phoenixtest/peer", true},
		{"phoenix/phoenixtest/conn.go", "phx/phoenix", false},
		{"phoenix/phoenixtest/peer/room.go", "phx/phoenix/phoenixtest", true},
		{"phoenix/phoenixtest/conn_test.go", "phx/phoenix", false},
		{"phoenix/phoenixtest/conn.go", module, false},
		{"signal/encoder.go", "phx/phoenix", true},
		{"signal/encoder.go", "phx/router", false},
		{"phoenix/codec.go", "phx/phoenix/rawjson", true},
		{"phoenix/rawjson/rawjson.go", "phx/phoenix", false},
		{"phoenix/phoenixtest/serializer.go", "phx/phoenix/rawjson", false},
		{"router/queue.go", "phx/signal", true},
		{"router/queue.go", "phx/cmd", false},
		{"router/queue_test.go", "phx/cmd", false},
		{"cmd/listen.go", "phx/router", true},
		{"cmd/config/uri.go", "phx/signal", true},
		{"main.go", "phx/cmd", true},
		{"main.go", "phx/phoenix", false},
		{"main_test.go", "phx/phoenix/phoenixtest", true},
		{"main_test.go", "phx/cmd/phxtest", true},
		{"cmd/listen.go", "phx/cmd/phxtest", false},
		{"cmd/phxtest/servers.go", "phx/phoenix/phoenixtest/peer", true},
		{"cmd/phxtest/script.go", "phx/cmd", false},
		{"router/queue.go", "testing", false},
		{"phoenix/phoenixtest/server.go", "testing/synctest", false},
		{"router/queue_test.go", "testing", true},
		{"router/queue.go", "phxtras/testingtools", true},
		{"newcomer/file.go", "fmt", false},
	}
	for _, test := range tests {
		complained := complaints(sourceFile{path: test.file, imports: []string{test.imported}})
		if allowed := len(complained) == 0; allowed != test.allowed {
			t.Errorf("%s imports %q: allowed %v, want %v", test.file, test.imported, allowed, test.allowed)
		}
	}
}

// complaints says what is wrong with the imports of a file.
func complaints(file sourceFile) []string {
	owner := ownerOf(path.Dir(file.path))
	if owner == "" {
		return []string{file.path + ": no arrow begins at its directory: draw it in ARCHITECTURE.md, then in arrows"}
	}
	isTest := strings.HasSuffix(file.path, "_test.go")
	var found []string
	for _, imported := range file.imports {
		if imported == "testing" || strings.HasPrefix(imported, "testing/") {
			if !isTest {
				found = append(found, file.path+": imports "+imported+", which is for tests only")
			}
			continue
		}
		dir, ours := directoryOf(imported)
		if !ours {
			continue
		}
		target := ownerOf(dir)
		allowed := target == owner || slices.Contains(arrows[owner], target) || isTest && slices.Contains(forTests, target)
		if !allowed {
			found = append(found, file.path+": imports "+imported+": an arrow of ARCHITECTURE.md turns back")
		}
	}
	return found
}

// directoryOf returns the directory of an import path, if it is one of ours.
func directoryOf(imported string) (dir string, ours bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// ownerOf returns the key of arrows that a directory belongs to, "" if there is none.
func ownerOf(dir string) string {
	for ; dir != "."; dir = path.Dir(dir) {
		if _, ok := arrows[dir]; ok {
			return dir
		}
		if !strings.Contains(dir, "/") {
			return ""
		}
	}
	return "."
}

// sourceFiles returns every Go file of the module, whatever system it is for.
func sourceFiles(t *testing.T) []sourceFile {
	t.Helper()
	var files []sourceFile
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || len(name) > 1 && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		imports, err := importsOf(filepath.Join(root, filepath.FromSlash(name)))
		files = append(files, sourceFile{path: name, imports: imports})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func importsOf(file string) ([]string, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var imports []string
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		imports = append(imports, imported)
	}
	return imports, nil
}

// The files that ARCHITECTURE.md and CONTRIBUTING.md name are there.
func TestDocumentsNameFiles(t *testing.T) {
	there := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			there[filepath.Base(path)] = true
			there[strings.TrimPrefix(filepath.ToSlash(path), root+"/")] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z_/]+\\.(?:go|md))`")
	for _, document := range []string{"ARCHITECTURE.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(root, document))
		if err != nil {
			t.Fatal(err)
		}
		names := named.FindAllStringSubmatch(string(text), -1)
		if len(names) < 3 {
			t.Errorf("%s names only %d files", document, len(names))
		}
		for _, name := range names {
			if !there[name[1]] && !there["cmd/internal/"+name[1]] {
				t.Errorf("%s names %s, which is not there", document, name[1])
			}
		}
	}
}
