package phoenix

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// Frames of about 110 bytes, the commonest size.
const (
	benchV2      = `[null,null,"room:lobby","new_msg",{"body":"a message of the usual length","user":"alice","n":123456,"ok":true}]`
	benchReplyV2 = `["4","1234","room:lobby","phx_reply",{"response":{"body":"a message of usual length","n":123456},"status":"ok"}]`
	benchV1      = `{"event":"new_msg","payload":{"body":"a message of the length","n":123456},"ref":null,"topic":"room:lobby"}`
)

// benchmarkDecode measures c on text, and then encoding/json's validation alone of the same bytes for comparison.
func benchmarkDecode(b *testing.B, c codec, text string) {
	data := []byte(text)
	b.Run("codec", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		var f frame
		for b.Loop() {
			if c.scan(data, false, &f) != nil || c.finish(&f) != nil {
				b.Fatal("not decoded")
			}
		}
	})
	benchmarkStd(b, data)
}

func benchmarkStd(b *testing.B, data []byte) {
	b.Run("json.Valid", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if !json.Valid(data) || !utf8.Valid(data) {
				b.Fatal("not valid")
			}
		}
	})
}

func BenchmarkDecodeV2(b *testing.B) {
	b.Run("message", func(b *testing.B) { benchmarkDecode(b, codecV2{}, benchV2) })
	b.Run("reply", func(b *testing.B) { benchmarkDecode(b, codecV2{}, benchReplyV2) })
}

// BenchmarkScanV2 is what a message that a filter drops costs.
func BenchmarkScanV2(b *testing.B) {
	data := []byte(benchV2)
	var c codec = codecV2{}
	var f frame
	for b.Loop() {
		if c.scan(data, false, &f) != nil {
			b.Fatal("not scanned")
		}
	}
}

func BenchmarkDecodeV1(b *testing.B) { benchmarkDecode(b, codecV1{}, benchV1) }

func BenchmarkCheckJSON(b *testing.B) {
	data := []byte(benchV2)
	b.Run("checkJSON", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := checkJSON(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	benchmarkStd(b, data)
}

func BenchmarkAppendV2(b *testing.B) {
	var c codec = codecV2{}
	m := message{joinRef: "4", ref: "1234", topic: "room:lobby", event: "new_msg", payload: JSON(`{"body":"hello"}`)}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _, _ = c.append(buf[:0], &m)
	}
}
