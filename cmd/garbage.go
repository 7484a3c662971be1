package cmd

import "runtime/debug"

// garbagePercent is how much garbage there may be, in percent of what is in use, in commands that run for long: half of the usual.
// In the steady state they make next to none, so it costs no time, and what a start or a burst leaves does not stay resident.
const garbagePercent = 50

// keepLittleGarbage keeps the memory of a command small. It holds for the process.
func keepLittleGarbage() { debug.SetGCPercent(garbagePercent) }
