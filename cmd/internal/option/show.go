package option

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"phx/cmd/internal/strictyaml"
	"phx/phoenix/rawjson"
)

// MapJSON writes a map that has the keys of the options.
func MapJSON(as Style, n strictyaml.Node, options []Option) (json.RawMessage, error) {
	found, err := Collect(n, options)
	if err != nil {
		return nil, err
	}
	return KeysJSON(as, options, found.Values, func(o Option) json.RawMessage { return o.Value.DefJSON })
}

// KeysJSON returns the object with the keys of the options. missing returns the value of a key
// without values; nil: none.
func KeysJSON(as Style, options []Option, values func(key string) []strictyaml.Node, missing func(Option) json.RawMessage) (json.RawMessage, error) {
	var wrong Problems
	var write func(prefix string, options []Option) Object
	write = func(prefix string, options []Option) (o Object) {
		for _, b := range Branches(options, nil) {
			option := b.Option
			option.Key = prefix + b.Key
			if b.Below != nil {
				if inner := write(option.Key+".", b.Below); len(inner) > 0 {
					o.Add(b.Key, inner.JSON())
				}
			} else if found := values(option.Key); len(found) > 0 {
				value, err := option.Value.JSON(as, found)
				wrong.Add(err)
				o.Add(b.Key, value)
			} else if value := missing(option); value != nil {
				o.Add(b.Key, value)
			}
		}
		return o
	}
	return write("", options).JSON(), wrong.Err()
}

// A Form writes a value of a file as JSON.
type Form func(n strictyaml.Node) (json.RawMessage, error)

// A Style is how a value and its parts are written: texts, secrets, and data of any form.
type Style struct {
	Text, Secret, Data Form
	// Whole writes a value without parts; nil: as its kind does.
	Whole Form
}

// JSON writes the value of a key.
func (v Value) JSON(as Style, values []strictyaml.Node) (json.RawMessage, error) {
	switch n := values[0]; {
	case v.parts != nil:
		return v.parts(as, values)
	case as.Whole != nil:
		return as.Whole(n)
	case v.show != nil:
		return v.show(n)
	default:
		return PlainJSON(n, v.literal)
	}
}

// JSONOf returns the JSON of a value of ours, nil of nil.
func JSONOf(value any) json.RawMessage {
	if value == nil {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic("option: a value is no JSON: " + err.Error())
	}
	return text
}

// JSONText returns text as a JSON string that the parser reads back as text.
func JSONText(text string) json.RawMessage {
	return rawjson.AppendString(nil, strictyaml.Quote(text))
}

// PlainJSON returns a value that holds no secret, variables filled in. With literal, numbers and
// booleans are written as such and not as texts.
func PlainJSON(n strictyaml.Node, literal bool) (json.RawMessage, error) {
	return n.Write(func(n strictyaml.Node) (json.RawMessage, error) {
		text, err := n.Text()
		if literal && json.Valid([]byte(text)) {
			return json.RawMessage(text), err
		}
		return JSONText(text), err
	})
}

// PlainText is [PlainJSON] of texts.
func PlainText(n strictyaml.Node) (json.RawMessage, error) { return PlainJSON(n, false) }

// An Object is a JSON object whose members keep their order.
type Object [][]byte

// Add appends a member.
func (o *Object) Add(name string, value json.RawMessage) {
	*o = append(*o, slices.Concat(rawjson.AppendString(nil, name), []byte{':'}, value))
}

// JSON returns the object as text.
func (o Object) JSON() json.RawMessage {
	return slices.Concat([]byte{'{'}, bytes.Join(o, []byte{','}), []byte{'}'})
}

// A List is a JSON array.
type List [][]byte

// JSON returns the array as text.
func (l List) JSON() json.RawMessage {
	return slices.Concat([]byte{'['}, bytes.Join(l, []byte{','}), []byte{']'})
}

// Hash returns a hash of what encodes as JSON.
func Hash(value any) string {
	sum := sha256.Sum256(JSONOf(value))
	return hex.EncodeToString(sum[:])
}
