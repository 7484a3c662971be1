// The end of a channel or a link, and what keeps one alive.

import {Client, soon} from "./client.mjs"

export const losses = {
  async crash(url) {
    const a = new Client("a", url, {rejoinAfterMs: soon})
    const channel = a.channel("room:1")
    a.connect()
    await a.join(channel)
    a.receive(channel.push("crash", {}), "crash")
    await a.until("room:1", "join", "ok")
    await a.push(channel, "ping", {after: "crash"})
    await a.disconnect()
  },

  // The server closes the channel: for the official client that is the end of it.
  async close(url) {
    const a = new Client("a", url, {rejoinAfterMs: soon})
    const [stopped, other] = [a.channel("room:1"), a.channel("room:2")]
    a.connect()
    await a.join(stopped)
    await a.join(other)
    await a.push(stopped, "stop_reply", {})
    await a.until("room:1", "close")
    await a.push(other, "ping", {})
    await a.disconnect()
  },

  async kick(url) {
    const a = new Client("a", url, {params: {user_id: "1"}})
    const channel = a.channel("room:1")
    a.connect()
    await a.join(channel)
    channel.push("kick", {})
    await a.until("room:1", "join", "ok")
    await a.push(channel, "ping", {after: "kick"})
    await a.disconnect()
  },

  // The link ends without a close frame.
  async drop(url) {
    const a = new Client("a", url)
    const channel = a.channel("room:1")
    a.connect()
    await a.join(channel)
    channel.push("kill_transport", {})
    await a.until("room:1", "join", "ok")
    await a.disconnect()
  },

  // The Go side stops the server once the channel is joined, and starts it after the first connect that fails.
  async restart(url) {
    const a = new Client("a", url, {reconnectAfterMs: tries => tries === 1 ? 10 : 2000})
    const channel = a.channel("room:1")
    a.connect()
    await a.join(channel)
    await a.until("room:1", "join", "ok")
    await a.disconnect()
  },

  // One when it is due, and one out of turn.
  async heartbeat(url) {
    const a = new Client("a", url, {heartbeatIntervalMs: 1000})
    const due = new Promise(resolve => a.socket.onMessage(({topic, payload}) => {
      if (topic === "phoenix") resolve(a.saw("heartbeat", payload.status))
    }))
    a.connect()
    await due
    await new Promise(resolve => a.socket.ping(resolve))
    await a.disconnect()
  },

  // The Go side makes the link a black hole once the channel is joined.
  async heartbeat_timeout(url) {
    const a = new Client("a", url, {heartbeatIntervalMs: 1000})
    const channel = a.channel("room:1")
    a.connect()
    await a.join(channel)
    await a.until("room:1", "join", "ok")
    await a.disconnect()
  },
}
