// node main.mjs SCENARIO URL SCENARIO URL ...: plays the scenarios at the same time, each against a server of its own.

import {connects} from "./connects.mjs"
import {joins} from "./joins.mjs"
import {longpolls} from "./longpolls.mjs"
import {losses} from "./losses.mjs"
import {messages} from "./messages.mjs"
import {run} from "./play.mjs"

run({...connects, ...joins, ...messages, ...losses, ...longpolls})
