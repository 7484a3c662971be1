package cmd

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"phx/cmd/internal/option"
)

// flagScripts names for each flag a script that fails when the flag is ignored, as TestFlagMutants has it. A flag that several commands
// share stands here under the first of them.
var flagScripts = map[string]string{
	"--version":                         "arguments",
	"config show --config":              "config_show",
	"config show --connection":          "config_show",
	"config show --json":                "config_show",
	"config validate --verbose":         "help_config",
	"connect --count":                   "connect_count",
	"connect --interval":                "connect_count",
	"connect --hold":                    "connect_hold",
	"connect --uri":                     "environment",
	"connect --name":                    "listen_signal_format",
	"connect --param":                   "params_and_headers",
	"connect --profile":                 "supabase_refused",
	"connect --transport":               "longpoll",
	"connect --fallback-after":          "longpoll_auto",
	"connect --header":                  "params_and_headers",
	"connect --join-params":             "join_params",
	"connect --on-join":                 "on_join",
	"connect --resume":                  "listen_resume",
	"connect --resume-file":             "listen_resume",
	"connect --auth-token-file":         "connect_bad_token",
	"connect --any-topic":               "listen_any_topic",
	"connect --vsn":                     "connect_vsn_refused",
	"connect --cacert":                  "tls_cacert",
	"connect --cert":                    "tls_mutual",
	"connect --key":                     "tls_mutual",
	"connect --insecure":                "tls_certificates",
	"connect --server-name":             "tls_certificates",
	"connect --origin":                  "origin",
	"connect --unix-socket":             "unix_socket",
	"connect --proxy":                   "proxy",
	"connect --compress":                "compress",
	"connect --require-wss":             "require_wss",
	"connect --connect-timeout":         "connect_timeout",
	"connect --timeout":                 "push_timeout",
	"connect --heartbeat-interval":      "usage",
	"connect --heartbeat-timeout":       "connect_not_phoenix",
	"connect --max-retries":             "connect_count_lost",
	"connect --max-outage":              "listen_refused_on_reconnect",
	"connect --reconnect-after":         "connect_count_lost",
	"connect --rejoin-after":            "delays",
	"connect --no-reconnect":            "listen_no_reconnect",
	"connect --no-jitter":               "delays",
	"connect --max-message":             "payload_too_large",
	"connect --max-channels-per-socket": "listen_many_topics",
	"connect --output":                  "output",
	"connect --jq":                      "jq_does_not_compile",
	"connect --arg":                     "jq_arg",
	"connect --argjson":                 "jq_arg",
	"connect --raw-output":              "connect_count_jq",
	"connect --exit-status":             "exit_status",
	"connect --pretty":                  "output",
	"connect --compact":                 "output",
	"connect --no-trim":                 "text_listen",
	"connect --color":                   "output",
	"connect --verbose":                 "connect_verbose",
	"connect --quiet":                   "connect_count",
	"connect --log-format":              "log_limit",
	"connect --trace":                   "trace",
	"connect --max-time":                "listen_max_time",
	"connect --config":                  "config",
	"connect --connection":              "config",
	"ctl --control":                     "serve_socket",
	"ctl --nats":                        "ctl_nats",
	"ctl --nats-creds":                  "ctl_nats",
	"ctl --nats-nkey":                   "ctl_nats",
	"ctl --nats-token-file":             "ctl_nats",
	"ctl --nats-subject":                "ctl_nats",
	"ctl join --params":                 "ctl_exit_codes",
	"ctl join --output":                 "ctl_output",
	"ctl list --output":                 "ctl_output",
	"ctl listen --match":                "ctl_listen_filters",
	"ctl listen --subscribe":            "ctl_listen_filters",
	"ctl listen --topic":                "repeated_flags",
	"ctl listen --event":                "repeated_flags",
	"ctl listen --where":                "ctl_listen_filters",
	"ctl listen --count":                "ctl_listen",
	"ctl listen --until":                "ctl_listen",
	"ctl listen --fail-on":              "ctl_listen",
	"ctl listen --duration":             "ctl_listen",
	"ctl listen --idle-timeout":         "ctl_listen",
	"ctl listen --slurp":                "listen_slurp",
	"ctl listen --ready-file":           "ctl_listen",
	"ctl listen --ready-fd":             "ready_end",
	"ctl listen --on-ready":             "ctl_output",
	"ctl push --timeout":                "ctl_exit_codes",
	"ctl push --no-reply":               "ctl",
	"ctl push --binary":                 "ctl",
	"ctl push --broadcast-event":        "supabase_serve",
	"ctl restart --wait":                "ctl",
	"ctl restart --timeout":             "ctl",
	"ctl start --config":                "ctl",
	"demo --listen":                     "demo",
	"demo --tls":                        "demo_tls",
	"demo --quiet":                      "text_demo",
	"join --stay":                       "join_stay",
	"listen --event":                    "listen_events",
	"listen --exclude-event":            "listen_events",
	"listen --count":                    "listen_count",
	"listen --duration":                 "listen_duration",
	"listen --idle-timeout":             "listen_idle_timeout",
	"listen --lifecycle":                "text_lifecycle",
	"listen --presence":                 "listen_presence",
	"listen --keep-going":               "listen_join_refused",
	"listen --exit-on-close":            "listen_exit_on_close",
	"listen --nats":                     "listen_nats",
	"listen --stream":                   "listen_nats",
	"listen --durable":                  "listen_nats",
	"listen --since":                    "listen_nats",
	"listen --ready-file":               "listen_ready_file",
	"listen --ready-fd":                 "listen_ready_file",
	"listen --on-ready":                 "listen_on_ready",
	"listen --ready-when":               "listen_ready_when",
	"listen --buffer":                   "listen_drop_newest",
	"listen --when-full":                "listen_when_full_fail",
	"push --lines":                      "push_lines",
	"push --envelope":                   "push_envelope_joins",
	"push --max-inflight":               "push_max_inflight",
	"push --rate":                       "push_rate",
	"push --no-reply":                   "push_no_reply",
	"push --keep-going":                 "push_keep_going",
	"push --failed":                     "push_failed_server_dies",
	"push --resend":                     "push_resend",
	"push --until":                      "push_until",
	"serve --control":                   "serve_socket",
	"serve --shard":                     "serve_shard",
	"serve --ready-file":                "serve_end",
	"serve --ready-fd":                  "ready_end",
	"serve --on-ready":                  "ctl_output",
	"version --json":                    "version",
}

// scriptText returns a script without the files at its end.
func scriptText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../testdata/script/" + name + ".txtar")
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// A declaredFlag is a flag as it is declared once, for the commands that share it.
type declaredFlag struct {
	// key is what flagScripts calls it, name and usage are what it is declared with.
	key, name, usage string
	// written matches it on a command line; commands are quoted for that, too.
	written  string
	commands []string
}

// declaredFlags goes through all commands.
func declaredFlags() []*declaredFlag {
	var all []*declaredFlag
	// An option that several commands share has one declaration, and so one text.
	declared := map[string]*declaredFlag{}
	eachCommand(newRootCmd(testFactory()), func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			o, ok := option.OptionOf(f)
			if !ok {
				return
			}
			command := strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), "phx"), " ")
			d := declared[f.Name+f.Usage]
			if d == nil {
				d = &declaredFlag{key: strings.TrimSpace(command + " --" + f.Name), name: f.Name, usage: o.Usage, written: " --" + f.Name + `\b`}
				if o.Shorthand != "" {
					d.written = "(" + d.written + "| -" + o.Shorthand + `\b)`
				}
				declared[f.Name+f.Usage] = d
				all = append(all, d)
			}
			d.commands = append(d.commands, regexp.QuoteMeta(command))
			if f.Name == "control" && command == "ctl" {
				d.commands = append(d.commands, "ctl [a-z]+")
			}
		})
	})
	return all
}

// TestEveryFlagHasAScript goes through all flags.
func TestEveryFlagHasAScript(t *testing.T) {
	left := maps.Clone(flagScripts)
	for _, d := range declaredFlags() {
		delete(left, d.key)
		used := regexp.MustCompile(`(?m)(^|\bphx) ?(` + strings.Join(d.commands, "|") + `)( [^\n]*)?` + d.written)
		if script := flagScripts[d.key]; script == "" || !used.MatchString(scriptText(t, script)) {
			t.Errorf("no script of phx %s: flagScripts names %q, which is none or does without the flag", d.key, script)
		}
	}
	for key := range left {
		t.Errorf("flagScripts has %q, and there is no such flag, or another command comes first that shares it", key)
	}
}
