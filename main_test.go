package main_test

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"phx/internal/phxtest"
)

func TestMain(m *testing.M) {
	os.Exit(phxtest.Main(m.Run))
}

// TestScripts runs every script in testdata/script, one behaviour a file, with the real binary. Package phxtest explains the
// commands that scripts have beside testscript's own.
func TestScripts(t *testing.T) {
	params, err := phxtest.Params("testdata/script")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, params)
}
