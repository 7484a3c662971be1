package cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"phx/cmd/config"
)

// exampleConfig is the one in `phx help config`.
const exampleConfig = `defaults: {heartbeat_interval_msec: 15000}
connections:
  backend:
    uri: ${BACKEND_URL:-wss://example.com/socket}
    params: {user_id: "123", token: {file: /run/secrets/token}}
    auto_join_channels:
      - room:lobby
      - {topic: "user:123", secret_params: {access_token: {command: [pass, show, backend]}}}
sinks:
  audit: {file: {path: signals.ndjson}}
  hook: {webhook: {url: https://example.com/hook, secret: {env: HOOK_SECRET}}, queue: 64MiB}
routes:
  - {match: "phoenix.backend.**", event: "new_*", to: [stdout, hook]}
  - {match: "phoenix.connection.*", to: audit}
control: {socket: /run/phx/control.sock}
http: {listen: 127.0.0.1:9464}
`

// configHelp is the text of `phx help config`. The keys are those of the parser.
func configHelp(root *cobra.Command) string {
	p, keys, settings := &page{}, config.DescribeKeys(), settingsByKey(root)
	p.say("Config files of phx.")
	p.say("A config file is YAML, or JSON, with named connections and, for `phx serve`, where their signals go. Commands " +
		"that connect take one connection of it. It is given by --config (-f) or $PHX_CONFIG; the default is " +
		"$XDG_CONFIG_HOME/phx/phx.yaml. Without a name (--connection, -n, $PHX_CONNECTION) it is the connection called " +
		"default, or the only one.")
	p.say("What a flag says counts first, then a connection that was asked for with -n, the environment, a connection that " +
		"was not, the defaults of the file, and in the end what is built in. An unknown key is an error.")
	p.say("`phx config validate` checks a file, `phx config show` prints what it comes to, `phx config schema` is for editors.")

	p.head("Example")
	p.block(2, exampleConfig)
	p.say("What follows is each key with its type, and with the flag and the variable that set the same. A dot stands for a map " +
		"in a map: tls.ca_file is written tls: {ca_file: ca.pem}. Defaults are those of `phx serve`.")

	p.head("At the top")
	p.keys(keys.Top, settings)
	p.head("A connection, and the defaults")
	p.keys(keys.Connection, settings)
	p.head("A sink, of which it is one of file, exec, webhook, stdout and discard")
	p.keys(keys.Sink, nil)
	p.head("A route")
	p.keys(keys.Route, nil)
	p.head("A secret: a text, or a map with one of these keys")
	p.say("The values of auth_token and webhook.secret are secrets, and so is each of params, secret_params and headers.")
	p.keys(keys.Secret, nil)

	p.head("Variables")
	p.say("In every text that is a value, variables of the environment are filled in, after the file was parsed.")
	p.gap()
	p.item(20, "${VAR}", "The variable, which must be set.")
	p.item(20, "${VAR:-default}", "The default, if the variable is not set, or empty.")
	p.item(20, "${VAR:?message}", "An error with the message, if the variable is not set, or empty.")
	p.item(20, "$$", "A dollar sign.")
	return p.String()
}

// keys adds what there is to know about keys.
func (p *page) keys(keys []config.Key, settings map[string]string) {
	for _, key := range keys {
		p.gap()
		line := fmt.Sprintf("%-26s %-35s %s", key.Path, key.Type, settings[key.Path])
		p.WriteString("  " + strings.TrimRight(line, " ") + "\n")
		text := key.About
		if key.Required {
			text += " It must be there."
		}
		if key.Default != nil {
			text += " Default: " + strings.ReplaceAll(strings.Trim(string(key.Default), `"`), ",", ", ") + "."
		}
		p.wrap(6, text)
	}
}

// settingsByKey are the flags and variables that set what keys of a connection set, and those at the top.
func settingsByKey(root *cobra.Command) map[string]string {
	settings := map[string]string{}
	visitOptions(root, func(command string, o config.Option) {
		key := o.Key
		if command == "serve" && o.Flag == "control" {
			key = "control.socket" // it reads that key itself: options have keys of connections
		}
		if key == "" {
			return
		}
		settings[key] = "--" + o.Flag
		if o.Env != "" {
			settings[key] += ", $" + o.Env
		}
	})
	return settings
}
