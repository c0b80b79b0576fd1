// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"bytes"
	"net/http"
	"net/netip"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
)

// prepare makes the request's head fit to be trusted: canonical path and host,
// who the client is, which headers it may send. It replies and returns false if
// the request is refused. The order is Envoy's.
func (a *active) prepare(hd *codec.Head) bool {
	h, cfg := a.Request.Header, &a.conn.m.cfg
	a.enterScope(h)
	if !h.Has(header.Authority) {
		// Only HTTP/1.0 may leave it out; the codec has put in a configured default.
		a.Reply(stream.Reply{Status: http.StatusBadRequest, Details: "missing_host_header"})
		return false
	}
	connect := string(h.Get(header.Method)) == http.MethodConnect
	if !connect && !a.canonicalPath(h) {
		return false
	}
	a.canonicalHost(h, connect)
	if hd.Absolute {
		a.conn.stats.RqNonRelative.Inc()
	}
	for i := range cfg.early {
		cfg.early[i].Apply(h, &a.Info)
	}
	h.Del(header.XEnvoyInternal)
	client, trusted, ok := a.client(h)
	if !ok {
		return false
	}
	a.Info.Remote = client
	a.scheme(h)
	internal := trusted && client.IsValid() && cfg.internal.contains(client)
	edge := cfg.useRemoteAddress && !internal
	a.Info.Internal = internal
	if internal {
		h.Set(header.XEnvoyInternal, "true")
	} else {
		strip(h, edge, a.table)
	}
	a.identify(h, edge)
	return true
}

// client tells who the client is, and whether that address alone may be
// believed to be internal. It also writes the x-forwarded headers.
func (a *active) client(h *header.Map) (addr address.Addr, trusted, ok bool) {
	cfg, info := &a.conn.m.cfg, a.conn.conn.Info
	if !cfg.useRemoteAddress {
		addr, trusted, ok = a.detect(h)
		a.proto(h, false)
		return addr, trusted, ok
	}
	trusted = !h.Has(header.XForwardedFor)
	addr = info.Remote
	if cfg.xffHops > 0 {
		if ip, ok := lastForwarded(h, cfg.xffHops-1); ok {
			addr = ip
		}
	}
	if !cfg.skipXFFAppend {
		a.appendXFF(h)
	}
	a.proto(h, cfg.xffHops == 0)
	if cfg.appendPort && (cfg.xffHops == 0 || !h.Has(header.XForwardedPort)) {
		a.scratch = info.Local.AppendPort(a.scratch[:0])
		h.SetBytes(header.XForwardedPort, a.scratch)
	}
	return addr, trusted, true
}

// appendXFF joins the peer's address to x-forwarded-for.
func (a *active) appendXFF(h *header.Map) {
	ip := a.conn.conn.Info.Remote
	if ip.IsUnix() {
		return
	}
	b := a.scratch[:0]
	for v := range h.Values(header.XForwardedFor) {
		b = append(append(b, v...), ',')
	}
	if n := ip.Addr(); a.conn.m.cfg.mapV4 && n.Is4() {
		b = append(append(b, "::ffff:"...), n.String()...)
	} else {
		b = ip.AppendIP(b)
	}
	a.scratch = b
	h.SetBytes(header.XForwardedFor, b)
}

// proto sets x-forwarded-proto if there is none, or if the one there cannot be
// trusted.
func (a *active) proto(h *header.Map, overwrite bool) {
	if overwrite || !h.Has(header.XForwardedProto) {
		h.Set(header.XForwardedProto, a.transport())
	}
}

func (a *active) transport() string {
	if a.conn.conn.Info.TLS != nil {
		return "https"
	}
	return "http"
}

// scheme settles :scheme: as configured, else what the request says, else what
// x-forwarded-proto says, else what the connection is.
func (a *active) scheme(h *header.Map) {
	if s := a.conn.m.cfg.scheme; s != "" {
		h.Set(header.Scheme, s)
		h.Set(header.XForwardedProto, s)
		return
	}
	if h.Has(header.Scheme) {
		return
	}
	switch string(h.Get(header.XForwardedProto)) {
	case "https":
		h.Set(header.Scheme, "https")
	case "http":
		h.Set(header.Scheme, "http")
	default:
		h.Set(header.Scheme, a.transport())
	}
}

// detect finds the client by the configured extensions, or by x-forwarded-for.
func (a *active) detect(h *header.Map) (address.Addr, bool, bool) {
	remote := a.conn.conn.Info.Remote
	for _, d := range a.conn.m.cfg.detect {
		ip, trusted, status := d.detect(h, remote)
		if status != 0 {
			a.conn.stats.RqIPRejected.Inc()
			a.Reply(stream.Reply{Status: status, Details: "rejecting_because_detection_failed"})
			return remote, false, false
		}
		if d.appends() {
			a.appendXFF(h)
		}
		if ip.IsValid() {
			return ip, trusted, true
		}
	}
	return remote, false, true
}

// strip removes what only trusted peers may send.
func strip(h *header.Map, edge bool, t *route.Table) {
	if t != nil {
		for _, n := range t.InternalOnlyHeaders {
			h.Del(n)
		}
	}
	if !h.HasEnvoy() {
		return
	}
	if edge {
		h.Del(header.XEnvoyDecoratorOperation)
		h.Del(header.XEnvoyDownstreamServiceCluster)
		h.Del(header.XEnvoyDownstreamServiceNode)
		h.Del(header.XEnvoyOriginalPath)
		h.Del(header.XEnvoyOriginalHost)
	}
	for i := range internalOnly {
		h.Del(internalOnly[i])
	}
}

// internalOnly are the headers by which a request steers the proxy.
var internalOnly = [...]header.Name{
	header.XEnvoyRetryOn, header.XEnvoyRetryGrpcOn, header.XEnvoyMaxRetries,
	header.XEnvoyRetriableStatusCodes, header.XEnvoyRetriableHeaderNames,
	header.XEnvoyUpstreamAltStatName, header.XEnvoyUpstreamRqTimeoutMs,
	header.XEnvoyUpstreamRqPerTryTimeoutMs, header.XEnvoyUpstreamRqTimeoutAltResponse,
	header.XEnvoyExpectedRqTimeoutMs, header.XEnvoyForceTrace, header.XEnvoyIPTags,
	header.XEnvoyHedgeOnPerTryTimeout, header.XEnvoyIsTimeoutRetry, header.XEnvoyUpstreamStreamDurationMs,
	header.NewName("x-envoy-original-url"),
}

// identify writes the headers that tell who sent the request and which it is.
func (a *active) identify(h *header.Map, edge bool) {
	cfg := &a.conn.m.cfg
	if cfg.userAgent != "" {
		h.Set(header.XEnvoyDownstreamServiceCluster, cfg.userAgent)
		if len(h.Get(header.UserAgent)) == 0 {
			h.Set(header.UserAgent, cfg.userAgent)
		}
		if id := a.conn.m.node.id; id != "" {
			h.Set(header.XEnvoyDownstreamServiceNode, id)
		}
	}
	if cfg.via != "" {
		a.appendVia(h)
	}
	if edge && !a.Info.Remote.IsUnix() {
		a.scratch = a.Info.Remote.AppendIP(a.scratch[:0])
		h.SetBytes(header.XEnvoyExternalAddress, a.scratch)
	}
	if cfg.generateID && (edge && !cfg.preserveID || !h.Has(header.XRequestID)) {
		a.scratch = a.conn.rand.appendUUID(a.scratch[:0])
		h.SetBytes(header.XRequestID, a.scratch)
	}
	cfg.xfcc.apply(h, a.conn.conn.Info, &a.conn.client)
}

func (a *active) appendVia(h *header.Map) {
	b, any := h.AppendJoined(a.scratch[:0], header.Via)
	if any {
		b = append(b, ", "...)
	}
	a.scratch = append(b, a.conn.m.cfg.via...)
	h.SetBytes(header.Via, a.scratch)
}

// canonicalHost removes what the configuration asks from :authority.
func (a *active) canonicalHost(h *header.Map, connect bool) {
	cfg := &a.conn.m.cfg
	if !cfg.stripAnyPort && !cfg.stripMatchingPort && !cfg.stripDot {
		return
	}
	host := h.Get(header.Authority)
	name, port := splitPort(host)
	if cfg.stripDot {
		name = bytes.TrimSuffix(name, []byte("."))
	}
	strip := cfg.stripAnyPort || cfg.stripMatchingPort && a.isListenerPort(port)
	if strip && !connect {
		port = nil
	}
	if len(name)+len(port) == len(host) {
		return
	}
	a.scratch = append(append(a.scratch[:0], name...), port...)
	h.SetBytes(header.Authority, a.scratch)
}

// splitPort cuts ":80" off a host; port keeps its colon.
func splitPort(host []byte) (name, port []byte) {
	i := bytes.LastIndexByte(host, ':')
	if i < 0 || bytes.IndexByte(host[i:], ']') >= 0 || i+1 == len(host) {
		return host, nil
	}
	for _, c := range host[i+1:] {
		if c < '0' || c > '9' {
			return host, nil
		}
	}
	return host[:i], host[i:]
}

func (a *active) isListenerPort(port []byte) bool {
	if len(port) < 2 {
		return false
	}
	var b [8]byte
	return bytes.Equal(port[1:], a.conn.conn.Info.Local.AppendPort(b[:0]))
}

func (x *internalAddresses) contains(a address.Addr) bool {
	if a.IsUnix() {
		return x.unix
	}
	for _, p := range x.prefixes {
		if p.Contains(a.Addr()) {
			return true
		}
	}
	return false
}

// lastForwarded returns the address of x-forwarded-for that has skip addresses
// after it.
func lastForwarded(h *header.Map, skip int) (address.Addr, bool) {
	ip, _, ok := forwarded(h, skip)
	return ip, ok
}

// forwarded also tells whether the header held that one address alone.
func forwarded(h *header.Map, skip int) (ip address.Addr, single, ok bool) {
	var buf [1024]byte
	list, any := h.AppendJoined(buf[:0], header.XForwardedFor)
	if !any || len(list) > 16<<10 {
		return address.Addr{}, false, false
	}
	single = bytes.IndexByte(list, ',') < 0
	for ; skip > 0; skip-- {
		i := bytes.LastIndexByte(list, ',')
		if i < 0 {
			return address.Addr{}, false, false
		}
		list = list[:i]
	}
	if i := bytes.LastIndexByte(list, ','); i >= 0 {
		list = list[i+1:]
	}
	ip, ok = parseIP(bytes.TrimSpace(list))
	return ip, single, ok
}

// parseIP reads an address, perhaps with a port and brackets.
func parseIP(b []byte) (address.Addr, bool) {
	if n, err := netip.ParseAddr(string(b)); err == nil {
		return address.IP(netip.AddrPortFrom(n, 0)), true
	}
	if ap, err := netip.ParseAddrPort(string(b)); err == nil {
		return address.IP(ap), true
	}
	if len(b) > 2 && b[0] == '[' && b[len(b)-1] == ']' {
		if n, err := netip.ParseAddr(string(b[1 : len(b)-1])); err == nil {
			return address.IP(netip.AddrPortFrom(n, 0)), true
		}
	}
	return address.Addr{}, false
}
