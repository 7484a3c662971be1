package phoenixtest

import (
	"net/url"
	"strings"
)

// plugParams decodes a query string as Plug does: a[]=1 makes lists, m[k]=v makes objects,
// and of two values that cannot both be, the last one stays.
func plugParams(query string) (Map, error) {
	params := Map{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(rawKey)
		if err != nil {
			return nil, err
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return nil, err
		}
		name, path := splitKey(key)
		params[name] = assignParam(params[name], path, value)
	}
	return params, nil
}

// splitKey splits m[a][] into m and the path a, "".
func splitKey(key string) (name string, path []string) {
	name, rest, nested := strings.Cut(key, "[")
	if !nested || name == "" || !strings.HasSuffix(rest, "]") {
		return key, nil
	}
	return name, strings.Split(strings.TrimSuffix(rest, "]"), "][")
}

// assignParam returns old with value put at path; "" in a path appends to a list.
func assignParam(old any, path []string, value string) any {
	if len(path) == 0 {
		return value
	}
	if path[0] == "" {
		list, _ := old.([]any)
		return append(list, assignParam(nil, path[1:], value))
	}
	object, ok := old.(Map)
	if !ok {
		object = Map{}
	}
	object[path[0]] = assignParam(object[path[0]], path[1:], value)
	return object
}
