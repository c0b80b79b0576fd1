// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"errors"
	"fmt"
	"net/http"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
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
	last := place.terminal()
	names := map[string]bool{}
	b := chainBuilder{chain: chain, in: in}
	for i, f := range list {
		at := fmt.Sprintf("%s[%d] (%s)", path, i, f.GetName())
		if names[f.GetName()] {
			b.abandon()
			return fmt.Errorf("%s: two filters have this name, so routes could not tell them apart: rename one", at)
		}
		names[f.GetName()] = true
		own := in
		own.Name, own.Slot, own.Place = f.GetName(), stream.Slot(chain.Len()), place
		if err := b.add(f, &own, i == len(list)-1); err != nil {
			b.abandon()
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("%s: there are no HTTP filters, so nothing could answer: add %s", path, last)
	}
	return b.start(path)
}

// terminal is the filter that usually ends a chain of a place.
func (p Place) terminal() string {
	if p == Upstream {
		return "envoy.filters.http.upstream_codec"
	}
	return "envoy.filters.http.router"
}

// chainBuilder makes one chain of HTTP filters.
type chainBuilder struct {
	chain *stream.Chain
	in    HTTP
	// discovered are the filters whose configuration is delivered on its own.
	discovered []*Discovery[stream.Filter]
	started    bool
}

// add appends a filter, which ends the chain or not.
func (b *chainBuilder) add(f *hcmv3.HttpFilter, in *HTTP, end bool) error {
	if f.GetConfigDiscovery() != nil {
		if err := b.discover(f, in, end); err != nil {
			return fmt.Errorf("config_discovery.%w", err)
		}
		return nil
	}
	ext, cfg, err := in.Registry.httpFilter(f.GetName(), f.GetTypedConfig())
	if err == nil && !ext.Place.allows(in.Place) {
		err = ext.misplaced(in.Place)
	}
	if err != nil {
		if f.GetIsOptional() {
			in.Log("http").Warn("an optional HTTP filter is left out", "filter", f.GetName(), "reason", err)
			return nil
		}
		return err
	}
	if err := ext.ends(in.Place, end); err != nil {
		return err
	}
	filter, err := ext.New(cfg, in)
	if err != nil {
		return err
	}
	b.chain.Add(f.GetName(), filter, f.GetDisabled())
	return nil
}

// discover appends a filter whose configuration is delivered.
func (b *chainBuilder) discover(f *hcmv3.HttpFilter, in *HTTP, end bool) error {
	kind := "http_filter"
	if in.Place == Upstream {
		kind = "upstream_http_filter"
	}
	fits := func(e *HTTPFilter) error {
		if !e.Place.allows(in.Place) {
			return e.misplaced(in.Place)
		}
		return e.ends(in.Place, end)
	}
	d := &Discovery[stream.Filter]{
		Kind: kind, Name: f.GetName(), Await: in.Await, Own: in.Own,
		Knows: func(message string) error {
			for i := range in.Registry.HTTP {
				if e := &in.Registry.HTTP[i]; ConfigName(e.Config) == message {
					return fits(e)
				}
			}
			return fmt.Errorf("the extension %s is not supported", message)
		},
		Compile: func(cfg *anypb.Any, own func(func())) (stream.Filter, error) {
			e, m, err := in.Registry.httpFilter(f.GetName(), cfg)
			if err != nil {
				return nil, err
			}
			of := *in
			// It is used as soon as it is there.
			of.Own, of.Await = own, nil
			return e.New(m, &of)
		},
		Use: func(v stream.Filter, ok bool, ends []func()) {
			if !ok {
				v = missing{}
			}
			if !b.started {
				b.chain.Add(f.GetName(), v, f.GetDisabled())
				return
			}
			b.chain.Replace(in.Slot, v, ends...)
		},
	}
	if err := d.Prepare(in.Services, f.GetConfigDiscovery()); err != nil {
		return err
	}
	b.discovered = append(b.discovered, d)
	return nil
}

// start asks for what is delivered, once the chain is whole.
func (b *chainBuilder) start(path string) error {
	if len(b.discovered) == 0 {
		return nil
	}
	b.chain.Replaceable()
	b.started = true
	for i, d := range b.discovered {
		if err := d.Start(); err != nil {
			for _, rest := range b.discovered[i+1:] {
				rest.Abandon()
			}
			return fmt.Errorf("%s (%s): config_discovery.%w", path, d.Name, err)
		}
	}
	b.in.Own(b.chain.Close)
	return nil
}

// abandon lets go of what was made for a chain that is not used.
func (b *chainBuilder) abandon() {
	for _, d := range b.discovered {
		d.Abandon()
	}
}

// missing stands for a filter whose configuration has not come.
type missing struct{}

// Request answers as Envoy does.
func (missing) Request(s *stream.Stream) error {
	s.Reply(stream.Reply{Status: http.StatusInternalServerError, Flags: streaminfo.NoFilterConfigFound})
	return nil
}

// Response does nothing.
func (missing) Response(*stream.Stream) error { return nil }

// ends tells whether a filter stands where it must: a terminal one at the end.
func (e *HTTPFilter) ends(in Place, end bool) error {
	switch {
	case e.Terminal == end:
		return nil
	case end:
		return fmt.Errorf("the last filter must be terminal: add %s at the end", in.terminal())
	}
	return errors.New("a terminal filter must be the last: move it to the end")
}

// misplaced tells that a filter stands in a chain where it cannot.
func (e *HTTPFilter) misplaced(in Place) error {
	if in == Upstream {
		return fmt.Errorf("%s does not run in front of a host: put it into http_filters of the connection manager", e.Name)
	}
	return fmt.Errorf("%s runs in front of a host only: put it into http_filters of a cluster's HttpProtocolOptions", e.Name)
}

func (r *Registry) httpFilter(name string, any *anypb.Any) (*HTTPFilter, proto.Message, error) {
	for i := range r.HTTP {
		e := &r.HTTP[i]
		// A router without configuration is common in older files.
		if any == nil && e.Name == name {
			return e, e.Config.ProtoReflect().New().Interface(), nil
		}
		if cfg, ok, err := Decode(any, e.Config); ok || err != nil {
			return e, cfg, err
		}
	}
	return nil, nil, Unknown(any)
}
