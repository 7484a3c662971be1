package config

import (
	"regexp"
	"strings"
	"testing"
)

// fingerprint is that of the connection that an entry comes to.
func fingerprint(e *Entry) (string, error) {
	c, err := e.Resolve(nil)
	if err != nil {
		return "", err
	}
	return c.Fingerprint(), nil
}

func fingerprintOf(t *testing.T, text string) string {
	t.Helper()
	print, err := fingerprint(entryOf(t, text, map[string]string{"KEY": "value", "HOST": "h"}))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(print) {
		t.Fatalf("fingerprint %q", print)
	}
	return print
}

// TestFingerprintEqual: it is the same for the same settings, however they are written.
func TestFingerprintEqual(t *testing.T) {
	groups := [][]string{
		{
			"connections: {a: {uri: ws://h, params: {x: value, y: '2'}, headers: {A: 1, B: 2}}}",
			"connections: {a: {headers: [[b, 2], [a, 1]], params: {y: 2, x: {env: KEY}}, uri: ws://h}}",
			"defaults: {params: {x: other, y: 2}, headers: [[B, 2], [A, 9]]}\nconnections: {key: {name: a, uri: 'ws://${HOST}', params: {x: '${KEY}'}, headers: {a: 1}}}",
			"# no difference\nrequire_wss: false\nconnections:\n  a:\n    uri: ws://h\n    params: {x: value, y: 2}\n    headers: {a: 1, b: 2}\n    vsn: 2.0.0\n" +
				"    heartbeat_timeout_msec: 10000\n    max_retries: 10\n    jitter: true\n    required: true\n    max_message: 67108864\n    tls: {insecure_skip_verify: false}\n",
		},
		{
			`connections: {a: {uri: ws://h, auto_join_channels: [{topic: x, params: {a: 1, b: [1.0]}, secret_params: {c: 1, d: 2}}, y]}}`,
			`connections: {a: {uri: ws://h, auto_join_channels: [{params: {b: [1.0], a: 1}, secret_params: {d: 2, c: 1}, topic: x}, {topic: y, params: {}}]}}`,
		},
		{
			"connections: {a: {uri: ws://h, reconnect: false, max_retries: 5}}",
			"connections: {a: {uri: ws://h, max_retries: 0}}",
		},
		{
			"connections: {a: {uri: ws://h, auth_token: ''}}",
			"connections: {a: {uri: ws://h}}",
			"connections: {a: {uri: ws://h, heartbeat_interval_msec: 30000}}",
			"connections: {a: {uri: ws://h, profile: ''}}",
		},
		{
			"connections: {a: {uri: ws://h/s, profile: supabase}}",
			"connections: {a: {uri: ws://h/s, profile: supabase, heartbeat_interval_msec: 25000}}",
		},
	}
	seen := map[string]string{}
	for _, group := range groups {
		first := fingerprintOf(t, group[0])
		for _, other := range group[1:] {
			if fingerprintOf(t, other) != first {
				t.Errorf("these differ:\n%s\n%s", group[0], other)
			}
		}
		if other, twice := seen[first]; twice {
			t.Errorf("these are equal:\n%s\n%s", group[0], other)
		}
		seen[first] = group[0]
	}
}

// otherValues has for each key of a connection a value that makes a difference.
var otherValues = map[string]string{
	"uri": "ws://other", "name": "other", "params": "{a: b}", "headers": "{a: b}", "auth_token": "{command: [x]}", "auto_join_channels": "[a]",
	"presence": "true", "any_topic": "true", "required": "false", "vsn": "1.0.0", "tls.ca_file": "a", "tls.cert_file": "a", "tls.server_name": "h",
	"tls.insecure_skip_verify": "true", "proxy": "h:1", "connect_timeout_msec": "1", "reply_timeout_msec": "1", "heartbeat_interval_msec": "1",
	"heartbeat_timeout_msec": "1", "max_retries": "1", "max_outage_msec": "1", "reconnect_after_msec": "[1]", "rejoin_after_msec": "[1]", "reconnect": "false", "jitter": "false",
	"profile": "supabase", "max_message": "1", "max_channels_per_socket": "1", "tls.key_file": "b", "transport": "longpoll", "fallback_after_msec": "1",
}

// TestFingerprintOfEachKey: each key makes a difference.
func TestFingerprintOfEachKey(t *testing.T) {
	seen := map[string]string{fingerprintOf(t, "connections: {a: {uri: ws://h}}"): "nothing"}
	for _, o := range connectionKeys() {
		key := o.Key
		value, known := otherValues[key]
		if !known {
			t.Errorf("no value for %s", key)
			continue
		}
		text := key + ": " + value
		if group, rest, dotted := strings.Cut(key, "."); dotted {
			text = group + ": {" + rest + ": " + value + "}"
		}
		if key == "tls.key_file" {
			text = "tls: {cert_file: a, key_file: b}"
		}
		if key != "uri" {
			text = "uri: ws://h, " + text
		}
		print := fingerprintOf(t, "connections: {a: {"+text+"}}")
		if other, twice := seen[print]; twice {
			t.Errorf("%s makes no difference to %s", key, other)
		}
		seen[print] = key
	}
}

// TestFingerprintDiffers in what is less than a key.
func TestFingerprintDiffers(t *testing.T) {
	seen := map[string]string{}
	for _, keys := range []string{
		"params: {k: value}", "params: {k: other}", "params: {k: {file: value}}", "params: {k: {command: [value]}}", "params: {k: {command: [value, more]}}",
		"params: {j: value}", "headers: [[A, 1], [A, 2]]", "headers: [[A, 2], [A, 1]]", "headers: [[A, 1]]",
		"auto_join_channels: [a, b]", "auto_join_channels: [b, a]", "auto_join_channels: [{topic: a, params: {n: 1}}, b]",
		"auto_join_channels: [{topic: a, params: {n: 1.0}}, b]", "auto_join_channels: [{topic: a, secret_params: {n: 1}}, b]",
		"proxy: 'u:p@h:1'", "proxy: 'u:q@h:1'", "tls: {cert_file: a}", "tls: {ca_file: a}",
	} {
		print := fingerprintOf(t, "connections: {a: {uri: ws://h, "+keys+"}}")
		if other, twice := seen[print]; twice {
			t.Errorf("%s and %s are the same", keys, other)
		}
		seen[print] = keys
	}
}

func TestSinkFingerprint(t *testing.T) {
	seen := map[string]string{}
	for _, sink := range []string{
		"a: {discard: {}}", "b: {discard: {}}", "a: {discard: {}, format: jido}", "a: {discard: {}, queue: 5}", "a: {discard: {}, queue: 5KiB}",
		"a: {discard: {}, when_full: drop-newest}", "a: {stdout: {}}", "a: {file: {path: x}}", "a: {file: {path: y}}", "a: {exec: {command: [x]}}",
		"a: {exec: {command: [x, y]}}", "a: {exec: {command: [x], dir: y}}", "a: {webhook: {url: http://x}}", "a: {webhook: {url: http://y}}",
		"a: {webhook: {url: http://x, mode: binary}}", "a: {webhook: {url: http://x, headers: {A: 1}}}", "a: {webhook: {url: http://x, secret: 1}}",
		"a: {webhook: {url: http://x, secret: {file: 1}}}", "a: {webhook: {url: http://x, timeout_msec: 1}}", "a: {webhook: {url: http://x, max_retries: 1}}",
		"a: {webhook: {url: http://x, batch: 2}}", "a: {webhook: {url: http://x, batch_bytes: 2}}", "a: {webhook: {url: http://x, batch_wait_msec: 2}}",
		"a: {webhook: {url: http://x, max_in_flight: 2}}", "a: {webhook: {url: http://x, retry_on: 404}}", "a: {webhook: {url: http://x, drop_on: 404}}",
		"a: {webhook: {url: http://x}, spool: {dir: x}}", "a: {webhook: {url: http://x}, spool: {dir: y}}",
		"a: {webhook: {url: http://x}, spool: {dir: x, max_bytes: 5}}", "a: {webhook: {url: http://x}, spool: {dir: x, sync: 1s}}",
	} {
		print := mustServe(t, "sinks: {"+sink+"}").Sinks[0].Fingerprint
		if other, twice := seen[print]; twice || len(print) != 64 {
			t.Errorf("%s and %s are the same: %q", sink, other, print)
		}
		seen[print] = sink
	}
	for _, same := range [][2]string{
		{"a: {discard: {}}", "a: {format: signal, when_full: drop-oldest, queue: 10000, discard: }"},
		{"a: {webhook: {url: http://x, headers: {A: 1, B: 2}}}", "a: {webhook: {headers: [[b, '2'], [a, 1]], url: http://x, timeout_msec: 10000}, format: cloudevents}"},
	} {
		if mustServe(t, "sinks: {"+same[0]+"}").Sinks[0].Fingerprint != mustServe(t, "sinks: {"+same[1]+"}").Sinks[0].Fingerprint {
			t.Errorf("these differ: %s", same)
		}
	}
}
