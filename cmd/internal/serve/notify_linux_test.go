package serve

import (
	"os"
	"strconv"
	"testing"
)

func TestNotifyAbstractSocket(t *testing.T) {
	name := "@phx-notify-" + strconv.Itoa(os.Getpid())
	conn := listenNotify(t, name)
	notifyEnv(t, name, "", "")
	NewNotifier(quiet).Ready()
	if got := receive(t, conn); got != "READY=1" {
		t.Errorf("got %q", got)
	}
}
