// node main.mjs SCENARIO URL: plays a scenario against a server and prints what the client's callbacks saw.
// node main.mjs: lists the scenarios.

import {connects} from "./connects.mjs"
import {joins} from "./joins.mjs"
import {losses} from "./losses.mjs"
import {messages} from "./messages.mjs"

const scenarios = {...connects, ...joins, ...messages, ...losses}

const [name, url] = process.argv.slice(2)
if (name) {
  await scenarios[name](url)
} else {
  console.log(Object.keys(scenarios).join("\n"))
}
// A link that was given up may still wait for the server's close frame, and keep us from ending.
process.stdout.write("", () => process.exit(0))
