// SPDX-License-Identifier: Apache-2.0

package clienthello

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
)

// grease reports whether a number is one of those that clients put in at random
// places to keep servers tolerant (RFC 8701): no fingerprint counts them.
func grease(n uint16) bool { return n&0x0f0f == 0x0a0a && n>>8 == n&0xff }

// JA3 returns the JA3 fingerprint: the MD5, in hexadecimal, of the version,
// cipher suites, extensions, groups and point formats, as numbers in the
// client's order, without GREASE.
func (h *Hello) JA3() string {
	b := strconv.AppendUint(make([]byte, 0, 512), uint64(h.Version), 10)
	b = appendNumbers(append(b, ','), h.CipherSuites)
	b = append(b, ',')
	first := true
	for r := (reader{h.Extensions}); len(r.b) > 0; {
		id, _, _ := r.extension()
		b = appendNumber(b, id, &first)
	}
	b = appendNumbers(append(b, ','), list16(h.groups))
	b = append(b, ',')
	first = true
	r := reader{h.points}
	points, _ := r.block8()
	for _, p := range points {
		b = appendNumber(b, uint16(p), &first)
	}
	sum := md5.Sum(b) // The fingerprint is defined so; nothing is secured by it.
	return hex.EncodeToString(sum[:])
}

func appendNumbers(b, list []byte) []byte {
	first := true
	for r := (reader{list}); len(r.b) > 1; {
		n, _ := r.uint16()
		b = appendNumber(b, n, &first)
	}
	return b
}

func appendNumber(b []byte, n uint16, first *bool) []byte {
	if grease(n) {
		return b
	}
	if !*first {
		b = append(b, '-')
	}
	*first = false
	return strconv.AppendUint(b, uint64(n), 10)
}

// list16 returns the numbers of an extension that is one list of numbers of two
// bytes.
func list16(data []byte) []byte {
	r := reader{data}
	list, _ := r.block16()
	return list
}

// JA4 returns the JA4 fingerprint of a TLS client over TCP, such as
// t13d1516h2_8daaf6152771_e5627efa2ab1.
func (h *Hello) JA4() string {
	suites := numbers(h.CipherSuites)
	var extensions []uint16
	count := 0
	for r := (reader{h.Extensions}); len(r.b) > 0; {
		id, _, _ := r.extension()
		if grease(id) {
			continue
		}
		count++
		if id != extServerName && id != extALPN {
			extensions = append(extensions, id)
		}
	}
	b := make([]byte, 0, 40)
	b = append(b, 't')
	b = append(b, h.version()...)
	if h.Name != nil {
		b = append(b, 'd')
	} else {
		b = append(b, 'i')
	}
	b = appendTwo(b, len(suites))
	b = appendTwo(b, count)
	b = h.appendALPN(b)
	slices.Sort(suites)
	slices.Sort(extensions)
	b = appendHash(append(b, '_'), suites, nil)
	b = appendHash(append(b, '_'), extensions, numbers(list16(h.schemes)))
	return string(b)
}

// version names the highest version that is offered.
func (h *Hello) version() string {
	highest := h.Version
	r := reader{h.versions}
	if list, ok := r.block8(); ok {
		var best uint16
		for _, v := range numbers(list) {
			best = max(best, v)
		}
		if best != 0 {
			highest = best
		}
	}
	switch highest {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	}
	return "00"
}

// appendALPN appends the first and the last character of the first protocol; of
// what is no letter or digit, the first and the last digit in hexadecimal.
func (h *Hello) appendALPN(b []byte) []byte {
	r := reader{list16(h.alpn)}
	p, ok := r.block8()
	if !ok || len(p) == 0 {
		return append(b, "00"...)
	}
	first, last := p[0], p[len(p)-1]
	if alphanumeric(first) && alphanumeric(last) {
		return append(b, first, last)
	}
	const digits = "0123456789abcdef"
	return append(b, digits[first>>4], digits[last&15])
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func appendTwo(b []byte, n int) []byte {
	n = min(n, 99)
	return append(b, byte('0'+n/10), byte('0'+n%10))
}

// numbers returns a list of numbers of two bytes without GREASE.
func numbers(list []byte) []uint16 {
	out := make([]uint16, 0, len(list)/2)
	for r := (reader{list}); len(r.b) > 1; {
		if n, _ := r.uint16(); !grease(n) {
			out = append(out, n)
		}
	}
	return out
}

// appendHash appends the first 12 digits of the SHA-256 of a list and, after an
// underscore, of a second one if it has any; zeros if the list is empty.
func appendHash(b []byte, list, second []uint16) []byte {
	if len(list) == 0 {
		return append(b, "000000000000"...)
	}
	text := appendHex(make([]byte, 0, 5*(len(list)+len(second))), list)
	if len(second) > 0 {
		text = appendHex(append(text, '_'), second)
	}
	sum := sha256.Sum256(text)
	return hex.AppendEncode(b, sum[:6])
}

func appendHex(b []byte, list []uint16) []byte {
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = hex.AppendEncode(b, []byte{byte(n >> 8), byte(n)})
	}
	return b
}
