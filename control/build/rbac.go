// SPDX-License-Identifier: Apache-2.0

package build

import (
	"net/netip"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
)

// A Principal is who connects.
type Principal = rbacv3.Principal

// AllowConnections lets in the connections of one of the principals, and no others. Its
// statistics begin with prefix.
func AllowConnections(prefix string, principals map[string]*Principal) *networkrbacv3.RBAC {
	rules := &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: map[string]*rbacv3.Policy{}}
	for name, p := range principals {
		rules.Policies[name] = &rbacv3.Policy{
			Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}}, Principals: []*Principal{p},
		}
	}
	return &networkrbacv3.RBAC{StatPrefix: prefix, Rules: rules}
}

// AllOf are the connections that are of each principal; of none, all.
func AllOf(list ...*Principal) *Principal {
	switch len(list) {
	case 0:
		return &Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
	case 1:
		return list[0]
	}
	return &Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: list}}}
}

// OneOf are the connections that are of a principal. There is at least one.
func OneOf(list ...*Principal) *Principal {
	if len(list) == 1 {
		return list[0]
	}
	return &Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: list}}}
}

// Not are all other connections.
func Not(p *Principal) *Principal {
	return &Principal{Identifier: &rbacv3.Principal_NotId{NotId: p}}
}

// ClientIn are the connections of clients in a range.
func ClientIn(in netip.Prefix) *Principal {
	return &Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: inRange(in)}}
}
