// SPDX-License-Identifier: Apache-2.0

package statefulsession

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

func cookieValue(h *header.Map, name string) (string, bool) { return match.CookieValue(h, name) }

// maxState bounds what is read of a client's session: an address and a number.
const maxState = 512

func encodeHeader(a address.Addr) []byte {
	return base64.StdEncoding.AppendEncode(nil, []byte(a.String()))
}

func decodeHeader(b []byte) address.Addr {
	if len(b) == 0 || len(b) > maxState {
		return address.Addr{}
	}
	text, err := base64.StdEncoding.DecodeString(string(b))
	if err != nil {
		return address.Addr{}
	}
	return parse(string(text))
}

func parse(s string) address.Addr {
	a, err := address.Parse(s)
	if err != nil {
		return address.Addr{}
	}
	return a
}

// The cookie is a message of Envoy's, in base64: the address as field 1, and when the
// session ends, in seconds, as field 2.
const (
	tagAddress = 1<<3 | 2
	tagExpires = 2 << 3
)

func encodeCookie(a address.Addr, ttl time.Duration) string {
	text := a.String()
	b := binary.AppendUvarint([]byte{tagAddress}, uint64(len(text)))
	b = append(b, text...)
	if ttl > 0 {
		b = binary.AppendUvarint(append(b, tagExpires), uint64(time.Now().Add(ttl).Unix()))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// decodeCookie returns the address of a session that has not ended. A cookie that is no
// message is an address itself, as older proxies wrote it.
func decodeCookie(v string) address.Addr {
	if v == "" || len(v) > maxState {
		return address.Addr{}
	}
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return address.Addr{}
	}
	text, expires, ok := message(b)
	if !ok {
		return parse(string(b))
	}
	if expires != 0 && time.Now().Unix() > int64(expires) {
		return address.Addr{}
	}
	return parse(text)
}

func message(b []byte) (text string, expires uint64, ok bool) {
	for len(b) > 0 {
		tag := b[0]
		n, size := binary.Uvarint(b[1:])
		if size <= 0 {
			return "", 0, false
		}
		b = b[1+size:]
		switch tag {
		case tagAddress:
			if n > uint64(len(b)) {
				return "", 0, false
			}
			text, b = string(b[:n]), b[n:]
		case tagExpires:
			expires = n
		default:
			return "", 0, false
		}
	}
	return text, expires, text != ""
}
