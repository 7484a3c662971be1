package config

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/secret"
	"phx/cmd/internal/strictyaml"
)

// Findings are what was found in a file that is right.
type Findings struct {
	// Connections, Sinks and Routes are how many the file has.
	Connections, Sinks, Routes int
	// Warnings are positioned lines about what is allowed, and hardly wanted.
	Warnings []string
}

// Validate checks all of a config file as a server would. It runs nothing and opens nothing; of
// files it checks only that they exist. The error joins all that is wrong, each with its place.
func Validate(name string, data []byte, lookupEnv func(string) (string, bool), compileWhere func(expr string) (Where, error)) (*Findings, error) {
	f, err := parseFile(name, data, lookupEnv)
	if f == nil {
		return nil, err
	}
	var wrong, warnings option.Problems
	wrong.Add(err)
	for _, e := range f.Entries {
		c, err := e.Resolve(nil)
		wrong.Add(err)
		if err == nil {
			warnings.Add(e.warnings(c)...)
			warnings.Add(warningsOf(c.allSources())...)
		}
	}
	serve, warned, err := f.readServe(compileWhere)
	wrong.Add(err)
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	warnings.Add(warned...)
	for _, s := range serve.Sinks {
		warnings.Add(s.missing()...)
	}
	if serve.NATS != nil {
		warnings.Add(warningsOf(serve.NATS.Options.Sources())...)
	}
	findings := &Findings{Connections: len(f.Entries), Warnings: texts(warnings.Ordered())}
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
func (c *Connection) allSources() []*secret.Source {
	list := c.sources()
	for _, channel := range c.autoJoin {
		list = append(list, valuesOf(channel.secrets)...)
	}
	return list
}

func texts(errs []error) []string {
	list := make([]string, len(errs))
	for i, err := range errs {
		list[i] = err.Error()
	}
	return list
}

// warningsOf says what is not there, or for others to read.
func warningsOf(sources []*secret.Source) []error {
	var warnings option.Problems
	for _, s := range sources {
		switch {
		case s == nil:
		case s.Command != nil:
			warnings.Add(missingProgram(s.At, s.Command[0]))
		case s.Path != "":
			info, err := os.Stat(s.Path)
			if err != nil {
				warnings.Add(s.At.Errorf("", "there is no file %s now: %v", filepath.Clean(s.Path), cause(err)))
			} else if s.Secret && secret.OthersCanRead(info) {
				warnings.Add(s.At.Errorf("", "others can read the file of a secret: chmod o-r %s", filepath.Clean(s.Path)))
			}
		}
	}
	return warnings.Found
}

// missing says what a sink will not find.
func (s *Sink) missing() []error {
	var warnings option.Problems
	switch {
	case s.File != nil:
		if info, err := os.Stat(s.File.Path); err == nil && info.IsDir() {
			warnings.Add(s.found["file.path"].Errorf("", "%s is a directory now, and no file", filepath.Clean(s.File.Path)))
		} else {
			warnings.Add(missingDirectory(s.found["file.path"], filepath.Dir(s.File.Path)))
		}
	case s.Exec != nil:
		warnings.Add(missingProgram(s.found["exec.command"], s.Exec.Command[0]))
		if s.Exec.Dir != "" {
			warnings.Add(missingDirectory(s.found["exec.dir"], s.Exec.Dir))
		}
	case s.Webhook != nil:
		warnings.Add(warningsOf(append(valuesOf(s.Webhook.headers), s.Webhook.secret))...)
	}
	return warnings.Found
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
func cause(err error) string {
	if execErr := (*exec.Error)(nil); errors.As(err, &execErr) {
		err = execErr.Err
	}
	return exit.SystemText(err)
}

// Join returns the errors of one file as one, in the order of the file, without duplicates. Nil:
// there are none.
func Join(errs ...error) error {
	var wrong option.Problems
	wrong.Add(errs...)
	return wrong.Err()
}
