//go:build unix

package main_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"phx/cmd/phxtest"
)

// A completedShell is a shell in which phx is completed. setup loads its completion, and makes of a command line that is run one that is
// printed as LINE:<ARGUMENTS>.
type completedShell struct {
	name string
	args []string
	// pkg is the Debian package to install.
	pkg   string
	setup string
}

var completedShells = []completedShell{
	{"bash", []string{"--noprofile", "--rcfile", "setup", "-i"}, "bash-completion", `
if [ ! -r /usr/share/bash-completion/bash_completion ]; then echo 'LINE:<no bash-completion>'; exit; fi
. /usr/share/bash-completion/bash_completion
. <(command phx completion bash)
phx() { case $1 in __complete*) command phx "$@";; *) echo "LINE:<$*>";; esac; }
PS1='ready$ '
`},
	{"zsh", []string{"-f", "-i"}, "zsh", `
autoload -Uz compinit && compinit -u -D
source <(command phx completion zsh)
phx() { case $1 in __complete*) command phx "$@";; *) echo "LINE:<$*>";; esac; }
unsetopt prompt_cr prompt_sp
PS1='ready$ '
`},
	{"fish", []string{"--no-config", "--interactive", "--init-command", "source setup"}, "fish", `
command phx completion fish | source
function phx
  if string match -q -- '__complete*' $argv[1]
    command phx $argv
  else
    echo "LINE:<$argv>"
  end
end
function fish_prompt
  echo 'ready$ '
end
set -g fish_greeting
set -g fish_autosuggestion_enabled 0
`},
}

// TestCompletionInShells types command lines with a tab at their end into real shells.
func TestCompletionInShells(t *testing.T) {
	binary, err := phxtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, shell := range completedShells {
		t.Run(shell.name, func(t *testing.T) {
			path, err := exec.LookPath(shell.name)
			if err != nil {
				t.Skipf("%s is not installed (Debian: %s): nobody has tried its completion", shell.name, shell.pkg)
			}
			dir := t.TempDir()
			for name, text := range map[string]string{
				"setup": shell.setup, "ca.pem": "",
				"phx.yaml": "connections: {first: {auto_join_channels: ['room:lobby', 'user:1']}, second: {}}",
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			typeLines(t, shell, path, dir, binary)
		})
	}
}

func typeLines(t *testing.T, shell completedShell, path, dir, binary string) {
	c := exec.Command(path, shell.args...)
	c.Dir = dir
	c.Env = []string{
		"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH"), "HOME=" + dir, "TERM=xterm", "LC_ALL=C.UTF-8", "PHX_CONFIG=phx.yaml",
		"GOCOVERDIR=" + os.Getenv("GOCOVERDIR"),
	}
	terminal, err := pty.StartWithAttrs(c, &pty.Winsize{Rows: 50, Cols: 200}, &syscall.SysProcAttr{Setsid: true, Setctty: true})
	if err != nil {
		t.Fatal(err)
	}
	var shown phxtest.Watched
	read := make(chan struct{})
	go func() {
		shown.ReadAll(terminal)
		close(read)
	}()
	defer func() {
		_ = c.Process.Kill() // a shell that has ended is no longer there
		_ = c.Wait()
		terminal.Close()
		<-read
	}()
	await := func(expr string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), phxtest.Patience)
		defer cancel()
		if _, ok := shown.Await(ctx, regexp.MustCompile(expr)); !ok {
			t.Fatalf("%s does not show %s, but\n%q", shell.name, expr, shown.String())
		}
	}
	typed := func(text string) {
		t.Helper()
		if _, err := terminal.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	if shell.name == "zsh" {
		typed("source ./setup\r")
	}
	await(`ready\$ `)
	if strings.Contains(shown.String(), "LINE:<no bash-completion>") {
		t.Skip("bash-completion is not installed: nobody has tried the completion of bash")
	}
	for _, tt := range []struct{ line, want string }{
		{"phx lis", "listen"},
		{"phx listen --outp", "listen --output"},
		{"phx listen -o clo", "listen -o cloudevents"},
		{"phx listen --color al", "listen --color always"},
		{"phx listen --color=al", "listen --color=always"},
		{"phx listen --when-full drop-o", "listen --when-full drop-oldest"},
		{"phx join --vsn 1", "join --vsn 1.0.0"},
		{"phx serve --log-format j", "serve --log-format json"},
		{"phx ctl status --wait jo", "ctl status --wait joined"},
		{"phx listen -n fir", "listen -n first"},
		{"phx listen -n first room", "listen -n first room:lobby"},
		{"phx push -n first room:l", "push -n first room:lobby"},
		{"phx listen --cacert ca", "listen --cacert ca.pem"},
		{"phx help sig", "help signals"},
		{"phx completion fi", "completion fish"},
	} {
		typed(tt.line + "\t\r")
		await(`LINE:<` + regexp.QuoteMeta(tt.want) + ` ?>`)
	}
}
