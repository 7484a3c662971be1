package systemtest

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.yaml.in/yaml/v3"

	"phx/phoenix/phoenixtest"
	"phx/phoenix/phoenixtest/peer"
)

// The scripts in testdata/recipes are run as they are, with PHX_URI pointing at a server. A comment "Output:" at the end says what
// they print; `...` stands for anything on one line. TMPDIR has to be empty behind them.

const recipesDir = root + "/testdata/recipes"

// A recipeScene is what a recipe needs beside `phx demo`.
type recipeScene struct {
	// app is another application than the demo.
	app phoenixtest.App
	// env returns further variables, and may check at the end of the test what the recipe has done.
	env func(t *testing.T) []string
	// offline: it connects to no server.
	offline bool
	// programs are those it needs that not every system has.
	programs []string
}

var recipeScenes = map[string]recipeScene{
	"graphql_subscription":  {app: peer.App()},
	"resume_after_restart":  {app: peer.App()},
	"forward_to_webhook":    {env: webhookEnv},
	"scrape_metrics":        {env: metricsEnv, programs: []string{"curl"}},
	"run_under_systemd":     {env: packageEnv, offline: true},
	"pipe_to_kafka":         {env: pipeEnv},
	"pipe_to_redis_streams": {env: pipeEnv},
	"pipe_to_mqtt":          {env: pipeEnv},
	"pipe_to_s3":            {env: pipeEnv},
}

// recipes returns the names of the recipes.
func recipes(t *testing.T) []string {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed: the recipes are not tested")
	}
	paths, err := filepath.Glob(filepath.Join(recipesDir, "*.sh"))
	if err != nil || len(paths) < 20 {
		t.Fatalf("%d recipes: %v", len(paths), err)
	}
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".sh"))
	}
	for name := range recipeScenes {
		if !slices.Contains(names, name) {
			t.Errorf("there is no recipe %s", name)
		}
	}
	return names
}

// runRecipe runs a recipe against the server at uri.
func runRecipe(t *testing.T, name, uri, wait string) (stdout, stderr string, err error) {
	t.Helper()
	scene := recipeScenes[name]
	for _, program := range scene.programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir, temp := t.TempDir(), t.TempDir()
	env := append(scriptEnv(t, dir), "PHX_URI="+uri, "WAIT="+wait, "TMPDIR="+temp)
	if scene.env != nil {
		env = append(env, scene.env(t)...)
	}
	path, err := filepath.Abs(filepath.Join(recipesDir, name+".sh"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err = bash(t, dir, env, path)
	if left, globErr := filepath.Glob(filepath.Join(temp, "*")); globErr != nil || len(left) != 0 {
		t.Errorf("it has left %q in TMPDIR: %v", left, globErr)
	}
	return stdout, stderr, err
}

func TestRecipes(t *testing.T) {
	for _, name := range recipes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(recipesDir, name+".sh"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(text), "#!/usr/bin/env bash\n# ") || sleepPattern.Match(text) {
				t.Error("a recipe begins with what it is for, and does not sleep")
			}
			var uri string
			if app := recipeScenes[name].app; app != nil {
				server, err := phoenixtest.Listen(app)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(server.Close)
				uri = server.URL
			} else {
				uri = startDemo(t, scriptEnv(t, t.TempDir()))
			}
			stdout, stderr, err := runRecipe(t, name, uri, "60")
			if err != nil {
				t.Fatalf("%v\n[stdout]\n%s\n[stderr]\n%s", err, stdout, stderr)
			}
			if want := recipeOutput(string(text)); !outputPattern(want).MatchString(stdout) {
				t.Errorf("it prints\n%s\nand says that it prints\n%s", stdout, want)
			}
		})
	}
}

// recipeOutput returns what the comment at the end of a recipe says that it prints.
func recipeOutput(text string) string {
	_, comment, _ := strings.Cut(text, "\n# Output:\n")
	return regexp.MustCompile(`(?m)^# ?`).ReplaceAllString(comment, "")
}

// TestRecipesEnd runs the recipes against servers that do not do their part. Each ends, and fails if it got nowhere.
func TestRecipesEnd(t *testing.T) {
	long(t)
	names := recipes(t)
	silent, err := phoenixtest.Listen(silentApp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(silent.Close)
	for _, server := range []struct {
		name, uri string
		// fails: nothing works there.
		fails bool
	}{
		{"nobody", "ws://" + unusedAddress(t) + "/socket", true},
		{"deaf", deafServer(t), true},
		{"silent", silent.URL, false},
	} {
		for _, name := range names {
			t.Run(server.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				stdout, stderr, err := runRecipe(t, name, server.uri, "1")
				if server.fails && err == nil && !recipeScenes[name].offline {
					t.Errorf("it succeeds\n[stdout]\n%s\n[stderr]\n%s", stdout, stderr)
				}
			})
		}
	}
}

// silentApp lets everybody join every topic, and says nothing more.
func silentApp(srv *phoenixtest.Server) {
	srv.Mount("/socket", phoenixtest.UserSocket{Channels: []phoenixtest.Route{phoenixtest.RouteFuncs("*", phoenixtest.ChannelFuncs{
		OnIn: func(*phoenixtest.Socket, string, phoenixtest.Payload) phoenixtest.Result {
			return phoenixtest.NoReply()
		},
	})}})
}

// deafServer returns the URI of a server that takes connections and never answers.
func deafServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) // the backlog of the kernel takes the connections
	return "ws://" + l.Addr().String() + "/socket"
}

// unusedAddress returns one on which nobody listens. On Linux it is of an address of loopback that no client comes from, so that no
// connection of another test takes its port.
func unusedAddress(t *testing.T) string {
	t.Helper()
	host := "127.0.0.1"
	if runtime.GOOS == "linux" {
		host = "127.71.10.1"
	}
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// webhookEnv starts a webhook. It has to get a CloudEvent if the recipe gets that far.
func webhookEnv(t *testing.T) []string {
	var posted atomic.Int32
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") == "application/cloudevents+json; charset=utf-8" && r.Header.Get("Webhook-Signature") != "" {
			posted.Add(1)
		}
	}))
	t.Cleanup(func() {
		hook.Close()
		if strings.HasPrefix(t.Name(), "TestRecipes/") && posted.Load() != 1 {
			t.Errorf("the webhook has got %d signed CloudEvents, want 1", posted.Load())
		}
	})
	return []string{"WEBHOOK_URL=" + hook.URL}
}

func metricsEnv(t *testing.T) []string { return []string{"METRICS=" + unusedAddress(t)} }

// packageEnv has the service installed into a directory.
func packageEnv(t *testing.T) []string {
	config := filepath.Join(t.TempDir(), "phx.yaml")
	if err := os.WriteFile(config, []byte("connections: {app: {uri: ws://localhost:4000/socket}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dest := t.TempDir()
	t.Cleanup(func() {
		for _, file := range []string{"usr/local/bin/phx", "etc/systemd/system/phx.service", "etc/phx/phx.yaml"} {
			if _, err := os.Stat(filepath.Join(dest, file)); err != nil {
				t.Errorf("not installed: %v", err)
			}
		}
	})
	return []string{"DESTDIR=" + dest, "PHX_CONFIG=" + config}
}

// pipeEnv stands in for Redpanda Connect, of which a test has only the documentation: a program of its name that reads its input to the end. It
// has to get three signals if the recipe gets that far; what its config does with them is looked at in TestPipeConfigs.
func pipeEnv(t *testing.T) []string {
	dir := t.TempDir()
	got := filepath.Join(dir, "got")
	script := `#!/bin/sh
[ "$1 $2" = "connect run" ] && [ -f "$3" ] && exec cat > "` + got + `"
`
	if err := os.WriteFile(filepath.Join(dir, "rpk"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !strings.HasPrefix(t.Name(), "TestRecipes/") {
			return
		}
		lines, err := os.ReadFile(got)
		if n := strings.Count(string(lines), `{"specversion":`); err != nil || n != 3 {
			t.Errorf("the program has got %d signals, want 3: %v", n, err)
		}
	})
	list := string(os.PathListSeparator)
	return []string{"PATH=" + dir + list + filepath.Dir(binary(t)) + list + os.Getenv("PATH")}
}

// pipeOutputs are the outputs of Redpanda Connect that the recipes use, and those of their fields that it documents for them
// (docs.redpanda.com, Connect 4.93).
var pipeOutputs = map[string][]string{
	"redpanda":      {"seed_brokers", "topic", "key", "batching"},
	"redis_streams": {"url", "stream", "body_key", "max_length", "max_in_flight"},
	"mqtt":          {"urls", "client_id", "topic", "qos", "max_in_flight"},
	"aws_s3":        {"bucket", "path", "content_type", "batching"},
}

// TestPipeConfigs reads the configs of the pipe_to_* recipes: they take lines that are as long as those of phx can be, into an output that
// there is, with fields that it has, and the members of a signal that they name are there.
func TestPipeConfigs(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(recipesDir, "pipe_to_*.yaml"))
	if err != nil || len(paths) != len(pipeOutputs) {
		t.Fatalf("the configs are %q: %v", paths, err)
	}
	signal := map[string]any{"id": "", "type": "", "subject": ""} // of every message, as the README has it
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var config struct {
			Input struct {
				Stdin struct {
					Scanner struct {
						Lines struct {
							MaxBufferSize int `yaml:"max_buffer_size"`
						}
					}
				}
			}
			Output map[string]map[string]any
		}
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		decoder.KnownFields(true)
		if err := decoder.Decode(&config); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if config.Input.Stdin.Scanner.Lines.MaxBufferSize < 64<<20+64<<10 {
			t.Errorf("%s takes no line of 64 MiB", path)
		}
		for output, fields := range config.Output {
			for field := range fields {
				if !slices.Contains(pipeOutputs[output], field) {
					t.Errorf("%s: output %s has no field %s", path, output, field)
				}
			}
		}
		if len(config.Output) != 1 {
			t.Errorf("%s has %d outputs", path, len(config.Output))
		}
		for _, use := range regexp.MustCompile(`json\("(\w+)"\)|this\.(\w+)`).FindAllStringSubmatch(string(text), -1) {
			if _, is := signal[use[1]+use[2]]; !is {
				t.Errorf("%s: a signal does not always have %s", path, use[0])
			}
		}
	}
}

// TestRecipesAreLinked looks for each recipe in the README.
func TestRecipesAreLinked(t *testing.T) {
	readme := docPages(t)["README.md"]
	for _, name := range recipes(t) {
		if !strings.Contains(readme, "](testdata/recipes/"+name+".sh)") {
			t.Errorf("the README has no link to the recipe %s", name)
		}
	}
}
