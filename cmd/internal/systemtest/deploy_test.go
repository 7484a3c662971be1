package systemtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"phx/cmd/phxtest"
)

// Compose and Kubernetes files are judged in deploytest, a module of its own.

const deployDir = root + "/deploy"

// TestUnits has systemd judge the units, with the binary under test as what they start.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed: the units are not verified")
	}
	units, err := filepath.Glob(filepath.Join(deployDir, "*.service"))
	if err != nil || len(units) != 2 {
		t.Fatalf("the units are %q: %v", units, err)
	}
	for _, path := range units {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		const installed = "/usr/local/bin/phx"
		if !strings.Contains(string(text), "ExecStart="+installed+" ") {
			t.Errorf("%s does not start %s", path, installed)
		}
		unit := filepath.Join(t.TempDir(), strings.Replace(filepath.Base(path), "@", "@0", 1))
		writeFile(t, unit, strings.ReplaceAll(string(text), installed, binary(t)))
		if out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput(); err != nil || len(out) != 0 {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
}

// TestDeployedConfigs has phx validate the configurations that the files in deploy/ are about.
func TestDeployedConfigs(t *testing.T) {
	configs := map[string]string{"phx.yaml": readDeployed(t, "phx.yaml")}
	// The block of a ConfigMap is indented by four.
	_, data, _ := strings.Cut(readDeployed(t, "kubernetes.yaml"), "  phx.yaml: |\n")
	block := regexp.MustCompile(`^(    .*\n|\n)+`).FindString(data)
	configs["the ConfigMap of kubernetes.yaml"] = strings.ReplaceAll("\n"+block, "\n    ", "\n")
	for name, text := range configs {
		path := filepath.Join(t.TempDir(), "phx.yaml")
		writeFile(t, path, text)
		if out, err := exec.Command(binary(t), "config", "validate", "-f", path).CombinedOutput(); err != nil || !strings.Contains(text, "connections:") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestDeployedCommands runs the command lines of the unit of shards and of the containers as far as their config file, which is not there.
func TestDeployedCommands(t *testing.T) {
	_, unit, _ := strings.Cut(readDeployed(t, "phx-shard@.service"), "\nExecStart=/usr/local/bin/phx ")
	unit, _, _ = strings.Cut(unit, "\n")
	args := map[string]string{"phx-shard@.service": strings.NewReplacer("%i", "0", "${PHX_SHARDS}", "3").Replace(unit)}
	flow := regexp.MustCompile(`(?m)^ +(?:args|command): \[(serve.*)\]$`)
	for _, name := range []string{"compose.yaml", "kubernetes.yaml"} {
		match := flow.FindStringSubmatch(readDeployed(t, name))
		if match == nil {
			t.Fatalf("%s starts no phx serve", name)
		}
		args[name] = strings.NewReplacer(",", "", "$(POD_INDEX)", "0", "$(PHX_SHARDS)", "3").Replace(match[1])
	}
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	for name, line := range args {
		line = strings.Replace(line, "/etc/phx/phx.yaml", missing, 1)
		out, err := exec.Command(binary(t), strings.Fields(line)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), missing) {
			t.Errorf("%s: phx %s: %v\n%s", name, line, err, out)
		}
	}
}

// TestComposeCommands runs the health check of compose.yaml, and what its comment says to type, where nobody answers: they are not misspelt.
func TestComposeCommands(t *testing.T) {
	text := readDeployed(t, "compose.yaml")
	var commands []string
	if match := regexp.MustCompile(`(?m)^ +test: \[CMD, phx, (.*)\]$`).FindStringSubmatch(text); match != nil {
		commands = append(commands, strings.ReplaceAll(match[1], ",", ""))
	}
	for _, match := range regexp.MustCompile(`(?m)^# +docker compose .* exec phx phx (.*)$`).FindAllStringSubmatch(text, -1) {
		commands = append(commands, match[1])
	}
	if len(commands) != 4 {
		t.Errorf("the commands are %q", commands)
	}
	for _, command := range commands {
		byNATS := strings.Contains(command, "--nats nats://nats:4222 ")
		if byNATS && strings.HasPrefix(command, "ctl ") && !strings.Contains(readDeployed(t, "phx.yaml"), "\nsources:\n") {
			t.Errorf("phx %s: phx.yaml has no sources", command)
		}
		phx := exec.Command("sh", "-c", `exec "$0" `+strings.Replace(command, "nats://nats:4222", "nats://127.0.0.1:1", 1)+` --max-time 10`, binary(t))
		phx.Env = append(os.Environ(), phxtest.RaceOptions, "PHX_CONTROL="+filepath.Join(t.TempDir(), "control.sock"))
		out, err := phx.CombinedOutput()
		if got := phxtest.EndOf(phx.ProcessState); got != "7" {
			t.Errorf("phx %s ended with %s: %v\n%s", command, got, err, out)
		}
	}
}

func readDeployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
