// Handshakes, and tokens.

import {Client, never} from "./client.mjs"

export const connects = {
  // Exactly what was recorded in transcripts/clients, refs included: each callback takes one.
  async recorded(url) {
    const a = new Client("a", url, {params: {a: 1, list: ["x", "y"], m: {k: "v w"}}, authToken: "tök"})
    const channel = a.channel("room:1", {}, ["tick"])
    a.socket.connect()
    await a.join(channel)
    await a.push(channel, "tick", {n: 2, ms: 10})
    await a.until("room:1", "event", "tick")
    await a.until("room:1", "event", "tick")
    channel.leave()
    await a.disconnect()
  },

  async auth_token(url) {
    const a = new Client("a", url, {authToken: () => "a?b>c~=="})
    const channel = a.channel("room:1")
    a.connect()
    await a.join(channel)
    channel.push("whoami", {}).receive("ok", ({auth_token}) => a.saw("auth_token", auth_token))
    await a.until("auth_token")
    await a.disconnect()
  },

  // A socket that takes no token answers without a subprotocol, which ws does not accept.
  async auth_token_not_taken(url) {
    const a = new Client("a", url.replace("/socket", "/plain"), {authToken: "t", reconnectAfterMs: never})
    a.connect()
    a.channel("room:1").join()
    await a.until("close")
    await a.disconnect()
  },

  async refused(url) {
    const a = new Client("a", url, {params: {token: "bad"}, reconnectAfterMs: never})
    a.connect()
    await a.until("close")
    await a.disconnect()
  },
}
