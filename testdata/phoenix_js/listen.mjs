// node listen.mjs URL TOPIC COUNT [longpoll]: joins a topic and prints a line of JSON for each of COUNT messages. scripts/benchmark measures it.

import {LongPoll, Socket} from "phoenix"
import WebSocket from "ws"

const [url, topic, count, transport] = process.argv.slice(2)
let left = Number(count)
const socket = new Socket(url, {transport: transport === "longpoll" ? LongPoll : WebSocket})
const channel = socket.channel(topic)
// The client calls this for every event, its own included, and passes on what it returns.
channel.onMessage = (event, payload) => {
  if (/^(phx_|chan_reply_)/.test(event)) return payload
  process.stdout.write(JSON.stringify({topic, event, payload}) + "\n")
  if (--left === 0) socket.disconnect(() => process.exit(0))
  return payload
}
socket.connect()
channel.join()
