package config

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/itchyny/gojq"

	"phx/cmd/internal/exit"
	"phx/cmd/internal/option"
	"phx/cmd/internal/strictyaml"
)

// A Resume says from where a channel goes on after a rejoin: the join param Name is what the jq
// expression Expr yields of the last message of the topic that has been delivered.
type Resume struct{ Name, Expr string }

// Resumes returns the params of a topic that say from where it goes on: those of the option, else
// those of the config file.
func (c *Connection) Resumes(topic string) []Resume {
	if c.resume != nil {
		return c.resume
	}
	for _, own := range c.autoJoin {
		if own.topic == topic {
			return own.resume
		}
	}
	return nil
}

// HasResume reports whether a channel of the connection may have such params.
func (c *Connection) HasResume() bool {
	return c.resume != nil || slices.ContainsFunc(c.autoJoin, func(a autoJoin) bool { return a.resume != nil })
}

// resumeFlag is NAME=EXPR, which repeats. Whoever compiles the expression says what is wrong with it.
var resumeFlag = option.Kind[[]Resume]{Join: option.Joined[Resume], Parse: func(text string) ([]Resume, error) {
	name, expr, ok := strings.Cut(text, "=")
	if !ok || name == "" || expr == "" {
		return nil, errors.New("is not NAME=EXPR")
	}
	return []Resume{{name, expr}}, nil
}}

// checkExpr returns what is wrong with the syntax of a jq expression: a predicate. Whether it
// compiles is a matter of the variables that there are.
func checkExpr(expr string) error {
	if _, err := gojq.Parse(expr); err != nil {
		return errors.New("has an expression that jq does not understand: " + err.Error())
	}
	return nil
}

// resumeKind is a map of names and jq expressions.
var resumeKind = option.Kind[[]Resume]{
	Name: "map", Schema: option.Shape{"type": "object", "minProperties": 1, "additionalProperties": option.WordShape},
	Read: func(_ string, n strictyaml.Node) ([]Resume, error) {
		const hint = "a right one: resume: {since: .data.payload.id}"
		list, err := n.Fields()
		var wrong option.Problems
		wrong.Add(err)
		var resumes []Resume
		for _, field := range list {
			expr, err := field.Value.Text()
			switch {
			case err != nil:
			case expr == "":
				err = field.Value.Errorf(hint, "the expression of %s is empty", field.Name)
			case checkExpr(expr) != nil && expr != field.Value.Raw(): // what was filled in may be a secret
				err = field.Value.Errorf(hint, "resume.%s is not a jq expression once its variables are filled in", field.Name)
			case checkExpr(expr) != nil:
				err = field.Value.Errorf(hint, "resume.%s %v", field.Name, checkExpr(expr))
			}
			wrong.Add(err)
			resumes = append(resumes, Resume{field.Name, expr})
		}
		if err == nil && len(list) == 0 {
			wrong.Add(n.Errorf(hint, "resume has no param"))
		}
		return resumes, wrong.Err()
	},
	Parts: func(as option.Style, values []strictyaml.Node) (json.RawMessage, error) {
		list, err := values[0].Fields()
		var o option.Object
		for i := 0; i < len(list) && err == nil; i++ {
			var expr json.RawMessage
			expr, err = as.Text(list[i].Value)
			o.Add(list[i].Name, expr)
		}
		return o.JSON(), err
	},
}

// stateOptions declares what a server keeps, and where.
func stateOptions(dir *string) []option.Option {
	return []option.Option{{Key: "state_dir", Value: option.PathKind.To(dir, ""), Example: "/var/lib/phx",
		About: "Directory of what is kept over restarts: the values of resume, which with leases are kept beside these, and spools that have no directory of their own. A relative one begins beside the config file."}}
}

// checkResume checks the options of a command line.
func (c *Connection) checkResume() error {
	for i, r := range c.resume {
		if slices.ContainsFunc(c.resume[:i], func(o Resume) bool { return o.Name == r.Name }) {
			return exit.Usagef("name each param once", "--resume gives the param %s twice", r.Name)
		}
	}
	if c.ResumeFile != "" && !c.HasResume() {
		return exit.Usagef("for example: --resume since=.data.payload.id", "--resume-file keeps what --resume says, which is not given")
	}
	return nil
}
