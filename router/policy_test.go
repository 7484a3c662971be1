package router_test

import (
	"strings"
	"testing"

	"phx/router"
)

func TestPolicyNames(t *testing.T) {
	for _, p := range []router.Policy{router.Block, router.DropNewest, router.DropOldest, router.Fail} {
		if got, err := router.ParsePolicy(p.String()); got != p || err != nil {
			t.Errorf("ParsePolicy(%q) = %v, %v", p.String(), got, err)
		}
	}
	if _, err := router.ParsePolicy("drop"); err == nil || !strings.Contains(err.Error(), "drop-newest") {
		t.Errorf(`ParsePolicy("drop"): %v, want an error that lists the names`, err)
	}
	if got := router.Policy(9).String(); got != "Policy(9)" {
		t.Errorf("Policy(9).String() = %q", got)
	}
}
