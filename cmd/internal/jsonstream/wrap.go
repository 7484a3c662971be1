package jsonstream

// AppendWrapped appends the JSON object {"key":"line"} to dst, with key and line, which are UTF-8, as its strings. It escapes
// what has to be escaped and nothing else.
func AppendWrapped(dst []byte, key string, line []byte) []byte {
	dst = append(dst, '{')
	dst = appendString(dst, key)
	dst = append(dst, ':')
	dst = appendString(dst, line)
	return append(dst, '}')
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		dst = appendEscaped(dst, c)
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

func appendEscaped(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
