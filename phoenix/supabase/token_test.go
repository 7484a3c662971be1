package supabase

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"phx/phoenix"
)

// tokenFor returns a JWT that lasts so long from now on; 0: it says nothing of that.
func tokenFor(lasts time.Duration) string {
	claims := `{"role":"authenticated"}`
	if lasts != 0 {
		claims = fmt.Sprintf(`{"role":"authenticated","exp":%d}`, time.Now().Add(lasts).Unix())
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
}

func tokenOf(t *testing.T, p phoenix.Payload) string {
	t.Helper()
	var read struct {
		AccessToken string `json:"access_token"`
	}
	if err := p.Decode(&read); err != nil {
		t.Error(err)
	}
	return read.AccessToken
}

// The connection's part of Renew: it is called after the join, and then when it said.
func renewals(t *testing.T, c phoenix.Channel, until time.Time, pushed func(p *phoenix.Push, err error)) {
	t.Helper()
	for {
		p, next, err := c.Renew(t.Context())
		if p != nil || err != nil {
			pushed(p, err)
		}
		if next.IsZero() || !next.Before(until) {
			return
		}
		if !next.After(time.Now()) {
			t.Fatalf("at %v the next renewal is at %v: it is asked for without an end", time.Now(), next)
		}
		time.Sleep(time.Until(next))
	}
}

// A source that always has a fresh token: each is renewed before it expires, and no more often than it has to be.
func TestRenewal(t *testing.T) {
	for _, lasts := range []time.Duration{time.Hour, time.Minute, 20 * time.Second, 48 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var expires time.Time
			c := WithToken(phoenix.Channel{Topic: topic}, func(context.Context) (string, error) { return tokenFor(lasts), nil })
			params, err := c.Params(t.Context())
			if err != nil || tokenOf(t, params) != tokenFor(lasts) {
				t.Fatalf("the join has %s, %v", params.Data, err)
			}
			expires = time.Now().Add(lasts)
			begun, n := time.Now(), 0
			renewals(t, c, begun.Add(24*time.Hour), func(p *phoenix.Push, err error) {
				n++
				if err != nil || p.Name != "access_token" || tokenOf(t, p.Payload) != tokenFor(lasts) {
					t.Fatalf("%+v, %v", p, err)
				}
				if !time.Now().Before(expires) {
					t.Errorf("the token expired at %v, and was renewed at %v", expires, time.Now())
				}
				expires = time.Now().Add(lasts)
			})
			if most := 2 * int(24*time.Hour/lasts); n > most || lasts < 24*time.Hour && n < most/2 {
				t.Errorf("%d renewals of tokens of %v in a day", n, lasts)
			}
		})
	}
}

// A source that has a new token late, or fails for a time, is asked again until then.
func TestRenewalLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		first, second := tokenFor(time.Hour), tokenFor(2*time.Hour)
		c := WithToken(phoenix.Channel{Topic: topic}, func(context.Context) (string, error) {
			switch since := time.Since(begun); {
			case since < 59*time.Minute+20*time.Second:
				return first, nil
			case since < 59*time.Minute+35*time.Second:
				return "", errors.New("the file is being written")
			}
			return second, nil
		})
		if _, err := c.Params(t.Context()); err != nil {
			t.Fatal(err)
		}
		failures := 0
		var renewed time.Time
		renewals(t, c, begun.Add(90*time.Minute), func(p *phoenix.Push, err error) {
			if err != nil {
				failures++
				return
			}
			if renewed = time.Now(); tokenOf(t, p.Payload) != second {
				t.Errorf("%s", p.Payload.Data)
			}
		})
		if since := renewed.Sub(begun); failures != 2 || since < 59*time.Minute || since >= time.Hour {
			t.Errorf("renewed after %v, %d failures before", since, failures)
		}
	})
}

// What the server ignores, or has from the params, is not sent, and not renewed.
func TestTokensThatAreNotSent(t *testing.T) {
	own := func(params string) func(context.Context) (phoenix.Payload, error) {
		return func(context.Context) (phoenix.Payload, error) { return phoenix.JSON(params), nil }
	}
	for name, tt := range map[string]struct{ token, params, want string }{
		"a key":                     {"sb_publishable_x", `{}`, `{}`},
		"none":                      {"", `{"a": 1.0}`, `{"a": 1.0}`},
		"the params have their own": {"a.b.c", `{"access_token":"own"}`, `{"access_token":"own"}`},
		"one without an end":        {tokenFor(0), `{"a":1.0}`, `{"a":1.0,"access_token":"` + tokenFor(0) + `"}`},
		"no JWT":                    {"opaque", `{}`, `{"access_token":"opaque"}`},
	} {
		c := WithToken(phoenix.Channel{Topic: topic, Params: own(tt.params)}, func(context.Context) (string, error) { return tt.token, nil })
		params, err := c.Params(t.Context())
		if err != nil || string(params.Data) != tt.want {
			t.Errorf("%s: %s, %v", name, params.Data, err)
		}
		if p, next, err := c.Renew(t.Context()); p != nil || !next.IsZero() || err != nil {
			t.Errorf("%s: %+v, %v, %v", name, p, next, err)
		}
	}
}

func TestTokenFailures(t *testing.T) {
	broken := errors.New("broken")
	failing := func(context.Context) (phoenix.Payload, error) { return phoenix.Payload{}, broken }
	right := func(context.Context) (string, error) { return "a.b.c", nil }
	for name, c := range map[string]phoenix.Channel{
		"params":    WithToken(phoenix.Channel{Params: failing}, right),
		"source":    WithToken(phoenix.Channel{}, func(context.Context) (string, error) { return "", broken }),
		"no object": WithToken(phoenix.Channel{Params: func(context.Context) (phoenix.Payload, error) { return phoenix.JSON("null"), nil }}, right),
		"are bytes": WithToken(phoenix.Channel{Params: func(context.Context) (phoenix.Payload, error) { return phoenix.Binary(nil), nil }}, right),
	} {
		if p, err := c.Params(t.Context()); err == nil {
			t.Errorf("%s: %s", name, p.Data)
		}
	}
}

// A change of the source while the channel is joined counts at once: another WithToken takes over.
func TestRenewalAfterChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := tokenFor(time.Hour)
		c := WithToken(phoenix.Channel{Topic: topic}, func(context.Context) (string, error) { return token, nil })
		p, next, err := c.Renew(t.Context())
		if err != nil || p == nil || tokenOf(t, p.Payload) != token || !next.Equal(time.Now().Add(59*time.Minute)) {
			t.Errorf("%+v, %v, %v", p, next, err)
		}
		if p, next, err := c.Renew(t.Context()); p != nil || !next.Equal(time.Now().Add(59*time.Minute)) || err != nil {
			t.Errorf("again: %+v, %v, %v", p, next, err)
		}
	})
}

// A source that has nothing to send takes over without being asked again and again; one that has nothing for a moment is.
func TestSourceWithoutToken(t *testing.T) {
	for _, nothing := range []string{"", "sb_publishable_x"} {
		c := WithToken(phoenix.Channel{Topic: topic}, func(context.Context) (string, error) { return nothing, nil })
		if p, next, err := c.Renew(t.Context()); p != nil || !next.IsZero() || err != nil {
			t.Errorf("%q: %+v, %v, %v", nothing, p, next, err)
		}
		synctest.Test(t, func(t *testing.T) {
			begun, renewed := time.Now(), time.Time{}
			c := WithToken(phoenix.Channel{Topic: topic}, func(context.Context) (string, error) {
				if since := time.Since(begun); since >= 59*time.Minute && since < 59*time.Minute+25*time.Second {
					return nothing, nil
				}
				return tokenFor(time.Hour), nil
			})
			if _, err := c.Params(t.Context()); err != nil {
				t.Fatal(err)
			}
			renewals(t, c, begun.Add(time.Hour), func(*phoenix.Push, error) { renewed = time.Now() })
			if since := renewed.Sub(begun); since != 59*time.Minute+30*time.Second {
				t.Errorf("%q: renewed after %v", nothing, since)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	for claims, want := range map[string]int64{`{"exp":1700000000,"role":"anon"}`: 1700000000, `{"exp":"soon"}`: 0, `{}`: 0, `[]`: 0, `{`: 0, `{"exp":1.5}`: 0} {
		got, err := expiry("e30." + encode([]byte(claims)) + ".c2ln")
		if want == 0 && err == nil || want != 0 && got.Unix() != want {
			t.Errorf("%s: %v, %v", claims, got, err)
		}
	}
	for _, token := range []string{"", "a.b", "a.!.c", "a.b.c.d"} {
		if _, err := expiry(token); err == nil {
			t.Errorf("%q has an end", token)
		}
	}
	if got, err := expiry("e30." + base64.URLEncoding.EncodeToString([]byte(`{"exp":17}`)) + ".x"); err != nil || got.Unix() != 17 {
		t.Errorf("with padding: %v, %v", got, err)
	}
}
