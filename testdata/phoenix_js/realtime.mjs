// node realtime.mjs SCENARIO URL SCENARIO URL ...: the client of Supabase, @supabase/realtime-js, plays its scenarios.

import {createHmac} from "node:crypto"

import {RealtimeClient} from "@supabase/realtime-js"

import {Link, Seer, run} from "./play.mjs"

// token signs a token of a role as Supabase Auth does: with the secret of a Supabase on a developer's machine.
function token(role, exp = 4102444800) {
  const encode = value => Buffer.from(JSON.stringify(value)).toString("base64url")
  const signed = `${encode({alg: "HS256", typ: "JWT"})}.${encode({role, exp})}`
  const secret = "super-secret-jwt-token-with-at-least-32-characters-long"
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`
}

const bytes = (...values) => Uint8Array.from(values).buffer

class Client extends Seer {
  constructor(name, url, {apikey = token("anon"), ...opts} = {}) {
    super(name, url)
    this.client = new RealtimeClient(url, {transport: Link, params: {apikey}, reconnectAfterMs: () => 10, ...opts})
  }

  // channel prints what comes on a channel.
  channel(name, config = {}, changes = []) {
    const channel = this.client.channel(name, {config})
    channel.on("broadcast", {event: "*"}, ({type, event, payload, meta, ...rest}) => {
      this.saw(name, type, event, payload, ...(meta ? [meta] : []), ...(Object.keys(rest).length ? [rest] : []))
    })
    channel.on("system", {}, ({extension, status, message, channel: about}) => {
      this.saw(name, "system", extension, status, message.replace(/\d+ seconds/, "N seconds"), about ?? null)
    })
    for (const change of changes) {
      channel.on("postgres_changes", change, ({eventType, schema, table, new: now, old, errors}) => {
        this.saw(name, change.event, eventType, schema, table, now, old, errors)
      })
    }
    return channel
  }

  // presence prints what comes of presences, which also asks for them.
  presence(channel, name) {
    const metas = list => list.map(({presence_ref, ...meta}) => meta)
    channel.on("presence", {event: "sync"}, () => {
      this.saw(name, "sync", Object.entries(channel.presenceState()).map(([key, list]) => [key, metas(list)]))
    })
    channel.on("presence", {event: "join"}, ({key, newPresences}) => this.saw(name, "join", key, metas(newPresences)))
    channel.on("presence", {event: "leave"}, ({key, leftPresences}) => this.saw(name, "leave", key, metas(leftPresences)))
  }

  // subscribe subscribes, and waits for what comes of it.
  async subscribe(channel, status = "SUBSCRIBED") {
    channel.subscribe((status, err) => {
      this.saw(channel.subTopic, status, ...(err ? [err.message.replace(/\d+ seconds/, "N seconds")] : []))
    })
    await this.until(channel.subTopic, status)
  }

  // send sends, and prints what the client makes of the answer.
  async send(channel, event, payload, opts) {
    this.saw("send", event, await channel.send({type: "broadcast", event, payload}, opts))
  }

  async disconnect() {
    this.client.channels = [] // it would tell of each that it is closed
    await this.client.disconnect()
  }
}

// two are two clients on the same channel.
async function two(url, {vsn, name = "room1", config = {}} = {}) {
  const [a, b] = [new Client("a", url, vsn ? {vsn} : {}), new Client("b", url)]
  const channels = [a.channel(name, config), b.channel(name, config)]
  await a.subscribe(channels[0])
  await b.subscribe(channels[1])
  return [a, channels[0], b, channels[1]]
}

// rest calls PostgREST beside the socket.
function rest(url, method, path, body) {
  const headers = {apikey: token("anon"), "content-type": "application/json"}
  return fetch(url.replace("ws", "http").replace("realtime/v1", "rest/v1") + path, {method, body: JSON.stringify(body), headers})
}

const realtime = {
  async broadcast(url) {
    const [a, ofA, b, ofB] = await two(url, {config: {broadcast: {ack: true}}})
    await a.send(ofA, "new_msg", {body: "hi", list: [null, 1.5, "é🙂"]})
    await b.until("room1", "broadcast", "new_msg")
    await b.send(ofB, "größe", {})
    await a.until("room1", "broadcast", "größe")
    await a.disconnect()
    await b.disconnect()
  },

  async broadcast_self(url) {
    const a = new Client("a", url)
    const channel = a.channel("room1", {broadcast: {self: true}})
    await a.subscribe(channel)
    await a.send(channel, "new_msg", {body: "to all"})
    await a.until("room1", "broadcast", "new_msg")
    await a.disconnect()
  },

  async broadcast_binary(url) {
    const [a, ofA, b, ofB] = await two(url, {config: {broadcast: {ack: true}}})
    await a.send(ofA, "raw", bytes(0, 255, 16, 10))
    await b.until("room1", "broadcast", "raw")
    await b.send(ofB, "empty", bytes())
    await a.until("room1", "broadcast", "empty")
    await a.disconnect()
    await b.disconnect()
  },

  // The first client speaks vsn 1.0.0: it sends text, and gets no bytes.
  async broadcast_vsn1(url) {
    const [a, ofA, b, ofB] = await two(url, {vsn: "1.0.0", config: {broadcast: {ack: true}}})
    await a.send(ofA, "new_msg", {body: "text"})
    await b.until("room1", "broadcast", "new_msg")
    await b.send(ofB, "raw", bytes(1))
    await b.send(ofB, "new_msg", {body: "json"})
    await a.until("room1", "broadcast", "new_msg")
    await a.disconnect()
    await b.disconnect()
  },

  async broadcast_http(url) {
    const [a, b] = [new Client("a", url), new Client("b", url)]
    const ofA = a.client.channel("room1") // never joined: what it sends goes by POST
    await b.subscribe(b.channel("room1"))
    a.saw("httpSend", await ofA.httpSend("single", {body: "hi"}))
    await b.until("room1", "broadcast", "single")
    a.saw("httpSend", await ofA.httpSend("bytes", bytes(1, 2)))
    await b.until("room1", "broadcast", "bytes")
    await a.send(ofA, "batch", {body: "ho"})
    await b.until("room1", "broadcast", "batch")
    await b.disconnect()
  },

  async broadcast_too_large(url) {
    const [a, ofA, b] = await two(url, {config: {broadcast: {ack: true}}})
    await a.send(ofA, "new_msg", {body: "x".repeat(1000)})
    await a.send(ofA, "new_msg", {body: "x"})
    await b.until("room1", "broadcast", "new_msg")
    await a.disconnect()
    await b.disconnect()
  },

  // A role that may not write gets no answer, ack or not.
  async broadcast_denied(url) {
    const a = new Client("a", url, {apikey: token("readonly")})
    const channel = a.channel("room1", {private: true, broadcast: {ack: true}})
    await a.subscribe(channel)
    await a.send(channel, "new_msg", {}, {timeout: 50})
    await a.disconnect()
  },

  async presence(url) {
    const [a, b] = [new Client("a", url), new Client("b", url)]
    const [ofA, ofB] = [a, b].map(client => {
      const channel = client.channel("room1", {presence: {key: {a: "ann", b: "bob"}[client.name]}})
      client.presence(channel, "room1")
      return channel
    })
    await a.subscribe(ofA)
    await a.until("room1", "sync")
    // told waits until clients have seen what has changed, and prints the answer behind that.
    const told = async (label, answer, ...clients) => {
      for (const client of clients) await client.until("room1", "sync")
      clients[0].saw(label, await answer)
    }
    await told("track", ofA.track({n: 1}), a)
    await b.subscribe(ofB)
    await b.until("room1", "sync")
    await told("track", ofB.track({n: 2}), b, a)
    await told("track", ofA.track({n: 3}), a, b)
    await told("untrack", ofA.untrack(), a, b)
    await b.disconnect()
    await a.until("room1", "sync")
    await a.disconnect()
  },

  async postgres_changes(url) {
    const a = new Client("a", url)
    const channel = a.channel("todos", {}, [
      {event: "*", schema: "public", table: "todos"},
      {event: "UPDATE", schema: "public", table: "todos", filter: "id=in.(1,2)"},
    ])
    await a.subscribe(channel)
    await a.until("todos", "system")
    const call = (method, query, body) => rest(url, method, "/todos" + query, body)
    await call("POST", "", {id: 1, text: "buy milk", done: false, tags: ["a"]})
    await call("PATCH", "?id=eq.2", {text: "buy oats"})
    await a.until("todos", "UPDATE", "UPDATE")
    await call("PATCH", "?id=eq.3", {text: "buy rye"})
    await call("DELETE", "?id=eq.1")
    await a.until("todos", "*", "DELETE")
    await a.disconnect()
  },

  async postgres_changes_mismatch(url) {
    const a = new Client("a", url)
    await a.subscribe(a.channel("todos", {}, [{event: "*", schema: "public"}]), "CHANNEL_ERROR")
    await a.disconnect()
  },

  // Each new token subscribes again, and the same token does not.
  async access_token(url) {
    const a = new Client("a", url)
    const channel = a.channel("todos", {broadcast: {ack: true}}, [{event: "*", schema: "public"}])
    await a.client.setAuth(token("authenticated"))
    await a.subscribe(channel)
    await a.until("todos", "system")
    await a.client.setAuth(token("authenticated", 4102444801))
    await a.until("todos", "system")
    await a.client.setAuth(token("authenticated", 4102444801))
    await a.send(channel, "done", {})
    await a.disconnect()
  },

  async access_token_callback(url) {
    const a = new Client("a", url, {apikey: "sb_publishable_1", accessToken: async () => token("authenticated")})
    await a.subscribe(a.channel("room1", {private: true, broadcast: {ack: true}}))
    await a.disconnect()
  },

  // The new token may not read.
  async access_token_revoked(url) {
    const a = new Client("a", url)
    await a.subscribe(a.channel("room1", {private: true}))
    await a.client.setAuth(token("nobody"))
    await a.until("room1", "CLOSED")
    await a.disconnect()
  },

  async join_refused(url) {
    const a = new Client("a", url)
    a.client.accessTokenValue = token("anon", 1000)
    await a.subscribe(a.channel("room1"), "CHANNEL_ERROR")
    await a.disconnect()
  },

  async join_unauthorized(url) {
    const a = new Client("a", url, {apikey: token("nobody")})
    await a.subscribe(a.channel("room1", {private: true}), "CHANNEL_ERROR")
    await a.disconnect()
  },

  // What the database has sent before is replayed, and what it sends now comes once.
  async replay(url) {
    const a = new Client("a", url)
    const channel = a.channel("room1", {private: true, broadcast: {replay: {since: 1000, limit: 3}}})
    await a.subscribe(channel)
    await a.until("room1", "broadcast", "raw")
    await rest(url, "POST", "/rpc/send", {topic: "room1", event: "live", payload: {n: 5}})
    await a.until("room1", "broadcast", "live")
    await a.disconnect()
  },

  async replication_ready(url) {
    const a = new Client("a", url)
    await a.subscribe(a.channel("room1", {broadcast: {replication_ready: true}}))
    await a.until("room1", "system")
    await a.disconnect()
  },

  // The server drains. The client connects and joins again.
  async drain(url) {
    const a = new Client("a", url)
    await a.subscribe(a.channel("room1"))
    await a.until("room1", "SUBSCRIBED")
    await a.disconnect()
  },
}

run(realtime)
