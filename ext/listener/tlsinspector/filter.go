// SPDX-License-Identifier: Apache-2.0

// Package tlsinspector is the listener filter that tells TLS from cleartext and
// reads the server name and the protocols that a client asks for, so that a
// filter chain can be chosen by them (envoy.filters.listener.tls_inspector). It
// takes nothing from the connection and shakes no hands.
package tlsinspector

import (
	"errors"

	"weir.dev/weir/proxy/clienthello"
	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/streaminfo"
)

// Stats are the filter's statistics (tls_inspector.*).
type Stats struct {
	ConnectionClosed stats.Counter   `stat:"connection_closed"`
	TooLarge         stats.Counter   `stat:"client_hello_too_large"`
	TLSFound         stats.Counter   `stat:"tls_found"`
	TLSNotFound      stats.Counter   `stat:"tls_not_found"`
	ALPNFound        stats.Counter   `stat:"alpn_found"`
	ALPNNotFound     stats.Counter   `stat:"alpn_not_found"`
	SNIFound         stats.Counter   `stat:"sni_found"`
	SNINotFound      stats.Counter   `stat:"sni_not_found"`
	BytesProcessed   stats.Histogram `stat:"bytes_processed,bytes"`
}

type filter struct {
	limit, initial   int // bytes
	ja3, ja4, strict bool
	stats            *stats.Sharded[Stats]
}

// Accept looks at the first bytes until they are a whole ClientHello or can be
// none.
func (f *filter) Accept(t *engine.Task, c *conn.Conn) error {
	st := f.stats.At(t.Loop().ID())
	processed, seen := 0, 0
	err := listener.Peek(t, c, f.initial, func(b []byte) (int, error) {
		seen = min(len(b), f.limit)
		msg, used, want, err := clienthello.Scan(b, f.limit)
		if err != nil || want > 0 {
			return want, err
		}
		processed = used
		h, err := clienthello.Parse(msg)
		if err != nil {
			return 0, err
		}
		f.found(st, c.Info, &h)
		return 0, nil
	})
	switch {
	case err == nil:
		st.BytesProcessed.Record(uint64(processed))
		return nil
	case errors.Is(err, listener.ErrPeerClosed):
		st.ConnectionClosed.Inc()
		return err
	case errors.Is(err, clienthello.ErrTooLarge):
		// Not cleartext, and not to be judged: Envoy closes it whatever is set.
		st.BytesProcessed.Record(uint64(seen))
		st.TooLarge.Inc()
		reason(c.Info, "ClientHelloTooLarge")
		return err
	case errors.Is(err, clienthello.ErrNotTLS), errors.Is(err, clienthello.ErrMalformed):
		st.BytesProcessed.Record(uint64(max(processed, min(seen, 5))))
		if f.strict {
			return err
		}
		st.TLSNotFound.Inc()
		reason(c.Info, "ClientHelloNotDetected")
		return nil
	}
	return err
}

func (f *filter) found(st *Stats, info *streaminfo.Connection, h *clienthello.Hello) {
	st.TLSFound.Inc()
	info.TransportProtocol = "tls"
	if info.ServerName = h.ServerName(); info.ServerName != "" {
		st.SNIFound.Inc()
	} else {
		st.SNINotFound.Inc()
	}
	if p := h.Protocols(); p != nil {
		info.ALPNs = p
		st.ALPNFound.Inc()
	} else {
		st.ALPNNotFound.Inc()
	}
	if f.ja3 {
		info.JA3 = h.JA3()
	}
	if f.ja4 {
		info.JA4 = h.JA4()
	}
}

// reason notes why there is no ClientHello, as Envoy's dynamic metadata does.
func reason(info *streaminfo.Connection, why string) {
	if info.Metadata == nil {
		info.Metadata = streaminfo.Metadata{}
	}
	info.Metadata[Name] = map[string]any{"failure_reason": why}
}
