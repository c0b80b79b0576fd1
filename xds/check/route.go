// SPDX-License-Identifier: Apache-2.0

package check

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

func (c *checker) routeConfiguration(rc *routev3.RouteConfiguration, path string) {
	c.unchecked = rc.GetValidateClusters() != nil && !rc.GetValidateClusters().GetValue()
	names := map[string]int{}
	domains := map[string]string{}
	for i, vh := range rc.GetVirtualHosts() {
		where := join(path, at("virtual_hosts", i))
		if first, ok := names[vh.GetName()]; ok {
			c.errorf(join(where, "name"), "give one of them another name", "a second virtual host called %q, the first is virtual_hosts[%d]", vh.GetName(), first)
		} else {
			names[vh.GetName()] = i
		}
		for j, domain := range vh.GetDomains() {
			at := join(where, at("domains", j))
			key := strings.ToLower(domain)
			if first, ok := domains[key]; ok {
				c.errorf(at, "a domain can lead to one virtual host only", "domain %q is taken by virtual host %q already", domain, first)
				continue
			}
			domains[key] = vh.GetName()
			if strings.Count(domain, "*") > 1 || strings.Contains(strings.Trim(domain, "*"), "*") {
				c.errorf(at, `write "*.example.org" or "example.*"`, "domain %q has an asterisk that is neither at its start nor at its end", domain)
			}
		}
	}
}

func (c *checker) route(r *routev3.Route, path string) {
	if a := r.GetRoute(); a != nil {
		c.oneRewrite(join(path, "route"), map[string]bool{
			"prefix_rewrite":      a.GetPrefixRewrite() != "",
			"regex_rewrite":       a.GetRegexRewrite() != nil,
			"path_rewrite_policy": a.GetPathRewritePolicy() != nil,
		})
		if a.GetPrefixRewrite() != "" && r.GetMatch().GetConnectMatcher() != nil {
			c.warnf(join(path, "route.prefix_rewrite"), "remove it", "a CONNECT request has no path to rewrite")
		}
	}
}

func (c *checker) oneRewrite(path string, given map[string]bool) {
	var set []string
	for _, name := range []string{"prefix_rewrite", "regex_rewrite", "path_rewrite_policy"} {
		if given[name] {
			set = append(set, name)
		}
	}
	if len(set) > 1 {
		c.errorf(path, "keep one of them", "%s exclude each other", strings.Join(set, " and "))
	}
}

func (c *checker) weightedCluster(w *routev3.WeightedCluster, path string) {
	var sum uint64
	for i, cl := range w.GetClusters() {
		sum += uint64(cl.GetWeight().GetValue())
		if (cl.GetName() == "") == (cl.GetClusterHeader() == "") {
			c.errorf(join(path, at("clusters", i)), "give one of them", "needs either name or cluster_header")
		}
	}
	switch {
	case sum == 0:
		c.errorf(join(path, "clusters"), "give at least one cluster a weight", "the weights sum to zero, so no cluster could be chosen")
	case sum > 1<<32-1:
		c.errorf(join(path, "clusters"), "use smaller weights", "the weights sum to %d, more than %d", sum, uint64(1<<32-1))
	}
}
