// SPDX-License-Identifier: Apache-2.0

// Package proxyproto reads and writes headers of the PROXY protocol, versions 1
// and 2 (haproxy.org, proxy-protocol.txt), by which one proxy tells the next
// whose connection it carries.
//
// Reading is strict: the header says who a client is, so what could be read in
// two ways is an error. The package knows no sockets.
package proxyproto

import (
	"errors"
	"fmt"

	"weir.dev/weir/proxy/address"
)

const (
	signature1 = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"

	// MaxV1 is the length of the longest header of version 1.
	MaxV1 = 107
	// PrefixV2 is the length of the part of a version 2 header that says how
	// long the rest is.
	PrefixV2 = 16
	// MaxV2 is the length of the longest header of version 2.
	MaxV2 = PrefixV2 + 1<<16 - 1
)

// StateKey is the filter state under which a connection keeps the *[Header] it
// came with, for those who write one upstream.
const StateKey = "envoy.network.proxy_protocol_options"

// TLV types that have a meaning here.
const (
	TypeCRC32C = 0x03
	TypeNoop   = 0x04
)

// A Header is what a PROXY protocol header tells.
type Header struct {
	// Version is 1 or 2.
	Version int
	// Local tells that the sender speaks for itself, as in a health check, or
	// knows no addresses: those of the connection hold.
	Local bool
	// Source and Destination are the ends of the connection that is carried;
	// none if Local.
	Source, Destination address.Addr
	// TLVs are further values of version 2, in order.
	TLVs []TLV
}

// A TLV is one further value of a header.
type TLV struct {
	Type  byte
	Value []byte
}

var (
	// ErrNoHeader is returned for bytes that begin no PROXY header.
	ErrNoHeader = errors.New("no PROXY protocol header")
	// ErrMalformed is in the chain of every error about a header.
	ErrMalformed = errors.New("malformed PROXY protocol header")
)

func malformed(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))
}

// Detect tells which version of a header b begins with: 1 or 2, or 0 if that
// cannot be said yet. It returns ErrNoHeader for anything else.
func Detect(b []byte) (version int, err error) {
	switch {
	case begins(b, signature1):
		version = 1
		if len(b) < len(signature1) {
			version = 0
		}
	case begins(b, signature2):
		version = 2
		if len(b) < len(signature2) {
			version = 0
		}
	default:
		return 0, ErrNoHeader
	}
	return version, nil
}

// begins reports whether b begins with signature, or is the beginning of it.
func begins(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}
