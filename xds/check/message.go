// SPDX-License-Identifier: Apache-2.0

package check

import (
	"net/netip"
	"regexp"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
)

// message checks one message, not those inside of it.
func (c *checker) message(m proto.Message, path string) {
	switch m := m.(type) {
	case *listenerv3.Listener:
		c.fields(m, path)
		c.listener(m, path)
	case *clusterv3.Cluster:
		c.fields(m, path)
		c.clusterMessage(m, path)
	case *routev3.RouteConfiguration:
		c.fields(m, path)
		c.routeConfiguration(m, path)
		c.removals(m.GetRequestHeadersToRemove(), join(path, "request_headers_to_remove"))
	case *routev3.VirtualHost:
		c.removals(m.GetRequestHeadersToRemove(), join(path, "request_headers_to_remove"))
	case *routev3.Route:
		c.route(m, path)
		c.removals(m.GetRequestHeadersToRemove(), join(path, "request_headers_to_remove"))
	case *routev3.WeightedCluster:
		c.weightedCluster(m, path)
	case *routev3.HeaderMatcher:
		c.headerName(m.GetName(), join(path, "name"))
	case *corev3.HeaderValue:
		c.headerName(m.GetKey(), join(path, "key"))
	case *hcmv3.HttpConnectionManager:
		c.connectionManager(m, path)
	case *matcherv3.RegexMatcher:
		if _, err := regexp.Compile(m.GetRegex()); err != nil {
			c.errorf(join(path, "regex"), "the syntax is RE2's", "%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	case *tlsv3.SdsSecretConfig:
		if m.GetSdsConfig() == nil && !c.secrets[m.GetName()] {
			c.errorf(join(path, "name"), "define it in static_resources.secrets, or give sds_config", "there is no secret %q", m.GetName())
		}
	}
}

func (c *checker) fields(m proto.Message, path string) {
	if c.support != nil {
		c.problems = append(c.problems, c.support.Fields(m, path)...)
	}
}

// headerName takes RFC 9110 §5.6.2 tokens, and pseudo headers such as ":path".
func (c *checker) headerName(name, path string) {
	for i := range len(name) {
		b := name[i]
		if b == ':' && i == 0 && len(name) > 1 {
			continue
		}
		if b <= ' ' || b >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, b) >= 0 {
			c.errorf(path, "use letters, digits and hyphens", "%q is not a header's name", name)
			return
		}
	}
}

// removals are the headers that Envoy refuses to remove from a request.
func (c *checker) removals(names []string, path string) {
	for i, name := range names {
		if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
			c.errorf(at(path, i), "use host_rewrite_literal or prefix_rewrite to change it", "%q cannot be removed from a request", name)
			continue
		}
		c.headerName(name, at(path, i))
	}
}

func (c *checker) clusterMessage(m *clusterv3.Cluster, path string) {
	if m.GetClusterType() != nil {
		return
	}
	endpoints := m.GetLoadAssignment().GetEndpoints()
	switch m.GetType() {
	case clusterv3.Cluster_EDS:
		if m.GetEdsClusterConfig() == nil {
			c.errorf(path, "add eds_cluster_config", "a cluster of type EDS does not say where its endpoints come from")
		}
	case clusterv3.Cluster_LOGICAL_DNS:
		if len(endpoints) != 1 || len(endpoints[0].GetLbEndpoints()) != 1 {
			c.errorf(join(path, "load_assignment"), "use STRICT_DNS for several", "a cluster of type LOGICAL_DNS has exactly one endpoint")
		}
	case clusterv3.Cluster_STATIC:
		for i, locality := range endpoints {
			for j, lb := range locality.GetLbEndpoints() {
				sa := lb.GetEndpoint().GetAddress().GetSocketAddress()
				if sa == nil || sa.GetResolverName() != "" {
					continue
				}
				if _, err := netip.ParseAddr(sa.GetAddress()); err != nil {
					where := at(at("load_assignment.endpoints", i)+".lb_endpoints", j)
					c.errorf(join(path, where+".endpoint.address.socket_address.address"), "use type STRICT_DNS or LOGICAL_DNS for names",
						"%q is not an IP address, as type STATIC needs", sa.GetAddress())
				}
			}
		}
	}
}
