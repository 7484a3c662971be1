package secret

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestPipeIsReadOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { _ = os.WriteFile(path, []byte("secret\n"), 0o600) }()
	s := File("--auth-token-file", path)
	for range 2 {
		if text, err := (Reader{}).Text(t.Context(), s); err != nil || text != "secret" {
			t.Fatalf("%q, %v", text, err)
		}
	}
}

func TestWaitingForInputEndsWithItsContext(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	s := File("--join-params", StdinPath)
	if err := s.Claim(NewStdin(r)); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := (Reader{}).Text(ctx, s); !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}

func TestReadErrorOfStdin(t *testing.T) {
	r, w := io.Pipe()
	w.CloseWithError(io.ErrNoProgress)
	s := File("--join-params", StdinPath)
	if err := s.Claim(NewStdin(r)); err != nil {
		t.Fatal(err)
	}
	_, err := (Reader{}).Text(t.Context(), s)
	if !errors.Is(err, io.ErrNoProgress) || err.Error() != "cannot read standard input for --join-params: "+io.ErrNoProgress.Error() {
		t.Errorf("error %v", err)
	}
}
