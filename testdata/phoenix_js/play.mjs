// What all clients have in common: their WebSockets, a line on stdout for each call of a callback, and how scenarios are played.

import WebSocket from "ws"

// hostOf tells scenarios apart: each has a server of its own.
export const hostOf = url => new URL(url).host

// links are all WebSockets, the oldest first, by the host that they lead to.
const links = new Map()
export const linksTo = url => links.get(hostOf(url)) ?? []

export class Link extends WebSocket {
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

// A Seer prints what the callbacks of one client see: the host of the server, and a JSON array of who saw it, where, and what.
export class Seer {
  constructor(name, url) {
    this.name = name
    this.host = hostOf(url)
    this.lines = []
    this.read = 0
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

// run plays scenarios at the same time, each against a server of its own: those that the arguments name, NAME URL NAME URL ...
//
// The first line of stdout names all scenarios that there are. Every other line begins with the host of a server. Behind it is
// what a callback of one of its clients saw, or "end" when the scenario has been played.
export async function run(scenarios) {
  const play = async (name, url) => {
    await scenarios[name](url)
    process.stdout.write(`${hostOf(url)} end\n`)
    // A link that was given up may still wait for the server's close frame, and keep the server from ending.
    hangUp(url)
  }
  console.log(Object.keys(scenarios).join(" "))
  const args = process.argv.slice(2)
  const plays = []
  for (let i = 0; i < args.length; i += 2) plays.push(play(args[i], args[i + 1]))
  const failed = (await Promise.allSettled(plays)).filter(({status}) => status === "rejected")
  for (const {reason} of failed) console.error(reason)
  process.stdout.write("", () => process.exit(failed.length > 0 ? 1 : 0))
}
