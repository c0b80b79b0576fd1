// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

// authorities are where resources are asked for whose names say of which authority they
// are (xdstp).
type authorities struct {
	by map[string]*corev3.ConfigSource
	// other is where those of any other authority are asked for, nil if that is nowhere.
	other *corev3.ConfigSource
	// params are added to the parameters of the names of collections.
	params map[string]string
}

// SetAuthorities says where the resources of authorities are asked for (config_sources and
// default_config_source of a bootstrap). params are added to the parameters of the names of
// collections. It is called before the first use.
func (d *Directory) SetAuthorities(sources []*corev3.ConfigSource, other *corev3.ConfigSource, params map[string]string) error {
	by := map[string]*corev3.ConfigSource{}
	for i, cs := range sources {
		if len(cs.GetAuthorities()) == 0 {
			return fmt.Errorf("config_sources[%d].authorities: is empty: name those whose resources are asked for there, or use default_config_source", i)
		}
		if err := d.serves(cs); err != nil {
			return fmt.Errorf("config_sources[%d].%w", i, err)
		}
		for j, a := range cs.GetAuthorities() {
			if by[a.GetName()] == nil {
				by[a.GetName()] = cs
			} else if by[a.GetName()] == cs {
				return fmt.Errorf("config_sources[%d].authorities[%d].name: %q is there twice", i, j, a.GetName())
			}
		}
	}
	if other != nil {
		if err := d.serves(other); err != nil {
			return fmt.Errorf("default_config_source.%w", err)
		}
	}
	d.authorities = authorities{by, other, params}
	return nil
}

// serves tells why resources of an authority cannot be asked for at a config source.
func (d *Directory) serves(cs *corev3.ConfigSource) error {
	switch cs.GetApiConfigSource().GetApiType() {
	case corev3.ApiConfigSource_AGGREGATED_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		_, err := d.Key(cs)
		return err
	default:
		return errors.New("api_config_source.api_type: must be AGGREGATED_GRPC or AGGREGATED_DELTA_GRPC: all resources of an authority come on one stream")
	}
}

// Locate tells where a resource is asked for and how it is called there. That is cs and
// name, but for a name that says of which authority it is (xdstp): cs is asked if it lists
// the authority, else the source that the bootstrap names for it, else its default, else cs.
func (d *Directory) Locate(cs *corev3.ConfigSource, kind xds.Kind, name string) (*corev3.ConfigSource, string, error) {
	if !wire.IsURN(name) {
		return cs, name, nil
	}
	fail := func(err error) (*corev3.ConfigSource, string, error) {
		return nil, "", fmt.Errorf("the %s %.200q: %w", kind, name, err)
	}
	u, err := wire.ParseURN(name)
	if err != nil {
		return fail(err)
	}
	if want := typeOf(kind); u.Type != want {
		return fail(fmt.Errorf("is a name of a %s: want xdstp://%s/%s/%s", u.Type, u.Authority, want, u.ID))
	}
	switch own := d.authorities.by[u.Authority]; {
	case u.Directives != "":
		return fail(errors.New("has directives after a #: they are not supported, ask for the resource itself"))
	case u.IsGlob():
		return fail(errors.New("is that of a collection: name one resource"))
	case slices.ContainsFunc(cs.GetAuthorities(), func(a *xdscorev3.Authority) bool { return a.GetName() == u.Authority }):
	case own != nil:
		cs = own
	case d.authorities.other != nil:
		cs = d.authorities.other
	case cs == nil:
		return fail(fmt.Errorf("nobody is known to have resources of the authority %q: name it in config_sources of the bootstrap, or say where the resource is used where it is asked for", u.Authority))
	}
	return cs, u.String(), nil
}

// Collection tells where the resources of a collection are asked for and how it is called
// there (lds_resources_locator and its like): cs, or if that is nil as Locate has it.
func (d *Directory) Collection(cs *corev3.ConfigSource, kind xds.Kind, locator string) (*corev3.ConfigSource, string, error) {
	if !wire.IsURN(locator) {
		return nil, "", fmt.Errorf("%.200q: only xdstp:// is supported: for a file, use path_config_source", locator)
	}
	u, err := wire.ParseURN(locator)
	switch want := typeOf(kind); {
	case err != nil:
		return nil, "", fmt.Errorf("%.200q: %w", locator, err)
	case u.Type != want:
		return nil, "", fmt.Errorf("%.200q: is a name of a %s: want %s", locator, u.Type, want)
	case u.Directives != "":
		return nil, "", fmt.Errorf("%.200q: directives after a # are not supported: remove them", locator)
	case !u.IsGlob():
		return nil, "", fmt.Errorf("%.200q: is no collection of many resources, and lists in one resource are not supported: end the path with /*", locator)
	}
	if cs == nil {
		if cs = d.authorities.by[u.Authority]; cs == nil {
			cs = d.authorities.other
		}
	}
	if err := d.collects(cs); err != nil {
		return nil, "", err
	}
	params := make(map[string]string, len(d.authorities.params)+len(u.Params))
	maps.Copy(params, d.authorities.params)
	maps.Copy(params, u.Params)
	u.Params = params
	return cs, u.String(), nil
}

// collects tells why collections cannot be asked for at a config source: they come as
// deltas only.
func (d *Directory) collects(cs *corev3.ConfigSource) error {
	if cs == nil {
		return errors.New("nobody is known to have it: set the config source beside it, or name the authority in config_sources")
	}
	if cs.GetAds() != nil || cs.GetSelf() != nil {
		if d.Delta {
			return nil
		}
		return errors.New("collections are delivered as deltas only: set api_type of dynamic_resources.ads_config to DELTA_GRPC")
	}
	switch cs.GetApiConfigSource().GetApiType() {
	case corev3.ApiConfigSource_DELTA_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		return nil
	default:
		return errors.New("collections are delivered as deltas only: use ads, or api_config_source with api_type DELTA_GRPC or AGGREGATED_DELTA_GRPC")
	}
}

// typeOf is the name of the message of a kind.
func typeOf(kind xds.Kind) string {
	for _, t := range wire.Types() {
		if t.Kind == kind {
			return strings.TrimPrefix(t.URL, wire.Prefix)
		}
	}
	return ""
}
