package phoenix

import "testing"

// What a codec makes of any bytes is what the models of codec_model_test.go make of them.

func FuzzDecodeV2(f *testing.F) {
	for _, seed := range []string{
		benchV2, benchReplyV2, `["1","1","room:1","phx_close",{}]`, " [ 1 , null , \"\\u00fc\" , \"\\ud800\" ,\n[ ]\n, 2 ] ",
		`[null,"2","t","phx_reply",{"status":1,"x":{"status":"no"},"status":"a","response":"\n"}]`,
		"[null,null,\"\xff\",\"e\",{}]", `[null,null,"t","e",{}`, `[-0,1e5,null,"phx_reply",null]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, ok := modelV2(data)
		checkDecode(t, codecV2{}, data, false, want, ok)
	})
}

func FuzzDecodeV1(f *testing.F) {
	for _, seed := range []string{
		benchV1, `{"event":"phx_reply","payload":{"response":{},"status":"ok"},"ref":"1","topic":"phoenix"}`,
		"{\n\"to\\u0070ic\" : null , \"topic\":\"t\",\"event\":\"\\ud800\",\"payload\":\r[1 ,\n2],\"join_ref\":3,\"x\":[]}\n",
		`{"topic":"t","event":"e"}`, `{"topic":"t","event":"phx_reply","payload":{"status":""}}`, `{}`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, ok := modelV1(data)
		checkDecode(t, codecV1{}, data, false, want, ok)
	})
}

func FuzzDecodeBinary(f *testing.F) {
	f.Add(serverBinary(0, []byte{1, 2, 0xff}, "1", "room:1", "bin"))
	f.Add(serverBinary(1, nil, "1", "2", "room:1", "ok"))
	f.Add(serverBinary(2, []byte("data"), "röm", ""))
	f.Add(serverBinary(4, []byte("{}"), "topic", "event", "meta", "\x01"))
	f.Add([]byte{1, 255, 255, 255, 255, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		want, ok := modelBinary(data)
		checkDecode(t, codecV2{}, data, true, want, ok)
	})
}
