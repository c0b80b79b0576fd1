// SPDX-License-Identifier: Apache-2.0

package originaldst

import (
	"errors"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
)

// Name is the value of Cluster.type.
const Name = "ORIGINAL_DST"

// Factory makes the extension known.
func Factory() upstream.DiscoveryFactory {
	return upstream.DiscoveryFactory{
		Name: Name, Sticky: true,
		Provided: func(in *upstream.DiscoveryConfig) (upstream.Policy, error) {
			o := in.OriginalDst
			p := &policy{port: uint16(o.GetUpstreamPortOverride().GetValue())}
			if v := o.GetUpstreamPortOverride(); v != nil && v.GetValue() > 65535 {
				return nil, xds.Problem{Path: "original_dst_lb_config.upstream_port_override", Reason: "is above 65535", Remedy: "give a port"}
			}
			if o.GetUseHttpHeader() {
				p.header = header.NewName("x-envoy-original-dst-host")
				if n := o.GetHttpHeaderName(); n != "" {
					p.header = header.NewName(n)
				}
			} else if o.GetHttpHeaderName() != "" {
				return nil, xds.Problem{Path: "original_dst_lb_config.http_header_name", Reason: "has no effect without use_http_header", Remedy: "set that, or remove this"}
			}
			if k := o.GetMetadataKey(); k != nil {
				p.namespace = k.GetKey()
				for _, s := range k.GetPath() {
					p.path = append(p.path, s.GetKey())
				}
			}
			return p, nil
		},
		New: func(in *upstream.DiscoveryConfig) (func() (upstream.Discovery, error), error) {
			if len(in.Targets) > 0 {
				return nil, xds.Problem{Path: "load_assignment", Reason: "ORIGINAL_DST has no endpoints: each connection brings its own", Remedy: "remove it"}
			}
			p, ok := in.Policy.(*policy)
			if !ok {
				return nil, errors.New("BUG: the policy of ORIGINAL_DST is another's")
			}
			every := in.Cleanup
			return func() (upstream.Discovery, error) { return &Discovery{policy: p, every: every}, nil }, nil
		},
	}
}
