package router

import (
	"syscall"
)

// endWithUs has the child terminated when we are gone without having done it.
func endWithUs(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGTERM }
