package router

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxRetryAfter bounds what a server may ask for by Retry-After.
	maxRetryAfter = 5 * time.Minute
	// maxAnswer is how much of an answer's body is read so that its connection can be used again.
	maxAnswer = 64 << 10
	// maxSearched is how much of it is searched for secrets, and maxExcerpt how much is shown.
	maxSearched, maxExcerpt = 4 << 10, 200
)

// A postFailure is an attempt that failed.
type postFailure struct {
	err error
	// final says that another attempt would fail, too.
	final bool
	// after is how long the server wants to be left alone.
	after time.Duration
}

func (f *postFailure) Error() string { return f.err.Error() }

// attempt sends the request once.
func (d *WebhookDrain) attempt(ctx context.Context, e *eventRequest) *postFailure {
	limited, cancel := context.WithTimeout(ctx, d.options.Timeout)
	defer cancel()
	answer, err := d.send(limited, e)
	if err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("no answer within %v", d.options.Timeout)
		}
		return &postFailure{err: err}
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 == 2 {
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
		return nil
	}
	failure := &postFailure{err: d.refusal(answer, e)}
	if answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode/100 == 5 {
		failure.after = retryAfterOf(answer.Header, time.Now())
	} else {
		failure.final = true
	}
	return failure
}

// send sends the request, for which it first gets the secrets, if it has not.
func (d *WebhookDrain) send(ctx context.Context, e *eventRequest) (*http.Response, error) {
	if err := d.authorize(ctx, e); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url.String(), bytes.NewReader(e.body))
	if err != nil {
		return nil, err
	}
	r.Header = e.header.Clone()
	r.Host = r.Header.Get("Host")
	r.Header.Del("Host")
	if e.key != nil {
		sign(r.Header, e.key, e.id, time.Now(), e.body)
	}
	// Not by a Client: that follows redirects.
	return d.options.Transport.RoundTrip(r)
}

// authorize completes the headers of the request, once for all its attempts.
func (d *WebhookDrain) authorize(ctx context.Context, e *eventRequest) error {
	if e.authorized {
		return nil
	}
	header := http.Header{}
	header.Set("User-Agent", "phx")
	if user := d.url.User; user != nil {
		password, _ := user.Password()
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if d.options.Headers != nil {
		theirs, err := d.options.Headers(ctx)
		if err != nil {
			return err
		}
		for name, values := range theirs {
			header.Del(name)
			for _, value := range values {
				header.Add(name, value)
			}
		}
	}
	e.secrets = d.secrets(header)
	if d.options.Secret != nil {
		secret, err := d.options.Secret(ctx)
		if err != nil {
			return err
		}
		e.secrets = append(e.secrets, string(secret))
		if e.key, err = signingKey(secret); err != nil {
			return err
		}
	}
	for name, values := range e.header {
		header[name] = values
	}
	e.header, e.authorized = header, true
	return nil
}

// secrets returns what must not be shown of a request.
func (d *WebhookDrain) secrets(header http.Header) []string {
	var secrets []string
	for _, values := range header {
		secrets = append(secrets, values...)
	}
	if authorization := strings.Fields(header.Get("Authorization")); len(authorization) > 1 {
		secrets = append(secrets, authorization[1])
	}
	if password, ok := d.url.User.Password(); ok {
		secrets = append(secrets, password)
	}
	for _, values := range d.url.Query() {
		secrets = append(secrets, values...)
	}
	return append(secrets, d.url.RawQuery)
}

// refusal says what the server answered, and quotes the beginning of it, but no secret that it repeats.
func (d *WebhookDrain) refusal(answer *http.Response, e *eventRequest) error {
	beginning, _ := io.ReadAll(io.LimitReader(answer.Body, maxSearched))
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	text := string(beginning)
	for _, secret := range e.secrets {
		// Of shorter ones nothing would be left to read.
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxExcerpt {
		text = strings.ToValidUTF8(text[:maxExcerpt], "") + "…"
	}
	status := strconv.Itoa(answer.StatusCode) + " " + http.StatusText(answer.StatusCode)
	if answer.StatusCode/100 == 3 {
		status += ", and redirects are not followed"
	}
	if text == "" {
		return fmt.Errorf("the answer was %s", status)
	}
	return fmt.Errorf("the answer was %s: %s", status, text)
}

// retryAfterOf returns how long the server wants to be left alone: a number of seconds or a date.
func retryAfterOf(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, maxRetryAfter.Seconds()) * float64(time.Second))
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
