package phoenixtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlugParams(t *testing.T) {
	for query, want := range map[string]Map{
		"":                        {},
		"a=1&b=&c":                {"a": "1", "b": "", "c": ""},
		"sp=a+b%20c":              {"sp": "a b c"},
		"a=1&a=2":                 {"a": "2"},
		"a=1&a%5B%5D=2":           {"a": []any{"2"}},
		"a[]=1&a[]=2":             {"a": []any{"1", "2"}},
		"list[0]=x&list[1]=y":     {"list": Map{"0": "x", "1": "y"}},
		"m[k]=v&m[l][]=w":         {"m": Map{"k": "v", "l": []any{"w"}}},
		"m[k]=v&m=flat":           {"m": "flat"},
		"[odd]=1&odd[=2&odd[x=3&": {"[odd]": "1", "odd[": "2", "odd[x": "3"},
	} {
		got, err := plugParams(query)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", query, err, diff)
		}
	}
	for _, query := range []string{"%zz=1", "a=%zz"} {
		if _, err := plugParams(query); err == nil {
			t.Errorf("%q is accepted", query)
		}
	}
}
