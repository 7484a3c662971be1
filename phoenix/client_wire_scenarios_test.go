package phoenix_test

import (
	"context"
	"net/url"
	"time"

	"phx/phoenix"
)

// wireScenarios are what a user of our client does to do what testdata/phoenix_js does with the official one.
var wireScenarios = map[string]func(u *wireUser){
	"recorded": func(u *wireUser) {
		a := u.dial(phoenix.Options{Credentials: func(context.Context) (phoenix.Credentials, error) {
			params := url.Values{"a": {"1"}, "list[0]": {"x"}, "list[1]": {"y"}, "m[k]": {"v w"}}
			return phoenix.Credentials{Params: params, AuthToken: "tök", HasAuthToken: true}, nil
		}})
		a.join("room:1")
		a.push("room:1", "tick", `{"n":2,"ms":10}`)
		settle(time.Second)
		a.leave("room:1")
		a.close()
	},
	"auth_token": func(u *wireUser) {
		a := u.dial(phoenix.Options{Credentials: token("a?b>c~==")})
		a.join("room:1")
		a.push("room:1", "whoami", `{}`)
		a.close()
	},
	"auth_token_not_taken": func(u *wireUser) {
		a := u.dial(phoenix.Options{URL: u.srv.SocketURL("/plain"), Credentials: token("t")})
		a.join("room:1")
		a.close()
	},
	"refused": func(u *wireUser) {
		a := u.dial(phoenix.Options{URL: u.srv.URL + "?token=bad"})
		<-a.Done()
	},

	"join": func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		a.join("room:echo", `{"a":1,"text":"é<&>\n`+"\u2028"+`"}`)
		a.join("room:listreply")
		a.close()
	},
	"join_refused":         joinRefused("room:private"),
	"join_unmatched_topic": joinRefused("nowhere:1"),
	"join_crashed":         joinRefused("room:crashjoin"),
	"join_refused_once": func(u *wireUser) {
		a := u.dial(phoenix.Options{MaxRetries: -1, RetryRefusals: true})
		a.join("room:flaky", `{"key":"k","fail":1}`)
		a.close()
	},
	"join_slow": func(u *wireUser) {
		a := u.dial(phoenix.Options{Channels: []phoenix.Channel{channelWith("room:slowjoin", `{"ms":300}`)}})
		a.push("room:slowjoin", "ping", `{"a":1}`)
		a.close()
	},
	"join_timeout": func(u *wireUser) {
		a := u.dial(phoenix.Options{ReplyTimeout: time.Second, MaxRetries: -1, RejoinAfter: phoenix.Steps(10 * time.Millisecond)})
		a.join("room:slowjoin", `{"ms":1500}`, `{"ms":0}`)
		a.close()
	},
	"join_slower_than_heartbeat": func(u *wireUser) {
		const interval = 300 * time.Millisecond
		a := u.dial(phoenix.Options{HeartbeatInterval: interval, HeartbeatTimeout: interval})
		a.join("room:slowjoin", `{"ms":4000}`)
		a.close()
	},
	"leave": func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		a.join("room:1")
		a.leave("room:1")
		a.join("room:1")
		a.close()
	},

	"push": func(u *wireUser) {
		a := u.dial(phoenix.Options{ReplyTimeout: time.Second})
		a.join("room:1")
		a.push("room:1", "ping", `{"a":1,"list":[null,true,"é\"\\"]}`)
		a.push("room:1", "ping", `{}`)
		a.push("room:1", "fail", `{}`)
		a.push("room:1", "custom_status_payload", `{"a":1}`)
		for _, name := range []string{"list_payload", "text_payload", "null_payload"} {
			a.push("room:1", name, `{}`)
		}
		a.send("room:1", "noreply", phoenix.JSON(`{}`))
		settle(2 * time.Second)
		a.push("room:1", "push_event", `{"event":"hello","payload":{"from":"server"}}`)
		a.close()
	},
	"push_pipelined": func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		a.join("room:1")
		a.send("room:1", "delayed", phoenix.JSON(`{"ms":50}`))
		a.send("room:1", "delayed", phoenix.JSON(`{"ms":0}`))
		settle(time.Second)
		a.close()
	},
	"broadcast": func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		a.join("room:1")
		b := u.dial(phoenix.Options{})
		b.join("room:1")
		a.push("room:1", "new_msg", `{"body":"to all"}`)
		b.push("room:1", "new_msg_from", `{"body":"to others"}`)
		a.close()
		b.close()
	},
	"binary": func(u *wireUser) {
		const topic = "room:é"
		a := u.dial(phoenix.Options{})
		a.join(topic)
		b := u.dial(phoenix.Options{})
		b.join(topic)
		a.pushPayload(topic, "binary_echo", phoenix.Binary([]byte{0, 10, 34, 128, 255}))
		a.pushPayload(topic, "binary_echo", phoenix.Binary([]byte{}))
		a.pushPayload(topic, "binary_error", phoenix.Binary([]byte{1}))
		a.pushPayload(topic, "binary_len", phoenix.Binary([]byte{1, 2, 3}))
		a.pushPayload(topic, "binary_push", phoenix.Binary([]byte{9, 8, 7}))
		a.push(topic, "binary_broadcast", `{"size":2}`)
		b.send(topic, "new_msg", phoenix.Binary([]byte{5, 6}))
		settle(0)
		a.close()
		b.close()
	},
	"presence": func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		a.join("presence:lobby", `{"user":"alice","meta":{"device":"node"}}`)
		b := u.dial(phoenix.Options{})
		b.join("presence:lobby", `{"user":"bob","meta":{"device":"node"}}`)
		b.push("presence:lobby", "update_meta", `{"status":"away"}`)
		b.close()
		a.close()
	},
	"odd_topic": func(u *wireUser) {
		const topic = "room: \"\\/\t\n\u0001\u007f\u2028é😀<&>"
		a := u.dial(phoenix.Options{})
		a.join(topic)
		a.push(topic, "push_event", `{"event":"room: \"\\/\t\n\u0001`+"\u007f\u2028"+`é😀<&>","payload":{}}`)
		a.close()
	},

	"crash": func(u *wireUser) {
		a := u.dial(patient())
		a.join("room:1")
		a.send("room:1", "crash", phoenix.JSON(`{}`))
		settle(5 * time.Second)
		a.push("room:1", "ping", `{"after":"crash"}`)
		a.close()
	},
	"close": func(u *wireUser) {
		a := u.dial(patient())
		a.join("room:1")
		a.join("room:2")
		a.push("room:1", "stop_reply", `{}`)
		settle(5 * time.Second)
		a.push("room:2", "ping", `{}`)
		a.close()
	},
	"kick": func(u *wireUser) {
		o := patient()
		o.URL = u.srv.URL + "?user_id=1"
		a := u.dial(o)
		a.join("room:1")
		a.send("room:1", "kick", phoenix.JSON(`{}`))
		settle(5 * time.Second)
		a.push("room:1", "ping", `{"after":"kick"}`)
		a.close()
	},
	"drop": func(u *wireUser) {
		a := u.dial(patient())
		a.join("room:1")
		a.send("room:1", "kill_transport", phoenix.JSON(`{}`))
		settle(5 * time.Second)
		a.close()
	},
	"restart": func(u *wireUser) {
		a := u.dial(patient())
		a.join("room:1")
		u.srv.Stop()
		settle(time.Second)
		if err := u.srv.Start(); err != nil {
			u.t.Error(err)
		}
		settle(5 * time.Second)
		a.close()
	},
	"heartbeat": func(u *wireUser) {
		a := u.dial(phoenix.Options{HeartbeatInterval: time.Second, HeartbeatTimeout: time.Second})
		settle(time.Second)
		if _, err := a.Heartbeat(u.t.Context()); err != nil {
			u.t.Error(err)
		}
		a.close()
	},
	"heartbeat_timeout": func(u *wireUser) {
		o := patient()
		o.HeartbeatInterval, o.HeartbeatTimeout = 1500*time.Millisecond, 500*time.Millisecond
		a := u.dial(o)
		a.join("room:1")
		u.srv.BlackHole()
		settle(3500 * time.Millisecond)
		a.close()
	},
}

func joinRefused(topic string) func(u *wireUser) {
	return func(u *wireUser) {
		a := u.dial(phoenix.Options{})
		if _, err := a.Join(u.t.Context(), phoenix.Channel{Topic: topic}); err == nil {
			u.t.Error("joined")
		}
		a.close()
	}
}
