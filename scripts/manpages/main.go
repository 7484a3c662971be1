// Command manpages writes the manual pages of phx into a directory:
//
//	manpages DIR
//
// They are gzipped nowhere: packagers do that. Below DIR they lie in man1, man5 and man7, as man wants it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"phx/cmd"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manpages DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manpages:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	for name, text := range cmd.ManPages() {
		section := filepath.Join(dir, "man"+filepath.Ext(name)[1:])
		if err := os.MkdirAll(section, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(section, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
