// Joins, and the leave that takes one back.

import {Client, never, soon} from "./client.mjs"
import {closed, linksTo} from "./play.mjs"

export const joins = {
  async join(url) {
    const a = new Client("a", url)
    a.connect()
    await a.join(a.channel("room:echo", {a: 1, text: "é<&>\n\u2028"}))
    await a.join(a.channel("room:listreply"))
    await a.disconnect()
  },

  join_refused: url => refusedJoin(url, "room:private"),
  join_unmatched_topic: url => refusedJoin(url, "nowhere:1"),
  join_crashed: url => refusedJoin(url, "room:crashjoin"),

  // The client tries again by itself.
  async join_refused_once(url) {
    const a = new Client("a", url, {rejoinAfterMs: soon})
    a.connect()
    await a.join(a.channel("room:flaky", {key: "k", fail: 1}))
    await a.disconnect()
  },

  // What is pushed meanwhile waits for the join.
  async join_slow(url) {
    const a = new Client("a", url)
    const channel = a.channel("room:slowjoin", {ms: 300})
    a.connect()
    a.receive(channel.join(), "join")
    await a.push(channel, "ping", {a: 1})
    await a.disconnect()
  },

  async join_timeout(url) {
    const a = new Client("a", url, {rejoinAfterMs: soon})
    const channel = a.channel("room:slowjoin", slowAtFirst(1500))
    a.connect()
    await a.until("open") // which may take longer than the join has
    channel.join(200).receive("timeout", () => { channel.timeout = 30_000 })
    a.receive(channel.joinPush, "join")
    await a.until("room:slowjoin", "join", "ok")
    await a.disconnect()
  },

  // The server answers no heartbeat during a join; here it is too slow for this client's patience.
  async join_slower_than_heartbeat(url) {
    const a = new Client("a", url, {heartbeatIntervalMs: 300})
    a.connect()
    await a.join(a.channel("room:slowjoin", slowAtFirst(4000)))
    await a.disconnect()
    // The server reads the close frame of the link that was given up only behind the join: until then the link has to last.
    await closed(linksTo(url)[0])
  },

  async leave(url) {
    const a = new Client("a", url)
    const channel = a.channel("room:1")
    a.connect()
    await a.join(channel)
    await a.leave(channel)
    await a.join(a.channel("room:1"))
    await a.disconnect()
  },
}

async function refusedJoin(url, topic) {
  const a = new Client("a", url, {rejoinAfterMs: never})
  a.connect()
  a.receive(a.channel(topic).join(), "join")
  await a.until(topic, "join", "error")
  await a.disconnect()
}

// slowAtFirst are the params of a join that the server takes some time for, but only once.
function slowAtFirst(ms) {
  const delays = [ms]
  return () => ({ms: delays.shift() ?? 0})
}
