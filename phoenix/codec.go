package phoenix

import (
	"fmt"
	"strconv"
	"strings"
)

// codecFor returns the codec for a vsn as the server's Version.match? reads it (PROTOCOL.md, section 1): "~> 2.0.0" or
// "~> 1.0.0". Anything else, "2.0" and "2.1.0" too, the server would refuse with a bare 403.
func codecFor(vsn string) (codec, error) {
	if patch, ok := strings.CutPrefix(vsn, "2.0."); ok && isPatch(patch) {
		return codecV2{}, nil
	}
	if patch, ok := strings.CutPrefix(vsn, "1.0."); ok && isPatch(patch) {
		return codecV1{}, nil
	}
	return nil, fmt.Errorf("vsn %q is not known: use 2.0.0 or 1.0.0", vsn)
}

// isPatch reports whether s is the third number of a version.
func isPatch(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// checkPayload returns an error for a payload that cannot be sent: malformed JSON would make the server close the whole
// socket (rule 12). A zero Payload can be sent: it goes as an empty object.
func checkPayload(p Payload) error {
	if p.Binary || p.Data == nil {
		return nil
	}
	if _, err := checkJSON(p.Data); err != nil {
		return fmt.Errorf("the payload is not valid JSON: %w", err)
	}
	return nil
}
