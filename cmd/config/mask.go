package config

import (
	"encoding/json"
	"net/url"
	"strings"

	"phx/cmd/internal/strictyaml"
)

// mask stands for what may be secret.
const mask = "***"

// jsonText returns text as a JSON string that the parser reads back as text.
func jsonText(text string) json.RawMessage {
	return strictyaml.AppendJSONString(nil, strictyaml.Quote(text))
}

// plainJSON returns a value in which there is no secret, variables filled in. A number or a boolean is written as one if literal
// says that the text is not wanted.
func plainJSON(n strictyaml.Node, literal bool) (json.RawMessage, error) {
	if n.IsList() {
		items, err := n.Items()
		if err != nil {
			return nil, err
		}
		list := make([]json.RawMessage, len(items))
		for i, item := range items {
			if list[i], err = plainJSON(item, literal); err != nil {
				return nil, err
			}
		}
		return jsonList(list), nil
	}
	text, err := n.Text()
	if err != nil {
		return nil, err
	}
	if literal && json.Valid([]byte(text)) {
		return json.RawMessage(text), nil
	}
	return jsonText(text), nil
}

// maskedSecret keeps where a secret is to be found, as it is written there: filled in, a variable could be one.
func maskedSecret(n strictyaml.Node) (json.RawMessage, error) {
	if n.IsMap() {
		return n.RawTexts()
	}
	if text, err := n.Text(); err != nil || text == "" { // which says that there is none
		return jsonText(""), err
	}
	return jsonText(mask), nil
}

// maskedURL hides user, password, and the values of the query.
func maskedURL(n strictyaml.Node) (json.RawMessage, error) {
	text, err := n.Text()
	if err != nil {
		return nil, err
	}
	return jsonText(maskURL(text)), nil
}

// maskedProxy does so for a proxy, which may be without a scheme.
func maskedProxy(n strictyaml.Node) (json.RawMessage, error) {
	text, err := n.Text()
	if err != nil {
		return nil, err
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	return jsonText(maskURL(text)), nil
}

func maskURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return mask
	}
	user := ""
	if u.User != nil {
		user = mask + "@"
		if _, has := u.User.Password(); has {
			user = mask + ":" + user
		}
		u.User = nil // which would escape the mask
	}
	if u.RawQuery != "" {
		parts := strings.Split(u.RawQuery, "&")
		for i, part := range parts {
			name, _, hasValue := strings.Cut(part, "=")
			switch {
			case hasValue && name == "vsn":
			case hasValue:
				parts[i] = name + "=" + mask
			default: // without a name it is a value, perhaps
				parts[i] = mask
			}
		}
		u.RawQuery = strings.Join(parts, "&")
	}
	return strings.Replace(u.String(), "://", "://"+user, 1)
}

// maskedAutoJoin hides params: which of them are secret is not said, and no signal tells of them either.
func maskedAutoJoin(n strictyaml.Node) (json.RawMessage, error) {
	return autoJoinJSON(n, plainText, func(params strictyaml.Node) (json.RawMessage, error) {
		return params.MaskedJSON(mask)
	}, maskedSecret)
}

func plainText(n strictyaml.Node) (json.RawMessage, error) { return plainJSON(n, false) }

// maskedHeaders hides the values of headers.
func maskedHeaders(n strictyaml.Node) (json.RawMessage, error) {
	list, err := headerFields(n)
	if err != nil {
		return nil, err
	}
	return headersJSON(list, maskedSecret)
}
