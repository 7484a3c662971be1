package phoenix_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The package's documentation names tests as the proof of its promises; they have to be there.
func TestDocumentedTestsExist(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, text...)
	}
	names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(doc), -1)
	if len(names) == 0 {
		t.Error("no promise names a test")
	}
	for _, name := range names {
		if !bytes.Contains(tests, []byte("\nfunc "+name+"(")) {
			t.Errorf("doc.go names %s, which is not there", name)
		}
	}
}
