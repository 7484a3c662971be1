// Command phx brings Phoenix Channels to the shell.
package main

import (
	"os"

	"phx/cmd"
)

func main() {
	os.Exit(cmd.Main(os.Args[1:], cmd.SystemStreams()))
}
