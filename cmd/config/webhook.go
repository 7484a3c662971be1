package config

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"phx/cmd/internal/strictyaml"
)

// requestHeaders are those that the request to a webhook has anyway.
var requestHeaders = []string{
	"Connection", "Content-Length", "Content-Type", "Host", "Trailer", "Transfer-Encoding", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp",
}

// isRequestHeader reports whether the request sets a header itself. The attributes of a CloudEvent are ce-* in binary mode.
func isRequestHeader(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	return slices.Contains(requestHeaders, name) || strings.HasPrefix(name, "Ce-")
}

// The values of mode.
const (
	webhookStructured = "structured"
	webhookBinary     = "binary"
)

func webhookOptions(w *WebhookSink) []Option {
	return []Option{
		{Key: "webhook.url", Secret: true, Value: w.urlValue(), Example: "https://example.com/hook"},
		{Key: "webhook.mode", Value: w.modeValue(), Example: webhookBinary},
		{Key: "webhook.headers", Value: w.headersValue()},
		{Key: "webhook.secret", Value: w.secretValue()},
		{Key: "webhook.timeout_msec", Value: msec(Duration(&w.Timeout, "10s"))},
		{Key: "webhook.max_retries", Value: w.retriesValue(), Example: "10"},
	}
}

func (w *WebhookSink) urlValue() Value {
	v := Checked(&w.URL, "", checkWebhook).shaped(urlShape)
	v.masked = maskedURL
	return v
}

// checkWebhook repeats no part of the text in its errors: there may be a password in it.
func checkWebhook(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "":
		return "", errors.New("has another scheme than http or https")
	case u.Hostname() == "":
		return "", errors.New("has no host")
	case u.Fragment != "":
		return "", errors.New("has a fragment (#...)")
	}
	return text, nil
}

func (w *WebhookSink) modeValue() Value {
	v := Checked(&w.Binary, webhookStructured, func(text string) (bool, error) {
		if text != webhookStructured && text != webhookBinary {
			return false, fmt.Errorf("is none of %s, %s", webhookStructured, webhookBinary)
		}
		return text == webhookBinary, nil
	})
	v.shape = choiceShape(webhookStructured, webhookBinary)
	return v
}

func (w *WebhookSink) headersValue() Value {
	return Value{shape: headersShape(append(slices.Clone(requestHeaders), "Ce-.*")...), masked: maskedHeaders, read: func(n strictyaml.Node) (err error) {
		w.headers, err = w.secrets().readHeaders(n, isRequestHeader, "the request itself")
		return err
	}}
}

func (w *WebhookSink) secretValue() Value {
	return Value{shape: refTo("key"), masked: maskedSecret, read: func(n strictyaml.Node) (err error) {
		w.secret, err = w.secrets().read("webhook.secret", n)
		if err != nil || !w.secret.isLiteral() {
			return err
		}
		if w.secret.literal == "" {
			return n.Errorf(secretAdvice, "the secret is empty")
		}
		encoded, isEncoded := strings.CutPrefix(w.secret.literal, "whsec_")
		if _, err := base64.StdEncoding.DecodeString(encoded); isEncoded && err != nil {
			return n.Errorf("copy all of it, or take another key, which does not begin with whsec_", "what follows whsec_ is not base64")
		}
		return nil
	}}
}

// retriesValue is a number of retries; there is always one after which a webhook is given up.
func (w *WebhookSink) retriesValue() Value {
	v := Checked(&w.MaxRetries, "10", func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return 0, errors.New("is not a number of retries: 0 or more")
		}
		return n, nil
	})
	v.shape, v.def = timesShape, w.MaxRetries
	return v
}

// secrets reads those of the webhook. A command may take as long as a request.
func (w *WebhookSink) secrets() secretReader {
	return secretReader{patience: func() time.Duration { return w.Timeout }, note: w.note}
}

func (w *WebhookSink) note(level slog.Level, message string, args ...any) {
	if w.Logger != nil {
		w.Logger.Log(context.Background(), level, message, args...)
	}
}

// finish puts what was read into the fields that [router.WebhookOptions] has.
func (w *WebhookSink) finish() {
	if w.MaxRetries == 0 {
		w.MaxRetries = -1 // never; 0 stands for the default there
	}
	if len(w.headers) > 0 {
		w.Headers = w.readHeaders
	}
	if w.secret != nil {
		w.Secret = w.readSecret
	}
}

func (w *WebhookSink) readHeaders(ctx context.Context) (http.Header, error) {
	header := http.Header{}
	for _, h := range w.headers {
		value, err := h.readLine(ctx)
		if err != nil {
			return nil, err
		}
		header.Add(h.name, value)
	}
	return header, nil
}

func (w *WebhookSink) readSecret(ctx context.Context) ([]byte, error) {
	text, err := w.secret.Text(ctx)
	if err == nil && text == "" {
		err = &UsageError{Message: "there is no secret in " + w.secret.name(), Advice: "write the secret to it, as one line"}
	}
	return []byte(text), err
}
