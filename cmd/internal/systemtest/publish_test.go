package systemtest

import (
	"archive/zip"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"phx/cmd/phxtest"
)

const (
	publishedModule  = "example.com/you/phx"
	publishedVersion = "v0.1.0"
)

// importer is a program of somebody else: it has the client talk to the server for tests.
const importer = `package main

import (
	"context"
	"fmt"
	"log"

	"example.com/you/phx/phoenix"
	"example.com/you/phx/phoenix/phoenixtest"
)

func main() {
	server := phoenixtest.NewServer(phoenixtest.Demo())
	defer server.Close()
	ctx := context.Background()
	conn, err := phoenix.New(phoenix.Options{URL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.Start(ctx); err != nil {
		log.Fatal(err)
	}
	if _, err := conn.Join(ctx, phoenix.Channel{Topic: "room:1"}); err != nil {
		log.Fatal(err)
	}
	reply, err := conn.Push(ctx, phoenix.Push{Topic: "room:1", Name: "echo", Payload: phoenix.JSON("{}")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(reply.Status)
}
`

// TestPublishAs gives a copy of the repository another module path, as whoever publishes it does. The copy builds and is in order, and
// somebody who can fetch it imports the library and installs the command.
func TestPublishAs(t *testing.T) {
	long(t)
	dir := t.TempDir()
	repository := filepath.Join(dir, "repository")
	copyRepository(t, repository)
	command(t, repository, nil, "make", "-s", "publish-as", "MODULE="+publishedModule)

	if old := command(t, repository, nil, "sh", "-c", `git init -q . && git add . && git grep -nE '"phx/(cmd|phoenix|router|signal|internal)|[^./a-z]phx/phoenix' || true`); old != "" {
		t.Errorf("the old path is still there:\n%s", old)
	}
	command(t, repository, nil, "go", "vet", "-tags", "e2e", "./...")
	command(t, repository, nil, "go", "mod", "tidy", "-diff")
	command(t, filepath.Join(repository, "signal/cloudeventstest"), nil, "go", "mod", "tidy", "-diff")
	command(t, filepath.Join(repository, "signal/cloudeventstest"), nil, "go", "vet", "./...")
	command(t, repository, nil, "go", "test", "-run", "Arrows", "./cmd/internal/systemtest")
	if unformatted := command(t, repository, nil, "gofmt", "-l", "."); unformatted != "" {
		t.Errorf("not formatted:\n%s", unformatted)
	}

	// Who fetches it has a module cache of his own. What it depends on comes out of ours, and nothing from the network.
	proxy := filepath.Join(dir, "proxy")
	writeProxy(t, repository, proxy)
	downloads := filepath.Join(strings.TrimSpace(command(t, repository, nil, "go", "env", "GOMODCACHE")), "cache", "download")
	env := []string{
		"GOPROXY=file://" + proxy + ",file://" + downloads, "GOSUMDB=off", "GOFLAGS=-modcacherw -mod=mod",
		"GOMODCACHE=" + filepath.Join(dir, "cache"), "GOBIN=" + filepath.Join(dir, "bin"),
	}
	program := filepath.Join(dir, "program")
	writeFile(t, filepath.Join(program, "main.go"), importer)
	writeFile(t, filepath.Join(program, "go.mod"), "module importer\n\ngo 1.26.0\n")
	command(t, program, env, "go", "get", publishedModule+"/phoenix@"+publishedVersion)
	if got := command(t, program, env, "go", "run", "."); got != "ok\n" {
		t.Errorf("the program that imports the library printed %q, want ok", got)
	}
	command(t, dir, env, "go", "install", publishedModule+"@"+publishedVersion)
	if got := command(t, dir, nil, filepath.Join(dir, "bin", "phx"), "version"); !strings.Contains(got, publishedVersion) {
		t.Errorf("the installed phx says %q, want %s in it", got, publishedVersion)
	}
}

// command runs a program in a directory and returns its stdout. It has to succeed.
func command(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr phxtest.Watched
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout, stderr.String())
	}
	return string(stdout)
}

// repositoryFiles calls do for each file below a directory but those of git, those that npm has installed, and what is built.
func repositoryFiles(t *testing.T, dir string, do func(name string) error) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.Name() == ".git" || entry.Name() == "node_modules" || name == "phx":
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !entry.Type().IsRegular():
			return nil
		}
		return do(name)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyRepository(t *testing.T, to string) {
	t.Helper()
	repositoryFiles(t, root, func(name string) error {
		from := filepath.Join(root, name)
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, info.Mode().Perm())
	})
}

// writeProxy writes what a module proxy serves: go help goproxy says what that is. A nested module is no part of the zip.
func writeProxy(t *testing.T, repository, proxy string) {
	t.Helper()
	at := filepath.Join(proxy, publishedModule, "@v")
	writeFile(t, filepath.Join(at, "list"), publishedVersion+"\n")
	writeFile(t, filepath.Join(at, publishedVersion+".info"), fmt.Sprintf("{\"Version\":%q}\n", publishedVersion))
	mod, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(at, publishedVersion+".mod"), string(mod))
	file, err := os.Create(filepath.Join(at, publishedVersion+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	repositoryFiles(t, repository, func(name string) error {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(repository, dir, "go.mod")); err == nil {
				return nil
			}
		}
		text, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			return err
		}
		w, err := archive.Create(publishedModule + "@" + publishedVersion + "/" + name)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	})
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
