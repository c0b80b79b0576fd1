// SPDX-License-Identifier: Apache-2.0

package overridehost

import (
	_ "embed"
	"errors"
	"fmt"

	overridehostv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.load_balancing_policies.override_host"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() upstream.PolicyFactory {
	return upstream.PolicyFactory{Name: Name, Config: &overridehostv3.OverrideHost{}, Fields: supported, Nest: compile, Sticky: true}
}

func compile(m proto.Message, in *upstream.Nesting) (upstream.Policy, error) {
	c, ok := m.(*overridehostv3.OverrideHost)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", m, Name)
	}
	out := Config{}
	for i, s := range c.GetOverrideHostSources() {
		if (s.GetHeader() == "") == (s.GetMetadata() == nil) {
			return nil, xds.Problem{Path: fmt.Sprintf("override_host_sources[%d]", i), Reason: "needs a header or a metadata key, not both", Remedy: "give one"}
		}
		src := Source{}
		if h := s.GetHeader(); h != "" {
			src.Header = header.NewName(h)
		} else {
			src.Namespace, src.Path = metadataKey(s.GetMetadata())
		}
		out.Sources = append(out.Sources, src)
	}
	if len(out.Sources) == 0 {
		return nil, errors.New("override_host_sources: there is none (give a header or metadata key)")
	}
	if k := c.GetSelectedHostKey(); k != nil {
		out.Selected.Namespace, out.Selected.Path = metadataKey(k)
	}
	var err error
	out.Fallback, err = in.Policy("fallback_policy", c.GetFallbackPolicy())
	if err != nil {
		return nil, err
	}
	return New(out), nil
}

func metadataKey(k *metadatav3.MetadataKey) (namespace string, path []string) {
	for _, s := range k.GetPath() {
		path = append(path, s.GetKey())
	}
	return k.GetKey(), path
}
