// What goes over a joined channel.

import {Client, bytes} from "./client.mjs"

export const messages = {
  async push(url) {
    const a = new Client("a", url)
    const channel = a.channel("room:1", {}, ["hello"])
    a.connect()
    await a.join(channel)
    await a.push(channel, "ping", {a: 1, list: [null, true, "é\"\\"]})
    await a.push(channel, "ping", {})
    await a.push(channel, "fail", {})
    await a.push(channel, "custom_status_payload", {a: 1}, {statuses: ["custom_status"]})
    await a.push(channel, "list_payload", {})
    await a.push(channel, "text_payload", {})
    await a.push(channel, "null_payload", {})
    await a.push(channel, "noreply", {}, {timeout: 50})
    await a.push(channel, "push_event", {event: "hello", payload: {from: "server"}})
    await a.disconnect()
  },

  async push_pipelined(url) {
    const a = new Client("a", url)
    const channel = a.channel("room:1")
    a.connect()
    await a.join(channel)
    for (const ms of [50, 0]) a.receive(channel.push("delayed", {ms}), "delayed")
    await a.until("room:1", "delayed")
    await a.until("room:1", "delayed")
    await a.disconnect()
  },

  async broadcast(url) {
    const [a, b] = [new Client("a", url), new Client("b", url)]
    const [ofA, ofB] = [a, b].map(client => client.channel("room:1", {}, ["new_msg"]))
    a.connect()
    await a.join(ofA)
    b.connect()
    await b.join(ofB)
    await a.push(ofA, "new_msg", {body: "to all"})
    await b.until("room:1", "event", "new_msg")
    await b.push(ofB, "new_msg_from", {body: "to others"})
    await a.until("room:1", "event", "new_msg")
    await a.disconnect()
    await b.disconnect()
  },

  async binary(url) {
    const [a, b] = [new Client("a", url), new Client("b", url)]
    const [ofA, ofB] = [a, b].map(client => client.channel("room:é", {}, ["bin", "new_msg"]))
    a.connect()
    await a.join(ofA)
    b.connect()
    await b.join(ofB)
    await a.push(ofA, "binary_echo", bytes(0, 10, 34, 128, 255))
    await a.push(ofA, "binary_echo", bytes())
    await a.push(ofA, "binary_error", bytes(1))
    await a.push(ofA, "binary_len", bytes(1, 2, 3))
    await a.push(ofA, "binary_push", bytes(9, 8, 7))
    await a.push(ofA, "binary_broadcast", {size: 2})
    await b.until("room:é", "event", "bin")
    ofB.push("new_msg", bytes(5, 6))
    await a.until("room:é", "event", "new_msg")
    await a.disconnect()
    await b.disconnect()
  },

  async presence(url) {
    const [a, b] = [new Client("a", url), new Client("b", url)]
    const [ofA, ofB] = [a, b].map((client, i) => {
      const channel = client.channel("presence:lobby", {user: ["alice", "bob"][i], meta: {device: "node"}})
      client.presence(channel)
      return channel
    })
    a.connect()
    await a.join(ofA)
    await a.until("presence:lobby", "onSync")
    b.connect()
    await b.join(ofB)
    await b.until("presence:lobby", "onSync")
    await a.until("presence:lobby", "onSync")
    await b.push(ofB, "update_meta", {status: "away"})
    await b.until("presence:lobby", "onSync")
    await a.until("presence:lobby", "onSync")
    await b.disconnect()
    await a.until("presence:lobby", "onSync")
    await a.disconnect()
  },

  async odd_topic(url) {
    const a = new Client("a", url)
    const topic = "room: \"\\/\t\n\u0001\u007f\u2028é😀<&>"
    const channel = a.channel(topic, {}, [topic])
    a.connect()
    await a.join(channel)
    await a.push(channel, "push_event", {event: topic, payload: {}})
    await a.disconnect()
  },
}
