// The official client, with a line on stdout for each call of a callback: the host of the server, and a JSON array of who saw
// it, where, and what.

import {Presence, Socket} from "phoenix"
import WebSocket from "ws"

// Delays for opts: of what must not be retried while we look, and of what is retried.
export const never = () => 600_000
export const soon = () => 10

// bytes makes the payload of a binary push.
export const bytes = (...values) => Uint8Array.from(values).buffer

// hostOf tells scenarios apart: each has a server of its own.
export const hostOf = url => new URL(url).host

// links are all WebSockets, the oldest first, by the host that they lead to.
const links = new Map()
export const linksTo = url => links.get(hostOf(url)) ?? []

class Link extends WebSocket {
  constructor(url, ...rest) {
    super(url, ...rest)
    links.set(hostOf(url), [...linksTo(url), this])
  }
}

// hangUp ends all links to a server without a close frame, as the end of the process would.
export function hangUp(url) {
  for (const link of linksTo(url)) {
    link.on("error", () => {}) // of a link that was never up
    link.terminate()
  }
}

// closed waits for the end of a link.
export const closed = link => new Promise(resolve => {
  if (link.readyState === WebSocket.CLOSED) resolve()
  else link.addEventListener("close", resolve)
})

export class Client {
  constructor(name, url, opts = {}) {
    this.name = name
    this.host = hostOf(url)
    this.lines = []
    this.read = 0
    this.socket = new Socket(url, {transport: Link, ...opts})
    this.socket.onOpen(() => this.saw("open"))
    this.socket.onClose(event => this.saw("close", event.code))
  }

  // connect connects, and prints the errors of the transport from then on.
  connect() {
    this.socket.onError(event => this.saw("error", event.error?.code ?? event.message ?? event))
    this.socket.connect()
  }

  // channel prints what becomes of a channel, and the named events.
  channel(topic, params = {}, events = []) {
    const channel = this.socket.channel(topic, params)
    channel.onError(reason => this.saw(topic, "error", reason))
    channel.onClose(payload => this.saw(topic, "close", payload))
    for (const event of events) channel.on(event, payload => this.saw(topic, "event", event, payload))
    return channel
  }

  // receive prints the answers to a push, a join or a leave: of the usual statuses and those named, and a timeout.
  receive(push, label, ...statuses) {
    for (const status of ["ok", "error", "timeout", ...statuses]) {
      push.receive(status, response => this.saw(push.channel.topic, label, status, response))
    }
  }

  // join joins, and waits until that has worked, perhaps not at the first time.
  async join(channel) {
    this.receive(channel.join(), "join")
    await this.until(channel.topic, "join", "ok")
  }

  // push pushes, and waits for the answer.
  async push(channel, event, payload, {statuses = [], timeout} = {}) {
    this.receive(channel.push(event, payload, timeout), event, ...statuses)
    await this.until(channel.topic, event)
  }

  // leave leaves, and waits for the answer.
  async leave(channel) {
    this.receive(channel.leave(), "leave")
    await this.until(channel.topic, "leave")
  }

  // presence prints what a Presence makes of a channel's messages.
  presence(channel) {
    const presence = new Presence(channel)
    const saw = (callback, ...words) => this.saw(channel.topic, callback, ...words)
    presence.onJoin((key, current, joined) => saw("onJoin", key, metas(current), metas(joined)))
    presence.onLeave((key, current, left) => saw("onLeave", key, metas(current), metas(left)))
    presence.onSync(() => saw("onSync", presence.list((key, present) => [key, metas(present)])))
  }

  // disconnect returns when the socket is closed.
  disconnect() {
    return new Promise(resolve => this.socket.disconnect(resolve))
  }

  // until waits for a line that begins with these words, behind the last line that was waited for.
  async until(...words) {
    for (;;) {
      while (this.read < this.lines.length) {
        const line = this.lines[this.read++]
        if (words.every((word, i) => line[i] === word)) return
      }
      await new Promise(resolve => { this.wake = resolve })
    }
  }

  // saw prints a line.
  saw(...line) {
    process.stdout.write(`${this.host} ${JSON.stringify([this.name, ...line], printable)}\n`)
    this.lines.push(line)
    this.wake?.()
  }
}

// printable shows bytes.
function printable(_key, value) {
  return value instanceof ArrayBuffer ? {bytes: [...new Uint8Array(value)]} : value
}

// metas are the metas of a presence, if there is one, in words.
function metas(presence) {
  return presence?.metas.map(({status, device}) => `${status} on ${device}`) ?? []
}
