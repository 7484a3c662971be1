package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"phx/cmd/internal/option"
)

// A versionInfo is what `phx version --json` prints.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func newVersionCmd(f *factory) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
	}
	f.bind(c, func(context.Context) error {
		return printVersion(f, asJSON)
	}, []option.Option{
		{Flag: "json", Value: option.Switch(&asJSON), Usage: "print a JSON object"},
	})
	return c
}

// printVersion prints the version of this binary.
func printVersion(f *factory, asJSON bool) error {
	info, _ := debug.ReadBuildInfo()
	v := newVersionInfo(info)
	if !asJSON {
		_, err := fmt.Fprintln(f.streams.Out, v)
		return writeError(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = f.streams.Out.Write(append(text, '\n'))
	return writeError(err)
}

// newVersionInfo takes the version from what the linker recorded; info is nil for a binary without.
func newVersionInfo(info *debug.BuildInfo) versionInfo {
	v := versionInfo{Version: "(devel)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info == nil {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String returns the version on one line.
func (v versionInfo) String() string {
	return fmt.Sprintf("phx %s (%s, %s/%s)", v.Version, v.Go, v.OS, v.Arch)
}
