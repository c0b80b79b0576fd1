// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
)

const routerMessage = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

// addresses reports listeners on the same address.
func (c *checker) addresses(listeners []*listenerv3.Listener, path string) {
	first := map[string]string{}
	for i, l := range listeners {
		c.address(first, l, at(path, i), "")
	}
}

func (c *checker) listenerSet(set xds.Set[*listenerv3.Listener]) {
	first := map[string]string{}
	for name, l := range set.All() {
		before := len(c.problems)
		c.address(first, l, "", "listener "+name)
		origin := set.Origin(name)
		for i := before; i < len(c.problems); i++ {
			p := &c.problems[i]
			p.Kind, p.Name, p.File, p.Line = xds.KindListener, name, origin.File, origin.Line
		}
	}
}

func (c *checker) address(first map[string]string, l *listenerv3.Listener, path, label string) {
	if label == "" {
		label = path
	}
	test := func(a *corev3.Address, path string) {
		key := addressKey(a)
		if key == "" {
			return
		}
		if other, ok := first[key]; ok {
			c.errorf(path, "give one of them another address or port", "%s is taken by %s already", key, other)
			return
		}
		first[key] = label
	}
	test(l.GetAddress(), join(path, "address"))
	for i, more := range l.GetAdditionalAddresses() {
		test(more.GetAddress(), join(path, at("additional_addresses", i)+".address"))
	}
}

// addressKey is empty for addresses that any number of listeners can have: port 0 is
// another port each time.
func addressKey(a *corev3.Address) string {
	if p := a.GetPipe().GetPath(); p != "" {
		return "unix:" + p
	}
	sa := a.GetSocketAddress()
	if sa.GetPortValue() == 0 {
		return ""
	}
	return fmt.Sprintf("%s [%s]:%d", sa.GetProtocol(), sa.GetAddress(), sa.GetPortValue())
}

func (c *checker) listener(l *listenerv3.Listener, path string) {
	udp := l.GetAddress().GetSocketAddress().GetProtocol() == corev3.SocketAddress_UDP
	if len(l.GetFilterChains()) == 0 && l.GetDefaultFilterChain() == nil && l.GetApiListener() == nil && !udp {
		c.errorf(path, "add filter_chains", "no filter chains: every connection would be closed")
	}
	matches := map[string]int{}
	for i, chain := range l.GetFilterChains() {
		c.filterChain(chain, join(path, at("filter_chains", i)), udp)
		if l.GetFilterChainMatcher() != nil {
			continue
		}
		key, err := proto.MarshalOptions{Deterministic: true}.Marshal(chain.GetFilterChainMatch())
		if err != nil {
			continue // load has checked that messages can be encoded.
		}
		if first, ok := matches[string(key)]; ok {
			c.errorf(join(path, at("filter_chains", i)+".filter_chain_match"), "make the matches differ",
				"matches the same as filter_chains[%d], and a connection can only take one", first)
			continue
		}
		matches[string(key)] = i
	}
	if chain := l.GetDefaultFilterChain(); chain != nil {
		c.filterChain(chain, join(path, "default_filter_chain"), udp)
	}
}

func (c *checker) filterChain(chain *listenerv3.FilterChain, path string, udp bool) {
	if len(chain.GetFilters()) == 0 && !udp {
		c.warnf(path, "add filters", "no filters: connections that match are closed at once")
	}
}

func (c *checker) connectionManager(m *hcmv3.HttpConnectionManager, path string) {
	filters := m.GetHttpFilters()
	if len(filters) == 0 {
		c.errorf(join(path, "http_filters"), "add envoy.filters.http.router as the last", "no HTTP filters: nothing would answer a request")
	}
	for i, f := range filters {
		terminal := f.GetTypedConfig().GetTypeUrl() == routerMessage
		where := join(path, at("http_filters", i))
		last := i == len(filters)-1
		switch {
		case terminal && !last:
			c.errorf(where, "move it to the end", "%q ends the chain, and %d filters behind it would never run", f.GetName(), len(filters)-1-i)
		case terminal && f.GetDisabled():
			c.errorf(join(where, "disabled"), "remove disabled", "%q ends the chain and cannot be disabled", f.GetName())
		case last && !terminal && f.GetTypedConfig() != nil:
			c.errorf(where, "add envoy.filters.http.router as the last", "the last HTTP filter must answer requests, and %q does not", f.GetName())
		}
	}
	if name := m.GetRds().GetRouteConfigName(); name != "" && c.served != nil {
		if _, ok := c.served.Routes().Get(name); !ok {
			c.errorf(join(path, "rds.route_config_name"), "define it, or name one of those defined", "there is no route configuration %q", name)
		}
	}
}
