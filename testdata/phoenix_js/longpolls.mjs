// Long poll, with what is special about it.

import {LongPoll} from "phoenix"

import {Client, bytes, soon} from "./client.mjs"

const opts = {transport: LongPoll, reconnectAfterMs: soon, rejoinAfterMs: soon}

export const longpolls = {
  async longpoll(url) {
    const a = new Client("a", url, opts)
    const channel = a.channel("room:1", {}, ["hello", "new_msg"])
    a.connect()
    await a.join(channel)
    await a.push(channel, "ping", {a: 1, list: [null, true, "é\"\\\n"]})
    await a.push(channel, "push_event", {event: "hello", payload: {from: "server"}})
    await a.push(channel, "new_msg", {body: "to all"})
    await a.push(channel, "binary_len", bytes(1, 2, 255))
    // They go as one batch; the answers come in their order.
    for (let n = 1; n <= 250; n++) channel.push("ping", {n}).receive("ok", ({n}) => { if (n % 50 === 0) a.saw("room:1", "batch", n) })
    await a.until("room:1", "batch", 250)
    await a.leave(channel)
    await a.disconnect()
  },

  async longpoll_auth_token(url) {
    const a = new Client("a", url, {...opts, authToken: "a?b>c~=="})
    const channel = a.channel("room:1")
    a.connect()
    await a.join(channel)
    channel.push("whoami", {}).receive("ok", ({auth_token, transport}) => a.saw("whoami", auth_token, transport))
    await a.until("whoami")
    await a.disconnect()
  },

  // The session ends on the server: the client finds a new one, in which nothing is joined.
  async longpoll_kick(url) {
    const a = new Client("a", url, {...opts, params: {user_id: "1"}})
    const channel = a.channel("room:1")
    a.connect()
    await a.join(channel)
    channel.push("kick", {})
    await a.until("room:1", "join", "ok")
    await a.push(channel, "ping", {after: "kick"})
    await a.disconnect()
  },
}
