// The official client of Phoenix.

import {Presence, Socket} from "phoenix"

import {Link, Seer} from "./play.mjs"

// Delays for opts: of what must not be retried while we look, and of what is retried.
export const never = () => 600_000
export const soon = () => 10

// bytes makes the payload of a binary push.
export const bytes = (...values) => Uint8Array.from(values).buffer

export class Client extends Seer {
  constructor(name, url, opts = {}) {
    super(name, url)
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
}

// metas are the metas of a presence, if there is one, in words.
function metas(presence) {
  return presence?.metas.map(({status, device}) => `${status} on ${device}`) ?? []
}
