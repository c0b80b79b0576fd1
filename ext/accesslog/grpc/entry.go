// SPDX-License-Identifier: Apache-2.0

package grpc

import (
	"slices"
	"time"

	"weir.dev/weir/internal/wire"
	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/streaminfo"
)

// Field numbers of envoy.data.accesslog.v3, by message.
const (
	listEntry = 1 // of HTTPAccessLogEntries and TCPAccessLogEntries

	entryCommon, entryVersion, entryRequest, entryResponse, entryConnection = 1, 2, 3, 4, 2

	commonRemote, commonLocal, commonTLS, commonStart                                         = 2, 3, 4, 5
	commonLastRx, commonUpFirstTx, commonUpLastTx, commonUpFirstRx, commonUpLastRx            = 6, 7, 8, 9, 10
	commonFirstTx, commonLastTx, commonUpRemote, commonUpLocal, commonCluster, commonFlags    = 11, 12, 13, 14, 15, 16
	commonMetadata, commonUpFailure, commonRoute, commonDirectRemote, commonState, commonTags = 17, 18, 19, 20, 21, 22
	commonDuration, commonAttempts, commonTermination, commonStream, commonIntermediate       = 23, 24, 25, 26, 27
	commonFailure, commonWireSent, commonWireReceived, commonUpWireSent, commonUpWireReceived = 28, 29, 30, 31, 32
	commonType                                                                                = 33

	requestMethod, requestScheme, requestAuthority, requestPath, requestAgent, requestReferer            = 1, 2, 3, 5, 6, 7
	requestForwarded, requestID, requestOriginal, requestHeaderBytes, requestBodyBytes, requestHeaders   = 8, 9, 10, 11, 12, 13
	requestUpHeaderBytes, requestDownHeaderBytes                                                         = 14, 15
	responseCode, responseHeaderBytes, responseBodyBytes, responseHeaders, responseTrailers, responseWhy = 1, 2, 3, 4, 5, 6
	responseUpHeaderBytes, responseDownHeaderBytes                                                       = 7, 8

	connectionReceived, connectionSent = 1, 2

	mapKey, mapValue = 1, 2
)

// appendHTTP appends an HTTPAccessLogEntry as an element of their list.
func (k *Sink) appendHTTP(dst []byte, i *streaminfo.Stream, typ accesslog.Type) []byte {
	dst, at := wire.Begin(dst, listEntry)
	dst = k.appendCommon(dst, i, typ)
	dst = number(dst, entryVersion, uint64(i.Protocol)) // Its numbers are HTTPVersion's.
	if h := i.Request; h != nil {
		var req int
		dst, req = wire.Begin(dst, entryRequest)
		dst = number(dst, requestMethod, methodNumber(string(h.Get(header.Method))))
		for _, f := range [...]struct {
			field uint64
			name  header.Name
		}{
			{requestScheme, header.Scheme}, {requestAuthority, header.Authority}, {requestPath, header.Path}, {requestAgent, header.UserAgent},
			{requestReferer, header.Referer}, {requestForwarded, header.XForwardedFor}, {requestID, header.XRequestID}, {requestOriginal, header.XEnvoyOriginalPath},
		} {
			dst = text(dst, f.field, h.Get(f.name))
		}
		dst = number(dst, requestHeaderBytes, uint64(h.Size()))
		dst = number(dst, requestBodyBytes, i.BodyReceived)
		dst = appendHeaders(dst, requestHeaders, h, k.request)
		dst = number(dst, requestUpHeaderBytes, i.Upstream.HeaderSent)
		dst = wire.End(number(dst, requestDownHeaderBytes, i.HeaderReceived), req)
	}
	dst, resp := wire.Begin(dst, entryResponse)
	if i.Status > 0 {
		dst = wire.Message(dst, responseCode, func(dst []byte) []byte { return wire.Uint(dst, 1, uint64(i.Status)) })
	}
	if h := i.Response; h != nil {
		dst = number(dst, responseHeaderBytes, uint64(h.Size()))
		dst = appendHeaders(dst, responseHeaders, h, k.response)
	}
	dst = number(dst, responseBodyBytes, i.BodySent)
	if h := i.ResponseTrailer; h != nil {
		dst = appendHeaders(dst, responseTrailers, h, k.trailer)
	}
	dst = text(dst, responseWhy, i.StatusDetails)
	dst = number(dst, responseUpHeaderBytes, i.Upstream.HeaderReceived)
	return wire.End(wire.End(number(dst, responseDownHeaderBytes, i.HeaderSent), resp), at)
}

// appendTCP appends a TCPAccessLogEntry as an element of their list.
func (k *Sink) appendTCP(dst []byte, i *streaminfo.Stream, typ accesslog.Type) []byte {
	dst, at := wire.Begin(dst, listEntry)
	dst = k.appendCommon(dst, i, typ)
	dst, c := wire.Begin(dst, entryConnection)
	dst = number(dst, connectionReceived, i.BodyReceived)
	return wire.End(wire.End(number(dst, connectionSent, i.BodySent), c), at)
}

// appendCommon appends AccessLogCommon.
func (k *Sink) appendCommon(dst []byte, i *streaminfo.Stream, typ accesslog.Type) []byte {
	dst, at := wire.Begin(dst, entryCommon)
	remote, start := i.Remote, i.Start
	if c := i.Conn; c != nil {
		if !remote.IsValid() && !remote.IsUnix() {
			remote = c.Remote
		}
		if start.IsZero() {
			start = c.Start
		}
		dst = appendAddress(dst, commonLocal, c.Local)
		dst = appendAddress(dst, commonDirectRemote, c.DirectRemote)
		dst = k.appendTLS(dst, c)
		dst = text(dst, commonTermination, c.Termination)
		dst = text(dst, commonFailure, c.TransportFailure)
	}
	dst = appendAddress(dst, commonRemote, remote)
	if !start.IsZero() {
		dst = appendTime(dst, commonStart, start.Unix(), int64(start.Nanosecond()))
	}
	for _, d := range [...]struct {
		field uint64
		nanos int64
	}{
		{commonLastRx, i.Timing.RequestEnd}, {commonUpFirstTx, i.Timing.UpstreamFirstTx}, {commonUpLastTx, i.Timing.UpstreamLastTx},
		{commonUpFirstRx, i.Timing.UpstreamFirstRx}, {commonUpLastRx, i.Timing.UpstreamLastRx}, {commonFirstTx, i.Timing.DownstreamFirstTx},
		{commonLastTx, i.Timing.DownstreamLastTx}, {commonDuration, int64(i.Duration)},
	} {
		if d.nanos > 0 {
			dst = appendTime(dst, d.field, d.nanos/int64(time.Second), d.nanos%int64(time.Second))
		}
	}
	u := &i.Upstream
	if peer := u.Remote; peer.IsValid() || peer.IsUnix() {
		dst = appendAddress(dst, commonUpRemote, peer)
	} else {
		dst = appendAddress(dst, commonUpRemote, u.HostAddress)
	}
	dst = appendAddress(dst, commonUpLocal, u.Local)
	cluster := i.ClusterStatName
	if cluster == "" {
		cluster = i.ClusterName
	}
	dst = text(dst, commonCluster, cluster)
	dst = appendFlags(dst, i.Flags)
	dst = appendMetadata(dst, i.Metadata)
	dst = text(dst, commonUpFailure, u.FailureReason)
	dst = text(dst, commonRoute, i.RouteName)
	dst = k.appendStates(dst, i)
	dst = k.appendTags(dst, i)
	dst = number(dst, commonAttempts, uint64(max(i.Attempts, 0)))
	dst = text(dst, commonStream, i.ID)
	if intermediate(typ) {
		dst = wire.Bool(dst, commonIntermediate, true)
	}
	dst = number(dst, commonWireSent, i.WireSent)
	dst = number(dst, commonWireReceived, i.WireReceived)
	dst = number(dst, commonUpWireSent, u.WireSent)
	dst = number(dst, commonUpWireReceived, u.WireReceived)
	return wire.End(number(dst, commonType, uint64(typ)), at)
}

// intermediate tells whether more is to come of what an entry tells of.
func intermediate(typ accesslog.Type) bool {
	switch typ {
	case accesslog.NotSet, accesslog.TCPConnectionEnd, accesslog.DownstreamEnd, accesslog.UpstreamEnd, accesslog.UDPSessionEnd:
		return false
	}
	return true
}

// appendStates appends filter states, each as a StringValue.
func (k *Sink) appendStates(dst []byte, i *streaminfo.Stream) []byte {
	for _, name := range k.states {
		o, ok := i.FilterState[name]
		if !ok && i.Conn != nil {
			o, ok = i.Conn.FilterState[name]
		}
		if !ok {
			continue
		}
		var at, value int
		dst, at = wire.Begin(dst, commonState)
		dst = text(dst, mapKey, name)
		dst, value = wire.Begin(dst, mapValue)
		dst = wire.Bytes(dst, 1, "type.googleapis.com/google.protobuf.StringValue")
		dst = wire.Message(dst, 2, func(dst []byte) []byte { return text(dst, 1, o.Text) })
		dst = wire.End(wire.End(dst, value), at)
	}
	return dst
}

// appendTags appends custom tags; one without a value is left out.
func (k *Sink) appendTags(dst []byte, i *streaminfo.Stream) []byte {
	for t := range k.tags {
		before := len(dst)
		var entry, value int
		dst, entry = wire.Begin(dst, commonTags)
		dst, value = wire.Begin(text(dst, mapKey, k.tags[t].Name), mapValue)
		from := len(dst)
		if dst = k.tags[t].AppendTo(dst, i); len(dst) == from {
			dst = dst[:before]
			continue
		}
		dst = wire.End(wire.End(wire.Mend(dst, from), value), entry)
	}
	return dst
}

// appendHeaders appends the headers of some names, the values of each joined.
func appendHeaders(dst []byte, field uint64, h *header.Map, names []header.Name) []byte {
	for _, n := range names {
		var room [256]byte
		if value, ok := h.AppendJoined(room[:0], n); ok {
			dst = pair(dst, field, n.String(), value)
		}
	}
	return dst
}

// pair appends an entry of a map of texts.
func pair(dst []byte, field uint64, key string, value []byte) []byte {
	dst, at := wire.Begin(dst, field)
	return wire.End(text(text(dst, mapKey, key), mapValue, value), at)
}

// text appends a text that is not empty.
func text[T string | []byte](dst []byte, field uint64, v T) []byte {
	if len(v) == 0 {
		return dst
	}
	return wire.Text(dst, field, v)
}

// number appends a number that is not 0.
func number(dst []byte, field, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return wire.Uint(dst, field, v)
}

// appendTime appends a Timestamp or a Duration.
func appendTime(dst []byte, field uint64, seconds, nanos int64) []byte {
	dst, at := wire.Begin(dst, field)
	return wire.End(number(number(dst, 1, uint64(seconds)), 2, uint64(nanos)), at)
}

// appendAddress appends an envoy.config.core.v3.Address that is one.
func appendAddress(dst []byte, field uint64, a address.Addr) []byte {
	const socket, pipe, socketAddress, socketPort = 1, 2, 2, 3
	switch {
	case a.IsUnix():
		return wire.Message(dst, field, func(dst []byte) []byte {
			return wire.Message(dst, pipe, func(dst []byte) []byte { return text(dst, 1, a.Path()) })
		})
	case a.IsValid():
		dst, at := wire.Begin(dst, field)
		dst, in := wire.Begin(dst, socket)
		var room [64]byte
		dst = wire.Bytes(dst, socketAddress, a.AppendIP(room[:0]))
		return wire.End(wire.End(wire.Uint(dst, socketPort, uint64(a.Port())), in), at)
	}
	return dst
}

// appendFlags appends ResponseFlags.
func appendFlags(dst []byte, f streaminfo.Flags) []byte {
	if f == 0 {
		return dst
	}
	const unauthorized, externalService, remoteReset = 13, 1, 28
	dst, at := wire.Begin(dst, commonFlags)
	// Fields have the order of the flags. Two of the flags have none.
	for field, flag := uint64(1), streaminfo.FailedLocalHealthCheck; flag <= streaminfo.DNSResolutionFailed; field, flag = field+1, flag<<1 {
		switch {
		case f&flag == 0:
		case flag == streaminfo.UnauthorizedExternalService:
			dst = wire.Message(dst, unauthorized, func(dst []byte) []byte { return wire.Uint(dst, 1, externalService) })
		default:
			dst = wire.Bool(dst, field, true)
		}
	}
	if f&streaminfo.DownstreamRemoteReset != 0 {
		dst = wire.Bool(dst, remoteReset, true)
	}
	return wire.End(dst, at)
}

// methodNumber is a method's of envoy.config.core.v3.RequestMethod; 0 is another.
func methodNumber(name string) uint64 {
	return uint64(max(slices.Index([]string{"", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}, name), 0))
}
