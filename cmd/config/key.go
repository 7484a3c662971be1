package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/strictyaml"
)

// A keySet is the keys that a connection can have in a config file; those of nested maps with dots.
type keySet []string

// connectionKeys are those that the options of a connection declare.
func connectionKeys() keySet { return keysOf(connectionOptions(NewConnection(Retry{}))) }

// connectionOptions are the options of a connection that have a key there.
func connectionOptions(c *Connection) []Option {
	return slices.DeleteFunc(c.Options(), func(o Option) bool {
		return o.Key == "" || slices.Contains(sharedKeys, o.Key)
	})
}

func keysOf(options []Option) keySet {
	keys := make(keySet, len(options))
	for i, o := range options {
		keys[i] = o.Key
	}
	return keys
}

// collect adds the fields of a map to those found. prefix is the path to the map, with a dot at its end.
func (keys keySet) collect(n strictyaml.Node, prefix string, found fields) error {
	list, err := n.Fields()
	if err != nil {
		return err
	}
	var wrong problems
	for _, field := range list {
		key := prefix + field.Name
		switch {
		case slices.Contains(keys, key):
			found[key] = field.Value
		case len(keys.under(key+".")) > 0:
			wrong.add(keys.collect(field.Value, key+".", found))
		default:
			wrong.add(field.Key.Errorf("known here: "+strings.Join(keys.under(prefix), ", "), "the key %q is not known here", field.Name))
		}
	}
	return wrong.err()
}

// under returns the names of the keys right below a prefix.
func (keys keySet) under(prefix string) []string {
	var names []string
	for _, key := range keys {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// takeKey sets the option to what a config file says, and reports whether it says anything.
func (o *setting) takeKey(from fields) (said bool, err error) {
	n, ok := from[o.Key]
	if !ok {
		return false, nil
	}
	if o.Value.read != nil {
		return true, o.Value.read(n)
	}
	text, err := n.Text()
	if err != nil {
		return true, err
	}
	if err := o.Value.parse(text); err != nil {
		return true, o.wrongKey(n, err)
	}
	return true, nil
}

// wrongKey makes the error about a value that does not parse. It repeats the value as it is written, before variables are
// filled in: they may hold secrets.
func (o *setting) wrongKey(n strictyaml.Node, err error) error {
	advice := ""
	if o.Example != "" {
		advice = "a right one: " + o.Key[strings.LastIndexByte(o.Key, '.')+1:] + ": " + o.Example
	}
	if o.Secret {
		return n.Errorf(advice, "the value of %s %v", o.Key, err)
	}
	return n.Errorf(advice, "%s %q %v", o.Key, n.Raw(), err)
}

// msec makes the key of a duration a number of milliseconds.
func msec(v Value) Value {
	v.shape, v.def = msecShape(1), nil
	if d, err := ParseDuration(v.shown); err == nil {
		v.def = d.Milliseconds()
	}
	v.read = func(n strictyaml.Node) error {
		text, err := msecText(n)
		if err != nil {
			return err
		}
		if err := v.parse(text); err != nil {
			return n.Errorf("give a number of milliseconds, for example 1000", "%q %v", n.Raw(), err)
		}
		return nil
	}
	return v
}

// msecList makes the key of a list of durations a list of milliseconds.
func msecList(v Value) Value {
	var delays []int64
	for text := range strings.SplitSeq(v.shown, ",") {
		d, _ := ParseDuration(text) // it is a default
		delays = append(delays, d.Milliseconds())
	}
	v.shape, v.def = shape{"type": "array", "minItems": 1, "items": msecShape(0)}, delays
	v.read = func(n strictyaml.Node) error {
		items, err := n.Items()
		if err != nil {
			return err
		}
		if len(items) == 0 {
			return n.Errorf("a right one: [100, 1000, 10000]", "there is no delay in this list")
		}
		texts := make([]string, len(items))
		for i, item := range items {
			if texts[i], err = msecText(item); err != nil {
				return err
			}
		}
		return v.parse(strings.Join(texts, ","))
	}
	return v
}

// msecText returns a number of milliseconds as the text of a duration.
func msecText(n strictyaml.Node) (string, error) {
	text, err := n.Text()
	if err != nil {
		return "", err
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 || ms > maxMsec {
		return "", n.Errorf("a right one: 1000", "%q is not a number of milliseconds", n.Raw())
	}
	return text + "ms", nil
}

// maxMsec is the longest duration that there is, in milliseconds.
const maxMsec = math.MaxInt64 / int64(time.Millisecond)

// readBool reads true or false.
func readBool(n strictyaml.Node) (bool, error) {
	text, err := n.Text()
	if err != nil {
		return false, err
	}
	if text != "true" && text != "false" {
		return false, n.Errorf("write true or false", "%q is neither true nor false", n.Raw())
	}
	return text == "true", nil
}

// keyOnly is a switch that there is only in config files.
func keyOnly(v *bool) Value {
	return Value{shape: boolShape, def: *v, read: func(n strictyaml.Node) (err error) {
		*v, err = readBool(n)
		return err
	}}
}

// negated makes a switch the opposite of its key: --no-jitter, jitter: false.
func negated(v *bool) Value {
	value := Switch(v)
	value.def = true
	value.read = func(n strictyaml.Node) error {
		on, err := readBool(n)
		*v = !on
		return err
	}
	return value
}

// fileOf makes the key of an option that names a file a path beside the config file.
func fileOf(key string, v **Source, value Value) Value {
	value.shape, value.masked = wordShape, strictyaml.Node.RawTexts
	value.read = func(n strictyaml.Node) error {
		path, err := n.Text()
		switch {
		case err != nil:
			return err
		case path == "":
			return n.Errorf("give the name of a file", "%s is empty", key)
		}
		*v = &Source{option: sourceName(key, n), at: n, path: n.Beside(path)}
		return nil
	}
	return value
}

// sourceName is how errors call the value of a key.
func sourceName(key string, n strictyaml.Node) string {
	return fmt.Sprintf("%s (%s)", key, n.Position())
}

// onlyWebSocket accepts the one transport that there is.
func onlyWebSocket(text string) error {
	if text != "websocket" {
		return errors.New("is not supported: phx speaks websocket only")
	}
	return nil
}
