package cmd

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"phx/cmd/config"
)

// A variable is one of the environment that no option declares.
type variable struct{ name, about string }

// otherVariables are what else phx reads, or has read for it.
var otherVariables = []variable{
	{"XDG_CONFIG_HOME", "Where the directory phx with the config file phx.yaml is, unless --config says otherwise. The default is $HOME/.config."},
	{"HOME", "Counts where XDG_CONFIG_HOME is not set."},
	{"XDG_RUNTIME_DIR", "Where the directory phx with the socket of phx serve is, control.sock, unless --control says otherwise."},
	{"TMPDIR", "Counts where XDG_RUNTIME_DIR is not set: the socket is in the directory phx-UID there. The default is /tmp."},
	{"HTTPS_PROXY", "URL of the proxy for wss and https, unless --proxy, or proxy in a config file, says otherwise. Webhooks go there, too."},
	{"HTTP_PROXY", "The same for ws and http."},
	{"NO_PROXY", "Hosts to connect to without a proxy, with commas between them. This machine is always one of them."},
	{"SSL_CERT_FILE", "File with the certificates (PEM) to trust, in place of the system's file. --cacert counts more; on Windows and macOS, this does not count."},
	{"SSL_CERT_DIR", "Directories with such files, with colons between them, in place of the system's. As for SSL_CERT_FILE."},
	{"NO_COLOR", "No colours, whatever the terminal can do, unless --color is always."},
	{"CLICOLOR_FORCE", "Colours, also where stdout is no terminal, unless it is 0. NO_COLOR and --color count more."},
	{"TERM", "A terminal that is dumb gets no colours."},
	{"NOTIFY_SOCKET", "Where phx serve tells systemd that it is ready, reloads or stops. Its children do not get it."},
	{"WATCHDOG_USEC", "How often systemd's watchdog wants to hear from phx serve, in microseconds. Its children do not get it."},
	{"WATCHDOG_PID", "Which process it wants to hear from. Its children do not get it."},
	{"PATH", "Where the programs of secrets and of exec sinks are looked for."},
}

// environmentHelp is the text of `phx help environment`. What has a flag is made of the options of all commands.
func environmentHelp(root *cobra.Command) string {
	p := &page{}
	p.say("Environment variables that phx reads. One that is empty counts as one that is not set.")
	p.say("A flag counts before its variable, and so does a connection of a config file that was asked for with -n. A " +
		"connection that was not asked for, and the defaults of the file, count behind it. `phx serve` takes its connections from " +
		"its config file alone.")
	p.head("Settings, in place of a flag")
	for _, v := range settingVariables(root) {
		p.item(variableColumn, v.name, v.about)
	}
	p.head("Others")
	for _, v := range otherVariables {
		p.item(variableColumn, v.name, v.about)
	}
	p.say("The variables of proxies may be written in small letters, too. A config file may refer to any other variable, as ${VAR} or {env: VAR}: see `phx help config`.")
	return p.String()
}

// variableColumn is where the explanations of variables begin.
const variableColumn = 20

// settingVariables are those of the options, by name. What several commands have, the first explains.
func settingVariables(root *cobra.Command) []variable {
	found, commands := map[string]config.Option{}, map[string][]string{}
	visitOptions(root, func(command string, o config.Option) {
		if o.Env == "" {
			return
		}
		if _, ok := found[o.Env]; !ok {
			found[o.Env] = o
		}
		commands[o.Env] = append(commands[o.Env], command)
	})
	var list []variable
	for _, name := range slices.Sorted(maps.Keys(found)) {
		o := found[name]
		about := "--" + o.Flag + " of " + strings.Join(commands[name], ", ") + ": " + strings.ReplaceAll(o.Usage, "`", "") + "."
		list = append(list, variable{name, about})
	}
	return list
}
