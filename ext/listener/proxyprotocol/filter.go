// SPDX-License-Identifier: Apache-2.0

// Package proxyprotocol is the listener filter that reads a PROXY protocol
// header, version 1 or 2, and makes the ends it tells those of the connection
// (envoy.filters.listener.proxy_protocol). What follows the header is what the
// next filters and the filter chain see.
package proxyprotocol

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/proxyproto"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/streaminfo"
)

// tlvStateKey is the filter state that holds TLVs with tlv_location FILTER_STATE.
const tlvStateKey = "envoy.network.proxy_protocol.tlv"

// Stats are the filter's statistics (proxy_proto.[STAT_PREFIX.]*).
type Stats struct {
	NotFoundAllowed    stats.Counter `stat:"not_found_allowed"`
	NotFoundDisallowed stats.Counter `stat:"not_found_disallowed"`
	V1                 VersionStats  `stat:"versions.v1."`
	V2                 VersionStats  `stat:"versions.v2."`
}

// VersionStats are the statistics of one version.
type VersionStats struct {
	Found      stats.Counter `stat:"found"`
	Disallowed stats.Counter `stat:"disallowed"`
	Error      stats.Counter `stat:"error"`
}

// errorStats are at the root, where Envoy has always had them.
type errorStats struct {
	Errors stats.Counter `stat:"downstream_cx_proxy_proto_error"`
}

// rule says where a TLV's value goes.
type rule struct {
	namespace, key string
	base64         bool
}

type filter struct {
	optional   bool    // connections without a header are served
	disallowed [3]bool // by version
	inState    bool
	rules      map[byte]rule
	pass       [256]bool // by type of TLV
	stats      *stats.Sharded[Stats]
	errors     *stats.Sharded[errorStats]
}

var errDisallowed = errors.New("this version of the PROXY protocol is disallowed")

// firstRead is enough for a header of either version with addresses and some
// TLVs, in bytes.
const firstRead = 512

// Accept reads the header.
func (f *filter) Accept(t *engine.Task, c *conn.Conn) error {
	st := f.stats.At(t.Loop().ID())
	version, h, err := f.read(t, c)
	of := &st.V1
	if version == 2 {
		of = &st.V2
	}
	switch {
	case err == nil && version == 0:
		st.NotFoundAllowed.Inc()
		return nil
	case err == nil:
		of.Found.Inc()
		f.apply(c.Info, &h)
		return nil
	case errors.Is(err, errDisallowed):
		of.Found.Inc()
		of.Disallowed.Inc()
	case errors.Is(err, proxyproto.ErrNoHeader):
		st.NotFoundDisallowed.Inc()
		f.errors.At(t.Loop().ID()).Errors.Inc()
	case errors.Is(err, proxyproto.ErrMalformed):
		of.Error.Inc()
		f.errors.At(t.Loop().ID()).Errors.Inc()
	case f.optional && version == 0:
		return err // A client that sends nothing may be served once it has had its time.
	}
	// Nobody gets past by being slow: neither who sends no header though one is
	// required, nor who sends half of one.
	return fmt.Errorf("proxy_protocol: %w: %w", listener.ErrRefused, err)
}

// read returns the header and its version, which is 0 if there is none and there
// need not be one. With an error it is the version of what had begun.
func (f *filter) read(t *engine.Task, c *conn.Conn) (version int, h proxyproto.Header, err error) {
	length := 0
	err = listener.Peek(t, c, firstRead, func(b []byte) (want int, err error) {
		if version, err = f.detect(b); err != nil || version == absent {
			return 0, err
		}
		switch {
		case version == 1:
			if length, err = proxyproto.LengthV1(b); length > 0 {
				h, err = proxyproto.ParseV1(b[:length])
			}
		case version == 2 && len(b) >= proxyproto.PrefixV2:
			length, err = proxyproto.LengthV2(b)
		}
		if err != nil || length > 0 {
			return 0, err
		}
		return len(b) + 1, nil
	})
	switch {
	case version == absent:
		return 0, h, err
	case err != nil || version == 0:
		return version, h, err
	case version == 1:
		return version, h, listener.Take(t, c, length)
	}
	b, err := take(c, length)
	if err == nil {
		h, err = proxyproto.ParseV2(b)
	}
	return version, h, err
}

// absent is the version of a connection without a header that is served.
const absent = -1

// detect tells the version of the header that b begins with, 0 if it cannot be
// told yet. Where headers are optional, a disallowed version is no header.
func (f *filter) detect(b []byte) (version int, err error) {
	version, err = proxyproto.Detect(b)
	likely := version
	if err == nil && version == 0 {
		likely = 1 // The signatures differ in their first byte.
		if b[0] == '\r' {
			likely = 2
		}
	}
	switch {
	case f.optional && (err != nil || f.disallowed[likely]):
		return absent, nil
	case err == nil && f.disallowed[version]:
		return version, errDisallowed
	}
	return version, err
}

// take reads exactly n bytes. What it holds grows with what arrives, so that the
// length a client announces costs nothing by itself.
func take(c *conn.Conn, n int) ([]byte, error) {
	var b []byte
	for len(b) < n {
		if len(b) == cap(b) {
			b = slices.Grow(b, min(n-len(b), max(firstRead, len(b))))
		}
		k, err := c.Socket.Read(b[len(b):min(cap(b), n)])
		if errors.Is(err, io.EOF) || engine.IsReset(err) {
			err = listener.ErrPeerClosed
		}
		if err != nil {
			return nil, err
		}
		b = b[:len(b)+k]
	}
	return b, nil
}

// apply makes what the header tells the connection's own.
func (f *filter) apply(info *streaminfo.Connection, h *proxyproto.Header) {
	if h.Local {
		return // The sender speaks for itself: the socket's ends hold.
	}
	info.Remote = h.Source
	if info.Local != h.Destination {
		info.Local, info.LocalRestored = h.Destination, true
	}
	var keep []proxyproto.TLV
	for _, v := range h.TLVs {
		if r, ok := f.rules[v.Type]; ok {
			f.store(info, r, v.Value)
		}
		if f.pass[v.Type] {
			keep = append(keep, proxyproto.TLV{Type: v.Type, Value: bytes.Clone(v.Value)})
		}
	}
	if len(keep) > 0 {
		kept := &proxyproto.Header{Version: h.Version, Source: h.Source, Destination: h.Destination, TLVs: keep}
		setState(info, proxyproto.StateKey, streaminfo.StateObject{Value: kept})
	}
}

// store puts one value where its rule says. Of several TLVs of one type the
// first counts, as in Envoy.
func (f *filter) store(info *streaminfo.Connection, r rule, value []byte) {
	text := strings.ToValidUTF8(string(value), "!")
	if r.base64 {
		text = base64.StdEncoding.EncodeToString(value)
	}
	if f.inState {
		set, _ := info.FilterState[tlvStateKey].Value.(values)
		if set == nil {
			set = values{}
		}
		if _, has := set[r.key]; !has {
			set[r.key] = text
		}
		setState(info, tlvStateKey, streaminfo.StateObject{Value: set, Text: set.text()})
		return
	}
	if info.Metadata == nil {
		info.Metadata = streaminfo.Metadata{}
	}
	if info.Metadata[r.namespace] == nil {
		info.Metadata[r.namespace] = map[string]any{}
	}
	if _, has := info.Metadata[r.namespace][r.key]; !has {
		info.Metadata[r.namespace][r.key] = text
	}
}

func setState(info *streaminfo.Connection, key string, o streaminfo.StateObject) {
	if info.FilterState == nil {
		info.FilterState = streaminfo.FilterState{}
	}
	info.FilterState[key] = o
}

// values are the TLVs in the filter state: %FILTER_STATE(KEY:FIELD:NAME)% prints
// one of them.
type values map[string]any

// Field returns one value, or nil.
func (v values) Field(name string) any { return v[name] }

// LogValue returns all values.
func (v values) LogValue() any { return map[string]any(v) }

func (v values) text() string { return string(format.AppendJSONValue(nil, map[string]any(v))) }
