// SPDX-License-Identifier: Apache-2.0

package resource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/xds"
)

// stream is one to a management server: for one kind of resource, or for all.
type stream struct {
	source string
	kind   xds.Kind
}

// Streams reports whether what a config source has comes on streams that are counted for
// each subscription: those of the aggregated server are counted once, for the proxy.
func Streams(cs *corev3.ConfigSource) bool {
	a := cs.GetApiConfigSource()
	return a != nil && a.GetApiType() != corev3.ApiConfigSource_REST && a.GetApiType() != corev3.ApiConfigSource_DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE //nolint:staticcheck // That is the point.
}

// serve has the stream of a new watch counted.
func (d *Directory) serve(w *Watch, cs *corev3.ConfigSource) {
	if w.o.Stats == nil || !Streams(cs) {
		return
	}
	w.o.Stats.Serve()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, kind := range []xds.Kind{w.t.id.Kind, ""} {
		if identifier, up := d.servers[stream{w.t.id.Source, kind}]; up {
			w.o.Stats.Server().Connected(true, identifier)
		}
	}
}

// Connected tells whether the stream to a source's server is up, and how the server calls
// itself. A kind of "" is that of a stream for all kinds.
func (d *Directory) Connected(source string, kind xds.Kind, up bool, identifier string) {
	d.mu.Lock()
	if d.servers == nil {
		d.servers = map[stream]string{}
	}
	if up {
		d.servers[stream{source, kind}] = identifier
	} else {
		delete(d.servers, stream{source, kind})
	}
	d.mu.Unlock()
	d.each(source, kind, func(w *Watch) { w.o.Stats.Server().Connected(up, identifier) })
}

// Throttled tells that a request to a source's server waits for rate_limit_settings, or
// no more.
func (d *Directory) Throttled(source string, kind xds.Kind, waits bool) {
	d.each(source, kind, func(w *Watch) { w.o.Stats.Server().Throttled(waits) })
}

// Empty tells those who watch resources of a kind that an answer had none at all.
func (d *Directory) Empty(source string, kind xds.Kind) {
	d.each(source, kind, func(w *Watch) {
		if w.o.Empty != nil {
			w.o.Empty()
		}
		w.setReady()
	})
}

// each calls f with the watches of a source's resources, of one kind or, if that is "",
// of all.
func (d *Directory) each(source string, kind xds.Kind, f func(*Watch)) {
	var topics []*topic
	d.mu.Lock()
	for id, t := range d.topics {
		if id.Source == source && (kind == "" || id.Kind == kind) && t.refs > 0 {
			topics = append(topics, t)
		}
	}
	d.mu.Unlock()
	for _, t := range topics {
		t.mu.Lock()
		t.each(f)
		t.mu.Unlock()
	}
}
