// SPDX-License-Identifier: Apache-2.0

package match

import (
	"net/netip"
	"slices"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// headerPart is which head or trailer section a header input reads.
type headerPart uint8

const (
	requestHead headerPart = iota
	requestTrailer
	responseHead
	responseTrailer
)

// headerInput finds the values of a header, joined by commas; only several
// values cost an allocation.
type headerInput struct {
	part headerPart
	name header.Name
}

func (in headerInput) Get(d Data) Value {
	var h *header.Map
	switch {
	case in.part == requestHead:
		h = d.Request
		if h == nil && d.Stream != nil {
			h = d.Stream.Request
		}
	case d.Stream == nil:
	case in.part == requestTrailer:
		h = d.Stream.RequestTrailer
	case in.part == responseHead:
		h = d.Stream.Response
	default:
		h = d.Stream.ResponseTrailer
	}
	if h == nil {
		return Value{Unable: true}
	}
	v := h.Get(in.name)
	if v == nil {
		return Value{}
	}
	if h.Count(in.name) > 1 {
		v, _ = h.AppendJoined(nil, in.name)
	}
	return TextValue(view(v))
}

// queryInput finds the first value of a query parameter.
type queryInput string

func (in queryInput) Get(d Data) Value {
	if d.Request == nil {
		return Value{Unable: true}
	}
	s, ok := QueryValue(view(d.Request.Get(header.Path)), string(in))
	return Value{Present: ok, Text: s}
}

// statusInput finds the response's status code, or its class such as "2xx".
type statusInput struct{ class bool }

func (in statusInput) Get(d Data) Value {
	if d.Stream == nil || d.Stream.Status == 0 {
		return Value{Unable: true}
	}
	if !in.class {
		return NumberValue(int64(d.Stream.Status))
	}
	classes := [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}
	if c := d.Stream.Status/100 - 1; c >= 0 && c < len(classes) {
		return TextValue(classes[c])
	}
	return Value{}
}

type netKind uint8

const (
	destinationIP netKind = iota
	destinationPort
	sourceIP
	sourcePort
	directSourceIP
	sourceType
	serverName
	transportProtocol
	applicationProtocol
)

// netInput finds what the connection tells.
type netInput netKind

func (in netInput) Get(d Data) Value {
	c := d.conn()
	if c == nil {
		return Value{Unable: true}
	}
	remote := c.Remote
	if d.Stream != nil && d.Stream.Remote.IsValid() {
		remote = d.Stream.Remote
	}
	switch netKind(in) {
	case destinationIP:
		return AddrValue(c.Local.Addr())
	case destinationPort:
		return portValue(c.Local)
	case sourceIP:
		return AddrValue(remote.Addr())
	case sourcePort:
		return portValue(remote)
	case directSourceIP:
		return AddrValue(c.DirectRemote.Addr())
	case sourceType:
		if isLocal(c) {
			return TextValue("local")
		}
		return Value{}
	case serverName:
		return Value{Present: c.ServerName != "", Text: c.ServerName}
	case transportProtocol:
		return Value{Present: c.TransportProtocol != "", Text: c.TransportProtocol}
	}
	return applicationProtocols(c)
}

func portValue(a address.Addr) Value {
	if !a.AddrPort().IsValid() {
		return Value{}
	}
	return NumberValue(int64(a.Port()))
}

// isLocal reports whether both ends are the same host.
func isLocal(c *streaminfo.Connection) bool {
	a := c.Remote.Addr()
	return c.Remote.IsUnix() || a.IsLoopback() || a.IsValid() && a == c.Local.Addr()
}

// applicationProtocols is the list as Envoy has it: 'h2','http/1.1'.
func applicationProtocols(c *streaminfo.Connection) Value {
	list := c.ALPNs
	if len(list) == 0 && c.ALPN != "" {
		list = []string{c.ALPN}
	}
	if len(list) == 0 {
		return Value{}
	}
	var b []byte
	for i, p := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '\''), p...), '\'')
	}
	return TextValue(view(b))
}

// filterStateInput finds the text of an object of the filter state, the
// stream's before the connection's.
type filterStateInput string

func (in filterStateInput) Get(d Data) Value {
	if d.Stream != nil {
		if o, ok := d.Stream.FilterState[string(in)]; ok {
			return TextValue(o.Text)
		}
	}
	if c := d.conn(); c != nil {
		if o, ok := c.FilterState[string(in)]; ok {
			return TextValue(o.Text)
		}
	}
	return Value{}
}

// metadataInput finds a value of dynamic metadata.
type metadataInput struct {
	filter string
	path   []string
}

func (in metadataInput) Get(d Data) Value {
	if d.Stream != nil {
		if v, ok := lookup(d.Stream.Metadata, in.filter, in.path); ok {
			return AnyValue(v)
		}
	}
	if c := d.conn(); c != nil {
		if v, ok := lookup(c.Metadata, in.filter, in.path); ok {
			return AnyValue(v)
		}
	}
	return Value{}
}

type certPart uint8

const (
	uriSAN certPart = iota
	dnsSAN
	subject
)

// certInput finds a part of the client's certificate. It allocates.
type certInput certPart

func (in certInput) Get(d Data) Value {
	c := d.conn()
	if c == nil || c.TLS == nil || len(c.TLS.PeerCerts) == 0 {
		return Value{}
	}
	leaf := c.TLS.PeerCerts[0]
	switch certPart(in) {
	case uriSAN:
		var b []byte
		for i, u := range leaf.URIs {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, u.String()...)
		}
		return Value{Present: len(b) > 0, Text: view(b)}
	case dnsSAN:
		var b []byte
		for i, n := range leaf.DNSNames {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, n...)
		}
		return Value{Present: len(b) > 0, Text: view(b)}
	}
	return TextValue(leaf.Subject.String())
}

// constInput always finds the same text: an environment variable.
type constInput struct {
	text string
	set  bool
}

func (in constInput) Get(Data) Value { return Value{Present: in.set, Text: in.text} }

// ipMatcher is envoy.matching.input_matchers.ip.
type ipMatcher struct{ set *CIDRs }

func (m ipMatcher) MatchValue(v Value, _ Data) bool {
	if v.kind == formAddr {
		return m.set.Contains(v.Addr)
	}
	a, err := netip.ParseAddr(v.text(nil))
	return err == nil && m.set.Contains(a)
}

// metadataMatcher is envoy.matching.input_matchers.metadata_matcher.
type metadataMatcher struct {
	value  *ValueMatcher
	invert bool
}

func (m metadataMatcher) MatchValue(v Value, _ Data) bool {
	x := v.Any
	if v.Present && v.kind != formAny {
		x = v.text(nil)
	}
	return m.value.Match(x, v.Present) != m.invert
}

// hashMatcher is envoy.matching.input_matchers.consistent_hashing: it takes
// values whose hash modulo modulo is at least threshold.
type hashMatcher struct{ threshold, modulo, seed uint64 }

func (m hashMatcher) MatchValue(v Value, _ Data) bool {
	if !v.Present {
		return false
	}
	var buf [64]byte
	return XXH64(v.text(buf[:0]), m.seed)%m.modulo >= m.threshold
}

// fractionMatcher is envoy.matching.input_matchers.runtime_fraction: a share
// of values, by their hash.
type fractionMatcher struct {
	fraction RuntimeFraction
	seed     uint64
	rt       Runtime
}

func (m fractionMatcher) MatchValue(v Value, _ Data) bool {
	if !v.Present {
		return false
	}
	var buf [64]byte
	return m.fraction.Enabled(m.rt, XXH64(v.text(buf[:0]), m.seed))
}

func sortedLengths[A any](m map[string]*onMatch[A]) []int {
	var l []int
	for k := range m {
		if !slices.Contains(l, len(k)) {
			l = append(l, len(k))
		}
	}
	slices.SortFunc(l, func(a, b int) int { return b - a })
	return l
}
