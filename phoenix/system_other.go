//go:build !linux

package phoenix

import (
	"net"
	"time"
)

// setUserTimeout does nothing: only Linux has TCP_USER_TIMEOUT. Elsewhere, keepalives find a dead peer.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }

// nothingArrived does not know.
func nothingArrived(net.Conn) (empty, known bool) { return false, false }
