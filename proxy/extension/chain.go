// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"errors"
	"fmt"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/stream"
)

// A Place is a kind of chains that HTTP filters stand in.
type Place uint8

const (
	// Downstream is the chain of a connection manager, which every request passes once.
	Downstream Place = iota
	// Upstream is the chain of a cluster, which every attempt to reach a host of it
	// passes ([stream.Branch]).
	Upstream
	// Anywhere is both.
	Anywhere
)

// allows reports whether a filter of place p may stand in a chain of place in.
func (p Place) allows(in Place) bool { return p == Anywhere || p == in }

// AddFilters compiles a list of HTTP filters, which stands at path of a message, to the
// end of an empty chain of a place. in says what each is made with, but for Name,
// Slot and Place.
func AddFilters(chain *stream.Chain, place Place, list []*hcmv3.HttpFilter, path string, in HTTP) error {
	last := map[Place]string{Downstream: "envoy.filters.http.router", Upstream: "envoy.filters.http.upstream_codec"}[place]
	names := map[string]bool{}
	for i, f := range list {
		at := fmt.Sprintf("%s[%d] (%s)", path, i, f.GetName())
		if names[f.GetName()] {
			return fmt.Errorf("%s: two filters have this name, so routes could not tell them apart: rename one", at)
		}
		names[f.GetName()] = true
		ext, cfg, err := in.Registry.httpFilter(f)
		if err == nil && !ext.Place.allows(place) {
			err = ext.misplaced(place)
		}
		if err != nil {
			if f.GetIsOptional() {
				in.Log("http").Warn("an optional HTTP filter is left out", "filter", f.GetName(), "reason", err)
				continue
			}
			return fmt.Errorf("%s: %w", at, err)
		}
		if end := i == len(list)-1; ext.Terminal != end {
			if end {
				return fmt.Errorf("%s: the last filter must be terminal: add %s at the end", at, last)
			}
			return fmt.Errorf("%s: a terminal filter must be the last: move it to the end", at)
		}
		own := in
		own.Name, own.Slot, own.Place = f.GetName(), stream.Slot(chain.Len()), place
		filter, err := ext.New(cfg, &own)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		chain.Add(f.GetName(), filter, f.GetDisabled())
	}
	if len(list) == 0 {
		return fmt.Errorf("%s: there are no HTTP filters, so nothing could answer: add %s", path, last)
	}
	return nil
}

// misplaced tells that a filter stands in a chain where it cannot.
func (e *HTTPFilter) misplaced(in Place) error {
	if in == Upstream {
		return fmt.Errorf("%s does not run in front of a host: put it into http_filters of the connection manager", e.Name)
	}
	return fmt.Errorf("%s runs in front of a host only: put it into http_filters of a cluster's HttpProtocolOptions", e.Name)
}

func (r *Registry) httpFilter(f *hcmv3.HttpFilter) (*HTTPFilter, proto.Message, error) {
	if f.GetConfigDiscovery() != nil {
		return nil, nil, errors.New("config_discovery is not supported yet: use typed_config")
	}
	any := f.GetTypedConfig()
	for i := range r.HTTP {
		e := &r.HTTP[i]
		// A router without configuration is common in older files.
		if any == nil && e.Name == f.GetName() {
			return e, e.Config.ProtoReflect().New().Interface(), nil
		}
		if cfg, ok, err := Decode(any, e.Config); ok || err != nil {
			return e, cfg, err
		}
	}
	return nil, nil, Unknown(any)
}
