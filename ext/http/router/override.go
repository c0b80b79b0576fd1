// SPDX-License-Identifier: Apache-2.0

package router

import "weir.dev/weir/proxy/route"

// What a cluster says takes the place of what the route says.

func (q *request) retryPolicy() *route.RetryPolicy {
	if p := q.cluster.HTTP.Override.Retry; p != nil {
		return p
	}
	return q.route.Forward.Retry
}

func (q *request) mirrors() []route.Mirror {
	if m := q.cluster.HTTP.Override.Mirrors; m != nil {
		return m
	}
	return q.route.Forward.Mirrors
}

func (q *request) hashPolicy() route.HashPolicies {
	if p := q.cluster.HTTP.Override.HashPolicy; p != nil {
		return p
	}
	return q.route.Forward.HashPolicy
}
