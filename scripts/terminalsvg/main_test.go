//go:build unix

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestSteady: two runs that differ in times, ports and ticks alone make one text.
func TestSteady(t *testing.T) {
	one := steady("21:04:05.123  room:lobby  tick  {\"n\":\x1b[36m17\x1b[0m}\nround trip 1.25 ms at 127.0.0.1:40123\n21:04:06.120  {\"n\":18}")
	other := steady("07:59:59.999  room:lobby  tick  {\"n\":\x1b[36m3\x1b[0m}\nround trip 2.5 s at 127.0.0.1:5\n08:00:00.000  {\"n\":4}")
	want := "12:00:01.000  room:lobby  tick  {\"n\":\x1b[36m1\x1b[0m}\nround trip 0.4 ms at 127.0.0.1:4000\n12:00:02.000  {\"n\":2}"
	if one != want || other != want {
		t.Errorf("%q and %q, want %q", one, other, want)
	}
}

// TestDraw: each run of one style stands where its cells are, and the picture is XML whatever the text is.
func TestDraw(t *testing.T) {
	picture := draw("plain \x1b[1;32mbold green\x1b[0m  <&>\n\x1b[2mdim\x1b[22m é", 40)
	for _, want := range []string{
		`<text x="18.0" y="52" textLength="42.0" lengthAdjust="spacingAndGlyphs">plain</text>`,
		`<text x="68.4" y="52" textLength="84.0" lengthAdjust="spacingAndGlyphs" fill="#98c379" font-weight="bold">bold green</text>`,
		`<text x="169.2" y="52" textLength="25.2" lengthAdjust="spacingAndGlyphs">&lt;&amp;&gt;</text>`,
		`<text x="18.0" y="71" textLength="25.2" lengthAdjust="spacingAndGlyphs" opacity="0.6">dim</text>`,
		`<text x="51.6" y="71" textLength="8.4" lengthAdjust="spacingAndGlyphs">é</text>`,
	} {
		if !strings.Contains(picture, want) {
			t.Errorf("it lacks %s", want)
		}
	}
	decoder := xml.NewDecoder(strings.NewReader(picture))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v\n%s", err, picture)
		}
	}
}
