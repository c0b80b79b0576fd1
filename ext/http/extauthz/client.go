// SPDX-License-Identifier: Apache-2.0

package extauthz

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream/call"
)

// checkMethod is the method of the gRPC service.
const checkMethod = "/envoy.service.auth.v3.Authorization/Check"

// grpcService asks a service of envoy.service.auth.v3.Authorization.
type grpcService struct{ client *call.Client }

// ask makes the call. The error is that of the call; the decision is what was said.
func (g grpcService) ask(f *Filter, s *stream.Stream, q *question) (*decision, error) {
	k := g.client.BeginUnary(checkMethod)
	defer k.End()
	k.Tell(&s.Info)
	k.Trace(s.Span)
	w := wire{k.Body}
	f.own.check(&w, s, q)
	k.Body = w.b
	m, err := k.Unary(s.Running())
	if err != nil {
		return nil, err
	}
	return parse(m)
}

// wire writes a protobuf message.
type wire struct{ b []byte }

func (w *wire) text(field protowire.Number, s string) {
	if s != "" {
		w.b = protowire.AppendTag(w.b, field, protowire.BytesType)
		w.b = protowire.AppendString(w.b, s)
	}
}

func (w *wire) bytes(field protowire.Number, p []byte) {
	if len(p) > 0 {
		w.b = protowire.AppendTag(w.b, field, protowire.BytesType)
		w.b = protowire.AppendBytes(w.b, p)
	}
}

func (w *wire) number(field protowire.Number, v uint64) {
	if v != 0 {
		w.b = protowire.AppendTag(w.b, field, protowire.VarintType)
		w.b = protowire.AppendVarint(w.b, v)
	}
}

// sizeRoom is how much room is kept for the length of a message.
const sizeRoom = 5

// message writes a message of its own.
func (w *wire) message(field protowire.Number, f func()) {
	w.b = protowire.AppendTag(w.b, field, protowire.BytesType)
	at := len(w.b)
	w.b = append(w.b, 0, 0, 0, 0, 0)
	f()
	n := len(w.b) - at - sizeRoom
	var room [sizeRoom]byte
	size := protowire.AppendVarint(room[:0], uint64(n))
	copy(w.b[at:], size)
	copy(w.b[at+len(size):], w.b[at+sizeRoom:])
	w.b = w.b[:at+len(size)+n]
}

// pair writes an entry of a map.
func (w *wire) pair(field protowire.Number, key string, value []byte) {
	n := protowire.SizeTag(1) + protowire.SizeBytes(len(key)) + protowire.SizeTag(2) + protowire.SizeBytes(len(value))
	w.b = protowire.AppendTag(w.b, field, protowire.BytesType)
	w.b = protowire.AppendVarint(w.b, uint64(n))
	w.b = protowire.AppendTag(w.b, 1, protowire.BytesType)
	w.b = protowire.AppendString(w.b, key)
	w.b = protowire.AppendTag(w.b, 2, protowire.BytesType)
	w.b = protowire.AppendBytes(w.b, value)
}

// address writes an envoy.config.core.v3.Address.
func (w *wire) address(field protowire.Number, a address.Addr) {
	switch {
	case !a.IsValid() && !a.IsUnix():
	case a.IsUnix():
		w.message(field, func() { w.message(2, func() { w.text(1, a.Path()) }) })
	default:
		w.message(field, func() {
			w.message(1, func() {
				var room [64]byte
				w.bytes(2, a.AppendIP(room[:0]))
				w.number(3, uint64(a.Port()))
			})
		})
	}
}

// The fields of AttributeContext and of what it has.
const (
	fieldSource, fieldDestination, fieldRequest      = 1, 2, 4
	fieldExtensions, fieldMetadata, fieldTLS         = 10, 11, 12
	fieldRouteMetadata                               = 13
	peerAddress, peerService, peerLabels             = 1, 2, 3
	peerPrincipal, peerCertificate                   = 4, 5
	httpID, httpMethod, httpHeaders, httpPath        = 1, 2, 3, 4
	httpHost, httpScheme, httpSize, httpProtocol     = 5, 6, 9, 10
	httpBody, httpRawBody, httpHeaderMap             = 11, 12, 13
	metadataFilter, structFields                     = 1, 1
	valueNull, valueNumber, valueString, valueBool   = 1, 2, 3, 4
	valueStruct, valueList, listValues, headerRawVal = 5, 6, 1, 3
)

// check writes a CheckRequest.
func (c *Settings) check(w *wire, s *stream.Stream, q *question) {
	w.message(1, func() {
		conn := s.Info.Conn
		w.message(fieldSource, func() {
			w.address(peerAddress, s.Info.Remote)
			w.bytes(peerService, s.Request.Header.Get(downstreamServiceCluster))
			if t := tlsOf(conn); t != nil && len(t.PeerCerts) > 0 {
				w.text(peerPrincipal, principal(t.PeerCerts[0]))
				if c.peerCertificate {
					w.bytes(peerCertificate, format.AppendPEM(nil, t.PeerCerts[0]))
				}
			}
		})
		w.message(fieldDestination, func() {
			if conn != nil {
				w.address(peerAddress, conn.Local)
			}
			for _, l := range c.labels {
				w.pair(peerLabels, l[0], []byte(l[1]))
			}
			if t := tlsOf(conn); t != nil && t.LocalCert != nil {
				w.text(peerPrincipal, principal(t.LocalCert))
			}
		})
		w.message(fieldRequest, func() {
			start := s.Info.Start
			w.message(1, func() {
				w.number(1, uint64(start.Unix()))
				w.number(2, uint64(start.Nanosecond()))
			})
			w.message(2, func() { c.checkHTTP(w, s, q) })
		})
		for _, e := range q.extensions {
			w.pair(fieldExtensions, e.key, []byte(e.value))
		}
		c.checkMetadata(w, s)
		if c.tlsSession && conn != nil && conn.ServerName != "" {
			w.message(fieldTLS, func() { w.text(1, conn.ServerName) })
		}
	})
}

func (c *Settings) checkMetadata(w *wire, s *stream.Stream) {
	w.message(fieldMetadata, func() {
		for _, ns := range c.namespaces {
			m := s.Info.Metadata[ns]
			if m == nil && s.Info.Conn != nil {
				m = s.Info.Conn.Metadata[ns]
			}
			if m != nil {
				w.namespace(ns, m)
			}
		}
	})
	w.message(fieldRouteMetadata, func() {
		r := s.Route()
		for _, ns := range c.routeNamespaces {
			if r != nil && r.Metadata[ns] != nil {
				w.namespace(ns, r.Metadata[ns])
			}
		}
	})
}

// checkHTTP writes what is told of the request.
func (c *Settings) checkHTTP(w *wire, s *stream.Stream, q *question) {
	h := s.Request.Header
	if s.Info.ID != "" {
		w.text(httpID, s.Info.ID)
	} else {
		w.bytes(httpID, valid(h.Get(header.XRequestID)))
	}
	w.bytes(httpMethod, h.Get(header.Method))
	c.checkHeaders(w, h, q)
	w.bytes(httpPath, valid(h.Get(header.Path)))
	w.bytes(httpHost, valid(h.Get(header.Authority)))
	w.bytes(httpScheme, h.Get(header.Scheme))
	w.number(httpSize, uint64(s.Request.Length)) // -1 if it is not known.
	w.text(httpProtocol, s.Info.Protocol.String())
	if q.buffering.max == 0 {
		return
	}
	if q.buffering.raw {
		w.bytes(httpRawBody, q.body)
	} else {
		w.bytes(httpBody, valid(q.body))
	}
}

// checkHeaders writes the fields of the request: as they are, or those of one name joined.
func (c *Settings) checkHeaders(w *wire, h *header.Map, q *question) {
	var partial []byte
	if q.buffering.max > 0 {
		partial = []byte(boolText(q.partial))
	}
	if c.raw {
		w.message(httpHeaderMap, func() {
			raw := func(name string, value []byte) {
				w.message(1, func() {
					w.text(1, name)
					w.bytes(headerRawVal, value)
				})
			}
			for n, v := range h.All() {
				if c.tells(n.String()) {
					raw(n.String(), v)
				}
			}
			if partial != nil {
				raw(partialBody.String(), partial)
			}
		})
		return
	}
	var seen []string
	for n, v := range h.All() {
		name := n.String()
		if !c.tells(name) || slices.Contains(seen, name) {
			continue
		}
		if h.Count(n) > 1 {
			seen = append(seen, name)
			v, _ = h.AppendJoined(nil, n)
		}
		w.pair(httpHeaders, name, valid(v))
	}
	if partial != nil {
		w.pair(httpHeaders, partialBody.String(), partial)
	}
}

// valid replaces bytes that are not of UTF-8, which a string of protobuf must be, as Envoy
// does.
func valid(p []byte) []byte {
	if utf8.Valid(p) {
		return p
	}
	out := make([]byte, 0, len(p))
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			out = append(out, '!')
		} else {
			out = append(out, p[:n]...)
		}
		p = p[n:]
	}
	return out
}

func tlsOf(c *streaminfo.Connection) *streaminfo.TLS {
	if c == nil {
		return nil
	}
	return c.TLS
}

// namespace writes an entry of filter_metadata.
func (w *wire) namespace(name string, m map[string]any) {
	w.message(metadataFilter, func() {
		w.text(1, name)
		w.message(2, func() { w.tree(m, 0) })
	})
}

// maxDepth bounds how deep metadata is told.
const maxDepth = 32

// tree writes a google.protobuf.Struct.
func (w *wire) tree(m map[string]any, depth int) {
	for k, v := range m {
		w.message(structFields, func() {
			w.text(1, k)
			w.message(2, func() { w.value(v, depth+1) })
		})
	}
}

// value writes a google.protobuf.Value.
func (w *wire) value(v any, depth int) {
	switch x := v.(type) {
	case float64:
		w.b = protowire.AppendTag(w.b, valueNumber, protowire.Fixed64Type)
		w.b = protowire.AppendFixed64(w.b, math.Float64bits(x))
	case string:
		w.b = protowire.AppendTag(w.b, valueString, protowire.BytesType)
		w.b = protowire.AppendBytes(w.b, valid([]byte(x)))
	case bool:
		w.b = protowire.AppendTag(w.b, valueBool, protowire.VarintType)
		w.b = protowire.AppendVarint(w.b, protowire.EncodeBool(x))
	case map[string]any:
		if depth < maxDepth {
			w.message(valueStruct, func() { w.tree(x, depth) })
		}
	case []any:
		if depth < maxDepth {
			w.message(valueList, func() {
				for _, e := range x {
					w.message(listValues, func() { w.value(e, depth+1) })
				}
			})
		}
	default:
		w.b = protowire.AppendTag(w.b, valueNull, protowire.VarintType)
		w.b = protowire.AppendVarint(w.b, 0)
	}
}

// parse reads a CheckResponse.
func parse(b []byte) (*decision, error) {
	var m authv3.CheckResponse
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("the service's answer: %w", err)
	}
	d := &decision{verdict: denied}
	if m.GetDynamicMetadata() != nil {
		d.metadata = m.GetDynamicMetadata().AsMap()
	}
	switch ok := m.GetOkResponse(); {
	case m.GetErrorResponse() != nil:
		d.verdict = failed
		d.replies(m.GetErrorResponse())
		return d, nil
	case m.GetStatus().GetCode() != 0:
		d.replies(m.GetDeniedResponse())
	case ok != nil:
		d.allows(ok)
	default:
		d.verdict = allowed
	}
	return d, nil
}

func (d *decision) replies(m *authv3.DeniedHttpResponse) {
	d.status, d.body = int(m.GetStatus().GetCode()), []byte(m.GetBody())
	for _, o := range m.GetHeaders() {
		d.reply = append(d.reply, mutationOf(o, set))
	}
}

func (d *decision) allows(m *authv3.OkHttpResponse) {
	d.verdict = allowed
	for _, o := range m.GetHeaders() {
		d.request = append(d.request, mutationOf(o, set))
	}
	for _, o := range m.GetResponseHeadersToAdd() {
		d.response = append(d.response, mutationOf(o, add))
	}
	d.remove = m.GetHeadersToRemove()
	for _, p := range m.GetQueryParametersToSet() {
		d.setQuery = append(d.setQuery, [2]string{p.GetKey(), p.GetValue()})
	}
	d.removeQuery = m.GetQueryParametersToRemove()
	if d.metadata == nil && m.GetDynamicMetadata() != nil { //nolint:staticcheck // Deprecated, still sent.
		d.metadata = m.GetDynamicMetadata().AsMap() //nolint:staticcheck // As above.
	}
}

// mutationOf reads a HeaderValueOption. unsaid is what one does that says nothing: of the
// fields of a request that is to replace, whatever append_action's default is.
func mutationOf(o *corev3.HeaderValueOption, unsaid action) mutation {
	m := mutation{name: o.GetHeader().GetKey(), value: o.GetHeader().GetValue(), action: unsaid}
	if raw := o.GetHeader().GetRawValue(); len(raw) > 0 {
		m.value = string(raw)
	}
	switch {
	case o.GetAppend() != nil && o.GetAppend().GetValue() && unsaid == add: //nolint:staticcheck // Deprecated, still sent.
		m.action = add
	case o.GetAppend() != nil && o.GetAppend().GetValue(): //nolint:staticcheck // As above.
		m.action = appendTo
	case o.GetAppend() != nil: //nolint:staticcheck // As above.
		m.action = set
	case o.GetAppendAction() == corev3.HeaderValueOption_ADD_IF_ABSENT:
		m.action = ifAbsent
	case o.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		m.action = set
	case o.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		m.action = ifPresent
	}
	m.name = strings.ToLower(m.name)
	return m
}
