package config

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"phx/cmd/internal/strictyaml"
)

// Findings are what was found in a file that is right.
type Findings struct {
	// Connections, Sinks and Routes are how many the file has.
	Connections, Sinks, Routes int
	// Warnings are positioned lines about what is allowed, and hardly wanted.
	Warnings []string
}

// Validate checks all of a config file as a server would. It runs nothing, and of the files that are named it asks only whether
// they are there. The error is all that is wrong, joined, each a positioned [*strictyaml.Error].
func Validate(name string, data []byte, lookupEnv func(string) (string, bool), compileWhere func(expr string) (Where, error)) (*Findings, error) {
	f, err := parseFile(name, data, lookupEnv)
	if f == nil {
		return nil, err
	}
	var wrong, warnings problems
	wrong.add(err)
	for _, e := range f.Entries {
		c, err := e.Resolve(nil)
		wrong.add(err)
		if err == nil {
			warnings.addAll(e.warnings(c))
			warnings.addAll(warningsOf(c.allSources()))
		}
	}
	serve, warned, err := f.readServe(compileWhere)
	wrong.add(err)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	warnings.addAll(warned)
	for _, s := range serve.Sinks {
		warnings.addAll(s.missing())
	}
	findings := &Findings{Connections: len(f.Entries), Warnings: texts(warnings.ordered())}
	for _, s := range serve.Sinks {
		if s.found != nil {
			findings.Sinks++
		}
	}
	if _, said := f.serve["routes"]; said {
		findings.Routes = len(serve.Routes)
	}
	return findings, nil
}

// allSources are those of the connection and of its channels.
func (c *Connection) allSources() []*Source {
	list := c.sources()
	for _, channel := range c.autoJoin {
		for _, secret := range channel.secrets {
			list = append(list, secret.value)
		}
	}
	return list
}

// warningsOf says what is not there, or for others to read.
func warningsOf(sources []*Source) []error {
	var warnings problems
	for _, s := range sources {
		switch {
		case s == nil:
		case s.run != nil:
			warnings.add(missingProgram(s.at, s.words[0]))
		case s.path != "":
			info, err := os.Stat(s.path)
			if err != nil {
				warnings.add(s.at.Errorf("", "there is no file %s now: %v", filepath.Clean(s.path), cause(err)))
			} else if s.note != nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0 {
				warnings.add(s.at.Errorf("", "others can read the file of a secret: chmod o-r %s", filepath.Clean(s.path)))
			}
		}
	}
	return warnings.found
}

// missing says what a sink will not find.
func (s *Sink) missing() []error {
	var warnings problems
	switch {
	case s.File != nil:
		warnings.add(missingDirectory(s.found["file.path"], filepath.Dir(s.File.Path)))
	case s.Exec != nil:
		warnings.add(missingProgram(s.found["exec.command"], s.Exec.Command[0]))
		if s.Exec.Dir != "" {
			warnings.add(missingDirectory(s.found["exec.dir"], s.Exec.Dir))
		}
	case s.Webhook != nil:
		sources := []*Source{s.Webhook.secret}
		for _, h := range s.Webhook.headers {
			sources = append(sources, h.value)
		}
		warnings.addAll(warningsOf(sources))
	}
	return warnings.found
}

func missingDirectory(at strictyaml.Node, dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return at.Errorf("", "there is no directory %s now: %v", filepath.Clean(dir), cause(err))
	}
	return nil
}

func missingProgram(at strictyaml.Node, program string) error {
	if _, err := exec.LookPath(program); err != nil {
		return at.Errorf("", "there is no program %s now: %v", filepath.Clean(program), cause(err))
	}
	return nil
}

// cause is what the system says, without what it was asked.
func cause(err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err
	}
	if execErr := (*exec.Error)(nil); errors.As(err, &execErr) {
		return execErr.Err
	}
	return err
}
