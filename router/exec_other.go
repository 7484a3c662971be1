//go:build !unix

package router

import (
	"os/exec"
)

// isolate does nothing: there are no process groups.
func isolate(*exec.Cmd) {}

// terminate kills the child: there is no signal that it could handle.
func terminate(command *exec.Cmd) { kill(command) }

func kill(command *exec.Cmd) { _ = command.Process.Kill() }
