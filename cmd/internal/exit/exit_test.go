package exit

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestTable(t *testing.T) {
	for i, row := range Table {
		if i > 0 && row.Code <= Table[i-1].Code {
			t.Errorf("%d does not come after %d", row.Code, Table[i-1].Code)
		}
	}
}

func TestHint(t *testing.T) {
	usage, killed := Usagef("do this", "%s is wrong", "it"), Killed(syscall.SIGTERM)
	for _, tt := range []struct {
		err  error
		hint string
	}{
		{nil, ""},
		{errors.New("x"), ""},
		{usage, "do this"},
		{fmt.Errorf("wrapped: %w", usage), "do this"},
		{errors.Join(errors.New("x"), killed, usage), ""},
	} {
		if hint := HintOf(tt.err); hint != tt.hint {
			t.Errorf("%v: hint %q, want %q", tt.err, hint, tt.hint)
		}
	}
	if usage.Error() != "it is wrong" || usage.Code != Usage || killed.Code != Terminate || killed.Signal != syscall.SIGTERM {
		t.Errorf("%v, %v", usage, killed)
	}
}

func TestSystemText(t *testing.T) {
	err := &fs.PathError{Op: "open", Path: "/nowhere", Err: syscall.ENOENT}
	if got := SystemText(fmt.Errorf("wrapped: %w", err)); got != "no such file or directory" {
		t.Errorf("got %q", got)
	}
	listen := &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	if got := SystemText(listen); got != "address already in use" {
		t.Errorf("got %q", got)
	}
	if got := SystemText(errors.New("other")); got != "other" {
		t.Errorf("got %q", got)
	}
}

// An exit code is written as a number in the table and nowhere else.
func TestNumbersOnlyInTheTable(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	// These have error types of their own for now.
	unconverted := []string{"cmd/config", "cmd/internal/strictyaml"}
	files := 0
	check := func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || path == filepath.Join(root, "cmd", "internal", "exit")):
			return filepath.SkipDir
		case slices.ContainsFunc(unconverted, func(dir string) bool { return strings.HasPrefix(path, filepath.Join(root, dir)) }):
			return nil
		case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, at := range exitNumbers(file) {
			t.Errorf("%s: an exit code as a number: use the constants of package exit", set.Position(at))
		}
		return nil
	}
	if err := filepath.WalkDir(filepath.Join(root, "cmd"), check); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(filepath.Join(root, "main.go"), check); err != nil {
		t.Fatal(err)
	}
	if files < 30 {
		t.Errorf("only %d files were found", files)
	}
}

// The check above finds each way to write an exit code as a number.
func TestNumbersAreFound(t *testing.T) {
	const sample = `package p
import ("os"; "phx/cmd/internal/exit")
const exitGone = 7 // bad
const (
	exitFine = exit.Gone
	codeLost = 56 // bad
)
func (e *E) ExitCode() int { return 2 } // bad
func (e *E) Code() exit.Code { if e == nil { return exit.OK }; return 28 } // bad
func f(err *exit.Error) error {
	if err.Code != 0 { // there is one, also a close code
	}
	if err.Code == 5 { // bad
		os.Exit(1) // bad
	}
	err.Code = 5 // bad
	_ = exit.Code(3) // bad
	os.Exit(128 + int(sig)) // bad
	os.Exit(int(exit.Killed(sig).Code))
	os.Exit(run(os.Args[1:]))
	_ = Answer{Status: 404, ExitCode: 3} // bad
	return &exit.Error{Code: 23, Message: "x"} // bad
}
func size() int { return 4 }
`
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "sample.go", sample, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []int
	for _, at := range exitNumbers(file) {
		got = append(got, set.Position(at).Line)
	}
	for i, line := range strings.Split(sample, "\n") {
		if strings.HasSuffix(line, "// bad") {
			want = append(want, i+1)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("found in lines %v, want %v", got, want)
	}
}

var (
	codeName  = regexp.MustCompile(`^(Code|ExitCode)$`)
	constName = regexp.MustCompile(`^(exit|code)[A-Z]`)
)

// exitNumbers returns where a file has an exit code as a number.
func exitNumbers(file *ast.File) (at []token.Pos) {
	numbers := func(in ...ast.Node) {
		for _, n := range in {
			ast.Inspect(n, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.IndexExpr, *ast.SliceExpr:
					return false
				case *ast.BasicLit:
					if n.Kind == token.INT {
						at = append(at, n.Pos())
					}
				}
				return true
			})
		}
	}
	named := func(e ast.Expr) bool {
		switch e := e.(type) {
		case *ast.Ident:
			return codeName.MatchString(e.Name)
		case *ast.SelectorExpr:
			return codeName.MatchString(e.Sel.Name)
		}
		return false
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec: // const exitUsage = 2
			for i, name := range n.Names {
				if constName.MatchString(name.Name) && i < len(n.Values) {
					numbers(n.Values[i])
				}
			}
		case *ast.FuncDecl: // func (e *Error) ExitCode() int { return 2 }
			if n.Body != nil && returnsCode(n) {
				ast.Inspect(n.Body, func(n ast.Node) bool {
					if r, ok := n.(*ast.ReturnStmt); ok {
						for _, result := range r.Results {
							if lit, ok := result.(*ast.BasicLit); ok {
								numbers(lit)
							}
						}
					}
					return true
				})
			}
		case *ast.CallExpr: // os.Exit(1), exit.Code(1)
			if s, ok := n.Fun.(*ast.SelectorExpr); ok {
				if p, ok := s.X.(*ast.Ident); ok && (p.Name == "os" && s.Sel.Name == "Exit" || p.Name == "exit" && s.Sel.Name == "Code") {
					numbers(n.Args[0])
				}
			}
		case *ast.KeyValueExpr: // exit.Error{Code: 2}
			if named(n.Key) {
				numbers(n.Value)
			}
		case *ast.AssignStmt: // err.Code = 2
			for i, left := range n.Lhs {
				if named(left) && len(n.Rhs) == len(n.Lhs) {
					numbers(n.Rhs[i])
				}
			}
		case *ast.BinaryExpr: // err.Code == 2
			if zero, ok := n.Y.(*ast.BasicLit); named(n.X) && !(ok && zero.Value == "0") {
				numbers(n.Y)
			}
		}
		return true
	})
	slices.Sort(at)
	return slices.Compact(at)
}

// returnsCode reports whether a function is called ExitCode or returns an exit.Code.
func returnsCode(f *ast.FuncDecl) bool {
	if codeName.MatchString(f.Name.Name) {
		return true
	}
	if f.Type.Results == nil || len(f.Type.Results.List) == 0 {
		return false
	}
	s, ok := f.Type.Results.List[0].Type.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Code"
}
