// SPDX-License-Identifier: Apache-2.0

package proxyproto

import "weir.dev/weir/proxy/streaminfo"

// A Formatter prints the value of a TLV that is made anew for each header.
type Formatter interface {
	AppendTo(dst []byte, info *streaminfo.Stream) []byte
}

// A Sender makes the headers that go upstream as a ProxyProtocolConfig says.
type Sender struct {
	// Unspecified makes the header of a connection without addresses PROXY of no
	// family, with TLVs, rather than LOCAL.
	Unspecified bool

	v2      bool
	passAll bool
	pass    [256]bool
	added   []added
	own     [256]bool // types of added
}

// added is a TLV of the configuration; format, if not nil, makes its value.
type added struct {
	TLV
	format Formatter
}

// Append appends the header for a downstream connection, which is info.Conn, on an
// upstream connection of the proxy's own. Without info, such as for a health check,
// the proxy speaks for itself. complete tells that all TLVs fitted.
func (s *Sender) Append(b []byte, own *streaminfo.Connection, info *streaminfo.Stream) (out []byte, complete bool) {
	switch {
	case info == nil && s.v2:
		return AppendLocalV2(b), true
	case info == nil:
		return AppendV1(b, own.Local, own.Remote), true // Version 1 knows no LOCAL.
	case !s.v2:
		return AppendV1(b, info.Conn.Remote, info.Conn.Local), true
	}
	from := info.Conn
	known := from.Remote.IsUnix() == from.Local.IsUnix() && from.Remote.IsValid() && from.Local.IsValid()
	if !known && !s.Unspecified {
		return AppendLocalV2(b), true
	}
	return AppendV2(b, from.Remote, from.Local, s.values(info))
}

// values are the TLVs of a header: the configured ones, then those the
// downstream's header had and that no configured one replaces.
func (s *Sender) values(info *streaminfo.Stream) []TLV {
	var out []TLV
	for _, a := range s.added {
		if a.format != nil {
			a.Value = a.format.AppendTo(nil, info)
		}
		out = append(out, a.TLV)
	}
	h, ok := info.Conn.FilterState[StateKey].Value.(*Header)
	if !ok {
		return out
	}
	for _, v := range h.TLVs {
		// A checksum is that of the header it came with, and padding is nothing.
		if (s.passAll || s.pass[v.Type]) && !s.own[v.Type] && v.Type != TypeCRC32C && v.Type != TypeNoop {
			out = append(out, v)
		}
	}
	return out
}
