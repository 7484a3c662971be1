// node main.mjs SCENARIO URL SCENARIO URL ...: plays the scenarios at the same time, each against a server of its own.
//
// The first line of stdout names all scenarios that there are. Every other line begins with the host of a server. Behind it is
// what a callback of one of its clients saw, or "end" when the scenario has been played.

import {hangUp, hostOf} from "./client.mjs"
import {connects} from "./connects.mjs"
import {joins} from "./joins.mjs"
import {longpolls} from "./longpolls.mjs"
import {losses} from "./losses.mjs"
import {messages} from "./messages.mjs"

const scenarios = {...connects, ...joins, ...messages, ...losses, ...longpolls}

async function play(name, url) {
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
